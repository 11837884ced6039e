"""ChaCha20-Poly1305 by the OpenSSL that the interpreter itself has loaded, for messages big enough to gain by it.

CPython's ``_hashlib`` is linked to libcrypto. Where that is a shared library, its functions are found by name, and
called without Python objects, without the GIL and, if need be, in place. Nothing is linked, and no copy is shipped.
They are checked against the vector of RFC 8439, 2.8.2: an OpenSSL without the cipher, or one that may not
use it, counts as none. Interpreters with OpenSSL built in have none either.

A context belongs to one thread at a time.
"""

import sys

from libc.stdint cimport uint8_t
from libc.string cimport memset

from librats._core.loaded cimport function_named, loaded
from librats._core.rfc8439 cimport agrees_with_rfc8439

cdef enum:
    CTRL_AEAD_GET_TAG = 0x10
    CTRL_AEAD_SET_TAG = 0x11
    TAG_SIZE = 16
    MOST = 0x40000000  # OpenSSL's lengths are ints

ctypedef void* (*new_function)() noexcept nogil
ctypedef void (*free_function)(void*) noexcept nogil
ctypedef int (*init_function)(void*, const void*, void*, const uint8_t*, const uint8_t*, int) noexcept nogil
ctypedef int (*update_function)(void*, uint8_t*, int*, const uint8_t*, int) noexcept nogil
ctypedef int (*final_function)(void*, uint8_t*, int*) noexcept nogil
ctypedef int (*ctrl_function)(void*, int, int, void*) noexcept nogil

# Written once, while librats._core.aead is imported; read only ever after.
cdef void* _library = NULL
cdef const void* _cipher = NULL
cdef new_function _new = NULL
cdef free_function _free = NULL
cdef init_function _init = NULL
cdef update_function _update = NULL
cdef final_function _final = NULL
cdef ctrl_function _ctrl = NULL


cdef bint evp_available() noexcept nogil:
    return _cipher != NULL


cdef void* evp_new() noexcept nogil:
    """A context without a key; NULL where there is no memory."""
    return _new()


cdef void evp_free(void* context) noexcept nogil:
    """Wipe and free a context."""
    _free(context)


cdef bint evp_set_key(void* context, int direction, const uint8_t* key) noexcept nogil:
    return _init(context, _cipher, NULL, key, NULL, direction == EVP_SEALING) == 1


cdef bint evp_seal(
    void* context, uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce
) noexcept nogil:
    """Seal with the key of the context; ``out`` may be ``plaintext``. False where OpenSSL could not."""
    cdef int written = 0
    return (
        size < MOST and ad_size < MOST
        and _init(context, NULL, NULL, NULL, nonce, 1) == 1
        and (not ad_size or _update(context, NULL, &written, ad, <int>ad_size) == 1)
        and _update(context, out, &written, plaintext, <int>size) == 1
        and _final(context, out + written, &written) == 1
        and _ctrl(context, CTRL_AEAD_GET_TAG, TAG_SIZE, out + size) == 1
    )


cdef bint evp_open(
    void* context, uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce
) noexcept nogil:
    """Open ``size`` bytes, tag and all; ``out`` may be ``ciphertext``. False, and ``out`` wiped, if they are forged."""
    cdef int written = 0
    cdef size_t plain = size - TAG_SIZE
    if not (
        size < MOST and ad_size < MOST
        and _init(context, NULL, NULL, NULL, nonce, 0) == 1
        and _ctrl(context, CTRL_AEAD_SET_TAG, TAG_SIZE, <void*>(ciphertext + plain)) == 1
        and (not ad_size or _update(context, NULL, &written, ad, <int>ad_size) == 1)
        and _update(context, out, &written, ciphertext, <int>plain) == 1
        and _final(context, out + written, &written) == 1
    ):
        memset(out, 0, plain)
        return False
    return True


# The context of the two functions below, one for both directions, as a cipher may use it.
cdef void* _tried = NULL


cdef bint _seal_once(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil:
    return evp_set_key(_tried, EVP_SEALING, key) and evp_seal(_tried, out, plaintext, size, ad, ad_size, nonce)


cdef bint _open_once(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil:
    return evp_set_key(_tried, EVP_OPENING, key) and evp_open(_tried, out, ciphertext, size, ad, ad_size, nonce)


cdef bint _is_right() except -1:
    global _tried
    _tried = _new()
    if _tried == NULL:
        return False
    try:
        return agrees_with_rfc8439(_seal_once, _open_once)
    finally:
        _free(_tried)
        _tried = NULL


cdef void* evp_find(const char* name) except? NULL:
    """Return a function of the interpreter's OpenSSL by its name; NULL where it is not there."""
    global _library
    if _library == NULL:
        for module in _where_it_may_be():
            _library = loaded(module)
            if _library != NULL:
                break
    return function_named(_library, name) if _library != NULL else NULL


cdef tuple _where_it_may_be():
    if sys.platform == "win32":
        return (b"libcrypto-3.dll", b"libcrypto-3-x64.dll", b"libcrypto-3-arm64.dll", b"libcrypto-1_1.dll")
    try:
        import _hashlib

        return (_hashlib.__file__.encode("utf-8", "surrogateescape"),)
    except (ImportError, AttributeError):
        return ()


cdef bint evp_load() except *:
    """Find the functions of the interpreter's OpenSSL; return whether they are there and give the right answers."""
    global _cipher, _new, _free, _init, _update, _final, _ctrl
    cdef new_function get_cipher
    get_cipher = <new_function>evp_find("EVP_chacha20_poly1305")
    _new = <new_function>evp_find("EVP_CIPHER_CTX_new")
    _free = <free_function>evp_find("EVP_CIPHER_CTX_free")
    _init = <init_function>evp_find("EVP_CipherInit_ex")
    _update = <update_function>evp_find("EVP_CipherUpdate")
    _final = <final_function>evp_find("EVP_CipherFinal_ex")
    _ctrl = <ctrl_function>evp_find("EVP_CIPHER_CTX_ctrl")
    if (
        get_cipher == NULL or _new == NULL or _free == NULL or _init == NULL or _update == NULL or _final == NULL
        or _ctrl == NULL
    ):
        return False
    _cipher = get_cipher()
    if _cipher != NULL and not _is_right():
        _cipher = NULL
    return _cipher != NULL
