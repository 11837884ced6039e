"""Bytes that wait to be sent, back to back, oldest first. What they are is for the subclasses.

An object belongs to one thread at a time.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

cdef enum:
    MIN_QUEUE = 128
    KEEP_QUEUE = 65536
    MAX_USUAL = 2097152  # what an emptied queue is made with again, so that it need not grow step by step


cdef class ByteQueue:
    """Memory that grows at one end and is read from the other.

    ``taken`` counts the bytes that have left it since the start, so that ``taken + len(queue)`` is a position which
    ``taken`` reaches when everything that waits now has left.
    """

    def __cinit__(self, *args, **kwargs):
        self._data = NULL
        self._start = 0
        self._end = 0
        self._capacity = 0
        self._usual = MIN_QUEUE
        self.taken = 0

    def __dealloc__(self):
        free(self._data)

    def __len__(self):
        """Bytes queued, headers included."""
        return self._end - self._start

    cdef uint8_t* _reserve(self, size_t size) except NULL:
        """Room for so many bytes behind the last one. The caller moves ``_end``."""
        cdef size_t held = self._end - self._start
        cdef size_t wanted
        cdef uint8_t* grown
        if self._end + size <= self._capacity:
            return self._data + self._end
        if self._start and held + size <= self._capacity and self._start >= held:
            memmove(self._data, self._data + self._start, held)
        else:
            wanted = max(self._capacity * 2, self._usual)
            while wanted < held + size:
                wanted *= 2
            grown = <uint8_t*>malloc(wanted)
            if grown == NULL:
                raise MemoryError()
            if held:
                memcpy(grown, self._data + self._start, held)
            free(self._data)
            self._data = grown
            self._capacity = wanted
        self._start = 0
        self._end = held
        return self._data + self._end

    cdef int _put_json(self, const uint8_t* name, size_t name_size, const uint8_t* text, size_t size) except -1:
        """Queue a JSON message; its name has at most 255 bytes."""
        raise TypeError("what a message looks like is for a subclass to say")

    cdef void _taken(self, size_t size) noexcept:
        self._start += size
        self.taken += size
        if self._start == self._end:
            self._start = 0
            self._end = 0
            if self._capacity > KEEP_QUEUE:
                self._usual = min(self._capacity, <size_t>MAX_USUAL)
                self._free()

    cdef void _free(self) noexcept:
        free(self._data)
        self._data = NULL
        self._capacity = 0

    def trim(self):
        """Give memory back that is not in use now, and forget how much the queue has used before."""
        self._usual = MIN_QUEUE
        if self._start == self._end:
            self._free()

    def clear(self):
        """Drop everything that waits."""
        self._taken(self._end - self._start)
