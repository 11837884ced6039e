"""ChaCha20-Poly1305 by the OpenSSL that the interpreter itself has loaded."""

from libc.stdint cimport uint8_t

# Both directions of a context: what it was last given a key for.
cdef enum:
    EVP_KEYLESS = 0
    EVP_SEALING = 1
    EVP_OPENING = 2


cdef void* evp_find(const char* name) except? NULL
cdef bint evp_load() except *
cdef bint evp_available() noexcept nogil
cdef void* evp_new() noexcept nogil
cdef void evp_free(void* context) noexcept nogil
cdef bint evp_set_key(void* context, int direction, const uint8_t* key) noexcept nogil
cdef bint evp_seal(
    void* context, uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce
) noexcept nogil
cdef bint evp_open(
    void* context, uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce
) noexcept nogil
