"""What an application hears of the ports that gateways map for it."""

from __future__ import annotations

from dataclasses import dataclass

from librats.types import Address, MappedTransport, PortMapping

__all__ = ["PortMapped", "PortMappingFailed"]


@dataclass(frozen=True, slots=True)
class PortMapped:
    """A gateway has mapped a port, or has given it another external address; renewals are not told."""

    mapping: PortMapping
    """What others reach, and where."""

    previous: PortMapping | None = None
    """What it was before, where it has changed."""


@dataclass(frozen=True, slots=True)
class PortMappingFailed:
    """No way to map a port has worked, or a mapping that was there is over. It is tried again."""

    transport: MappedTransport
    """``"tcp"`` or ``"udp"``."""

    internal: Address
    """Where this host listens."""

    gateway: str
    """IP address of the gateway that was asked."""

    code: str
    """Why, in a word: ``"no_answer"``, ``"not_authorized"``, ``"no_resources"``, ``"network_failure"``,
    ``"address_mismatch"``, ``"conflict"``, ``"unsupported"``, ``"absurd_answer"``, ``"lost"`` or ``"refused"``."""

    reason: str
    """Why, of each protocol that was tried, for people. A gateway's own words are not to be trusted."""

    retry_in: float
    """Seconds until one of them is tried again."""

    lost: PortMapping | None = None
    """The mapping that was there; None where there was none."""
