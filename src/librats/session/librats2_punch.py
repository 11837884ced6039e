"""The Punch messages of librats 2: what two nodes that want to dial each other at once say through a third one.

LIBRATS2 wire, section 10:

envelope   version:u8 = 1 | op:u8 | peer id: 32 bytes | inner; 35 to 189 bytes
connect    0 | role:u8 | count:u8 | count times (ip_length:u8 | ip | port:u16)
sync       1
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct

from librats.errors import DecodeError
from librats.session.librats2_wire import Cursor, pack_address
from librats.types import Address

__all__ = [
    "MAX_INNER",
    "SYNC",
    "Envelope",
    "PunchConnect",
    "PunchOp",
    "PunchRole",
    "PunchSync",
    "decode_inner",
]

VERSION = 1
ID_SIZE = 32
HEAD_SIZE = 2 + ID_SIZE
MAX_INNER = 155
"""Bytes that one node may say to the other in one message."""
MAX_LISTED = 8
KIND_CONNECT, KIND_SYNC = 0, 1


class PunchOp(IntEnum):
    """Which way an envelope goes."""

    TO_RELAY = 0
    """To the one in between; the id is whose it is to be."""

    FROM_RELAY = 1
    """From the one in between; the id is who has sent it, as that one says."""


class PunchRole(IntEnum):
    """What a list of addresses is for."""

    OPENS = 0
    """The sender wants to dial, and to be dialled."""

    ANSWERS = 1
    """The sender was asked to."""


class Envelope(Struct, frozen=True):
    """A message that is passed on, or was.

    Args:
        op: Which way it goes.
        peer_id: To whom, or from whom, 64 hex digits.
        inner: What is passed on unread, 1 to 155 bytes.

    Example:
        >>> Envelope.decode(Envelope(PunchOp.TO_RELAY, "ab" * 32, SYNC).encode()).inner
        b'\\x01'
    """

    op: PunchOp
    peer_id: str
    inner: bytes

    def encode(self) -> bytes:
        """Return the payload of the Punch message."""
        return bytes([VERSION, self.op]) + bytes.fromhex(self.peer_id) + self.inner

    @classmethod
    def decode(cls, payload: bytes) -> Envelope:
        """Read the payload of a Punch message, but not what is in it.

        Raises:
            DecodeError: Another version, an unknown op, too short or too long; a librats 2 node ignores it then.
        """
        if not HEAD_SIZE < len(payload) <= HEAD_SIZE + MAX_INNER:
            raise DecodeError(f"a punch message of {len(payload)} bytes")
        if payload[0] != VERSION:
            raise DecodeError("a punch message of another version")
        try:
            op = PunchOp(payload[1])
        except ValueError:
            raise DecodeError(f"a punch message with the op {payload[1]}", 1) from None
        return cls(op, payload[2:HEAD_SIZE].hex(), payload[HEAD_SIZE:])


class PunchConnect(Struct, frozen=True):
    """Where a node is seen by others, over UDP."""

    role: PunchRole
    addresses: tuple[Address, ...]
    """IP addresses with a port, one to eight."""

    def encode(self) -> bytes:
        """Return what goes into the envelope; of more than eight addresses the first ones."""
        listed = self.addresses[:MAX_LISTED]
        return bytes([KIND_CONNECT, self.role, len(listed)]) + b"".join(map(pack_address, listed))


class PunchSync(Struct, frozen=True):
    """The word to dial."""

    @staticmethod
    def encode() -> bytes:
        """Return what goes into the envelope."""
        return SYNC


SYNC = bytes([KIND_SYNC])


def decode_inner(inner: bytes) -> PunchConnect | PunchSync:
    """Read what was in an envelope. Bytes behind it are for later versions.

    Addresses that nobody could dial, without a port or the unspecified one, are left out.

    Raises:
        DecodeError: It is neither, it breaks off, or no address is left; a librats 2 node ignores it then.

    Example:
        >>> decode_inner(bytes.fromhex("000001 04 7f000001 1388"))
        PunchConnect(role=<PunchRole.OPENS: 0>, addresses=(Address(host='127.0.0.1', port=5000),))
    """
    cursor = Cursor(inner)
    kind = cursor.number(1)
    if kind == KIND_SYNC:
        return PunchSync()
    if kind != KIND_CONNECT:
        raise DecodeError(f"a punch message of the kind {kind}")
    role, count = cursor.number(1), cursor.number(1)
    if role not in (PunchRole.OPENS, PunchRole.ANSWERS) or count > MAX_LISTED:
        raise DecodeError(f"a connect of role {role} with {count} addresses", 1)
    addresses = _usable([cursor.address() for _ in range(count)])
    if not addresses:
        raise DecodeError("a connect without an address", 2)
    return PunchConnect(PunchRole(role), addresses)


def _usable(addresses: Sequence[Address]) -> tuple[Address, ...]:
    return tuple(
        address for address in addresses if address.port and not ipaddress.ip_address(address.host).is_unspecified
    )
