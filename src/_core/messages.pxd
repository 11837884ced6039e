from libc.stdint cimport uint8_t, uint32_t


cdef enum:
    PACKED_UP_TO = 65536  # longer texts are not copied once more to be decoded with others


cdef class Message:
    cdef readonly int kind
    cdef readonly str name
    cdef readonly bytes payload
    cdef readonly Py_ssize_t cost
    cdef readonly uint32_t request_id
    cdef readonly uint32_t timeout_ms


cdef class ReplyReceived:
    cdef readonly uint32_t request_id
    cdef readonly int kind
    cdef readonly bytes payload


cdef class MessageRun:
    cdef readonly int kind
    cdef readonly str name
    cdef list _payloads
    cdef uint8_t* _texts
    cdef size_t _size
    cdef size_t _room
    cdef size_t* _ends
    cdef Py_ssize_t _count
    cdef Py_ssize_t _places
    cdef readonly Py_ssize_t cost
    cdef Py_ssize_t _overhead

    cdef int append(self, const uint8_t* payload, size_t size) except -1
    cdef int _pack(self, const uint8_t* text, size_t size) except -1
    cdef size_t _start(self, Py_ssize_t index) noexcept
    cdef bytes _payload(self, Py_ssize_t index)


cdef inline MessageRun new_run(int kind, str name, Py_ssize_t overhead, bint packed):
    """Begin a run; one that is packed holds its payloads back to back, which is for small JSON texts."""
    cdef MessageRun run = MessageRun.__new__(MessageRun)
    run.kind = kind
    run.name = name
    run._payloads = None if packed else []
    run.cost = 0
    run._overhead = overhead
    return run
