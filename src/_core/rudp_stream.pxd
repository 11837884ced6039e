from libc.stdint cimport uint8_t, uint64_t

from librats._core.rudp_state cimport Conn
from librats._core.rudp_table cimport Mux


cdef class RudpStream:
    cdef Conn* _conn
    cdef Mux* _mux
    cdef object _table
    cdef public object listener
    cdef object __weakref__

    # For compiled callers. A pointer is good until the next call.
    cdef const uint8_t* peek(self, uint64_t* size) noexcept nogil
    cdef void consume(self, uint64_t size) noexcept nogil
    cdef uint64_t memory(self) noexcept nogil
    cdef uint64_t put(self, const uint8_t* data, uint64_t size) noexcept nogil
