"""The words for what a NAT does (RFC 4787), and for what kind of NAT it is (RFC 3489)."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FilteringBehavior", "MappingBehavior", "NatType", "PortAllocation"]


class MappingBehavior(StrEnum):
    """Whether a NAT gives one socket the same public address towards everybody (RFC 4787, 4.1)."""

    UNKNOWN = "unknown"
    """Not found out."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    """The same towards everybody; also where there is no NAT."""

    ADDRESS_DEPENDENT = "address-dependent"
    """Another one for each host that is sent to."""

    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    """Another one for each host and port that is sent to."""

    DEPENDENT = "dependent"
    """One of the two above: plain STUN servers do not tell which."""


class FilteringBehavior(StrEnum):
    """From whom a NAT or firewall lets datagrams in, to a socket that has sent some (RFC 4787, 5)."""

    UNKNOWN = "unknown"
    """Not found out: that takes a server with a second address (RFC 5780)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    """From everybody."""

    ADDRESS_DEPENDENT = "address-dependent"
    """From hosts that were sent to, whatever their port."""

    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    """From addresses that were sent to, host and port."""


class PortAllocation(StrEnum):
    """How a NAT chooses the public port of a new socket."""

    UNKNOWN = "unknown"
    """Not found out."""

    PRESERVING = "preserving"
    """The socket's own port, where that is free; also where there is no NAT."""

    SEQUENTIAL = "sequential"
    """One after the other, so that the next one can be foretold."""

    RANDOM = "random"
    """Without a pattern."""


class NatType(StrEnum):
    """What stands between this host and the internet, in the words of RFC 3489."""

    UNKNOWN = "unknown"
    """Not found out."""

    OPEN_INTERNET = "open-internet"
    """A public address and no filter: everybody can send to it."""

    FIREWALL = "firewall"
    """A public address, and a firewall that lets in only answers."""

    FULL_CONE = "full-cone"
    """One public address for each socket, and everybody can send to it."""

    RESTRICTED_CONE = "restricted-cone"
    """One public address for each socket, and hosts that were sent to can send to it."""

    PORT_RESTRICTED_CONE = "port-restricted-cone"
    """One public address for each socket, and addresses (host and port) that were sent to can send to it."""

    CONE = "cone"
    """One public address for each socket; who can send to it was not found out."""

    SYMMETRIC = "symmetric"
    """Another public address towards each destination, which nobody else can foresee."""

    BLOCKED = "blocked"
    """No server has answered: UDP does not get through, or none of them lives."""
