"""How a swarm behaves, and what it tells of us."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SwarmSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSettings:
    """How a swarm behaves."""

    peer_id: bytes
    """20 bytes that tell us from other peers."""

    port: int = 0
    """Port that peers reach us at; 0 for none."""

    port_ipv6: int = 0
    """The same for those of IPv6, where that is another one; 0 where it is not."""

    dht_port: int = 0
    """UDP port of our node of the DHT; 0 for none."""

    version: str = "librats"
    """What to call ourselves."""

    upload_slots: int = 4
    """Peers that are served for what they give, at once."""

    wants_encryption: bool = False
    """Whether to tell peers that connections to us should be encrypted."""
