from libc.stdint cimport uint8_t, uint64_t

from librats._core.aead cimport Cipher


cdef class BlockBuffer:
    cdef Cipher _cipher
    cdef size_t _min_block
    cdef size_t _max_block
    cdef bytearray _buffer
    cdef bytearray _scratch
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef Py_ssize_t _peak
    cdef bytes _name_bytes
    cdef str _name
    cdef bint _was_filled
    cdef bint _lent
    cdef bint _trim_wanted
    cdef readonly str error
    cdef readonly bint is_forged
    cdef readonly uint64_t opened

    cdef size_t _pending(self) noexcept
    cdef int _resize(self, Py_ssize_t capacity) except -1
    cdef int _make_room(self) except -1
    cdef int _shrink(self) except -1
    cdef list _received(self, Py_ssize_t count)
    cdef int _read_scratch(self, Py_ssize_t count, list frames) except -1
    cdef Py_ssize_t _read_blocks(self, uint8_t* base, Py_ssize_t held, list frames) except -1
    cdef Py_ssize_t _open_blocks(self, uint8_t* base, Py_ssize_t held, uint8_t* apart, list frames) except -1
    cdef str _name_at(self, const uint8_t* p, size_t size)
    cdef int _read_frames(self, const uint8_t* p, size_t size, list frames) except -1
