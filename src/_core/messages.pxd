from libc.stdint cimport uint8_t, uint32_t


cdef class Message:
    cdef readonly int kind
    cdef readonly str name
    cdef readonly bytes payload
    cdef readonly Py_ssize_t cost
    cdef readonly uint32_t request_id
    cdef readonly uint32_t timeout_ms


cdef class MessageRun:
    cdef readonly int kind
    cdef readonly str name
    cdef list _payloads
    cdef readonly Py_ssize_t cost
    cdef Py_ssize_t _overhead

    cdef int append(self, const uint8_t* payload, size_t size) except -1


cdef inline MessageRun new_run(int kind, str name, Py_ssize_t overhead):
    cdef MessageRun run = MessageRun.__new__(MessageRun)
    run.kind = kind
    run.name = name
    run._payloads = []
    run.cost = 0
    run._overhead = overhead
    return run
