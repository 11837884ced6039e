"""What routers do with packets, in the words of RFC 4787 and RFC 5382, and those that are often met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from librats.errors import ConfigError, UsageError
from librats.types import FilteringBehavior, MappingBehavior, PortAllocation, PortMappingProtocol

__all__ = ["ROUTER_TYPES", "RouterBehavior", "Unsolicited", "behaviors_of"]

LAST_PORT = 65535


class Unsolicited(StrEnum):
    """What a router does with packets to its public address that belong to nothing."""

    DROP = "drop"
    """It drops them silently."""

    REFUSE = "refuse"
    """It answers datagrams with ICMP port unreachable, and those that ask for a connection with a reset."""

    OWN = "own"
    """It takes them for its own, as Linux does that masquerades and filters nothing: it refuses them, and remembers
    datagrams as a flow of its own. A host behind it that sends to where they came from gets another public port then,
    so a punch that comes too early spoils the one that answers it."""


class Ipv6(StrEnum):
    """What a router does with IPv6, which it never translates."""

    OPEN = "open"
    """It passes everything."""

    FIREWALL = "firewall"
    """It lets in what belongs to something that went out: its filtering is address-and-port-dependent."""

    NONE = "none"
    """There is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterBehavior:
    """What a router does with packets. The values of enumerations may be given as text.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> RouterBehavior(ports="random", udp_timeout=30).filtering
        <FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT: 'address-and-port-dependent'>
    """

    translates: bool = True
    """Whether it is a NAT for IPv4. One that is none passes on the addresses of the hosts behind it, and where its
    filtering is not endpoint-independent, it is a stateful firewall."""

    mapping: MappingBehavior | str = MappingBehavior.ENDPOINT_INDEPENDENT
    """Whether a socket has the same public address towards everybody."""

    filtering: FilteringBehavior | str = FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
    """From whom packets are let in."""

    tcp_filtering: FilteringBehavior | str | None = None
    """From whom those of TCP are; None for the same."""

    ports: PortAllocation | str = PortAllocation.PRESERVING
    """How it chooses public ports. One that is taken cannot be preserved: a random one stands in."""

    hairpin: bool = False
    """Whether hosts behind it reach each other at their public addresses."""

    unsolicited: Unsolicited | str = Unsolicited.DROP
    """What it does with packets that belong to nothing."""

    udp: bool = True
    """Whether datagrams get through at all."""

    tcp_ports: tuple[int, ...] = ()
    """To which ports connections may be made; to all where empty."""

    ipv4: bool = True
    """Whether it passes IPv4 at all."""

    ipv6: Ipv6 | str = Ipv6.FIREWALL
    """What it does with IPv6: ``"open"`` passes everything, ``"firewall"`` lets in what belongs to something that went
    out, ``"none"`` passes nothing."""

    port_mapping: tuple[PortMappingProtocol | str, ...] = ()
    """By which protocols hosts behind it may have ports mapped: ``"pcp"``, ``"nat-pmp"``. Where there is none, hosts do
    not know its inner address."""

    udp_timeout: float = 120.0
    """Seconds after which a mapping of UDP is gone that carries nothing; RFC 4787 asks for at least these."""

    udp_lifetime: float | None = None
    """Seconds after which it is gone whatever it carries; None for never."""

    tcp_timeout: float = 7440.0
    """Seconds after which an idle connection is forgotten (RFC 5382)."""

    tcp_transitory_timeout: float = 240.0
    """Seconds after which one is that did not come about, or has ended."""

    tcp_lifetime: float | None = None
    """Seconds after which a mapping of TCP is gone whatever it carries; None for never."""

    refreshed_from_outside: bool = True
    """Whether a mapping stays for what comes in, too, and not only for what goes out."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name, kind in ENUMS.items():
            value = getattr(self, name)
            if value is None and name == "tcp_filtering":
                continue
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                raise ConfigError(name, f"is not known: {value!r}") from None
        try:
            protocols = tuple(map(PortMappingProtocol, self.port_mapping))
        except ValueError:
            raise ConfigError("port_mapping", f"is not known: {self.port_mapping!r}") from None
        object.__setattr__(self, "port_mapping", protocols)
        if PortMappingProtocol.UPNP in protocols:
            raise ConfigError("port_mapping", "of a simulated router is pcp and nat-pmp")
        chosen = (self.mapping, self.filtering, self.tcp_filtering, self.ports)
        if any(value in ("unknown", "dependent") for value in chosen):
            raise ConfigError("mapping", "filtering and ports of a simulated router are known")
        for name in ("udp_timeout", "tcp_timeout", "tcp_transitory_timeout", "udp_lifetime", "tcp_lifetime"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigError(name, "must be more than 0 seconds")
        if not all(0 < port <= LAST_PORT for port in self.tcp_ports):
            raise ConfigError("tcp_ports", "must be ports, 1 to 65535")


ENUMS: dict[str, type[StrEnum]] = {
    "mapping": MappingBehavior,
    "filtering": FilteringBehavior,
    "tcp_filtering": FilteringBehavior,
    "ports": PortAllocation,
    "unsolicited": Unsolicited,
    "ipv6": Ipv6,
}

_EI, _AD = FilteringBehavior.ENDPOINT_INDEPENDENT, FilteringBehavior.ADDRESS_DEPENDENT
_APD = FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
_RANDOM, _SEQUENTIAL = PortAllocation.RANDOM, PortAllocation.SEQUENTIAL
_MAPS_BY_ADDRESS, _MAPS_BY_BOTH = MappingBehavior.ADDRESS_DEPENDENT, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT

_PORT_RESTRICTED = RouterBehavior()
_FULL_CONE = RouterBehavior(filtering=_EI, hairpin=True)
_SYMMETRIC = RouterBehavior(mapping=_MAPS_BY_BOTH, ports=_RANDOM)

ROUTER_TYPES: dict[str, tuple[RouterBehavior, ...]] = {
    "open": (RouterBehavior(translates=False, filtering=_EI, ipv6=Ipv6.OPEN),),
    "firewall": (RouterBehavior(translates=False),),
    "full_cone": (_FULL_CONE,),
    "restricted": (RouterBehavior(filtering=_AD),),
    "port_restricted": (_PORT_RESTRICTED,),
    "full_cone_random": (replace(_FULL_CONE, ports=_RANDOM),),
    "restricted_random": (RouterBehavior(filtering=_AD, ports=_RANDOM),),
    "port_restricted_random": (RouterBehavior(ports=_RANDOM),),
    "symmetric": (_SYMMETRIC,),
    "symmetric_seq": (replace(_SYMMETRIC, ports=_SEQUENTIAL),),
    "symmetric_ad": (RouterBehavior(mapping=_MAPS_BY_ADDRESS, filtering=_AD, ports=_RANDOM),),
    "symmetric_eif": (replace(_SYMMETRIC, filtering=_EI),),
    "openwrt": (RouterBehavior(unsolicited=Unsolicited.REFUSE),),
    "bare_masquerade": (RouterBehavior(unsolicited=Unsolicited.OWN),),
    "udp_blocked": (RouterBehavior(udp=False),),
    "tcp443_only": (RouterBehavior(udp=False, tcp_ports=(80, 443)),),
    "v6_only": (RouterBehavior(ipv4=False),),
    "double_nat": (_PORT_RESTRICTED, _PORT_RESTRICTED),
    "cgnat": (_PORT_RESTRICTED, _FULL_CONE),
    "cgnat_sym": (_PORT_RESTRICTED, _SYMMETRIC),
}
"""Routers that are often met, by name; of several in a row, the one next to the hosts comes first."""


def behaviors_of(kind: str | RouterBehavior) -> tuple[RouterBehavior, ...]:
    """Return what a name of :data:`ROUTER_TYPES` stands for, several of them joined with ``+``, from the host outwards.

    Raises:
        UsageError: There is no such name.
    """
    if isinstance(kind, RouterBehavior):
        return (kind,)
    try:
        return tuple(behavior for name in kind.split("+") for behavior in ROUTER_TYPES[name])
    except KeyError as missing:
        raise UsageError(f"no router is called {missing}; there is {', '.join(ROUTER_TYPES)}") from None
