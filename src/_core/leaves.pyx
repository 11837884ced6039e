"""Hashes of the leaves of files, many in one call without the GIL: SHA-256 by the OpenSSL of the interpreter.

What is hashed may lie in several buffers, as a stream yields it: nothing is put together for it. The functions are
those that :mod:`librats._core.evp` finds, checked against FIPS 180-4's own example. Where they are missing,
:data:`AVAILABLE` is False, and hashlib does it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memmove

from librats._core.evp cimport evp_find

from librats._core import aead

cdef enum:
    LEAF_SIZE = 65536
    HASH_SIZE = 32
    RELEASE_GIL_FROM = 4096

ctypedef void* (*new_function)() noexcept nogil
ctypedef void (*free_function)(void*) noexcept nogil
ctypedef int (*init_function)(void*, const void*, void*) noexcept nogil
ctypedef int (*update_function)(void*, const void*, size_t) noexcept nogil
ctypedef int (*final_function)(void*, uint8_t*, unsigned int*) noexcept nogil

# Written once, below, while this module is imported; read only ever after.
cdef const void* _sha256 = NULL
cdef new_function _new = NULL
cdef free_function _free = NULL
cdef init_function _init = NULL
cdef update_function _update = NULL
cdef final_function _final = NULL


cdef bint _hash(
    void* context, const Py_buffer* views, Py_ssize_t count, size_t skip, uint8_t* out
) noexcept nogil:
    """Hash what the buffers hold, leaf by leaf; False where OpenSSL could not."""
    cdef uint8_t prefix = 0
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
                if _init(context, _sha256, NULL) != 1 or _update(context, &prefix, 1) != 1:
                    return False
                room = LEAF_SIZE
            step = min(left, room)
            if _update(context, source, step) != 1:
                return False
            source += step
            left -= step
            room -= step
            if not room:
                if _final(context, out, NULL) != 1:
                    return False
                out += HASH_SIZE
    return not room or _final(context, out, NULL) == 1


cdef bytes _hashed(const Py_buffer* views, Py_ssize_t count, size_t skip, size_t size):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>((size + LEAF_SIZE - 1) // LEAF_SIZE * HASH_SIZE))
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(out)
    cdef void* context = _new()
    cdef bint done
    if context == NULL:
        raise MemoryError()
    if size < RELEASE_GIL_FROM:
        done = _hash(context, views, count, skip, target)
    else:
        with nogil:
            done = _hash(context, views, count, skip, target)
    _free(context)
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
    if _sha256 == NULL:
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
    cdef size_t at, out
    cdef const uint8_t* left
    cdef const uint8_t* right
    while width > 1:
        at = 0
        out = 0
        while at < count:
            left = level + at * HASH_SIZE
            right = left + HASH_SIZE
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
                proof += HASH_SIZE
                proofs -= 1
            elif at + 1 == count:  # left over: it goes up as it is
                memmove(level + out * HASH_SIZE, left, HASH_SIZE)
                out += 1
                break
            else:
                at += 2
            if (
                _init(context, _sha256, NULL) != 1
                or _update(context, &prefix, 1) != 1
                or _update(context, left, HASH_SIZE) != 1
                or _update(context, right, HASH_SIZE) != 1
                or _final(context, level + out * HASH_SIZE, NULL) != 1
            ):
                return -1
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
    cdef size_t count = <size_t>len(hashes) // HASH_SIZE
    cdef bytes level
    cdef void* context
    cdef int result
    if _sha256 == NULL:
        raise RuntimeError("there is no OpenSSL")
    if not count or count > width or low > width - count:
        raise ValueError("a tree has no such leaves")
    level = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * HASH_SIZE))
    memmove(PyBytes_AS_STRING(level), PyBytes_AS_STRING(hashes), count * HASH_SIZE)
    context = _new()
    if context == NULL:
        raise MemoryError()
    result = _climb(
        context, <uint8_t*>PyBytes_AS_STRING(level), count, low, width, <const uint8_t*>PyBytes_AS_STRING(proof),
        <size_t>len(proof) // HASH_SIZE
    )
    _free(context)
    if not result:
        raise ValueError("a proof is too short")
    if result < 0:
        raise RuntimeError("OpenSSL could not hash")
    return level[:HASH_SIZE]


cdef bint _is_right():
    """Tell whether the functions hash as FIPS 180-4 says: SHA-256 of "abc"."""
    cdef bytes right = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    cdef uint8_t out[HASH_SIZE]
    cdef void* context = _new()
    cdef bint same
    if context == NULL:
        return False
    same = (
        _init(context, _sha256, NULL) == 1
        and _update(context, <const char*>b"abc", 3) == 1
        and _final(context, out, NULL) == 1
        and memcmp(out, PyBytes_AS_STRING(right), HASH_SIZE) == 0
    )
    _free(context)
    return same


cdef bint _load():
    global _sha256, _new, _free, _init, _update, _final
    cdef new_function get_sha256
    if not aead.INTERPRETER_OPENSSL:
        return False
    get_sha256 = <new_function>evp_find("EVP_sha256")
    _new = <new_function>evp_find("EVP_MD_CTX_new")
    _free = <free_function>evp_find("EVP_MD_CTX_free")
    _init = <init_function>evp_find("EVP_DigestInit_ex")
    _update = <update_function>evp_find("EVP_DigestUpdate")
    _final = <final_function>evp_find("EVP_DigestFinal_ex")
    if (
        get_sha256 == NULL or _new == NULL or _free == NULL or _init == NULL or _update == NULL or _final == NULL
    ):
        return False
    _sha256 = get_sha256()
    if _sha256 != NULL and not _is_right():
        _sha256 = NULL
    return _sha256 != NULL


AVAILABLE = _load()
