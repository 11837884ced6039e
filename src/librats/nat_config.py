"""What a client does about NATs, and what it carries for others: a part of its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from librats.checks import require, require_one_of, require_positive
from librats.errors import ConfigError
from librats.servers import TurnServer, introducer_place, stun_address
from librats.types import Address, PathPolicy
from librats.web_uris import SYSTEM, require_proxy

__all__ = ["CarryLimits", "NatTraversalConfig"]

KIB = 1024
MIB = 1024 * KIB
MAX_PUNCH_ATTEMPTS = 20

PUBLIC_STUN_SERVERS = (
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
    "stun.cloudflare.com:3478",
    "stun.nextcloud.com:3478",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryLimits:
    """What an introducer carries of the sessions of others: of one session, both directions together, and of all.

    Example:
        >>> CarryLimits(bytes=64 * 1024 * 1024, seconds=3600.0).rate
        65536.0
    """

    bytes: int = 256 * KIB
    """Bytes of one session, after which it ends."""

    seconds: float = 60.0
    """Seconds for which one is carried, after which it ends."""

    rate: float = 64.0 * KIB
    """Bytes a second of one session, beyond which its sides wait; 64 KiB may go ahead of that."""

    total_rate: float = 4.0 * MIB
    """Bytes a second of all sessions, beyond which they wait."""

    at_once: int = 1024
    """Sessions at a time; more are refused."""

    at_once_per_caller: int = 8
    """Of these, those of one caller."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        require_positive(self, *(f.name for f in fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NatTraversalConfig:
    """How this client finds out what stands between it and others.

    Nothing is sent to any of the servers before the application asks for something that needs them,
    ``client.nat.public_addresses()`` or ``client.detect_nat_type()`` for example. The gateway of this host's own
    network is asked to map ports as soon as the client starts.

    Example:
        >>> NatTraversalConfig(stun_servers=("stun.example.org", "192.0.2.7:3479")).stun_addresses
        (Address(host='stun.example.org', port=3478), Address(host='192.0.2.7', port=3479))
        >>> NatTraversalConfig.offline().stun_servers
        ()
    """

    stun_servers: tuple[str, ...] = PUBLIC_STUN_SERVERS
    """STUN servers, each ``"host"`` or ``"host:port"``, the port 3478 where none is given. Public ones where it is left
    out; none, with an empty tuple, contacts nobody."""

    turn_servers: tuple[Any, ...] = ()
    """TURN servers, each a :class:`~librats.TurnServer` or its URI, through which peers are reached that cannot be
    reached directly; the first one that works is used. None where it is left out. An allocation is made on a server
    when a peer has to be reached through it, and kept until the client stops."""

    path_policy: PathPolicy = PathPolicy.AUTO
    """Which ways sessions may go: ``"auto"``, ``"direct_only"`` or ``"relay_only"``, as :class:`~librats.PathPolicy`
    tells."""

    enable_turn_relay: bool = True
    """Whether TURN servers are asked for relayed addresses: those of ``turn_servers``, and those that introducers
    grant. Where it is off, a peer that has such an address is still reached there."""

    turn_allocation_timeout: float = 5.0
    """Seconds that a TURN server has to make an allocation."""

    enable_port_mapping: bool = True
    """Whether the gateways of this host, a home's router for example, are asked to let others in at the port that is
    listened on: by PCP, NAT-PMP or UPnP. A client that listens on the loopback only, or on a public IPv4 address, asks
    none."""

    ice_gathering_timeout: float = 2.0
    """Seconds after which an ICE agent makes do with the candidates that it has; those that are found later are told
    when they are."""

    ice_connectivity_timeout: float = 30.0
    """Seconds that an ICE agent tries to find a way to its peer."""

    ice_tcp: bool = False
    """Whether ICE agents try connections over TCP, too (RFC 6544), for networks that let no UDP through."""

    prefer_ipv6: bool = False
    """Whether what is found out about IPv6 is told, rather than about IPv4, where there are both."""

    enable_ice: bool = True
    """Whether peers are reached by ICE through introducers, and this client is by those whom an introducer passes on.
    Servers are asked then where they see it."""

    enable_hole_punching: bool = True
    """Whether holes are punched where ICE finds no direct way to a peer that was introduced, and for peers that want
    that. What this client's NAT does is measured for it, in the background, once there is an introducer."""

    hole_punch_attempts: int = 3
    """How often each technique of hole punching is tried, from 1 to 20."""

    introducers: tuple[str, ...] = ()
    """Nodes that this client stays connected to, to be reached, and to reach others, through them: each
    ``"PEERID@HOST:PORT"``, a ``librats relay`` for example, or ``"wss://PEERID@HOST"`` for its WebSocket, which gets
    through where nothing but TCP to port 443 does. Where one is named in both forms, the WebSocket is used when the
    other cannot be reached. Connected peers introduce as well where they allow it."""

    proxy: str = field(default=SYSTEM, repr=False)
    """The proxy for WebSockets to introducers, and for TURN over TCP, TLS and WebSockets: ``"system"`` for that of
    this host's settings (``https_proxy``, ``all_proxy`` and ``no_proxy``; on Windows and macOS the system's), and the
    servers themselves where it does not do; ``"off"`` for none; or ``"http://USER:PASSWORD@HOST:PORT"``, and nothing
    else. ``https://`` speaks to the proxy by TLS; ``socks5://`` is a SOCKS proxy, and with ``socks5h://`` it looks the
    names of servers up."""

    ca_file: str | None = None
    """File with the certificates (PEM) that those of introducers over ``wss``, and that of an ``https`` proxy, must
    come from; None for those that the system trusts. Whatever they say, an introducer has to prove its id besides."""

    allow_introductions: bool = True
    """Whether this client introduces its peers to each other: it tells one that another is connected, passes sealed
    letters, which it cannot read, and bears so much and no more of that. It carries nothing else, unless ``carry``
    says so."""

    carry: CarryLimits | None = None
    """Whether this client, where it introduces, also carries the sessions of those whom it introduces, as long as they
    have no other way, and how much of that; it sees nothing but their ciphertext. None for not at all: whoever runs a
    client has not agreed to pay for the traffic of others."""

    introductions_per_minute: int = 30
    """Offers of others that are answered in any minute: as often may others have this client send checks."""

    stun_first_answer: float = 0.5
    """Seconds after which the answers that are there are taken, and servers that are still silent are waited for in the
    background only."""

    stun_timeout: float = 5.0
    """Seconds after which a server that has not answered is given up."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        servers = self.stun_servers
        texts = isinstance(servers, tuple) and all(isinstance(server, str) for server in servers)
        require(texts, "stun_servers", f"must be a tuple of texts, not {servers!r}")
        for server in servers:
            stun_address(server)
        for switch in (
            *("enable_port_mapping", "prefer_ipv6", "ice_tcp", "enable_ice", "allow_introductions"),
            *("enable_hole_punching", "enable_turn_relay"),
        ):
            require(isinstance(getattr(self, switch), bool), switch, "must be True or False")
        require_positive(self, "stun_first_answer", "stun_timeout", "turn_allocation_timeout")
        require_positive(self, "ice_gathering_timeout", "ice_connectivity_timeout", "introductions_per_minute")
        attempts = self.hole_punch_attempts
        is_count = isinstance(attempts, int) and not isinstance(attempts, bool) and 1 <= attempts <= MAX_PUNCH_ATTEMPTS
        require(is_count, "hole_punch_attempts", f"must be a whole number from 1 to {MAX_PUNCH_ATTEMPTS}")
        listed = isinstance(self.introducers, tuple) and all(isinstance(one, str) for one in self.introducers)
        require(listed, "introducers", f"must be a tuple of texts, not {self.introducers!r}")
        require_proxy(self.proxy)
        named_file = self.ca_file is None or isinstance(self.ca_file, str)
        require(named_file, "ca_file", f"must be the path of a file as a text, not {self.ca_file!r}")
        for text in self.introducers:
            introducer_place(text)
        named = isinstance(self.turn_servers, tuple)
        named = named and all(isinstance(server, TurnServer | str) for server in self.turn_servers)
        require(
            named, "turn_servers", f"must be a tuple of TurnServers and URIs, not {type(self.turn_servers).__name__}"
        )
        try:
            parsed = tuple(s if isinstance(s, TurnServer) else TurnServer.from_uri(s) for s in self.turn_servers)
        except ConfigError as error:
            raise ConfigError("turn_servers", str(error)) from None
        object.__setattr__(self, "turn_servers", parsed)
        require(self.carry is None or isinstance(self.carry, CarryLimits), "carry", "must be CarryLimits or None")
        require_one_of(self, "path_policy", PathPolicy)
        if self.path_policy is PathPolicy.RELAY_ONLY:
            require(bool(parsed), "path_policy", "relay_only needs turn_servers")
            require(self.enable_turn_relay, "path_policy", "relay_only needs enable_turn_relay")
        require(self.stun_first_answer <= self.stun_timeout, "stun_first_answer", "is at most stun_timeout")

    @property
    def relay_servers(self) -> tuple[TurnServer, ...]:
        """The TURN servers that are asked for relayed addresses: none where ``enable_turn_relay`` is off."""
        return self.turn_servers if self.enable_turn_relay else ()

    @property
    def stun_addresses(self) -> tuple[Address, ...]:
        """The STUN servers, host and port."""
        return tuple(stun_address(server) for server in self.stun_servers)

    @classmethod
    def offline(cls) -> NatTraversalConfig:
        """Return a configuration that contacts no server and no gateway at all."""
        return cls(stun_servers=(), enable_port_mapping=False)
