"""What travels between simulated hosts."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from librats.types import Address

__all__ = ["IPV4_HEADER", "IPV6_HEADER", "UDP_HEADER", "Packet", "PacketKind"]

TCP_HEADERS = 52
"""Bytes of the IP and TCP headers of a packet, which take their time on the wire."""

IPV4_HEADER = 20
IPV6_HEADER = 40
UDP_HEADER = 8


class PacketKind(StrEnum):
    """What a packet is for."""

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

    UDP = "udp"
    """A datagram; the others belong to streams."""


class Packet(NamedTuple):
    """One packet."""

    kind: PacketKind
    source: Address
    destination: Address
    sequence: int = 0
    """Place of its first byte in the stream; of an acknowledgement, of the next one that is expected."""

    edge: int = 0
    """Place of the first byte for which there is no room."""

    payload: bytes = b""

    whole: bool = False
    """Whether it may not be taken into pieces on the way (a datagram's don't-fragment bit)."""

    ecn: int = 0
    """The ECN field of a datagram."""

    hops: int = 0
    """How many routers a datagram may pass still; 0 where it was sent as usual, which is far enough."""

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        if self.kind is not PacketKind.UDP:
            return TCP_HEADERS + len(self.payload)
        return len(self.payload) + UDP_HEADER + (IPV6_HEADER if ":" in self.destination[0] else IPV4_HEADER)

    def translated(self, source: Address, destination: Address) -> Packet:
        """Return it with other addresses, as a NAT sends it on."""
        return Packet(
            self.kind, source, destination, self.sequence, self.edge, self.payload, self.whole, self.ecn, self.hops
        )
