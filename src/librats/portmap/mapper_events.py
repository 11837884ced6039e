"""What the port mapper tells: of each mapping, and of the gateway."""

from __future__ import annotations

from msgspec import Struct

from librats.types import Address, PortMappingProtocol

__all__ = ["GatewaySilent", "MapperCounters", "MapperEvent", "MappingGranted", "MappingLost", "MappingRefused"]


class MappingGranted(Struct, frozen=True, kw_only=True):
    """A mapping is there, or was renewed: perhaps with another external address or lifetime than before."""

    key: int
    """Which one."""

    external: Address
    """Where others reach it."""

    lifetime: float
    """Seconds that were granted."""

    protocol: PortMappingProtocol
    """How the gateway was asked."""


class MappingRefused(Struct, frozen=True, kw_only=True):
    """The gateway does not grant a mapping, or not now."""

    key: int
    """Which one."""

    code: str
    """Why, in a word: one of those that :class:`~librats.PortMappingFailed` lists."""

    reason: str
    """Why."""

    retry_in: float
    """Seconds until it is asked again."""

    protocol: PortMappingProtocol
    """How the gateway was asked."""


class MappingLost(Struct, frozen=True, kw_only=True):
    """A mapping that was there is over; it is asked for again."""

    key: int
    """Which one."""

    reason: str
    """Why."""


class GatewaySilent(Struct, frozen=True, kw_only=True):
    """The gateway has not answered for a while. It is asked on, ever more rarely."""

    waited: float
    """Seconds since the first request."""


MapperEvent = MappingGranted | MappingRefused | MappingLost | GatewaySilent


class MapperCounters(Struct):
    """What did not belong to it."""

    foreign: int = 0
    """Datagrams that did not come from the gateway."""

    malformed: int = 0
    """Datagrams from the gateway's address that are no answer."""

    unmatched: int = 0
    """Answers to nothing that was asked, or with another nonce; late ones, too."""

    absurd: int = 0
    """Answers that cannot be true, or are of no use: an external address that is none, port 0, a lifetime of a
    second."""
