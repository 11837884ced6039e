"""Values given to a handler one after the other, as long as nothing needs to be looked at.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport uint64_t


@cython.final
cdef class Changes:
    """Counts the changes of something: who has seen another ``count`` has to look again."""

    cdef readonly uint64_t count

    def __cinit__(self):
        self.count = 0

    def add(self):
        """Take note of a change."""
        self.count += 1


@cython.final
cdef class Handing:
    """Calls a handler with a peer and each of some values. ``handled`` counts the calls.

    Args:
        values: What it is called with.
        changes: A change of these ends it.
    """

    cdef list _values
    cdef Changes _changes
    cdef uint64_t _seen
    cdef readonly Py_ssize_t handled

    def __cinit__(self, list values not None, Changes changes not None):
        self._values = values
        self._changes = changes
        self._seen = changes.count
        self.handled = 0

    def go_on(self, handler, peer):
        """Call the handler until it returns something or raises, nothing is left, or there was a change.

        Args:
            handler: Called with the peer and the next value.
            peer: What each call gets first.

        Returns:
            What the last call returned; None where there is nothing more to be called with.
        """
        cdef object result
        while self.handled < PyList_GET_SIZE(self._values) and self._changes.count == self._seen:
            self.handled += 1
            result = handler(peer, <object>PyList_GET_ITEM(self._values, self.handled - 1))
            if result is not None:
                return result
        return None
