"""Small values that the public interface hands around."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol

from librats.errors import UsageError
from librats.nat_words import FilteringBehavior, MappingBehavior, NatType, PortAllocation
from librats.reasons import AttemptReason

__all__ = [
    "Address",
    "AttemptReason",
    "ConnectionAttempt",
    "ConnectionAttemptResult",
    "ConnectionMethod",
    "ConnectionStrategy",
    "Encryption",
    "Entropy",
    "FilteringBehavior",
    "MappedTransport",
    "MappingBehavior",
    "NatType",
    "NatTypeInfo",
    "PathPolicy",
    "PeerStats",
    "PortAllocation",
    "PortMapping",
    "PortMappingProtocol",
    "TurnTransport",
]

_MAX_PORT = 65535


class Address(NamedTuple):
    """A host, by name or by number, and a port.

    Example:
        >>> Address.parse("[2001:db8::7]:8081")
        Address(host='2001:db8::7', port=8081)
        >>> str(Address("2001:db8::7", 8081))
        '[2001:db8::7]:8081'
    """

    host: str
    """Host name, IPv4 or IPv6 address, the last one with or without a zone (``fe80::1%eth0``)."""

    port: int
    """1 to 65535; 0 where a port is to be chosen."""

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_literal(self) -> bool:
        """True where the host is an IP address rather than a name."""
        return _is_ip_address(self.host)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[ipv6]:port``.

        Args:
            text: What a person wrote.

        Raises:
            UsageError: It is neither, or the port is not a number from 0 to 65535.
        """
        host, colon, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed:
            host = host[1:-1]
        if not colon or not host or not (port.isascii() and port.isdigit()) or (":" in host and not bracketed):
            raise UsageError(f"not an address: {text!r}; write HOST:PORT, an IPv6 address as [2001:db8::7]:PORT")
        if len(port) > len(str(_MAX_PORT)) or int(port) > _MAX_PORT:
            raise UsageError(f"not an address: {text!r}; a port is at most {_MAX_PORT}")
        return cls(host, int(port))


@lru_cache(maxsize=256)
def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class ConnectionStrategy(StrEnum):
    """How to reach a peer. A strategy whose needs are not configured fails at once, and says which."""

    AUTO_ADAPTIVE = "auto"
    """Whatever works: the first message over the quickest way, then the best one."""

    DIRECT_ONLY = "direct"
    """Only straight to its addresses."""

    STUN_ASSISTED = "stun"
    """Straight to its addresses, and by ICE between those at which STUN servers see the two; no relay."""

    ICE_FULL = "ice"
    """By ICE with every kind of candidate, a relay's among them. It needs the peer's id and an introducer."""

    HOLE_PUNCHING = "punch"
    """Both sides send to each other at the same time until a NAT lets something in; no relay."""

    TURN_RELAY = "relay"
    """Only through a TURN server."""


class Encryption(StrEnum):
    """Whether sessions are encrypted. Both sides must want the same: neither is talked into the other."""

    REQUIRED = "required"
    """Always, with both sides' identities proven."""

    OFF = "off"
    """Never: whoever is on the path can read and change everything, and nobody proves who they are."""


class TurnTransport(StrEnum):
    """How a TURN server is spoken to."""

    UDP = "udp"
    """Datagrams."""

    TCP = "tcp"
    """A connection, where UDP does not get through."""

    TLS = "tls"
    """A connection that shows nothing but the server's name, and whose certificate is checked."""

    WSS = "wss"
    """The same inside a WebSocket, which gets through where nothing but the web does; `librats relay` speaks it."""

    WS = "ws"
    """Inside a WebSocket without TLS."""


class ConnectionMethod(StrEnum):
    """How a peer was reached."""

    TCP = "tcp"
    """Straight over TCP."""

    UDP = "udp"
    """Straight over UDP."""

    RELAY = "relay"
    """From a relayed address on a TURN server, over UDP."""

    CARRIED = "carried"
    """Through an introducer, which carries the session within limits; the address is that of the introducer, with the
    port 0. Nobody is dialled in that way: sessions begin in it where the introducer does that."""


class PathPolicy(StrEnum):
    """Which ways the sessions of a client may go."""

    AUTO = "auto"
    """Direct ways first, and the relay where they do not work, or are slow to."""

    DIRECT_ONLY = "direct_only"
    """Never through a TURN server."""

    RELAY_ONLY = "relay_only"
    """Only through a TURN server: peers see its address and never this host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionAttempt:
    """One try to reach a peer, as :class:`~librats.ConnectError` and :meth:`~librats.Peer.explain` tell it."""

    address: Address
    """Where to."""

    method: ConnectionMethod
    """How."""

    duration: float
    """Seconds it took until it worked or was given up."""

    error: str = ""
    """Why it failed; empty where it worked."""

    technique: str = ""
    """How a hole was punched for that, or was to be: a :class:`~librats.punch.PunchTechnique`; empty where none was."""
    reason: AttemptReason | None = None
    """The same in a word; None where it worked."""

    started: float = 0.0
    """Seconds from the call until it began."""

    pair: tuple[str, str] | None = None
    """The candidates of ICE, ours and then the peer's, each its type and address:
    ``("srflx 203.0.113.5:40000", "host 198.51.100.7:8081")``. None where it was no attempt of ICE."""

    def __post_init__(self) -> None:
        """See to it that whatever has failed has a reason."""
        if self.error and self.reason is None:
            object.__setattr__(self, "reason", AttemptReason.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionAttemptResult:
    """What came of :meth:`~librats.RatsClient.connect_to_peer`."""

    success: bool
    """True where a session with the peer is up."""

    method: ConnectionMethod | None = None
    """How the peer was reached; None where it was not."""

    duration: float = 0.0
    """Seconds from the call to the result."""

    error: str = ""
    """Why it failed; empty where it worked."""

    reason: AttemptReason | None = None
    """The same in a word, that of the attempt which tells most; None where it worked."""

    peer_id: str = ""
    """Who answered; empty where nobody did."""

    local_nat_type: str = "unknown"
    """This side's :class:`NatType`, as far as it was measured: nothing is asked of a STUN server only to fill it in."""

    remote_nat_type: str = "unknown"
    """The other side's, as it has told in its letter; ``"unknown"`` where it was reached without one."""

    used_candidates: tuple[str, ...] = ()
    """The addresses of the path in use: ours, as the peer sees it where that is known, then theirs."""

    attempts: tuple[ConnectionAttempt, ...] = field(default=())
    """Every attempt made, in the order they were started."""

    @property
    def error_message(self) -> str:
        """The same as :attr:`error`, under the name that the C++ library uses."""
        return self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStats:
    """Counters of one peer since it connected, over all its links."""

    bytes_sent: int
    """Bytes handed to the network, encryption and framing included."""

    bytes_received: int
    """Bytes taken from the network, encryption and framing included."""

    messages_sent: int
    """Messages, requests and replies sent."""

    messages_received: int
    """Messages, requests and replies received."""

    bytes_queued: int
    """Bytes accepted by ``send`` that wait for room on the network or at the peer."""

    open_streams: int
    """Streams that are open now."""

    frames_skipped: int
    """Frames and messages that nobody here understands or listens to."""

    connected_seconds: float
    """Seconds since the peer connected."""

    rtt: float | None
    """Smoothed round-trip time in seconds; None until the first answer to a ping."""


class Entropy(Protocol):
    """Where a protocol machine takes its random values from; only tests pass one with a seed."""

    def token_bytes(self, size: int) -> bytes:
        """Return that many random bytes."""

    def randbelow(self, limit: int) -> int:
        """Return a random integer from 0 up to, not including, the limit."""

    def uniform(self, low: float, high: float) -> float:
        """Return a random float between the two.

        Args:
            low: The least value.
            high: The greatest one.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NatTypeInfo:
    """What was found out about the NAT or firewall in front of this host, for UDP over one address family."""

    type: NatType = NatType.UNKNOWN
    """All of it in one word."""

    has_nat: bool | None = None
    """Whether servers see another address than this host has; None where none has answered."""

    mapping: MappingBehavior = MappingBehavior.UNKNOWN
    """Whether a socket has one public address or many."""

    filtering: FilteringBehavior = FilteringBehavior.UNKNOWN
    """Who can send to that address."""

    port_allocation: PortAllocation = PortAllocation.UNKNOWN
    """How public ports are chosen."""

    port_step: int | None = None
    """Where they are chosen one after the other: from each to the next."""

    hairpin: bool | None = None
    """Whether two sockets behind the NAT reach each other by their public addresses; None where there is no NAT, and
    where it was not found out."""

    mapping_lifetime: float | None = None
    """Seconds without traffic that a public address has outlived; None where it was not measured, or cannot be: that
    takes a server that knows RESPONSE-PORT (RFC 5780)."""

    mapping_expired_after: float | None = None
    """Seconds without traffic after which it was found gone; None where that was not seen."""

    public_address: Address | None = None
    """Where the first server that answered has seen a socket of this host; None where none has."""

    server: Address | None = None
    """The server that was measured with; one that has two addresses wherever there was such a one."""

    duration: float = 0.0
    """Seconds that it took."""

    problem: str = ""
    """Why something was not found out; empty where everything was."""

    def with_lifetime(self, outlived: float | None, expired: float | None) -> NatTypeInfo:
        """Return the same with what was found out about how long public addresses last.

        Args:
            outlived: Seconds of silence that one has outlived; None where that cannot be measured.
            expired: Seconds after which one was gone; None where that was not seen.
        """
        unknown = "" if outlived is not None else "the server cannot measure how long a public address lasts"
        problem = "; ".join(filter(None, (self.problem, unknown)))
        return replace(self, mapping_lifetime=outlived, mapping_expired_after=expired, problem=problem)

    @property
    def preserves_port(self) -> bool | None:
        """Whether a public port is the socket's own; None where that was not found out."""
        if self.port_allocation is PortAllocation.UNKNOWN:
            return None
        return self.port_allocation is PortAllocation.PRESERVING

    @property
    def hairpin_support(self) -> bool:
        """The same as :attr:`hairpin`, under the name that the C++ library uses; False where that is None."""
        return bool(self.hairpin)

    @property
    def description(self) -> str:
        """Everything in one line for people."""
        words = [self.type.replace("-", " ")]
        if self.type is not NatType.BLOCKED:
            words += [f"mapping {self.mapping}", f"filtering {self.filtering}", f"ports {self.port_allocation}"]
        if self.public_address is not None:
            words.append(f"seen as {self.public_address}")
        if self.problem:
            words.append(self.problem)
        return "; ".join(words)


class MappedTransport(StrEnum):
    """What a port that is mapped is of."""

    TCP = "tcp"
    """Connections."""

    UDP = "udp"
    """Datagrams."""


class PortMappingProtocol(StrEnum):
    """How a gateway was asked to map a port."""

    PCP = "pcp"
    """Port Control Protocol (RFC 6887)."""

    NAT_PMP = "nat-pmp"
    """NAT Port Mapping Protocol (RFC 6886), the older one of the two; IPv4 alone."""

    UPNP = "upnp"
    """UPnP Internet Gateway Device; IPv4 alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port that a gateway, mostly a home's router, lets others in at."""

    transport: MappedTransport
    """Of which kind it is."""

    internal: Address
    """Where this host listens: one of its own addresses."""

    external: Address
    """Where others reach it; over IPv6 the same, with the gateway's firewall open for it."""

    protocol: PortMappingProtocol
    """How the gateway was asked."""

    gateway: str
    """The gateway's IP address, as this host sees it."""

    lifetime: float
    """Seconds that the gateway has granted, renewed at half of them; ``inf`` where it stays until it is removed."""

    is_public: bool = True
    """True where :attr:`external` is an address of the internet; False where it is that of yet another NAT outside."""
