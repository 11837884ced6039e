from libc.stdint cimport uint8_t, uint16_t

# The forms that the value of an attribute has.
cdef enum:
    UNKNOWN = 0
    ADDRESS
    XOR_ADDRESS
    TEXT
    FREE_TEXT
    OCTETS
    EIGHT_OCTETS
    USER_HASH
    FLAG
    UINT8_FIRST
    UINT16_FIRST
    UINT32
    UINT64
    TOP_BIT
    ERROR
    FAMILY_ERROR
    ICMP_ERROR
    TYPES
    ALGORITHM
    ALGORITHMS
    CHECKSUM


cdef struct Output:
    uint8_t* data
    size_t size
    size_t capacity
    uint8_t* allocated  # NULL while the data is the caller's own


cdef int form_of(unsigned int type) noexcept nogil
cdef object decode_value(unsigned int type, const uint8_t* value, size_t size, const uint8_t* mask)
cdef uint8_t* reserve(Output* out, size_t size) except NULL
cdef int encode_value(unsigned int type, object value, const uint8_t* mask, Output* out) except -1
