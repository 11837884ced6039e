"""How a session comes to a new path: who opens it proves that it belongs there, and both tell where to go on.

Four blocks, of which the second to the last are sealed under the epoch's keys:

1. ``token: 8 bytes | epoch:u32 | tag: 16 bytes``, shorter than any handshake message: the tag seals nothing, bound to
   what stands before it;
2. 8 random bytes, from the side that was joined;
3. the same 8 bytes and how many blocks the opening side has received, from when on it takes nothing from older paths;
4. how many the joined side has received, from when on it does likewise.

Behind its last block each side sends the session's blocks again, from the number on that the other told.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod

from msgspec import Struct

from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError
from librats.session.opening import BlockOpening
from librats.session.path_keys import TAG_SIZE, Join, PathKeys

__all__ = ["PathAnswer", "PathCall", "PathOpened", "PathOpening"]

CHALLENGE = 8
COUNT = 8
LABEL = b"librats path"


class PathOpened(Struct, frozen=True, kw_only=True):
    """A path that a session can move to."""

    sending: Cipher
    """Cipher of the direction to the peer."""

    receiving: Cipher
    """Cipher of the direction from the peer."""

    received: int
    """How many of our blocks the peer has received over all paths before."""


class PathOpening(BlockOpening):
    """One side of the opening of a path."""

    path: PathOpened | None = None
    """The path, once it can be moved to."""

    _hung_up = "it does not know the session any more, or takes no other path"
    _sizes: tuple[int, ...]

    def __init__(self, epoch: int, sending: Cipher, receiving: Cipher) -> None:
        super().__init__()
        self.epoch = epoch
        """The path's number."""
        self._sending = sending
        self._receiving = receiving
        self._step = 0

    @property
    def step(self) -> int:
        """How many blocks of the peer have come."""
        return self._step

    @property
    @abstractmethod
    def is_proven(self) -> bool:
        """True once the peer has proven itself on this path: it is time to call :meth:`switch`."""

    @abstractmethod
    def switch(self, received: int) -> None:
        """Tell the peer that nothing more is taken from older paths.

        Args:
            received: How many of the peer's blocks have been taken over all paths.
        """

    @property
    def _is_over(self) -> bool:
        return self.path is not None

    def _check_size(self, size: int) -> None:
        if self._step >= len(self._sizes) or size != self._sizes[self._step] + TAG_SIZE:
            raise HandshakeError(f"a path does not open with a block of {size} bytes")

    def _open(self, block: bytes) -> bytes:
        try:
            return self._receiving.open(block)
        except RemoteProtocolError as error:
            raise HandshakeError("the peer does not have the keys of the session") from error

    def _finish(self, count: bytes) -> None:
        self.path = PathOpened(
            sending=self._sending, receiving=self._receiving, received=int.from_bytes(count[-COUNT:])
        )


class PathCall(PathOpening):
    """The side that opens a path.

    Args:
        keys: Those of the session.
    """

    _sizes = (CHALLENGE, COUNT)

    def __init__(self, keys: PathKeys) -> None:
        epoch = keys.next_epoch()
        super().__init__(epoch, *keys.ciphers(epoch))
        head = keys.token + epoch.to_bytes(4)
        self._write_block(head + self._sending.seal(b"", LABEL + head))
        self._challenge = b""
        self._switched = False

    @property
    def is_proven(self) -> bool:
        """True once the peer has answered under the keys of an epoch that no one has used before."""
        return bool(self._challenge)

    def _read(self, block: bytes) -> None:
        plain = self._open(block)
        if self._step == 0:
            self._challenge = plain
        elif self._switched:
            self._finish(plain)
        else:
            raise HandshakeError("the peer moved to a path before it was asked to")
        self._step += 1

    def switch(self, received: int) -> None:
        """Answer the peer's challenge, and tell where the peer is to go on."""
        self._switched = True
        self._write_block(self._sending.seal(self._challenge + received.to_bytes(COUNT)))


class PathAnswer(PathOpening):
    """The side that is joined.

    Args:
        keys: Those of the session.
        join: What came.
        challenge: 8 random bytes.

    Raises:
        HandshakeError: It is not from the peer of that session, or an old one.
    """

    _sizes = (CHALLENGE + COUNT,)

    def __init__(self, keys: PathKeys, join: Join, challenge: bytes) -> None:
        if not keys.accepts(join.epoch):
            raise HandshakeError(f"path {join.epoch} is not the peer's to open any more")
        super().__init__(join.epoch, *keys.ciphers(join.epoch))
        head = join.token + join.epoch.to_bytes(4)
        try:
            self._receiving.open(join.tag, LABEL + head)
        except RemoteProtocolError as error:
            raise HandshakeError("the peer does not have the keys of the session") from error
        keys.heard = join.epoch
        self._challenge = challenge
        self._count = b""
        self._write_block(self._sending.seal(challenge))

    @property
    def is_proven(self) -> bool:
        """True once the peer has answered what was made up for this path."""
        return bool(self._count)

    def _read(self, block: bytes) -> None:
        plain = self._open(block)
        if not hmac.compare_digest(plain[:CHALLENGE], self._challenge):
            raise HandshakeError("the peer did not answer the challenge")
        self._count = plain[CHALLENGE:]
        self._step += 1

    def switch(self, received: int) -> None:
        """Tell the peer where it is to go on; the path is open."""
        self._write_block(self._sending.seal(received.to_bytes(COUNT)))
        self._finish(self._count)
