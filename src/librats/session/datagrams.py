"""Messages that may get lost: each sealed by itself, under a counter that it carries, on one path of a session."""

from __future__ import annotations

from librats._core.aead import Cipher
from librats.errors import RemoteProtocolError
from librats.session.frames import Kind
from librats.session.path_keys import PathKeys

__all__ = ["OVERHEAD", "REPLAY_WINDOW", "SealedDatagrams"]

COUNTER_SIZE = 8
TAG_SIZE = 16
OVERHEAD = COUNTER_SIZE + 1 + TAG_SIZE
"""Bytes that a datagram has beside its payload: the counter, the kind and the tag."""

REPLAY_WINDOW = 2048
"""Datagrams behind the newest one that are still told apart; what is older counts as heard."""

KINDS = {int(kind): kind for kind in Kind}
MAX_COUNTER = (1 << 63) - 1


class SealedDatagrams:
    """The datagrams of one path in both directions.

    Args:
        keys: The keys of the session's paths.
        epoch: The path. One of these is made for each.

    Example:
        >>> ours, theirs = (SealedDatagrams(PathKeys(bytes(32), initiator=first), 0) for first in (True, False))
        >>> sealed = ours.seal(Kind.BYTES, b"position 7")
        >>> theirs.open(sealed)
        (<Kind.BYTES: 1>, b'position 7')
        >>> theirs.open(sealed) is None
        True
    """

    __slots__ = ("_ciphers", "_epoch", "_heard", "_keys", "_newest", "_next", "ignored")

    def __init__(self, keys: PathKeys, epoch: int) -> None:
        self._keys = keys
        self._epoch = epoch
        self._ciphers: tuple[Cipher, Cipher] | None = None  # made with the first datagram: most sessions have none
        self._next = 0
        self._newest = -1
        self._heard = 0
        self.ignored = 0
        """Datagrams that were forged, heard before, or too old to tell."""

    def _both(self) -> tuple[Cipher, Cipher]:
        if self._ciphers is None:
            self._ciphers = self._keys.datagram_ciphers(self._epoch)
        return self._ciphers

    def seal(self, kind: Kind, payload: bytes | bytearray | memoryview) -> bytes:
        """Return what is sent for a payload: :data:`OVERHEAD` bytes more."""
        cipher = self._both()[0]
        cipher.nonce = counter = self._next
        self._next += 1
        return counter.to_bytes(COUNTER_SIZE) + cipher.seal(bytes([kind]) + payload)

    def open(self, data: bytes) -> tuple[Kind, bytes] | None:
        """Return kind and payload of what has come; None where it is not the peer's, or has been heard before."""
        counter = int.from_bytes(data[:COUNTER_SIZE])
        if len(data) < OVERHEAD or not self._is_new(counter):
            self.ignored += 1
            return None
        cipher = self._both()[1]
        cipher.nonce = counter
        try:
            plain = cipher.open(memoryview(data)[COUNTER_SIZE:])
        except RemoteProtocolError:
            self.ignored += 1
            return None
        self._mark(counter)
        return (KINDS[plain[0]], plain[1:]) if plain[0] in KINDS else None

    def _is_new(self, counter: int) -> bool:
        if counter > self._newest:
            return counter <= MAX_COUNTER
        age = self._newest - counter
        return age < REPLAY_WINDOW and not self._heard >> age & 1

    def _mark(self, counter: int) -> None:
        if counter > self._newest:
            ahead = counter - self._newest
            kept = self._heard << ahead if ahead < REPLAY_WINDOW else 0
            self._heard = (kept | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._newest = counter
        else:
            self._heard |= 1 << (self._newest - counter)
