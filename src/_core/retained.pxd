from libc.stdint cimport uint8_t, uint64_t

from librats._core.aead cimport Cipher


cdef class _Epoch:
    cdef Cipher _cipher
    cdef uint64_t _counter
    cdef uint64_t _first

    cdef bytes _open(self, uint64_t number, const uint8_t* block, size_t size)


cdef class _Round:
    cdef uint64_t first
    cdef uint64_t end
    cdef bytes data
    cdef bint begins_with_rekey
    cdef bint elicits
    cdef _Epoch epoch


cdef class Retained:
    cdef _Epoch _epoch
    cdef object _sent
    cdef object _stale
    cdef readonly uint64_t sealed
    cdef readonly uint64_t acknowledged
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t awaited
    cdef readonly double progress_at

    cdef bint _is_stale(self)
    cdef int _add(self, bytes data, uint64_t sealed, bint begins_with_rekey, bint elicits, double now) except -1
    cdef int _keep(self, uint64_t first, uint64_t end, bytes data, bint begins_with_rekey, bint elicits) except -1
    cdef int _acknowledge(self, uint64_t received, double now) except -1
