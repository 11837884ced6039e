"""Hashes of the leaves of files, many in one call without the GIL: SHA-256 by the OpenSSL of the interpreter.

What is hashed may lie in several buffers, as a stream yields it: nothing is put together for it. The functions are
those of :mod:`librats._core.evp_digest`. Where they are missing, :data:`AVAILABLE` is False, and hashlib does it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove

from librats._core.evp_digest cimport (
    SHA256_SIZE, sha256_add, sha256_available, sha256_begin, sha256_end, sha256_free, sha256_new,
)

from librats._core import aead

cdef enum:
    LEAF_SIZE = 65536
    RELEASE_GIL_FROM = 4096


cdef bint _hash(
    void* context, const Py_buffer* views, Py_ssize_t count, size_t skip, uint8_t* out
) noexcept nogil:
    """Hash what the buffers hold, leaf by leaf; False where OpenSSL could not."""
    cdef uint8_t prefix = 0
    cdef bint again = False
    cdef size_t room = 0  # what the leaf that has begun still takes
    cdef size_t step, left
    cdef const uint8_t* source
    cdef Py_ssize_t index
    for index in range(count):
        source = <const uint8_t*>views[index].buf
        left = <size_t>views[index].len
        step = min(skip, left)
        skip -= step
        source += step
        left -= step
        while left:
            if not room:
                if not (sha256_begin(context, again) and sha256_add(context, &prefix, 1)):
                    return False
                again = True
                room = LEAF_SIZE
            step = min(left, room)
            if not sha256_add(context, source, step):
                return False
            source += step
            left -= step
            room -= step
            if not room:
                if not sha256_end(context, out):
                    return False
                out += SHA256_SIZE
    return not room or sha256_end(context, out)


cdef bytes _hashed(const Py_buffer* views, Py_ssize_t count, size_t skip, size_t size):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>((size + LEAF_SIZE - 1) // LEAF_SIZE * SHA256_SIZE))
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(out)
    cdef void* context = sha256_new()
    cdef bint done
    if context == NULL:
        raise MemoryError()
    if size < RELEASE_GIL_FROM:
        done = _hash(context, views, count, skip, target)
    else:
        with nogil:
            done = _hash(context, views, count, skip, target)
    sha256_free(context)
    if not done:
        raise RuntimeError("OpenSSL could not hash")
    return out


def leaf_hashes(pieces, Py_ssize_t skip=0):
    """Hash data leaf by leaf: SHA-256 of a zero byte and 65,536 bytes each, the last leaf what is left.

    Args:
        pieces: Contiguous buffers that hold the data, one behind the other.
        skip: How many bytes at their beginning are left out.

    Returns:
        The hashes, 32 bytes each; none where there is no data.

    Raises:
        ValueError: There are fewer bytes than are to be left out.
        RuntimeError: OpenSSL could not do it, or there is none: see :data:`AVAILABLE`.

    Example:
        >>> from librats._core.leaves import AVAILABLE, leaf_hashes
        >>> len(leaf_hashes([b"head", bytes(65536), b"x"], 4)) if AVAILABLE else 64
        64
    """
    cdef tuple held = tuple(pieces)
    cdef Py_ssize_t count = len(held)
    cdef Py_ssize_t got = 0
    cdef Py_ssize_t size = 0
    cdef Py_buffer* views
    if not AVAILABLE:
        raise RuntimeError("there is no OpenSSL")
    views = <Py_buffer*>malloc(max(count, 1) * sizeof(Py_buffer))
    if views == NULL:
        raise MemoryError()
    try:
        while got < count:
            PyObject_GetBuffer(held[got], &views[got], PyBUF_SIMPLE)
            size += views[got].len
            got += 1
        if not 0 <= skip <= size:
            raise ValueError(f"{skip} of {size} bytes cannot be left out")
        return _hashed(views, count, <size_t>skip, <size_t>(size - skip))
    finally:
        while got:
            got -= 1
            PyBuffer_Release(&views[got])
        free(views)


cdef int _climb(
    void* context, uint8_t* level, size_t count, size_t low, size_t width, const uint8_t* proof, size_t proofs
) noexcept nogil:
    """Put the top of a tree in the place of some of its hashes: 1, 0 where the proof is too short, -1 without luck."""
    cdef uint8_t prefix = 1
    cdef bint again = False
    cdef size_t at, out
    cdef const uint8_t* left
    cdef const uint8_t* right
    while width > 1:
        at = 0
        out = 0
        while at < count:
            left = level + at * SHA256_SIZE
            right = left + SHA256_SIZE
            if (low + at) % 2 or (at + 1 == count and low + count < width):
                if not proofs:
                    return 0
                if (low + at) % 2:
                    right = left
                    left = proof
                    at += 1
                else:
                    right = proof
                    at += 2
                proof += SHA256_SIZE
                proofs -= 1
            elif at + 1 == count:  # left over: it goes up as it is
                memmove(level + out * SHA256_SIZE, left, SHA256_SIZE)
                out += 1
                break
            else:
                at += 2
            if (
                not sha256_begin(context, again)
                or not sha256_add(context, &prefix, 1)
                or not sha256_add(context, left, SHA256_SIZE)
                or not sha256_add(context, right, SHA256_SIZE)
                or not sha256_end(context, level + out * SHA256_SIZE)
            ):
                return -1
            again = True
            out += 1
        count = out
        low //= 2
        width = (width + 1) // 2
    return 1


def top_above(bytes hashes not None, size_t low, size_t width, bytes proof not None):
    """Return the top of a tree: SHA-256 of a byte 1 and two hashes each, what is left over goes up as it is.

    Args:
        hashes: Of leaves that stand side by side, 32 bytes each, at least one.
        low: Number of the first of them, from 0.
        width: Leaves of the whole tree.
        proof: The hashes beside the way up, from below, the left one of a level first.

    Returns:
        The top, 32 bytes.

    Raises:
        ValueError: There are no such leaves, or the proof is too short.
        RuntimeError: OpenSSL could not do it, or there is none: see :data:`AVAILABLE`.

    Example:
        >>> from librats._core.leaves import AVAILABLE, leaf_hashes, top_above
        >>> top_above(leaf_hashes([b"x"]), 0, 1, b"") == leaf_hashes([b"x"]) if AVAILABLE else True
        True
    """
    cdef size_t count = <size_t>len(hashes) // SHA256_SIZE
    cdef bytes level
    cdef void* context
    cdef int result
    if not AVAILABLE:
        raise RuntimeError("there is no OpenSSL")
    if not count or count > width or low > width - count:
        raise ValueError("a tree has no such leaves")
    level = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * SHA256_SIZE))
    memmove(PyBytes_AS_STRING(level), PyBytes_AS_STRING(hashes), count * SHA256_SIZE)
    context = sha256_new()
    if context == NULL:
        raise MemoryError()
    result = _climb(
        context, <uint8_t*>PyBytes_AS_STRING(level), count, low, width, <const uint8_t*>PyBytes_AS_STRING(proof),
        <size_t>len(proof) // SHA256_SIZE
    )
    sha256_free(context)
    if not result:
        raise ValueError("a proof is too short")
    if result < 0:
        raise RuntimeError("OpenSSL could not hash")
    return level[:SHA256_SIZE]


AVAILABLE = aead.INTERPRETER_OPENSSL and sha256_available()
