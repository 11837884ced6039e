"""SHA-256 (FIPS 180-4) of many parts of one buffer in one call, by the OpenSSL that the interpreter itself has loaded.

``hashlib`` gives the GIL away and waits for it again at each part; here that happens once. Where that OpenSSL is not
found (:mod:`librats._core.evp` tells how it is looked for), ``hashlib`` does it, part by part.
"""

from hashlib import sha256

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from librats._core.evp_digest cimport (
    SHA256_SIZE, sha256_add, sha256_available, sha256_begin, sha256_end, sha256_free, sha256_new,
)

cdef enum:
    RELEASE_GIL_FROM = 4096  # bytes to hash; for less, giving it away costs more than it gains


cdef bint _hash_each(const uint8_t* data, size_t left, size_t part, uint8_t* out) noexcept nogil:
    """Hash the parts of a buffer; False where OpenSSL could not."""
    cdef void* context = sha256_new()
    cdef bint again = False
    cdef bint done = context != NULL
    cdef size_t size
    while done and left:
        size = min(left, part)
        done = sha256_begin(context, again) and sha256_add(context, data, size) and sha256_end(context, out)
        again = True
        data += size
        left -= size
        out += SHA256_SIZE
    sha256_free(context)
    return done


def sha256_each(data not None, Py_ssize_t part):
    """Return the SHA-256 of each part of a buffer, one behind the other.

    Args:
        data: Any contiguous buffer. It may not change meanwhile.
        part: Bytes of a part, at least 1; the last one may be shorter.

    Raises:
        ValueError: Parts would have no byte.
    """
    cdef Py_buffer view
    cdef bytes out
    cdef uint8_t* at
    cdef bint done = False
    if part < 1:
        raise ValueError("a part has at least one byte")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if sha256_available():
            out = PyBytes_FromStringAndSize(NULL, (view.len + part - 1) // part * SHA256_SIZE)
            at = <uint8_t*>PyBytes_AS_STRING(out)
            if view.len >= RELEASE_GIL_FROM:
                with nogil:
                    done = _hash_each(<const uint8_t*>view.buf, view.len, part, at)
            else:
                done = _hash_each(<const uint8_t*>view.buf, view.len, part, at)
            if done:
                return out
    finally:
        PyBuffer_Release(&view)
    whole = memoryview(data).cast("B")
    return b"".join([sha256(whole[begin:begin + part]).digest() for begin in range(0, len(whole), part)])


INTERPRETER_OPENSSL = sha256_available()
