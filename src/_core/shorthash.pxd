from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    SHORT_KEY = 16

cdef uint64_t short_hash(const uint8_t* data, size_t size, const uint8_t* key) noexcept nogil
