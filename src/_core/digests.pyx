"""SHA-256 (FIPS 180-4) of many parts of one buffer in one call, by the OpenSSL that the interpreter itself has loaded.

``hashlib`` gives the GIL away and waits for it again at each part; here that happens once. Where that OpenSSL is not
found (:mod:`librats._core.evp` tells how it is looked for), ``hashlib`` does it, part by part.
"""

from hashlib import sha256

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from librats._core.evp cimport evp_find

cdef enum:
    HASH_SIZE = 32
    RELEASE_GIL_FROM = 4096  # bytes to hash; for less, giving it away costs more than it gains

ctypedef void* (*new_function)() noexcept nogil
ctypedef void (*free_function)(void*) noexcept nogil
ctypedef int (*init_function)(void*, const void*, void*) noexcept nogil
ctypedef int (*update_function)(void*, const void*, size_t) noexcept nogil
ctypedef int (*final_function)(void*, uint8_t*, unsigned int*) noexcept nogil

# Written once, below, while this module is imported; read only ever after.
cdef const void* _digest = NULL
cdef new_function _new = NULL
cdef free_function _free = NULL
cdef init_function _init = NULL
cdef update_function _update = NULL
cdef final_function _final = NULL


cdef bint _hash_each(const uint8_t* data, size_t left, size_t part, uint8_t* out) noexcept nogil:
    """Hash the parts of a buffer; False where OpenSSL could not."""
    cdef void* context = _new()
    # Without a digest from the second time on: looking one up costs more than the hash of two hashes.
    cdef const void* digest = _digest
    cdef bint done = context != NULL
    cdef size_t size
    while done and left:
        size = min(left, part)
        done = (
            _init(context, digest, NULL) == 1
            and _update(context, data, size) == 1
            and _final(context, out, NULL) == 1
        )
        digest = NULL
        data += size
        left -= size
        out += HASH_SIZE
    if context != NULL:
        _free(context)
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
        if _digest != NULL:
            out = PyBytes_FromStringAndSize(NULL, (view.len + part - 1) // part * HASH_SIZE)
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


cdef bint _load() except *:
    """Find the functions; return whether they are there and give the right answer."""
    global _digest, _new, _free, _init, _update, _final
    cdef bytes wanted = sha256(b"abc").digest()
    cdef uint8_t out[HASH_SIZE]
    cdef new_function get_digest = <new_function>evp_find("EVP_sha256")
    _new = <new_function>evp_find("EVP_MD_CTX_new")
    _free = <free_function>evp_find("EVP_MD_CTX_free")
    _init = <init_function>evp_find("EVP_DigestInit_ex")
    _update = <update_function>evp_find("EVP_DigestUpdate")
    _final = <final_function>evp_find("EVP_DigestFinal_ex")
    if get_digest == NULL or _new == NULL or _free == NULL or _init == NULL or _update == NULL or _final == NULL:
        return False
    _digest = get_digest()
    if _digest != NULL and not (
        _hash_each(b"abc", 3, 3, out) and memcmp(out, <const uint8_t*>wanted, HASH_SIZE) == 0
    ):
        _digest = NULL
    return _digest != NULL


INTERPRETER_OPENSSL = _load()
