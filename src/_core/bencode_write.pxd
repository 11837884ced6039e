"""A buffer that bencode is written into, inlined. Header only: there is no module of this name."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    WRITTEN_ON_STACK = 512
    # Those of 2^64; a sign or a colon and what else a token has fits into the rest.
    MAX_NUMBER_DIGITS = 20
    LONGEST_NUMBER = 24


cdef struct Writer:
    uint8_t* data
    size_t size
    size_t room
    uint8_t at_first[WRITTEN_ON_STACK]


cdef inline void begin_writing(Writer* writer) noexcept:
    writer.data = writer.at_first
    writer.size = 0
    writer.room = WRITTEN_ON_STACK


cdef inline void end_writing(Writer* writer) noexcept:
    if writer.data != writer.at_first:
        PyMem_Free(writer.data)


cdef inline bytes written(Writer* writer):
    return PyBytes_FromStringAndSize(<const char*>writer.data, writer.size)


cdef inline int reserve(Writer* writer, size_t more) except -1:
    """See that so many more bytes have room."""
    cdef uint8_t* grown
    cdef size_t room = writer.room
    if more <= room - writer.size:
        return 0
    while room - writer.size < more:
        room *= 2
    if writer.data == writer.at_first:
        grown = <uint8_t*>PyMem_Malloc(room)
        if grown != NULL:
            memcpy(grown, writer.data, writer.size)
    else:
        grown = <uint8_t*>PyMem_Realloc(writer.data, room)
    if grown == NULL:
        raise MemoryError
    writer.data = grown
    writer.room = room
    return 0


cdef inline void put_number(Writer* writer, uint64_t number) noexcept:
    """Write a number in decimal; there is room for LONGEST_NUMBER bytes."""
    cdef uint64_t bound = 10
    cdef size_t digits = 1
    cdef uint8_t* to = writer.data + writer.size
    while number >= bound and digits < MAX_NUMBER_DIGITS:
        digits += 1
        bound *= 10
    writer.size += digits
    while digits:
        digits -= 1
        to[digits] = <uint8_t>(48 + number % 10)
        number //= 10


cdef inline int put_string(Writer* writer, const void* data, size_t size) except -1:
    reserve(writer, size + LONGEST_NUMBER)
    put_number(writer, size)
    writer.data[writer.size] = b":"
    memcpy(writer.data + writer.size + 1, data, size)
    writer.size += size + 1
    return 0


cdef inline int put_byte(Writer* writer, uint8_t byte) except -1:
    reserve(writer, 1)
    writer.data[writer.size] = byte
    writer.size += 1
    return 0
