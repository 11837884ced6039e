"""ChaCha20-Poly1305 by the libsodium that PyNaCl brings. Keys have 32 bytes, nonces 12; buffers may be the same."""

from libc.stdint cimport uint8_t


cdef bint sodium_seal(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil
cdef bint sodium_open(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil
cdef void* sodium_find(const char* name) except? NULL
cdef void sodium_wipe(void* secret, size_t size) noexcept nogil
