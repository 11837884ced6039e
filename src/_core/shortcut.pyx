"""The short way of small JSON messages from the application into the queue that they wait in to be sealed.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.stdint cimport uint8_t, uint64_t

from librats._core.byte_queue cimport ByteQueue
from librats._core.frame_layout cimport MAX_NAME
from librats._core.json_depth cimport nests_deeper


@cython.final
cdef class Shortcut:
    """Takes JSON messages that nothing speaks against, and leaves all others to the long way, which says what does.

    It is closed until :meth:`open`, and again from :meth:`close` on. ``taken`` counts the messages that it took.

    Args:
        queue: Where the messages wait.
        beside: Counts as well for what is queued, where there is one.
        encode: Returns a value's JSON text as ``bytes``, or raises.
        max_size: Longest text that it takes, in bytes.
        max_depth: Deepest nesting that it takes.
    """

    cdef ByteQueue _queue
    cdef ByteQueue _beside
    cdef object _encode
    cdef Py_ssize_t _max_size
    cdef int _max_depth
    cdef size_t _room
    cdef readonly uint64_t taken

    def __cinit__(self, ByteQueue queue not None, ByteQueue beside, encode not None, Py_ssize_t max_size,
                  int max_depth):
        self._queue = queue
        self._beside = beside
        self._encode = encode
        self._max_size = max_size
        self._max_depth = max_depth
        self._room = 0
        self.taken = 0

    def open(self, size_t room):
        """Take messages from now on.

        Args:
            room: As long as fewer bytes than these are queued.
        """
        self._room = room

    def close(self):
        """Take nothing until :meth:`open`."""
        self._room = 0

    cdef size_t _queued(self) noexcept:
        cdef size_t queued = self._queue._end - self._queue._start
        if self._beside is not None:
            queued += self._beside._end - self._beside._start
        return queued

    cdef bint _has_room(self) noexcept:
        return self._queued() < self._room

    @property
    def queued(self):
        """Bytes that wait in the queue, and beside it."""
        return self._queued()

    def take(self, name, value):
        """Queue a message.

        Args:
            name: Its type.
            value: What is encoded.

        Returns:
            False where nothing was queued: the shortcut is closed or the queue full, the name no string of up to 255
            bytes, the value without a JSON form, or the text over a limit.
        """
        cdef Py_ssize_t name_size, size
        cdef const char* name_text
        cdef const uint8_t* text
        cdef object encoded
        if not self._has_room() or not PyUnicode_CheckExact(name):
            return False
        try:
            encoded = self._encode(value)
            name_text = PyUnicode_AsUTF8AndSize(name, &name_size)
        except Exception:
            return False
        if not PyBytes_CheckExact(encoded):
            return False
        size = PyBytes_GET_SIZE(encoded)
        text = <const uint8_t*>PyBytes_AS_STRING(encoded)
        if name_size > MAX_NAME or size > self._max_size or nests_deeper(text, size, self._max_depth):
            return False
        if not self._has_room():
            return False  # to encode a value may run code of the application
        self._queue._put_json(<const uint8_t*>name_text, name_size, text, size)
        self.taken += 1
        return True


def encode_within(encode not None, value, Py_ssize_t max_size, int max_depth):
    """Return a value's JSON text; None where that is over a limit, or there is none.

    Args:
        encode: Returns a value's JSON text as ``bytes``, or raises.
        value: What is encoded.
        max_size: Longest text that is fine, in bytes.
        max_depth: Deepest nesting that is fine.
    """
    cdef object encoded
    cdef Py_ssize_t size
    try:
        encoded = encode(value)
    except Exception:
        return None
    if not PyBytes_CheckExact(encoded):
        return None
    size = PyBytes_GET_SIZE(encoded)
    if size > max_size or nests_deeper(<const uint8_t*>PyBytes_AS_STRING(encoded), size, max_depth):
        return None
    return encoded
