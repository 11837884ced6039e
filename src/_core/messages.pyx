"""Messages that have arrived, in whatever framing: alone where they are requests, else in runs of one type.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from librats._core.json_depth cimport nests_deeper


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
@cython.freelist(64)
cdef class MessageRun:
    """Messages of one kind and name that arrived back to back; at least one.

    ``cost`` is what they took of the message window together. Iterating gives each as a :class:`Message`.
    """

    cdef int append(self, const uint8_t* payload, size_t size) except -1:
        self._payloads.append(PyBytes_FromStringAndSize(<const char*>payload, size))
        self.cost += self._overhead + <Py_ssize_t>size
        return 0

    def __len__(self):
        """How many messages."""
        return len(self._payloads)

    def __iter__(self):
        return (self.message(index) for index in range(len(self._payloads)))

    def message(self, Py_ssize_t index):
        """Return one of them.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There are not so many.
        """
        cdef bytes payload
        if not 0 <= index < len(self._payloads):
            raise IndexError(f"message {index} of {len(self._payloads)}")
        payload = self._payloads[index]
        return make_message(self.kind, self.name, payload, self._overhead + len(payload))

    def payloads(self, Py_ssize_t first, Py_ssize_t count):
        """Return the contents of some of them.

        Args:
            first: Where they begin, from 0.
            count: How many; fewer where the run ends before.
        """
        return self._payloads[max(0, first):first + count]

    def json_texts(self, Py_ssize_t first, Py_ssize_t count, Py_ssize_t max_size, int max_depth):
        """Return the contents of some of them; None where one of them is longer or nests deeper than that.

        Args:
            first: Where they begin, from 0.
            count: How many; fewer where the run ends before.
            max_size: Longest text that is fine, in bytes.
            max_depth: Deepest nesting that is fine; see :func:`json_nests_deeper`.
        """
        cdef list texts = self.payloads(first, count)
        cdef bytes text
        cdef Py_ssize_t size
        for text in texts:
            size = PyBytes_GET_SIZE(text)
            if size > max_size or nests_deeper(<const uint8_t*>PyBytes_AS_STRING(text), size, max_depth):
                return None
        return texts

    def cost_of(self, Py_ssize_t first, Py_ssize_t count):
        """Return what some of them took of the message window; see :meth:`payloads`."""
        cdef Py_ssize_t cost = 0
        cdef bytes payload
        for payload in self.payloads(first, count):
            cost += self._overhead + PyBytes_GET_SIZE(payload)
        return cost

    def __repr__(self):
        return f"<MessageRun {self.name!r} of {len(self._payloads)}>"


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
