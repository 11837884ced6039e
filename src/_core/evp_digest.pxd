"""SHA-256 by the OpenSSL that the interpreter itself has loaded."""

from libc.stdint cimport uint8_t

cdef enum:
    SHA256_SIZE = 32


cdef bint sha256_available() noexcept nogil
cdef void* sha256_new() noexcept nogil
cdef void sha256_free(void* context) noexcept nogil
cdef bint sha256_begin(void* context, bint again) noexcept nogil
cdef bint sha256_add(void* context, const uint8_t* data, size_t size) noexcept nogil
cdef bint sha256_end(void* context, uint8_t* out) noexcept nogil
