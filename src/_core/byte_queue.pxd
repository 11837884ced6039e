from libc.stdint cimport uint8_t, uint64_t


cdef class ByteQueue:
    cdef uint8_t* _data
    cdef size_t _start
    cdef size_t _end
    cdef size_t _capacity
    cdef size_t _usual
    cdef readonly uint64_t taken

    cdef uint8_t* _reserve(self, size_t size) except NULL
    cdef int _put_json(self, const uint8_t* name, size_t name_size, const uint8_t* text, size_t size) except -1
    cdef void _taken(self, size_t size) noexcept
    cdef void _free(self) noexcept
