"""Numbers and deadlines of requests under way on a session, in both directions.

An object belongs to one thread at a time.
"""

from cpython.dict cimport PyDict_Contains, PyDict_DelItem, PyDict_SetItem, PyDict_Size
from libc.math cimport INFINITY, rint
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from librats._core.framing cimport FrameQueue

cdef enum:
    SPARE_DEADLINES = 1024  # of requests already answered, that may be kept before they are thrown out

cdef uint32_t LAST_NUMBER = 0xFFFFFFFF
cdef double MOST_MILLISECONDS = 4294967295.0


cdef class RequestNumbers:
    """Which requests are under way, and until when.

    ``theirs`` are the numbers of those of the peer's that wait for our answers; ``early`` those of ours that were given
    up before they had left, each with where in the queue it ends.

    Args:
        messages: Where our requests wait to be sent.
        limit: How many may be under way in one direction.
    """

    def __cinit__(self, FrameQueue messages not None, Py_ssize_t limit, *args):
        self._messages = messages
        self._limit = limit
        self._ours = {}
        self.early = {}
        self.theirs = {}
        self._last_number = 0
        self._deadlines = NULL
        self._count = 0
        self._room = 0

    def __dealloc__(self):
        free(self._deadlines)

    @property
    def count(self):
        """Requests under way, ours and the peer's."""
        return PyDict_Size(self._ours) + PyDict_Size(self.theirs)

    @property
    def most(self):
        """Requests under way in the direction that has more of them."""
        return max(PyDict_Size(self._ours), PyDict_Size(self.theirs))

    @property
    def deadlines_kept(self):
        """Deadlines of ours that are remembered, of requests already answered, too."""
        return self._count

    def begin(self, tuple payload not None, bytes name not None, timeout, double now):
        """Queue a new request of ours.

        Args:
            payload: Kind and content.
            name: Its type, UTF-8.
            timeout: How many seconds it has; None for no end of them.
            now: Monotonic seconds.

        Returns:
            Its number; 0 where as many as may be are under way, and nothing was queued.
        """
        return self._begin(payload, name, timeout, now)

    cdef uint32_t _begin(self, tuple payload, bytes name, timeout, double now) except? 0:
        cdef uint32_t number = self._last_number
        cdef uint32_t milliseconds = 0
        cdef double seconds = 0.0
        if PyDict_Size(self._ours) >= self._limit:
            return 0
        while True:
            number = 1 if number == LAST_NUMBER else number + 1
            if not PyDict_Contains(self._ours, number) and not PyDict_Contains(self.early, number):
                break
        if timeout is not None:
            seconds = timeout
            milliseconds = <uint32_t>rint(min(max(1.0, seconds * 1000), MOST_MILLISECONDS))
        self._messages._add_request(payload[0], number, milliseconds, name, payload[1])
        self._last_number = number
        PyDict_SetItem(self._ours, number, self._messages.taken + self._messages._end - self._messages._start)
        if timeout is not None:
            self._expect(now + seconds, number)
        return number

    def give_up(self, uint32_t number):
        """Wait no more for the answer to one of our requests; False where it has come, or been given up, before."""
        cdef object position = self._ours.pop(number, None)
        if position is None:
            return False
        self.early[number] = position
        return True

    def gone(self):
        """Return those of ours that were given up and have left by now, once."""
        cdef list numbers = [number for number, position in self.early.items() if position <= self._messages.taken]
        for number in numbers:
            del self.early[number]
        return numbers

    def has_replied(self, uint32_t number):
        """Take note of an answer; False where nobody waits for it."""
        return self._has_replied(number)

    cdef bint _has_replied(self, uint32_t number) except -1:
        cdef object key = number
        if not PyDict_Contains(self._ours, key):
            return False
        PyDict_DelItem(self._ours, key)
        return True

    def next_deadline(self):
        """Return when the next of our requests expires; infinity where none does."""
        return self._next_deadline()

    cdef double _next_deadline(self) except -1:
        while self._count and not PyDict_Contains(self._ours, self._deadlines[0].number):
            self._drop_first()
        return self._deadlines[0].at if self._count else INFINITY

    def take_expired(self, double now):
        """Return one of our requests whose deadline has passed, once; 0 where there is none."""
        cdef uint32_t number
        if self._next_deadline() > now or not self._count:
            return 0
        number = self._deadlines[0].number
        self._drop_first()
        return number

    # A heap: no deadline is before that at half its place.

    cdef int _expect(self, double at, uint32_t number) except -1:
        cdef Py_ssize_t wanted
        cdef void* grown
        if self._count > 2 * PyDict_Size(self._ours) + SPARE_DEADLINES:
            self._forget_answered()
        if self._count == self._room:
            wanted = max(4, 2 * self._room)
            grown = realloc(self._deadlines, wanted * sizeof(Deadline))
            if grown == NULL:
                raise MemoryError()
            self._deadlines = <Deadline*>grown
            self._room = wanted
        self._deadlines[self._count].at = at
        self._deadlines[self._count].number = number
        self._count += 1
        self._rise(self._count - 1)
        return 0

    cdef int _forget_answered(self) except -1:
        cdef Py_ssize_t place
        cdef Py_ssize_t kept = 0
        for place in range(self._count):
            if PyDict_Contains(self._ours, self._deadlines[place].number):
                self._deadlines[kept] = self._deadlines[place]
                kept += 1
        self._count = kept
        for place in range(kept):
            self._rise(place)
        return 0

    cdef void _drop_first(self) noexcept:
        self._count -= 1
        self._deadlines[0] = self._deadlines[self._count]
        self._sink(0)

    cdef void _rise(self, Py_ssize_t place) noexcept:
        cdef Deadline moved = self._deadlines[place]
        while place and self._deadlines[(place - 1) // 2].at > moved.at:
            self._deadlines[place] = self._deadlines[(place - 1) // 2]
            place = (place - 1) // 2
        self._deadlines[place] = moved

    cdef void _sink(self, Py_ssize_t place) noexcept:
        cdef Deadline moved = self._deadlines[place]
        cdef Py_ssize_t below = 2 * place + 1
        while below < self._count:
            if below + 1 < self._count and self._deadlines[below + 1].at < self._deadlines[below].at:
                below += 1
            if self._deadlines[below].at >= moved.at:
                break
            self._deadlines[place] = self._deadlines[below]
            place = below
            below = 2 * place + 1
        self._deadlines[place] = moved
