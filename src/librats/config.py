"""Every default of the library, in frozen dataclasses. Times are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from librats.checks import require, require_one_of, require_positive
from librats.errors import ConfigError
from librats.servers import TurnServer, introducer_place, stun_address
from librats.types import Address, Encryption, PathPolicy
from librats.web_uris import SYSTEM, require_proxy

__all__ = ["CarryLimits", "NatTraversalConfig", "RatsConfig", "ReconnectConfig", "SessionConfig"]

KIB = 1024
MIB = 1024 * KIB

MIN_STREAM_WINDOW = 16 * KIB
MIN_MESSAGE_WINDOW = 128 * KIB  # twice the longest frame, so that a window always lets one through
MIN_MEMORY = 4 * MIB
MAX_WINDOW = 1024 * MIB  # credit travels in 32 bits
MAX_JSON_DEPTH = 512  # the JSON decoder itself fails somewhere beyond that, depending on the interpreter
MAX_MESSAGE_CEILING = 1024 * MIB
MIN_PACKET, MAX_PACKET = 1220, 65487
MAX_PUNCH_ATTEMPTS = 20

PUBLIC_STUN_SERVERS = (
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
    "stun.cloudflare.com:3478",
    "stun.nextcloud.com:3478",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Limits and timing of the session with each peer."""

    max_message_size: int = 64 * MIB
    """Largest message, request or reply, in bytes, either way."""

    max_json_size: int = 1 * MIB
    """Largest JSON text of a message, in bytes, either way. Send more as bytes or through a stream."""

    max_json_depth: int = 32
    """Deepest nesting of arrays and objects in a JSON message."""

    send_high_water: int = 1 * MIB
    """From this many queued bytes on, ``send`` waits and ``try_send`` says no."""

    send_low_water: int = 256 * KIB
    """A waiting ``send`` goes on when the queue has shrunk to this many bytes."""

    message_window: int = 4 * MIB
    """Bytes of messages and requests that a peer may have sent and our handlers have not finished. It begins with
    128 KiB, and grows up to this where the peer makes use of it and ``max_memory`` allows."""

    stream_window: int = 256 * KIB
    """Bytes that a peer may send on a new stream before we have read any."""

    max_stream_window: int = 64 * MIB
    """A stream's window grows up to this where its round trip asks for it."""

    max_buffered: int = 128 * MIB
    """Bytes that all streams of one peer together may hold unread; windows stop growing there."""

    max_incoming_streams: int = 256
    """Streams that a peer may have open with us."""

    max_outgoing_streams: int = 1024
    """Streams that we may have open with a peer."""

    max_stream_rate: float = 2000.0
    """Streams that a peer may open per second, with one second's worth in advance."""

    max_control_rate: float = 20000.0
    """Frames a peer may send per second that carry no data but make work, pings and cancellations for example, with
    one second's worth in advance."""

    max_requests: int = 4096
    """Requests that a peer may have waiting for our answer, and we for its."""

    max_concurrent_handlers: int = 256
    """Handlers of one peer that may run at once where ``concurrent=True`` lets them."""

    handshake_timeout: float = 15.0
    """Seconds from the connection to a session, whatever the stages below allow."""

    first_byte_timeout: float = 5.0
    """Seconds from the connection to the peer's first byte."""

    message_timeout: float = 5.0
    """Seconds that each message of the handshake may take to be complete."""

    hello_timeout: float = 10.0
    """Seconds from the end of the handshake until both sides have let each other in."""

    ping_interval: float = 15.0
    """Seconds between pings."""

    idle_timeout: float = 45.0
    """Seconds without a byte from the peer after which it counts as lost."""

    rekey_messages: int = 65536
    """A direction's key is replaced after this many sealed messages."""

    rekey_interval: float = 120.0
    """A direction's key is replaced after this many seconds with traffic."""

    max_unacknowledged: int = 64 * MIB
    """Bytes that may be on their way to a peer that can move to another path; they are kept until they have arrived."""

    path_timeout: float = 10.0
    """Seconds that a session outlives its connection where another one may come."""

    close_timeout: float = 0.5
    """Seconds that closing waits for queued data to leave."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        require_positive(self, *(f.name for f in fields(self)))
        require(self.max_message_size <= MAX_MESSAGE_CEILING, "max_message_size", "is at most 1 GiB")
        require(self.max_json_size <= self.max_message_size, "max_json_size", "is at most max_message_size")
        require(self.max_json_depth <= MAX_JSON_DEPTH, "max_json_depth", f"is at most {MAX_JSON_DEPTH}")
        require(self.send_low_water <= self.send_high_water, "send_low_water", "is at most send_high_water")
        require(self.message_window >= MIN_MESSAGE_WINDOW, "message_window", f"is at least {MIN_MESSAGE_WINDOW}")
        for name in ("message_window", "stream_window", "max_stream_window"):
            require(getattr(self, name) <= MAX_WINDOW, name, f"is at most {MAX_WINDOW}")
        require(self.stream_window >= MIN_STREAM_WINDOW, "stream_window", f"is at least {MIN_STREAM_WINDOW}")
        require(self.stream_window <= self.max_stream_window, "stream_window", "is at most max_stream_window")
        require(self.idle_timeout > self.ping_interval, "idle_timeout", "is longer than ping_interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectConfig:
    """When a peer that was lost is dialled again, and whom to dial at the start.

    The n-th try comes ``initial_delay * multiplier ** (n - 1)`` seconds after the last one, at most ``max_delay``, of
    which a random half may be missing, so that not everybody dials at the same time.
    """

    enabled: bool = True
    """Whether to dial again a peer that this side had dialled, or a favourite, when its session is lost. One that
    either side has closed is left alone."""

    initial_delay: float = 1.0
    """Seconds before the first try, at the most."""

    multiplier: float = 2.0
    """By how much each delay is longer than the one before."""

    max_delay: float = 300.0
    """Longest delay in seconds."""

    max_attempts: int = 12
    """After this many tries in a row a peer is given up; with the other defaults that is after 18 to 25 minutes."""

    stable_after: float = 60.0
    """A session that was lost within this many seconds goes on with the delays of the last time."""

    max_concurrent: int = 8
    """Peers that are dialled at once."""

    saved_peers: bool | None = None
    """Whether to dial saved peers at the start: favourites, and those that this side had dialled. None stands for yes
    where the client was given a data directory of its own, and for no where it uses the user's, in which there are
    peers of other programs, too."""

    max_saved: int = 32
    """Saved peers that are dialled at the start."""

    saved_max_age: float = 7 * 86400.0
    """Seconds since a saved peer was last seen, after which it is not dialled at the start unless it is a favourite."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        switches = ("enabled", "saved_peers")
        require_positive(self, *(f.name for f in fields(self) if f.name not in switches))
        require(isinstance(self.enabled, bool), "enabled", "must be True or False")
        require(self.saved_peers is None or isinstance(self.saved_peers, bool), "saved_peers", "must be a bool or None")
        require(self.multiplier >= 1, "multiplier", "is at least 1")
        require(self.initial_delay <= self.max_delay, "initial_delay", "is at most max_delay")


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
    """The HTTP proxy for WebSockets to introducers, and for TURN over TCP, TLS and WebSockets: ``"system"`` for that of
    this host's settings (``https_proxy`` and ``no_proxy``; on Windows and macOS the system's), and the servers
    themselves where it does not do; ``"off"`` for none; or ``"http://USER:PASSWORD@HOST:PORT"``, and nothing else."""

    ca_file: str | None = None
    """File with the certificates (PEM) that those of introducers over ``wss`` must come from; None for those that the
    system trusts. Whatever they say, an introducer has to prove its id besides."""

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
            "enable_hole_punching",
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
        has_relay = bool(parsed) or self.path_policy is not PathPolicy.RELAY_ONLY
        require(has_relay, "path_policy", "relay_only needs turn_servers")
        require(self.stun_first_answer <= self.stun_timeout, "stun_first_answer", "is at most stun_timeout")

    @property
    def stun_addresses(self) -> tuple[Address, ...]:
        """The STUN servers, host and port."""
        return tuple(stun_address(server) for server in self.stun_servers)

    @classmethod
    def offline(cls) -> NatTraversalConfig:
        """Return a configuration that contacts no server and no gateway at all."""
        return cls(stun_servers=(), enable_port_mapping=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatsConfig:
    """Everything a :class:`~librats.RatsClient` can be told beyond its own arguments."""

    listen_host: str = ""
    """Address to listen on; empty means every interface, IPv4 and IPv6."""

    protocol_name: str = "librats"
    """Name of the application's network. Peers of another name cannot connect."""

    protocol_version: str = "1.0"
    """Version of the application's network. Peers of another version cannot connect."""

    encryption: Encryption = Encryption.REQUIRED
    """Whether sessions are encrypted; the same at both sides, else they cannot connect. With ``"off"`` no peer's id is
    proven, and only what librats 2 has can be sent: messages, no requests, streams or datagrams."""

    max_peers: int = 256
    """Peers that may be connected at once."""

    peer_exchange: bool = False
    """Whether peers are asked for others, which are then dialled, and are told of others when they ask."""

    peer_target: int = 16
    """Peers up to which those learnt of by peer exchange are dialled, and peers are asked for more."""

    peer_dials_per_minute: int = 30
    """Peers learnt of by peer exchange that are dialled in any minute."""

    max_half_open: int = 1024
    """Incoming connections that may be in their handshake at once; for one more, another one makes room."""

    max_half_open_per_source: int = 256
    """Of these, how many may come from one IPv4 address or one IPv6 network of /64."""

    max_handshake_rate: float = 1000.0
    """Handshakes that others may begin with us per second, with one second's worth in advance."""

    max_handshake_rate_per_source: float = 500.0
    """Of these, how many one IPv4 address or one IPv6 network of /64 may begin."""

    max_memory: int = 512 * MIB
    """Bytes that the sessions of all peers may take together: a quarter for what waits to be sent, the others for what
    peers have sent, or have been told that they may send."""

    max_total_incoming_streams: int = 16384
    """Streams that all peers together may have open with us."""

    max_total_outgoing_streams: int = 16384
    """Streams that we may have open with all peers together."""

    allow: tuple[str, ...] = ()
    """Peer ids and networks that are talked to, no others; see :attr:`librats.RatsClient.allow`."""

    deny: tuple[str, ...] = ()
    """Peer ids and networks that are not talked to; see :attr:`librats.RatsClient.deny`."""

    transports: tuple[str, ...] = ("tcp", "udp")
    """What is listened on and dialled over, ``"tcp"`` and ``"udp"`` on the same port; the first is tried first, and the
    other one where it has not worked after ``attempt_delay`` (TCP first) or after 1.2 seconds (UDP first)."""

    max_packet: int = 65487
    """Longest UDP payload that is tried, from 1,220 bytes on; paths are probed for what they carry. 1,472 is what
    Ethernet carries over IPv4, 1,220 what every path does."""

    connect_timeout: float = 30.0
    """Seconds that ``connect`` tries, over all addresses."""

    dial_timeout: float = 10.0
    """Seconds that the connection to one address may take to come about."""

    attempt_delay: float = 0.25
    """Seconds between the starts of two attempts to one peer (RFC 8305, section 5)."""

    request_timeout: float = 30.0
    """Seconds that ``request`` waits where the caller names no timeout."""

    session: SessionConfig = field(default_factory=SessionConfig)
    """Limits and timing of each session."""

    reconnect: ReconnectConfig = field(default_factory=ReconnectConfig)
    """When to dial peers again."""

    nat: NatTraversalConfig = field(default_factory=NatTraversalConfig)
    """Servers that tell how others see this client."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        require(isinstance(self.peer_exchange, bool), "peer_exchange", "must be True or False")
        require_positive(self, *(f.name for f in fields(self) if f.type in ("int", "float")))
        require(self.max_memory >= MIN_MEMORY, "max_memory", f"is at least {MIN_MEMORY}")
        for name in ("allow", "deny"):
            entries = getattr(self, name)
            texts = isinstance(entries, tuple) and all(isinstance(entry, str) for entry in entries)
            require(texts, name, f"must be a tuple of texts, not {entries!r}")
        named = isinstance(self.transports, tuple) and set(self.transports) <= {"tcp", "udp"}
        once = named and 0 < len(self.transports) == len(set(self.transports))
        require(once, "transports", f"must name tcp, udp or both, not {self.transports!r}")
        require(MIN_PACKET <= self.max_packet <= MAX_PACKET, "max_packet", f"is from {MIN_PACKET} to {MAX_PACKET}")
        require_one_of(self, "encryption", Encryption)
        require(isinstance(self.session, SessionConfig), "session", "must be a SessionConfig")
        require(isinstance(self.reconnect, ReconnectConfig), "reconnect", "must be a ReconnectConfig")
        require(isinstance(self.nat, NatTraversalConfig), "nat", "must be a NatTraversalConfig")

    @property
    def protocol(self) -> str:
        """The protocol string that both sides of a handshake must share: ``name/version``."""
        return f"{self.protocol_name}/{self.protocol_version}" if self.protocol_version else self.protocol_name
