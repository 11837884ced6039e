"""ChaCha20-Poly1305 of short messages by libsodium. Keys have 32 bytes, nonces 12; buffers may overlap."""

from libc.stdint cimport uint8_t

cdef enum:
    SHORT_FROM = 16
    SHORT_MOST = 448  # with the block that Poly1305's key is of, eight blocks of ChaCha20
    SHORT_AD_MOST = 64


cdef bint short_available() noexcept nogil
cdef bint short_seal(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil
cdef bint short_open(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil
