"""Messages that have arrived, in whatever framing: alone where they are requests, else in runs of one type.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from librats._core.json_depth cimport is_closed_json, nests_deeper

cdef enum:
    COMMA = 44


@cython.final
@cython.freelist(256)
cdef class Message:
    """A message or request that arrived.

    ``request_id`` is 0 for a message; ``timeout_ms`` is 0 where the caller set no deadline. ``cost`` is what it took
    of the message window.
    """

    def __repr__(self):
        return f"<Message {self.name!r} {len(self.payload)} bytes request_id={self.request_id}>"


@cython.final
@cython.freelist(256)
cdef class ReplyReceived:
    """The answer to one of our requests.

    Args:
        request_id: The request's number.
        kind: What the payload is.
        payload: Its content.
    """

    def __init__(self, uint32_t request_id, int kind, bytes payload not None):
        self.request_id = request_id
        self.kind = kind
        self.payload = payload

    def __eq__(self, other):
        cdef ReplyReceived reply
        if not isinstance(other, ReplyReceived):
            return NotImplemented
        reply = <ReplyReceived>other
        return (
            self.request_id == reply.request_id and self.kind == reply.kind and self.payload == reply.payload
        )

    __hash__ = None

    def __repr__(self):
        return f"<ReplyReceived {self.request_id} {len(self.payload)} bytes>"


@cython.final
@cython.freelist(64)
cdef class MessageRun:
    """Messages of one kind and name that arrived back to back; at least one.

    ``cost`` is what they took of the message window together. Iterating gives each as a :class:`Message`.
    """

    def __dealloc__(self):
        free(self._texts)
        free(self._ends)

    cdef int append(self, const uint8_t* payload, size_t size) except -1:
        if self._payloads is None:
            self._pack(payload, size)
        else:
            self._payloads.append(PyBytes_FromStringAndSize(<const char*>payload, size))
        self._count += 1
        self.cost += self._overhead + <Py_ssize_t>size
        return 0

    cdef int _pack(self, const uint8_t* text, size_t size) except -1:
        """Add a text behind the others, with a comma before it, as in an array."""
        cdef void* grown
        cdef size_t wanted = self._size + 1 + size
        if wanted > self._room:
            wanted = max(wanted, 2 * self._room)
            grown = realloc(self._texts, wanted)
            if grown == NULL:
                raise MemoryError()
            self._texts = <uint8_t*>grown
            self._room = wanted
        if self._count == self._places:
            grown = realloc(self._ends, max(8, 2 * self._places) * sizeof(size_t))
            if grown == NULL:
                raise MemoryError()
            self._ends = <size_t*>grown
            self._places = max(8, 2 * self._places)
        self._texts[self._size] = COMMA
        memcpy(self._texts + self._size + 1, text, size)
        self._size += 1 + size
        self._ends[self._count] = self._size
        return 0

    cdef size_t _start(self, Py_ssize_t index) noexcept:
        return 1 if index == 0 else self._ends[index - 1] + 1

    cdef bytes _payload(self, Py_ssize_t index):
        cdef size_t start
        if self._payloads is not None:
            return self._payloads[index]
        start = self._start(index)
        return PyBytes_FromStringAndSize(<const char*>self._texts + start, self._ends[index] - start)

    def __len__(self):
        """How many messages."""
        return self._count

    def __iter__(self):
        return (self.message(index) for index in range(self._count))

    def message(self, Py_ssize_t index):
        """Return one of them.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There are not so many.
        """
        cdef bytes payload
        if not 0 <= index < self._count:
            raise IndexError(f"message {index} of {self._count}")
        payload = self._payload(index)
        return make_message(self.kind, self.name, payload, self._overhead + len(payload))

    def payloads(self, Py_ssize_t first, Py_ssize_t count):
        """Return the contents of some of them.

        Args:
            first: Where they begin, from 0.
            count: How many; fewer where the run ends before.
        """
        cdef Py_ssize_t index
        return [self._payload(index) for index in range(max(0, first), min(first + count, self._count))]

    def json_array(self, Py_ssize_t first, Py_ssize_t count, Py_ssize_t max_size, int max_depth):
        """Return some of them as the elements of one JSON array, for all of them to be decoded together.

        Where the array is valid JSON and has as many elements as there are messages, each message is valid JSON and
        the element in its place: no message leaves a string or a bracket open, or closes one that it did not open.

        Args:
            first: Where they begin, from 0.
            count: How many; fewer where the run ends before.
            max_size: Longest text that is fine, in bytes.
            max_depth: Deepest nesting that is fine; see :func:`json_nests_deeper`.

        Returns:
            The array; None where there is none of them, one is longer or nests deeper than that or is not complete, or
            they are no small JSON messages.
        """
        cdef Py_ssize_t last = min(first + count, self._count) - 1
        cdef Py_ssize_t index
        cdef size_t start, size
        cdef bytes array
        if self._payloads is not None or first < 0 or first > last:
            return None
        for index in range(first, last + 1):
            start = self._start(index)
            size = self._ends[index] - start
            if <Py_ssize_t>size > max_size or not is_closed_json(self._texts + start, size, max_depth):
                return None
        start = self._start(first)
        size = self._ends[last] - start
        array = PyBytes_FromStringAndSize(NULL, size + 2)
        PyBytes_AS_STRING(array)[0] = b"["
        memcpy(PyBytes_AS_STRING(array) + 1, self._texts + start, size)
        PyBytes_AS_STRING(array)[size + 1] = b"]"
        return array

    def cost_of(self, Py_ssize_t first, Py_ssize_t count):
        """Return what some of them took of the message window; see :meth:`payloads`."""
        cdef Py_ssize_t end = min(first + count, self._count)
        cdef Py_ssize_t cost = 0
        cdef Py_ssize_t index
        first = max(0, first)
        if first >= end:
            return 0
        if self._payloads is None:
            return (end - first) * (self._overhead - 1) + 1 + <Py_ssize_t>(self._ends[end - 1] - self._start(first))
        for index in range(first, end):
            cost += self._overhead + PyBytes_GET_SIZE(<bytes>self._payloads[index])
        return cost

    def __repr__(self):
        return f"<MessageRun {self.name!r} of {self._count}>"


def make_message(int kind, str name not None, bytes payload not None, Py_ssize_t cost):
    """Make a :class:`Message` that is no request.

    Args:
        kind: What the payload is.
        name: Its type or channel.
        payload: Its content.
        cost: What it takes of the message window.
    """
    cdef Message message = Message.__new__(Message)
    message.kind = kind
    message.name = name
    message.payload = payload
    message.cost = cost
    return message


def json_nests_deeper(bytes text not None, int limit):
    """Whether arrays and objects of a JSON text are nested deeper than a limit.

    Args:
        text: UTF-8, not necessarily valid JSON.
        limit: Deepest nesting that is fine; 0 allows neither array nor object.
    """
    return nests_deeper(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), limit)
