from libc.stdint cimport uint8_t, uint64_t


cdef enum:
    TAG_SIZE = 16
    KEY_SIZE = 32

# What seal_at and open_at return.
cdef enum:
    CIPHER_OK = 0
    CIPHER_EXHAUSTED = -1
    CIPHER_TOO_SHORT = -2
    CIPHER_FORGED = -3


# From this many bytes on, OpenSSL is quicker, call and all: the interpreter's own, and that of a Python package.
cdef enum:
    EVP_FROM = 512
    OPENSSL_FROM = 2048


cdef class Cipher:
    cdef uint8_t _key[32]
    cdef uint64_t _nonce
    cdef object _openssl
    cdef void* _evp
    cdef int _evp_direction

    cdef bint _has_evp(self, int direction) noexcept nogil
    cdef bint uses_openssl(self, size_t size) noexcept
    cdef object with_openssl(self)
    cdef int seal_apart(self, uint8_t* out, const uint8_t* plaintext, size_t size, object ad) except -9
    cdef int open_apart(self, uint8_t* out, const uint8_t* ciphertext, size_t size, object ad) except -9

    # One message under a key and counter that the caller keeps; what is opened has a tag at least.
    @staticmethod
    cdef int raw_seal(
        uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
        uint64_t counter, const uint8_t* key
    ) noexcept nogil

    @staticmethod
    cdef int raw_open(
        uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
        uint64_t counter, const uint8_t* key
    ) noexcept nogil

    cdef int seal_at(
        self, uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size
    ) noexcept nogil
    cdef int open_at(
        self, uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size
    ) noexcept nogil
    cdef int rekey_at(self) noexcept nogil
