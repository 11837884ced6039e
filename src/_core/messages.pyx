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

    ``payloads`` are their contents in order, ``longest`` the size of the longest, and ``cost`` what they took of the
    message window together. Iterating gives each as a :class:`Message`.
    """

    cdef int append(self, const uint8_t* payload, size_t size) except -1:
        self.payloads.append(PyBytes_FromStringAndSize(<const char*>payload, size))
        self.cost += self._overhead + <Py_ssize_t>size
        if <Py_ssize_t>size > self.longest:
            self.longest = size
        return 0

    def __len__(self):
        """How many messages."""
        return len(self.payloads)

    def __iter__(self):
        return (self.message(index) for index in range(len(self.payloads)))

    def message(self, Py_ssize_t index):
        """Return one of them.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There are not so many.
        """
        cdef bytes payload
        if not 0 <= index < len(self.payloads):
            raise IndexError(f"message {index} of {len(self.payloads)}")
        payload = self.payloads[index]
        return make_message(self.kind, self.name, payload, self._overhead + len(payload))

    def cost_of(self, Py_ssize_t count):
        """Return what the first so many of them took of the message window."""
        cdef Py_ssize_t cost = 0
        cdef Py_ssize_t index
        cdef bytes payload
        if count == len(self.payloads):
            return self.cost
        for index in range(min(count, len(self.payloads))):
            payload = self.payloads[index]
            cost += self._overhead + len(payload)
        return cost

    def nests_deeper(self, int limit):
        """Whether the JSON text of one of them nests deeper than a limit; see :func:`json_nests_deeper`."""
        cdef bytes payload
        for payload in self.payloads:
            if nests_deeper(<const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), limit):
                return True
        return False

    def __repr__(self):
        return f"<MessageRun {self.name!r} of {len(self.payloads)}>"


def make_run(int kind, str name not None, payloads, Py_ssize_t overhead):
    """Make a :class:`MessageRun`.

    Args:
        kind: What the payloads are.
        name: Their type or channel.
        payloads: Their contents as ``bytes``, at least one.
        overhead: What each takes of the message window beyond its length.
    """
    cdef MessageRun run = new_run(kind, name, overhead)
    cdef bytes payload
    for payload in payloads:
        run.payloads.append(payload)
        run.cost += overhead + len(payload)
        run.longest = max(run.longest, <Py_ssize_t>len(payload))
    if not run.payloads:
        raise ValueError("a run has at least one message")
    return run


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
