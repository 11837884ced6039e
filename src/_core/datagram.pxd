from cpython.buffer cimport Py_buffer
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from librats._core.batches cimport librats_arrival, librats_flow, librats_inbox, librats_message, librats_part


ctypedef struct Known:
    librats_flow flow
    PyObject* origin

ctypedef struct Outbox:
    librats_message messages[64]  # LIBRATS_MAX_MESSAGES
    librats_part parts[512]  # MOST_PARTS
    PyObject* held[512]
    Py_buffer views[512]


cdef class Inbox:
    cdef librats_inbox* _memory
    cdef bint _busy


cdef class BatchSocket:
    cdef int _fd4
    cdef int _fd6
    cdef object _make_origin
    cdef type _origin_type
    cdef Inbox _inbox
    cdef bint _segments
    cdef bint _choose_local
    cdef uint32_t _max_size
    cdef int _most
    cdef Known* _known
    cdef Outbox* _outbox
    cdef dict _targets
    cdef bint _sending
    cdef uint32_t _dropped4
    cdef uint32_t _dropped6
    cdef readonly bint drained
    cdef readonly unsigned long long received
    cdef readonly unsigned long long sent
    cdef readonly unsigned long long refused
    cdef readonly unsigned long long truncated
    cdef readonly unsigned long long no_room
    cdef readonly unsigned long long errors

    cdef void _failed(self, int error) noexcept
    cdef int _take(self, librats_arrival* arrival, list batch) except -1
    cdef object _origin(self, librats_flow* flow)
    cdef object _new_origin(self, librats_flow* flow)
    cdef int _gather(self, tuple sequence, Py_ssize_t start, Py_ssize_t total, int* parts) except -1
    cdef int _hold(self, object data, int n) except -1
    cdef void _let_go(self, int n) noexcept
    cdef void _release(self, int parts) noexcept
    cdef int _target(self, object address, librats_flow* out) except -1
    cdef bytes _read_address(self, object address)
    cdef int _flush(self, int count) except -1
    cdef int _send_apart(self, int fd, librats_message* message) except -1
