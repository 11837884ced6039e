"""ChaCha20-Poly1305 (RFC 8439) by the libsodium that PyNaCl brings.

Its functions are called through the addresses that PyNaCl's cffi module holds, so nothing is linked and no second copy
of libsodium is shipped. Those addresses are private to PyNaCl: they are checked against the vector of RFC 8439, 2.8.2
at import, and ``nacl.bindings`` does the work (slower, with the GIL) where they are missing or wrong.
``LIBRATS_AEAD=bindings`` in the environment forces that. :data:`BACKEND` tells which of the two is in use.
"""

import os

import nacl.bindings  # importing it runs sodium_init(), without which libsodium uses its slowest code

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uintptr_t
from libc.string cimport memcpy, memset

from librats._core.loaded cimport function_named, loaded
from librats._core.rfc8439 cimport agrees_with_rfc8439

ctypedef int (*seal_function)(
    uint8_t*, unsigned long long*, const uint8_t*, unsigned long long,
    const uint8_t*, unsigned long long, const uint8_t*, const uint8_t*, const uint8_t*
) noexcept nogil
ctypedef int (*open_function)(
    uint8_t*, unsigned long long*, uint8_t*, const uint8_t*, unsigned long long,
    const uint8_t*, unsigned long long, const uint8_t*, const uint8_t*
) noexcept nogil
ctypedef void (*wipe_function)(void*, size_t) noexcept nogil

cdef enum:
    TAG_SIZE = 16

# Written once, below, while this module is imported; read only ever after.
cdef seal_function _seal = NULL
cdef open_function _open = NULL
cdef wipe_function _wipe = NULL
cdef void* _module = NULL


cdef bint sodium_seal(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil:
    """Encrypt; False where that cannot be done. The output is 16 bytes longer."""
    if _seal == NULL:
        return _seal_with_bindings(out, plaintext, size, ad, ad_size, nonce, key)
    _seal(out, NULL, plaintext, size, ad, ad_size, NULL, nonce, key)
    return True


cdef bint sodium_open(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil:
    """Decrypt; False where it does not authenticate. The input has a tag at least."""
    if _open == NULL:
        return _open_with_bindings(out, ciphertext, size, ad, ad_size, nonce, key)
    return _open(out, NULL, NULL, ciphertext, size, ad, ad_size, nonce, key) == 0


cdef void* sodium_find(const char* name) except? NULL:
    """Return another function of that libsodium by its name; NULL where PyNaCl's module does not show it."""
    global _module
    if BACKEND != "libsodium":
        return NULL
    if _module == NULL:
        from nacl import _sodium

        _module = loaded(_sodium.__file__.encode("utf-8", "surrogateescape"))
    return function_named(_module, name) if _module != NULL else NULL


cdef void sodium_wipe(void* secret, size_t size) noexcept nogil:
    """Overwrite a secret that is not needed any more."""
    if _wipe != NULL:
        _wipe(secret, size)
    else:
        memset(secret, 0, size)


cdef bint _seal_with_bindings(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept with gil:
    cdef bytes sealed
    try:
        sealed = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            (<const char*>plaintext)[:size], (<const char*>ad)[:ad_size],
            (<const char*>nonce)[:12], (<const char*>key)[:32],
        )
    except Exception:
        return False
    memcpy(out, PyBytes_AS_STRING(sealed), size + TAG_SIZE)
    return True


cdef bint _open_with_bindings(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept with gil:
    cdef bytes opened
    try:
        opened = nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            (<const char*>ciphertext)[:size], (<const char*>ad)[:ad_size],
            (<const char*>nonce)[:12], (<const char*>key)[:32],
        )
    except Exception:
        return False
    memcpy(out, PyBytes_AS_STRING(opened), size - TAG_SIZE)
    return True


cdef bint _load() except *:
    """Take libsodium's functions from PyNaCl, if they are there and give the right answers."""
    global _seal, _open, _wipe
    if os.environ.get("LIBRATS_AEAD") == "bindings":
        return False
    try:
        from nacl._sodium import ffi, lib

        seal_address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "crypto_aead_chacha20poly1305_ietf_encrypt")))
        open_address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "crypto_aead_chacha20poly1305_ietf_decrypt")))
    except (ImportError, AttributeError, TypeError):
        return False
    _seal = <seal_function><uintptr_t>seal_address
    _open = <open_function><uintptr_t>open_address
    if not agrees_with_rfc8439(sodium_seal, sodium_open):
        _seal = NULL
        _open = NULL
        return False
    try:
        _wipe = <wipe_function><uintptr_t>int(ffi.cast("uintptr_t", ffi.addressof(lib, "sodium_memzero")))
    except (AttributeError, TypeError):
        _wipe = NULL
    return True


BACKEND = "libsodium" if _load() else "bindings"
