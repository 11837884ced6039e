"""The servers that a configuration names: STUN and TURN, from what a person writes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from librats.checks import require, require_one_of
from librats.errors import ConfigError, UsageError
from librats.peer_ids import is_peer_id
from librats.types import Address, TurnTransport
from librats.web_uris import PLAIN_PORT, SECURE_PORT, SYSTEM, WEB_PATH, WebUri, is_web_path, require_proxy

__all__ = ["TurnCredentials", "TurnServer"]

STUN_PORT = 3478
TURN_PORTS = {
    TurnTransport.UDP: 3478,
    TurnTransport.TCP: 3478,
    TurnTransport.TLS: 5349,
    TurnTransport.WS: PLAIN_PORT,
    TurnTransport.WSS: SECURE_PORT,
}
ENCRYPTED = (TurnTransport.TLS, TurnTransport.WSS)
WEB = (TurnTransport.WS, TurnTransport.WSS)
MAX_PORT = 65535
MAX_TURN_NAME = 508  # bytes of a username (RFC 8489, 14.3)

_URI = re.compile(r"(turns?):(?:([^@/?#]*)@)?(\[[^\]]*\]|[^@:/?#\[\]]*)(?::([0-9]*))?(?:\?([^#]*))?", re.IGNORECASE)


def stun_address(text: str) -> Address:
    """Read ``"host"`` or ``"host:port"``.

    Raises:
        ConfigError: It is neither.
    """
    name = text.strip().removeprefix("stun:")
    bare = name.count(":") != 1 and not name.startswith("[")
    try:
        address = Address(name, STUN_PORT) if bare else Address.parse(name)
    except UsageError as error:
        raise ConfigError("stun_servers", str(error)) from None
    is_named = bool(address.host) and not any(letter.isspace() for letter in address.host)
    is_named = is_named and (":" not in address.host or address.is_literal)
    require(is_named and address.port > 0, "stun_servers", f"not a server: {text!r}; write HOST or HOST:PORT")
    return address


def introducer_place(text: str) -> tuple[str, Address | WebUri]:
    """Read ``"PEERID@HOST:PORT"`` or ``"wss://PEERID@HOST[:PORT][/PATH]"``: who an introducer is, and where.

    Raises:
        ConfigError: It is of neither form.

    Example:
        >>> peer_id, place = introducer_place("wss://" + 32 * "ab" + "@relay.example.org")
        >>> str(place)
        'wss://relay.example.org:443/librats'
    """
    scheme, slashes, rest = text.strip().partition("://")
    peer_id, at, where = (rest if slashes else scheme).partition("@")
    if slashes:
        require(
            is_peer_id(peer_id),
            "introducers",
            f"not an introducer: {text!r}; write wss://PEERID@HOST/librats",
        )
        return peer_id, WebUri.parse(f"{scheme}://{where}", "introducers")
    try:
        address = Address.parse(where)
    except UsageError:
        address = Address("", 0)
    named = at and is_peer_id(peer_id) and address.host and address.port
    require(bool(named), "introducers", f"not an introducer: {text!r}; write PEERID@HOST:PORT or wss://PEERID@HOST")
    return peer_id, address


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
            require_positive_number("lifetime", self.lifetime)


def _require_turn_name(name: str, value: object) -> None:
    require(
        isinstance(value, str) and value != "", name, f"must be a text that is not empty, not {type(value).__name__}"
    )
    text = str(value)
    require(text.isprintable() and len(text.encode()) <= MAX_TURN_NAME, name, "must be printable and at most 508 bytes")


def require_positive_number(name: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and float(value) > 0, name, f"must be a number above 0, not {value!r}")  # type: ignore[arg-type]


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
    """UDP or TCP port; 0 stands for 3478, over TLS for 5349, over ``wss`` for 443 and over ``ws`` for 80."""

    username: str = ""
    """The username; empty for a server that asks for none, and where ``credentials`` are given."""

    password: str = ""
    """Its password."""

    transport: TurnTransport = TurnTransport.UDP
    """How the server is spoken to: ``"udp"``, ``"tcp"``, ``"tls"``, or inside a WebSocket, as only ``librats relay``
    does: ``"wss"`` or ``"ws"``. What it relays are datagrams in any case."""

    path: str = WEB_PATH
    """The path of the WebSocket."""

    credentials: Callable[[], TurnCredentials | Awaitable[TurnCredentials]] | None = None
    """Called for username and password, at the first time, before they expire, and where the server rejects them."""

    proxy: str = field(default=SYSTEM, repr=False)
    """The proxy on the way there, but for UDP: ``"system"`` for that of this host's settings, and none
    where that does not do; ``"off"`` for none; or ``"http://USER:PASSWORD@HOST:PORT"``, and nothing else. Clients have
    ``NatTraversalConfig.proxy`` in place of ``"system"``."""

    ca_file: str | Path | None = None
    """File with the certificates (PEM) that the server's must come from; None for those that the system trusts."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        require_one_of(self, "transport", TurnTransport)
        host_ok = isinstance(self.host, str) and self.host != "" and not re.search(r"[\s/?#@\[\]]", self.host)
        require(host_ok, "host", f"must be a host name or an IP address, not {self.host!r}")
        require(
            self.host.count(":") != 1,
            "host",
            f"must not hold the port, as in {self.host!r}; that is a field of its own",
        )
        number = isinstance(self.port, int) and not isinstance(self.port, bool) and 0 <= self.port <= MAX_PORT
        require(number, "port", f"must be a whole number from 0 to {MAX_PORT}, not {self.port!r}")
        if not self.port:
            object.__setattr__(self, "port", TURN_PORTS[self.transport])
        if self.username or self.password:
            require(self.credentials is None, "credentials", "and a username are one too many")
            _require_turn_name("username", self.username)
            _require_turn_name("password", self.password)
        require(self.credentials is None or callable(self.credentials), "credentials", "must be a function")
        require_proxy(self.proxy)
        require(is_web_path(self.path), "path", f"must be a path as in /librats, not {self.path!r}")
        if self.ca_file is not None:
            require(isinstance(self.ca_file, str | Path), "ca_file", f"must be a path, not {self.ca_file!r}")
            used = self.transport in ENCRYPTED or self.proxy.startswith("https:")
            require(used, "ca_file", "is of use over TLS only, or through a proxy over TLS")

    @property
    def address(self) -> Address:
        """Host and port."""
        return Address(self.host, self.port)

    @property
    def web(self) -> WebUri | None:
        """The WebSocket; None where the server is not spoken to in one."""
        return WebUri(self.address, self.transport is TurnTransport.WSS, self.path) if self.transport in WEB else None

    def through(self, proxy: str) -> Self:
        """Return the same server, by way of a proxy where it names none of its own."""
        return self if self.proxy != SYSTEM or proxy == SYSTEM else replace(self, proxy=proxy)

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is one of TLS."""
        return self.transport in ENCRYPTED

    def __repr__(self) -> str:
        """Show it as a URI, without the password."""
        return f"TurnServer({self._uri(quote(self.username, safe='') + '@' if self.username else '')})"

    def _uri(self, who: str) -> str:
        return f"turn:{who}{self.address}?transport={self.transport}"

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Read ``turn:USER:PASSWORD@HOST:PORT?transport=udp|tcp|tls|wss|ws`` or a URI of RFC 7065.

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
        require(match is not None, "uri", f"{shown!r} is not of the form turn:USER:PASSWORD@HOST:PORT?transport=udp")
        assert match is not None  # noqa: S101 - for the type checker
        scheme, who, host, port, query = match.groups()
        secure = scheme.lower() == "turns"
        transport = _transport_of(query, secure=secure, shown=shown)
        username, colon, password = (who or "").partition(":")
        require(who is None or bool(username and colon and password), "uri", f"{shown!r} has a user without a password")
        require(":" not in password, "uri", f"{shown!r} has more colons than one before the @; write %3A within a name")
        require(port != "" and len(port or "") <= len(str(MAX_PORT)), "uri", f"{shown!r} has no port behind the colon")
        return cls(
            host=host.strip("[]"),
            port=int(port or 0),
            username=_unquoted(username, shown),
            password=_unquoted(password, shown),
            transport=transport,
        )

    def to_uri(self) -> str:
        """Return the URI that :meth:`from_uri` reads, password and all.

        ``credentials``, ``ca_file``, ``path`` and ``proxy`` have no place in it.

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
    require(known, "uri", f"{shown!r}: behind the ? stands transport=udp, tcp, tls, wss or ws")
    odd = secure and value.lower() not in (TurnTransport.TCP, TurnTransport.TLS)
    require(not odd, "uri", f"{shown!r}: DTLS and WebSockets are no turns:; use transport=tcp")
    return TurnTransport.TLS if secure else TurnTransport(value.lower())


def _unquoted(text: str, shown: str) -> str:
    require(re.search(r"%(?![0-9A-Fa-f]{2})", text) is None, "uri", f"{shown!r} has a % without two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ConfigError("uri", f"{shown!r} has percent signs that are no UTF-8") from None
