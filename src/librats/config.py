"""Every default of the library, in frozen dataclasses. Times are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from librats.checks import require, require_one_of, require_positive
from librats.dht_config import DhtConfig
from librats.files_config import FilesConfig
from librats.nat_config import CarryLimits, NatTraversalConfig
from librats.types import Encryption

__all__ = [
    "CarryLimits",
    "DhtConfig",
    "FilesConfig",
    "NatTraversalConfig",
    "RatsConfig",
    "ReconnectConfig",
    "SessionConfig",
]

KIB = 1024
MIB = 1024 * KIB

MIN_STREAM_WINDOW = 16 * KIB
MIN_MESSAGE_WINDOW = 128 * KIB  # twice the longest frame, so that a window always lets one through
MIN_MEMORY = 4 * MIB
MAX_WINDOW = 1024 * MIB  # credit travels in 32 bits
MAX_JSON_DEPTH = 512  # the JSON decoder itself fails somewhere beyond that, depending on the interpreter
MAX_MESSAGE_CEILING = 1024 * MIB
MIN_PACKET, MAX_PACKET = 1220, 65487


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

    dht: DhtConfig = field(default_factory=DhtConfig)
    """Whether and how this client takes part in the DHT."""

    files: FilesConfig = field(default_factory=FilesConfig)
    """Limits and timing of the transfer of files."""

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
        require(isinstance(self.dht, DhtConfig), "dht", "must be a DhtConfig")
        require(isinstance(self.files, FilesConfig), "files", "must be a FilesConfig")

    @property
    def protocol(self) -> str:
        """The protocol string that both sides of a handshake must share: ``name/version``."""
        return f"{self.protocol_name}/{self.protocol_version}" if self.protocol_version else self.protocol_name
