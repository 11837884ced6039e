"""Peer exchange: who asks for peers, and who is told of (LIBRATS2 wire, section 7; the same in both framings).

request    version:u8 = 1 | 0 | most:u16
answer     version:u8 = 1 | 1 | count:u16 | count times (ip_length:u8 | ip | port:u16 | peer id: 32 bytes)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from librats.errors import DecodeError
from librats.session.events import PeersOffered, PeersWanted
from librats.session.librats2_wire import Cursor, pack_address
from librats.types import Address

__all__ = ["MAX_ENTRIES", "KnownPeer", "decode_exchange", "encode_answer", "encode_request"]

MAX_ENTRIES = 32
"""Peers that one answer tells of at the most; of a longer one, no more are read."""

VERSION = 1
REQUEST, ANSWER = 0, 1
ID_SIZE = 32
UINT16_MAX = 0xFFFF


class KnownPeer(NamedTuple):
    """A peer and where it takes connections, as somebody says."""

    address: Address
    peer_id: str


def encode_request(most: int = MAX_ENTRIES) -> bytes:
    """Return the request for at most so many peers."""
    return bytes([VERSION, REQUEST]) + min(most, UINT16_MAX).to_bytes(2)


def encode_answer(entries: Sequence[KnownPeer]) -> bytes:
    """Return the answer that tells of those peers, whose addresses are IP addresses."""
    parts = [bytes([VERSION, ANSWER]), len(entries).to_bytes(2)]
    parts += [pack_address(entry.address) + bytes.fromhex(entry.peer_id) for entry in entries]
    return b"".join(parts)


def decode_exchange(payload: bytes) -> PeersWanted | PeersOffered:
    """Read a request or an answer. Bytes behind it are for later versions.

    An answer that breaks off, or has an address of an unknown kind, is read as far as that.

    Raises:
        DecodeError: It is neither, or of another version; a librats 2 node ignores it then.
    """
    cursor = Cursor(payload)
    if cursor.number(1) != VERSION:
        raise DecodeError("a peer exchange of another version")
    operation = cursor.number(1)
    count = cursor.number(2)
    if operation == REQUEST:
        return PeersWanted(count)
    if operation != ANSWER:
        raise DecodeError(f"a peer exchange with the operation {operation}", 1)
    entries = []
    for _ in range(min(count, MAX_ENTRIES)):
        try:
            entries.append(KnownPeer(cursor.address(), cursor.take(ID_SIZE).hex()))
        except DecodeError:
            break
    return PeersOffered(tuple(entries))
