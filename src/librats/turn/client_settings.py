"""What kind of allocation a client wants."""

from __future__ import annotations

from msgspec import Struct

from librats.stun.mapping_habits import MappingHabits

__all__ = ["ClientSettings"]


class ClientSettings(Struct, frozen=True, kw_only=True):
    """What kind of allocation is wanted, and how it is kept."""

    reliable: bool = False
    """True where the server is spoken to over TCP or TLS."""

    family: str = "ipv4"
    """Of the relayed address: ``ipv4``, ``ipv6``, or ``dual`` for one of each."""

    relays_tcp: bool = False
    """Relay TCP connections (RFC 6062) instead of datagrams; only where ``reliable``."""

    lifetime: int | None = None
    """Seconds to ask for; None for the server's own choice."""

    mobility: bool = False
    """Ask for a ticket with which the allocation can be used from another local address (RFC 8016)."""

    channels: bool = True
    """Bind a channel to every peer that is sent to."""

    keep_alive: float = 15.0
    """Seconds without a sign of the server after which it is asked for one."""

    habits: MappingHabits | None = None
    """What is known of the NAT on the way, and learnt from this allocation; None to begin with nothing."""

    patience: float = 8.0
    """Seconds that the server has for each answer while there is no allocation."""

    asks: bool = False
    """True where somebody answers :class:`~librats.turn.client_events.CredentialsWanted`."""
