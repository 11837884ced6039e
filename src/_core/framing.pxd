from libc.stdint cimport uint8_t, uint32_t, uint64_t

from librats._core.aead cimport Cipher
from librats._core.byte_queue cimport ByteQueue


cdef class FrameQueue(ByteQueue):
    cdef uint8_t _lane

    cdef int _add(self, uint8_t kind, uint8_t flags, const uint8_t* head, size_t head_size,
                  const uint8_t* body, size_t body_size) except -1
    cdef int _add_fragments(self, uint8_t kind, uint8_t flags, const uint8_t* head, size_t head_size,
                            const uint8_t* body, size_t body_size) except -1
    cdef int _add_named(self, uint8_t flags, const uint8_t* name, size_t name_size, const uint8_t* body,
                        size_t size) except -1
    cdef int _add_id(self, uint8_t kind, uint8_t flags, uint32_t number, object body) except -1
    cdef int _add_request(self, uint8_t flags, uint32_t number, uint32_t timeout_ms, bytes name,
                          object payload) except -1


cdef class BlockWriter:
    cdef Cipher _cipher
    cdef bytes _out
    cdef uint8_t* _base
    cdef uint8_t* _apart
    cdef size_t _size
    cdef size_t _capacity
    cdef size_t _plain
    cdef bint _open
    cdef readonly uint64_t sealed
    cdef readonly size_t packed

    cdef int _begin(self, size_t capacity) except -1
    cdef uint8_t* _plaintext(self) noexcept
    cdef uint8_t* _room(self, size_t frame) except? NULL
    cdef size_t _space(self) noexcept
    cdef int _close(self) except -1
    cdef Py_ssize_t _put_queue(self, FrameQueue queue, Py_ssize_t credit) except -1
    cdef uint8_t* _begin_stream(self, uint32_t number, uint8_t flags, Py_ssize_t size, Py_ssize_t* piece) except? NULL
    cdef bytes _finish(self)
