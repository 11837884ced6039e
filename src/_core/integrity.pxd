from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    SHA1_SIZE = 20
    SHA256_SIZE = 32

cdef struct HmacKey:
    uint32_t inner[5]
    uint32_t outer[5]

cdef void make_hmac_key(HmacKey* made, const uint8_t* key, size_t key_size) noexcept nogil
cdef void hmac_sha1_with(
    const HmacKey* key, const uint8_t* head, size_t head_size, const uint8_t* rest, size_t rest_size, uint8_t* out
) noexcept nogil
cdef void hmac_sha1(
    const uint8_t* key, size_t key_size, const uint8_t* head, size_t head_size, const uint8_t* rest, size_t rest_size,
    uint8_t* out
) noexcept nogil
cdef bint equal_bytes(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil
cdef uint32_t crc32(uint32_t crc, const uint8_t* data, size_t size) noexcept nogil
