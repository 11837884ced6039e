"""Keys of the paths of one session: each path has an epoch, and every epoch keys of its own."""

from __future__ import annotations

import hmac

from msgspec import Struct

from librats._core import symmetric
from librats._core.aead import Cipher

__all__ = ["JOIN_SIZE", "TAG_SIZE", "Join", "PathKeys"]

TOKEN_SIZE = 8
"""Bytes by which the peer finds the session that a new path belongs to."""

TAG_SIZE = 16
JOIN_HEAD = TOKEN_SIZE + 4
JOIN_SIZE = JOIN_HEAD + TAG_SIZE
"""Bytes of a path's first block: fewer than any handshake message has."""

MAX_EPOCH = 0xFFFFFFFF


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


# OpenSSL's takes several times as long to begin as to compute, and one is computed for every session.
_derive = symmetric.hmac_sha256 if symmetric.AVAILABLE else _hmac


class Join(Struct, frozen=True):
    """The first block of a path: which session it wants to belong to."""

    token: bytes
    epoch: int
    tag: bytes

    @classmethod
    def decode(cls, block: bytes) -> Join:
        """Read a block of :data:`JOIN_SIZE` bytes."""
        return cls(block[:TOKEN_SIZE], int.from_bytes(block[TOKEN_SIZE:JOIN_HEAD]), block[JOIN_HEAD:])


class PathKeys:
    """Derives what the paths of a session need from the secret that its handshake left behind.

    Epoch 0 is the path of the handshake. Of the later ones the side that began the handshake opens those with even
    numbers, the other side those with odd ones, each in rising order, so that no key is ever used for two paths.

    Args:
        secret: 32 bytes that only the two sides know.
        initiator: True on the side that began the handshake.
    """

    __slots__ = ("_initiator", "_next", "_secret", "heard", "token")

    def __init__(self, secret: bytes, *, initiator: bool) -> None:
        self._secret = secret
        self._initiator = initiator
        self._next = 2 if initiator else 1
        self.heard = 0
        """The newest epoch that the peer has opened."""
        self.token = _derive(secret, b"librats path token")[:TOKEN_SIZE]
        """What a new path begins with."""

    def next_epoch(self) -> int:
        """Return the number of the next path that this side opens."""
        epoch = self._next
        self._next += 2
        return epoch

    def accepts(self, epoch: int) -> bool:
        """Whether the peer may open a path with that number: one of its own, and newer than all before."""
        return self.heard < epoch <= MAX_EPOCH and bool(epoch % 2) is self._initiator

    def ciphers(self, epoch: int) -> tuple[Cipher, Cipher]:
        """Return the ciphers of an epoch, for what this side sends and for what it receives. Ask once for each."""
        first, second = self._key(epoch, 0), self._key(epoch, 1)
        return (Cipher(first), Cipher(second)) if self._initiator else (Cipher(second), Cipher(first))

    def datagram_ciphers(self, epoch: int) -> tuple[Cipher, Cipher]:
        """Return the ciphers of an epoch's unreliable datagrams, of what is sent and of what is received. Ask once."""
        first, second = (
            Cipher(_derive(self._secret, b"librats datagram key" + epoch.to_bytes(4) + bytes([direction])))
            for direction in (0, 1)
        )
        return (first, second) if self._initiator else (second, first)

    def tag_keys(self, epoch: int) -> tuple[bytes, bytes]:
        """Return the keys of the tags of an epoch's packets where it goes over UDP: of what is sent and received."""
        first, second = (
            _derive(self._secret, b"librats packet tag" + epoch.to_bytes(4) + bytes([direction]))
            for direction in (0, 1)
        )
        return (first, second) if self._initiator else (second, first)

    def _key(self, epoch: int, direction: int) -> bytes:
        return _derive(self._secret, b"librats path key" + epoch.to_bytes(4) + bytes([direction]))
