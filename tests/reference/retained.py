"""What was sent and not yet acknowledged, to be sent again on another path: the slow version of ``librats._core``'s."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from librats._core.aead import Cipher
from librats.errors import RemoteProtocolError

__all__ = ["Retained"]

LENGTH_PREFIX = 4
ROUND_COST = 160
"""Bytes that keeping a round takes beyond its own."""


class _Epoch:
    """The cipher with which a path's blocks were sealed, as it was for the oldest of them that is kept."""

    __slots__ = ("_counter", "_first", "cipher")

    def __init__(self, cipher: Cipher, first: int) -> None:
        self.cipher = cipher.copy()
        self._counter = cipher.nonce
        self._first = first

    def open(self, number: int, block: memoryview) -> bytes:
        self.cipher.nonce = self._counter + number - self._first
        return self.cipher.open(block)


@dataclass(slots=True)
class _Round:
    """The blocks that left together."""

    first: int
    count: int
    data: bytes
    begins_with_rekey: bool
    elicits: bool
    epoch: _Epoch

    @property
    def end(self) -> int:
        return self.first + self.count


class Retained:
    """Keeps what was sent as it was sent, sealed, until the peer has acknowledged it: that takes no copy.

    Blocks are counted from the session's first one on, over all its paths.

    Args:
        sending: The cipher of the first path, before it has sealed anything for the session.
    """

    __slots__ = ("_epoch", "_sent", "_stale", "acknowledged", "awaited", "progress_at", "sealed", "size")

    def __init__(self, sending: Cipher) -> None:
        self._epoch = _Epoch(sending, 0)
        self._sent: deque[_Round] | None = None
        self._stale: deque[_Round] | None = None
        self.sealed = 0
        """Blocks that were sent at least once."""
        self.acknowledged = 0
        """Blocks that the peer has told to have received."""
        self.size = 0
        """Bytes that are kept."""
        self.awaited = 0
        """Rounds that are kept and that the peer is going to acknowledge by itself."""
        self.progress_at = 0.0
        """When the peer last acknowledged something new, or something was sent while nothing was awaited."""

    @property
    def is_stale(self) -> bool:
        """True while something has to be sent again before anything new."""
        return bool(self._stale)

    def add(self, data: bytes, sealed: int, *, begins_with_rekey: bool, elicits: bool, now: float) -> None:
        """Keep what leaves.

        Args:
            data: Whole blocks.
            sealed: Blocks that were sealed up to here over all paths.
            begins_with_rekey: Whether the first of them changed the key.
            elicits: Whether the peer is going to acknowledge it by itself.
            now: Monotonic seconds.
        """
        if self._sent is None:
            self._sent = deque()
        if elicits and not self.awaited:
            self.progress_at = now
        self.awaited += elicits
        count = sealed - self.sealed
        self._sent.append(_Round(self.sealed, count, data, begins_with_rekey, elicits, self._epoch))
        self.sealed = sealed
        self.size += len(data) + ROUND_COST

    def acknowledge(self, received: int, *, now: float) -> None:
        """Let go of what has arrived.

        Args:
            received: Blocks that the peer has received over all paths.
            now: Monotonic seconds.

        Raises:
            RemoteProtocolError: That is more than were sent, or less than the peer has told before.
        """
        if not self.acknowledged <= received <= self.sealed:
            raise RemoteProtocolError(f"{received} blocks acknowledged of {self.sealed}, {self.acknowledged} before")
        if received == self.acknowledged:
            return
        self.acknowledged = received
        self.progress_at = now
        for rounds in (self._sent, self._stale):
            while rounds and rounds[0].end <= received:
                done = rounds.popleft()
                self.size -= len(done.data) + ROUND_COST
                self.awaited -= done.elicits
                if done.begins_with_rekey:
                    done.epoch.cipher.rekey()

    def move(self, sending: Cipher) -> None:
        """Have everything that is kept sent again under another cipher: the path has changed.

        Args:
            sending: The new path's cipher, before it has sealed anything for the session.
        """
        self._stale = deque([*(self._sent or ()), *(self._stale or ())])
        self._sent = None
        first = self._stale[0].first if self._stale else self.sealed
        self._epoch = _Epoch(sending, max(first, self.acknowledged))

    def resend(self, sending: Cipher) -> bytes:
        """Seal the oldest of what has to be sent again, and return it.

        Args:
            sending: The cipher that was given to :meth:`move`.
        """
        if not self._stale:
            return b""
        old = self._stale.popleft()
        data = bytearray()
        view = memoryview(old.data)
        at = 0
        rekeys = False
        for number in range(old.first, old.end):
            size = int.from_bytes(view[at : at + LENGTH_PREFIX])
            at += LENGTH_PREFIX
            changes_key = old.begins_with_rekey and number == old.first
            if number >= self.acknowledged:
                block = sending.seal(old.epoch.open(number, view[at : at + size]))
                data += len(block).to_bytes(LENGTH_PREFIX) + block
                if changes_key:
                    rekeys = True
                    sending.rekey()
            if changes_key:
                old.epoch.cipher.rekey()
            at += size
        first = max(old.first, self.acknowledged)
        again = _Round(first, old.end - first, bytes(data), rekeys, old.elicits, self._epoch)
        self.size += len(again.data) - len(old.data)
        if self._sent is None:
            self._sent = deque()
        self._sent.append(again)
        return again.data

    def trim(self) -> None:
        """Give memory back that nothing is kept in."""
        if not self._sent:
            self._sent = None
        if not self._stale:
            self._stale = None
