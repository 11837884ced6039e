"""Every default of the library, in frozen dataclasses. Times are seconds, sizes are bytes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from librats.errors import ConfigError, UsageError
from librats.types import Address, Encryption, TurnTransport

__all__ = ["NatTraversalConfig", "RatsConfig", "ReconnectConfig", "SessionConfig", "TurnCredentials", "TurnServer"]

KIB = 1024
MIB = 1024 * KIB

MIN_STREAM_WINDOW = 16 * KIB
MIN_MESSAGE_WINDOW = 128 * KIB  # twice the longest frame, so that a window always lets one through
MIN_MEMORY = 4 * MIB
MAX_WINDOW = 1024 * MIB  # credit travels in 32 bits
MAX_JSON_DEPTH = 512  # the JSON decoder itself fails somewhere beyond that, depending on the interpreter
MAX_MESSAGE_CEILING = 1024 * MIB

STUN_PORT = 3478
PUBLIC_STUN_SERVERS = (
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
    "stun.cloudflare.com:3478",
    "stun.nextcloud.com:3478",
)
TURN_PORT, TURNS_PORT = 3478, 5349
MAX_PORT = 65535
MAX_TURN_NAME = 508  # bytes of a username (RFC 8489, 14.3)

_URI = re.compile(r"(turns?):(?:([^@/?#]*)@)?(\[[^\]]*\]|[^@:/?#\[\]]*)(?::([0-9]*))?(?:\?([^#]*))?", re.IGNORECASE)


def _require(condition: bool, field_name: str, problem: str) -> None:
    if not condition:
        raise ConfigError(field_name, problem)


def _require_positive(config: object, *names: str) -> None:
    """Check that fields are numbers above 0, and whole ones where their type says so."""
    types = {field.name: field.type for field in fields(config)}  # type: ignore[arg-type]
    for name in names:
        value = getattr(config, name)
        whole = types[name] == "int"
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        kind = "a whole number" if whole else "a number"
        _require(is_number and value > 0, name, f"must be {kind} above 0, not {value!r}")


def _require_one_of(config: object, name: str, choices: type[StrEnum]) -> None:
    """Check that a field is one of an enumeration's values, and make plain text of that value a member."""
    value = getattr(config, name)
    _require(value in list(choices), name, f"must be one of {', '.join(choices)}, not {value!r}")
    object.__setattr__(config, name, choices(value))


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

    max_stream_window: int = 8 * MIB
    """A stream's window grows up to this where its round trip asks for it."""

    max_buffered: int = 64 * MIB
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

    max_unacknowledged: int = 32 * MIB
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
        _require_positive(self, *(f.name for f in fields(self)))
        _require(self.max_message_size <= MAX_MESSAGE_CEILING, "max_message_size", "is at most 1 GiB")
        _require(self.max_json_size <= self.max_message_size, "max_json_size", "is at most max_message_size")
        _require(self.max_json_depth <= MAX_JSON_DEPTH, "max_json_depth", f"is at most {MAX_JSON_DEPTH}")
        _require(self.send_low_water <= self.send_high_water, "send_low_water", "is at most send_high_water")
        _require(self.message_window >= MIN_MESSAGE_WINDOW, "message_window", f"is at least {MIN_MESSAGE_WINDOW}")
        for name in ("message_window", "stream_window", "max_stream_window"):
            _require(getattr(self, name) <= MAX_WINDOW, name, f"is at most {MAX_WINDOW}")
        _require(self.stream_window >= MIN_STREAM_WINDOW, "stream_window", f"is at least {MIN_STREAM_WINDOW}")
        _require(self.stream_window <= self.max_stream_window, "stream_window", "is at most max_stream_window")
        _require(self.idle_timeout > self.ping_interval, "idle_timeout", "is longer than ping_interval")


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
        _require_positive(self, *(f.name for f in fields(self) if f.name not in switches))
        _require(isinstance(self.enabled, bool), "enabled", "must be True or False")
        _require(
            self.saved_peers is None or isinstance(self.saved_peers, bool), "saved_peers", "must be a bool or None"
        )
        _require(self.multiplier >= 1, "multiplier", "is at least 1")
        _require(self.initial_delay <= self.max_delay, "initial_delay", "is at most max_delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatTraversalConfig:
    """How this client finds out what stands between it and others.

    Nothing is sent to any of the servers before the application asks for something that needs them,
    ``client.nat.public_addresses()`` or ``client.detect_nat_type()`` for example.

    Example:
        >>> NatTraversalConfig(stun_servers=("stun.example.org", "192.0.2.7:3479")).stun_addresses
        (Address(host='stun.example.org', port=3478), Address(host='192.0.2.7', port=3479))
        >>> NatTraversalConfig.offline().stun_servers
        ()
    """

    stun_servers: tuple[str, ...] = PUBLIC_STUN_SERVERS
    """STUN servers, each ``"host"`` or ``"host:port"``, the port 3478 where none is given. Public ones where it is left
    out; none, with an empty tuple, contacts nobody."""

    prefer_ipv6: bool = False
    """Whether what is found out about IPv6 is told, rather than about IPv4, where there are both."""

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
        _require(texts, "stun_servers", f"must be a tuple of texts, not {servers!r}")
        for server in servers:
            _stun_address(server)
        _require(isinstance(self.prefer_ipv6, bool), "prefer_ipv6", "must be True or False")
        _require_positive(self, "stun_first_answer", "stun_timeout")
        _require(self.stun_first_answer <= self.stun_timeout, "stun_first_answer", "is at most stun_timeout")

    @property
    def stun_addresses(self) -> tuple[Address, ...]:
        """The STUN servers, host and port."""
        return tuple(_stun_address(server) for server in self.stun_servers)

    @classmethod
    def offline(cls) -> NatTraversalConfig:
        """Return a configuration that contacts no server at all."""
        return cls(stun_servers=())


def _stun_address(text: str) -> Address:
    name = text.strip().removeprefix("stun:")
    bare = name.count(":") != 1 and not name.startswith("[")
    try:
        address = Address(name, STUN_PORT) if bare else Address.parse(name)
    except UsageError as error:
        raise ConfigError("stun_servers", str(error)) from None
    is_named = bool(address.host) and not any(letter.isspace() for letter in address.host)
    is_named = is_named and (":" not in address.host or address.is_literal)
    _require(is_named and address.port > 0, "stun_servers", f"not a server: {text!r}; write HOST or HOST:PORT")
    return address


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
        _require(isinstance(self.peer_exchange, bool), "peer_exchange", "must be True or False")
        _require_positive(self, *(f.name for f in fields(self) if f.type in ("int", "float")))
        _require(self.max_memory >= MIN_MEMORY, "max_memory", f"is at least {MIN_MEMORY}")
        for name in ("allow", "deny"):
            entries = getattr(self, name)
            texts = isinstance(entries, tuple) and all(isinstance(entry, str) for entry in entries)
            _require(texts, name, f"must be a tuple of texts, not {entries!r}")
        named = isinstance(self.transports, tuple) and set(self.transports) <= {"tcp", "udp"}
        once = named and 0 < len(self.transports) == len(set(self.transports))
        _require(once, "transports", f"must name tcp, udp or both, not {self.transports!r}")
        _require_one_of(self, "encryption", Encryption)
        _require(isinstance(self.session, SessionConfig), "session", "must be a SessionConfig")
        _require(isinstance(self.reconnect, ReconnectConfig), "reconnect", "must be a ReconnectConfig")
        _require(isinstance(self.nat, NatTraversalConfig), "nat", "must be a NatTraversalConfig")

    @property
    def protocol(self) -> str:
        """The protocol string that both sides of a handshake must share: ``name/version``."""
        return f"{self.protocol_name}/{self.protocol_version}" if self.protocol_version else self.protocol_name


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCredentials:
    """A username and a password for a TURN server, as :attr:`TurnServer.credentials` returns them."""

    username: str
    """The username."""

    password: str = field(repr=False)
    """Its password."""

    lifetime: float | None = None
    """Seconds for which the server takes them; new ones are asked for in time. None: as long as it likes."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        _require_turn_name("username", self.username)
        _require_turn_name("password", self.password)
        if self.lifetime is not None:
            _require_positive_number("lifetime", self.lifetime)


def _require_turn_name(name: str, value: object) -> None:
    _require(
        isinstance(value, str) and value != "", name, f"must be a text that is not empty, not {type(value).__name__}"
    )
    text = str(value)
    _require(
        text.isprintable() and len(text.encode()) <= MAX_TURN_NAME, name, "must be printable and at most 508 bytes"
    )


def _require_positive_number(name: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _require(is_number and float(value) > 0, name, f"must be a number above 0, not {value!r}")  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """A TURN server (RFC 8656), and who we are to it.

    Example:
        >>> server = TurnServer.from_uri("turn:ann:p%40ss@turn.example.org?transport=tls")
        >>> server.host, server.port, server.username
        ('turn.example.org', 5349, 'ann')
        >>> server
        TurnServer(turn:ann@turn.example.org:5349?transport=tls)
    """

    host: str
    """Host name or IP address."""

    port: int = 0
    """UDP or TCP port; 0 stands for 3478, and over TLS for 5349."""

    username: str = ""
    """The username; empty for a server that asks for none, and where ``credentials`` are given."""

    password: str = ""
    """Its password."""

    transport: TurnTransport = TurnTransport.UDP
    """How the server is spoken to: ``"udp"``, ``"tcp"`` or ``"tls"``. What it relays are datagrams in any case."""

    credentials: Callable[[], TurnCredentials | Awaitable[TurnCredentials]] | None = None
    """Called for username and password, at the first time, before they expire, and where the server rejects them."""

    ca_file: str | Path | None = None
    """File with the certificates (PEM) that the server's must come from; None for those that the system trusts."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        _require_one_of(self, "transport", TurnTransport)
        host_ok = isinstance(self.host, str) and self.host != "" and not re.search(r"[\s/?#@\[\]]", self.host)
        _require(host_ok, "host", f"must be a host name or an IP address, not {self.host!r}")
        _require(
            self.host.count(":") != 1,
            "host",
            f"must not hold the port, as in {self.host!r}; that is a field of its own",
        )
        number = isinstance(self.port, int) and not isinstance(self.port, bool) and 0 <= self.port <= MAX_PORT
        _require(number, "port", f"must be a whole number from 0 to {MAX_PORT}, not {self.port!r}")
        if not self.port:
            object.__setattr__(self, "port", TURNS_PORT if self.transport is TurnTransport.TLS else TURN_PORT)
        if self.username or self.password:
            _require(self.credentials is None, "credentials", "and a username are one too many")
            _require_turn_name("username", self.username)
            _require_turn_name("password", self.password)
        _require(self.credentials is None or callable(self.credentials), "credentials", "must be a function")
        if self.ca_file is not None:
            _require(isinstance(self.ca_file, str | Path), "ca_file", f"must be a path, not {self.ca_file!r}")
            _require(self.transport is TurnTransport.TLS, "ca_file", "is of use over TLS only")

    @property
    def address(self) -> Address:
        """Host and port."""
        return Address(self.host, self.port)

    def __repr__(self) -> str:
        """Show it as a URI, without the password."""
        return f"TurnServer({self._uri(quote(self.username, safe='') + '@' if self.username else '')})"

    def _uri(self, who: str) -> str:
        return f"turn:{who}{self.address}?transport={self.transport}"

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Read ``turn:USER:PASSWORD@HOST:PORT?transport=udp|tcp|tls`` or a URI of RFC 7065.

        User, password, port and transport may be left out; ``turns:`` is TLS. In user and password, percent signs
        introduce the hexadecimal value of a byte, which ``:``, ``@``, ``/``, ``?``, ``#`` and ``%`` need. An IPv6
        address stands in brackets.

        Args:
            uri: What a person wrote.

        Raises:
            ConfigError: It is no such URI.
        """
        _, at, rest = uri.rpartition("@")
        shown = f"turn:...@{rest}" if at else uri  # an error is no place for a password
        match = _URI.fullmatch(uri.strip())
        _require(match is not None, "uri", f"{shown!r} is not of the form turn:USER:PASSWORD@HOST:PORT?transport=udp")
        assert match is not None  # noqa: S101 - for the type checker
        scheme, who, host, port, query = match.groups()
        secure = scheme.lower() == "turns"
        transport = _transport_of(query, secure=secure, shown=shown)
        username, colon, password = (who or "").partition(":")
        _require(
            who is None or bool(username and colon and password), "uri", f"{shown!r} has a user without a password"
        )
        _require(
            ":" not in password, "uri", f"{shown!r} has more colons than one before the @; write %3A within a name"
        )
        _require(port != "" and len(port or "") <= len(str(MAX_PORT)), "uri", f"{shown!r} has no port behind the colon")
        return cls(
            host=host.strip("[]"),
            port=int(port or 0),
            username=_unquoted(username, shown),
            password=_unquoted(password, shown),
            transport=transport,
        )

    def to_uri(self) -> str:
        """Return the URI that :meth:`from_uri` reads, password and all.

        ``credentials`` and ``ca_file`` have no place in it.

        Example:
            >>> TurnServer(host="2001:db8::7", username="ann", password="a:b").to_uri()
            'turn:ann:a%3Ab@[2001:db8::7]:3478?transport=udp'
        """
        who = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.username else ""
        return self._uri(who)


def _transport_of(query: str | None, *, secure: bool, shown: str) -> TurnTransport:
    if query is None:
        return TurnTransport.TLS if secure else TurnTransport.UDP
    name, _, value = query.partition("=")
    known = name.lower() == "transport" and value.lower() in list(TurnTransport)
    _require(known, "uri", f"{shown!r}: behind the ? stands transport=udp, transport=tcp or transport=tls")
    _require(not (secure and value.lower() == "udp"), "uri", f"{shown!r}: DTLS is not spoken; use transport=tcp")
    return TurnTransport.TLS if secure else TurnTransport(value.lower())


def _unquoted(text: str, shown: str) -> str:
    _require(
        re.search(r"%(?![0-9A-Fa-f]{2})", text) is None, "uri", f"{shown!r} has a % without two hexadecimal digits"
    )
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ConfigError("uri", f"{shown!r} has percent signs that are no UTF-8") from None
