from libc.stdint cimport uint8_t, uint32_t

from librats._core.flows cimport FlowTable
from librats._core.rudp_batches cimport Out
from librats._core.rudp_state cimport Conn
from librats._core.rudp_stream cimport RudpStream
from librats._core.rudp_table cimport Mux

cdef enum:
    MOST_OUT = 512  # packets that wait to be handed over
    ARENA = 196608  # bytes of them: what stays in the cache between sealing and sending


cdef class RudpTable:
    cdef Mux _mux
    cdef object _entropy
    cdef uint8_t* _arena
    cdef Out* _out
    cdef int _out_count
    cdef int _out_at
    cdef int _most
    cdef FlowTable _flows

    cdef int _begin(self, double now) except -1
    cdef bint _is_mine(self, bytes data)
    cdef void _fill(self, double now) noexcept nogil
    cdef RudpStream _introduce(self, Conn* conn)
    cdef RudpStream _next_event(self, uint32_t* bits)
