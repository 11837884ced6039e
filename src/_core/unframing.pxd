from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from librats._core.blocks cimport BlockBuffer
from librats._core.messages cimport MessageRun


cdef class BlockReader(BlockBuffer):
    cdef Py_ssize_t _max_message
    cdef bytearray _parts
    cdef bytearray _reply_parts
    cdef Py_ssize_t _parts_cost
    cdef MessageRun _run
    cdef readonly uint64_t skipped
    cdef readonly uint64_t window_used
    cdef readonly uint64_t acknowledged

    cdef int _read_message(self, uint8_t flags, const uint8_t* p, size_t size, Py_ssize_t fragments_cost,
                           list frames) except -1
    cdef int _read_request(self, uint8_t flags, const uint8_t* p, size_t size, Py_ssize_t cost, list frames) except -1
    cdef int _read_fragment(self, uint8_t flags, const uint8_t* p, size_t size, list frames) except -1
    cdef int _read_other(self, uint8_t kind, uint8_t flags, const uint8_t* p, size_t size, list frames) except -1
    cdef int _read_numbered(self, uint8_t kind, uint8_t flags, uint32_t number, const uint8_t* p, size_t size,
                            list frames) except -1
    cdef int _read_reason(self, uint8_t kind, uint8_t flags, int64_t number, const uint8_t* p, size_t size,
                          list frames) except -1
