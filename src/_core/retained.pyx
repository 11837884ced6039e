"""What was sent and not yet acknowledged, to be sent again on another path.

An object belongs to one thread at a time.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

from librats._core.aead cimport Cipher
from librats._core.frame_layout cimport LENGTH_PREFIX
from librats._core.octets cimport load_be32

from librats.errors import RemoteProtocolError

cdef enum:
    ROUND_COST = 160  # bytes that keeping a round takes beyond its own


@cython.final
cdef class _Epoch:
    """The cipher with which a path's blocks were sealed, as it was for the oldest of them that is kept."""

    cdef bytes _open(self, uint64_t number, const uint8_t* block, size_t size):
        self._cipher.nonce = self._counter + number - self._first
        return self._cipher.open((<const char*>block)[:size])


@cython.final
@cython.freelist(256)
cdef class _Round:
    """The blocks that left together: those from ``first`` up to ``end``, which is not among them."""


cdef _Epoch _new_epoch(Cipher cipher, uint64_t first):
    cdef _Epoch epoch = _Epoch.__new__(_Epoch)
    epoch._cipher = cipher.copy()
    epoch._counter = cipher._nonce
    epoch._first = first
    return epoch


@cython.final
cdef class Retained:
    """Keeps what was sent as it was sent, sealed, until the peer has acknowledged it: that takes no copy.

    Blocks are counted from the session's first one on, over all its paths. ``sealed`` counts those that were sent at
    least once, ``acknowledged`` those that the peer has told to have received. ``size`` is how many bytes are kept, and
    ``awaited`` how many rounds are that the peer is going to acknowledge by itself. ``progress_at`` is when the peer
    last acknowledged something new, or something was sent while nothing was awaited.

    Args:
        sending: The cipher of the first path, before it has sealed anything for the session.
    """

    def __cinit__(self, Cipher sending not None):
        self._epoch = _new_epoch(sending, 0)
        self._sent = None
        self._stale = None
        self.sealed = 0
        self.acknowledged = 0
        self.size = 0
        self.awaited = 0
        self.progress_at = 0.0

    cdef bint _is_stale(self):
        return self._stale is not None and bool(self._stale)

    @property
    def is_stale(self):
        """True while something has to be sent again before anything new."""
        return self._is_stale()

    def add(self, bytes data not None, uint64_t sealed, *, bint begins_with_rekey, bint elicits, double now):
        """Keep what leaves.

        Args:
            data: Whole blocks.
            sealed: Blocks that were sealed up to here over all paths.
            begins_with_rekey: Whether the first of them changed the key.
            elicits: Whether the peer is going to acknowledge it by itself.
            now: Monotonic seconds.
        """
        self._add(data, sealed, begins_with_rekey, elicits, now)

    cdef int _add(self, bytes data, uint64_t sealed, bint begins_with_rekey, bint elicits, double now) except -1:
        if elicits and not self.awaited:
            self.progress_at = now
        self.awaited += elicits
        self._keep(self.sealed, sealed, data, begins_with_rekey, elicits)
        self.sealed = sealed
        self.size += PyBytes_GET_SIZE(data) + ROUND_COST
        return 0

    cdef int _keep(self, uint64_t first, uint64_t end, bytes data, bint begins_with_rekey, bint elicits) except -1:
        cdef _Round kept = _Round.__new__(_Round)
        kept.first = first
        kept.end = end
        kept.data = data
        kept.begins_with_rekey = begins_with_rekey
        kept.elicits = elicits
        kept.epoch = self._epoch
        if self._sent is None:
            self._sent = deque()
        self._sent.append(kept)
        return 0

    def acknowledge(self, uint64_t received, *, double now):
        """Let go of what has arrived.

        Args:
            received: Blocks that the peer has received over all paths.
            now: Monotonic seconds.

        Raises:
            RemoteProtocolError: That is more than were sent, or less than the peer has told before.
        """
        self._acknowledge(received, now)

    cdef int _acknowledge(self, uint64_t received, double now) except -1:
        cdef _Round done
        if received < self.acknowledged or received > self.sealed:
            raise RemoteProtocolError(f"{received} blocks acknowledged of {self.sealed}, {self.acknowledged} before")
        if received == self.acknowledged:
            return 0
        self.acknowledged = received
        self.progress_at = now
        for rounds in (self._sent, self._stale):
            while rounds:
                done = <_Round>rounds[0]
                if done.end > received:
                    break
                rounds.popleft()
                self.size -= PyBytes_GET_SIZE(done.data) + ROUND_COST
                self.awaited -= done.elicits
                if done.begins_with_rekey:
                    done.epoch._cipher.rekey()
        return 0

    def move(self, Cipher sending not None):
        """Have everything that is kept sent again under another cipher: the path has changed.

        Args:
            sending: The new path's cipher, before it has sealed anything for the session.
        """
        cdef uint64_t first = self.sealed
        self._stale = deque([*(self._sent or ()), *(self._stale or ())])
        self._sent = None
        if self._stale:
            first = (<_Round>self._stale[0]).first
        self._epoch = _new_epoch(sending, max(first, self.acknowledged))

    def resend(self, Cipher sending not None):
        """Seal the oldest of what has to be sent again, and return it.

        Args:
            sending: The cipher that was given to :meth:`move`.
        """
        cdef _Round old
        cdef const uint8_t* block
        cdef uint64_t number
        cdef size_t size
        cdef bint changes_key
        cdef bint rekeys = False
        cdef bytearray again = bytearray()
        cdef bytes sealed, data
        if not self._is_stale():
            return b""
        old = <_Round>self._stale.popleft()
        block = <const uint8_t*>PyBytes_AS_STRING(old.data)
        for number in range(old.first, old.end):
            size = load_be32(block)
            block += LENGTH_PREFIX
            changes_key = old.begins_with_rekey and number == old.first
            if number >= self.acknowledged:
                sealed = sending.seal(old.epoch._open(number, block, size))
                again += len(sealed).to_bytes(LENGTH_PREFIX, "big") + sealed
                if changes_key:
                    rekeys = True
                    sending.rekey()
            if changes_key:
                old.epoch._cipher.rekey()
            block += size
        data = bytes(again)
        self._keep(max(old.first, self.acknowledged), old.end, data, rekeys, old.elicits)
        self.size += PyBytes_GET_SIZE(data) - PyBytes_GET_SIZE(old.data)
        return data

    def trim(self):
        """Give memory back that nothing is kept in."""
        if not self._sent:
            self._sent = None
        if not self._stale:
            self._stale = None
