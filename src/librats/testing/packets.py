"""What travels between simulated hosts."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from librats.types import Address

__all__ = ["Packet", "PacketKind"]

HEADER_SIZE = 52
"""Bytes of the IP and TCP headers of a packet, which take their time on the wire."""


class PacketKind(StrEnum):
    """What a packet of a stream is for."""

    SYN = "syn"
    """Asks for a connection."""

    SYN_ACK = "syn-ack"
    """Agrees to it."""

    DATA = "data"
    """Carries bytes."""

    FIN = "fin"
    """Tells that no more bytes follow."""

    ACK = "ack"
    """Tells how many bytes have arrived, and for how many more there is room."""

    RST = "rst"
    """Breaks the connection."""


class Packet(NamedTuple):
    """One packet of a stream."""

    kind: PacketKind
    source: Address
    destination: Address
    sequence: int = 0
    """Place of its first byte in the stream; of an acknowledgement, of the next one that is expected."""

    edge: int = 0
    """Place of the first byte for which there is no room."""

    payload: bytes = b""

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return HEADER_SIZE + len(self.payload)
