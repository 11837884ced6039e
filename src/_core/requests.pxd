from libc.stdint cimport uint32_t

from librats._core.framing cimport FrameQueue


cdef struct Deadline:
    double at
    uint32_t number


cdef class RequestNumbers:
    cdef FrameQueue _messages
    cdef dict _ours
    cdef readonly dict early
    cdef readonly dict theirs
    cdef Py_ssize_t _limit
    cdef public uint32_t _last_number
    cdef Deadline* _deadlines
    cdef Py_ssize_t _count
    cdef Py_ssize_t _room

    cdef uint32_t _begin(self, tuple payload, bytes name, timeout, double now) except? 0
    cdef bint _has_replied(self, uint32_t number) except -1
    cdef int _expect(self, double at, uint32_t number) except -1
    cdef int _forget_answered(self) except -1
    cdef double _next_deadline(self) except -1
    cdef void _drop_first(self) noexcept
    cdef void _rise(self, Py_ssize_t place) noexcept
    cdef void _sink(self, Py_ssize_t place) noexcept
