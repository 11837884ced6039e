"""SHA-256 (FIPS 180-4) by the OpenSSL that the interpreter itself has loaded.

``hashlib`` gives the GIL away and waits for it again at each call; whoever hashes many parts here does that once. Where
that OpenSSL is not found (:mod:`librats._core.evp` tells how it is looked for), there is nothing here.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from librats._core.evp cimport evp_find

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


cdef bint sha256_available() noexcept nogil:
    """Whether there is anything here; the other functions may be called only then."""
    return _sha256 != NULL


cdef void* sha256_new() noexcept nogil:
    """A context; NULL where there is no memory."""
    return _new()


cdef void sha256_free(void* context) noexcept nogil:
    """Let a context go; NULL is none."""
    if context != NULL:
        _free(context)


cdef bint sha256_begin(void* context, bint again) noexcept nogil:
    """Begin a hash; ``again`` where the context has hashed before: to look a digest up costs more than a short hash."""
    return _init(context, NULL if again else _sha256, NULL) == 1


cdef bint sha256_add(void* context, const uint8_t* data, size_t size) noexcept nogil:
    """Hash what follows."""
    return _update(context, data, size) == 1


cdef bint sha256_end(void* context, uint8_t* out) noexcept nogil:
    """Write the 32 bytes of a hash."""
    return _final(context, out, NULL) == 1


cdef bint _is_right():
    """Tell whether the functions hash as FIPS 180-4 says: SHA-256 of "abc"."""
    cdef bytes right = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    cdef uint8_t out[SHA256_SIZE]
    cdef void* context = sha256_new()
    cdef bint same
    if context == NULL:
        return False
    same = (
        sha256_begin(context, False)
        and sha256_add(context, <const uint8_t*>b"abc", 3)
        and sha256_end(context, out)
        and memcmp(out, <const uint8_t*>right, SHA256_SIZE) == 0
    )
    sha256_free(context)
    return same


cdef bint _load() except *:
    """Find the functions; return whether they are there and give the right answer."""
    global _sha256, _new, _free, _init, _update, _final
    cdef new_function get_sha256 = <new_function>evp_find("EVP_sha256")
    _new = <new_function>evp_find("EVP_MD_CTX_new")
    _free = <free_function>evp_find("EVP_MD_CTX_free")
    _init = <init_function>evp_find("EVP_DigestInit_ex")
    _update = <update_function>evp_find("EVP_DigestUpdate")
    _final = <final_function>evp_find("EVP_DigestFinal_ex")
    if get_sha256 == NULL or _new == NULL or _free == NULL or _init == NULL or _update == NULL or _final == NULL:
        return False
    _sha256 = get_sha256()
    if _sha256 != NULL and not _is_right():
        _sha256 = NULL
    return _sha256 != NULL


_load()
