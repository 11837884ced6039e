"""What a person writes to name a WebSocket or a proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from librats.checks import require
from librats.errors import ConfigError
from librats.types import Address

__all__ = ["ProxyUri", "WebUri"]

SYSTEM, OFF = "system", "off"
"""Words in place of a proxy: that of the system's settings, and none."""

WEB_PATH = "/librats"
SECURE_PORT, PLAIN_PORT = 443, 80
PROXY_PORTS = {"http": PLAIN_PORT, "https": SECURE_PORT, "socks5": 1080, "socks5h": 1080}
"""How a proxy may be spoken to, and the port where none is given."""

_PATH = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*")
_HOST = re.compile(r"[^\s/?#@\[\]%\\]+")


class WebUri(Struct, frozen=True):
    """Where a WebSocket is (RFC 6455).

    Example:
        >>> WebUri.parse("wss://relay.example.org")
        WebUri(address=Address(host='relay.example.org', port=443), secure=True, path='/librats')
        >>> str(WebUri.parse("ws://127.0.0.1:8080/p2p"))
        'ws://127.0.0.1:8080/p2p'
    """

    address: Address
    """Host name or IP address, and TCP port."""

    secure: bool = True
    """Whether TLS is around it."""

    path: str = WEB_PATH
    """The path that is asked for."""

    @classmethod
    def parse(cls, text: str, field: str = "uri") -> Self:
        """Read ``ws://`` or ``wss://``, ``HOST[:PORT][/PATH]``.

        Args:
            text: What a person wrote.
            field: Name of the configuration field that errors name.

        Raises:
            ConfigError: It is no such URI.
        """
        parts, port = _split(text, text, field)
        known = parts.scheme in ("ws", "wss") and not (parts.username or parts.query or parts.fragment)
        path = parts.path if parts.path not in ("", "/") else WEB_PATH
        require(known and is_web_path(path), field, f"not a WebSocket: {text!r}; write wss://HOST/librats")
        secure = parts.scheme == "wss"
        return cls(Address(parts.hostname or "", port or (SECURE_PORT if secure else PLAIN_PORT)), secure, path)

    def __str__(self) -> str:
        """Write it as a URI."""
        return f"{'wss' if self.secure else 'ws'}://{self.address}{self.path}"


@dataclass(frozen=True, slots=True)
class ProxyUri:
    """A proxy, and who we are to it.

    Example:
        >>> proxy = ProxyUri.parse("http://ann:p%40ss@proxy.example.org:3128")
        >>> str(proxy), proxy.username
        ('http://proxy.example.org:3128', 'ann')
    """

    address: Address
    """Host name or IP address, and TCP port."""

    username: str = ""
    """For Basic authentication (RFC 7617), or that of SOCKS (RFC 1929); empty for none."""

    password: str = field(default="", repr=False)
    """Its password."""

    scheme: str = "http"
    """How it is spoken to: ``http``; ``https`` for the same inside TLS; ``socks5``, or ``socks5h`` where the proxy is
    to look names up."""

    @classmethod
    def parse(cls, text: str, field: str = "proxy") -> Self:
        """Read ``http://USER:PASSWORD@HOST:PORT``, or the same with another scheme.

        User, password, port (80, 443 or 1080) and ``http://`` may be left out.

        Args:
            text: What a person, or the system's settings, say.
            field: Name of the configuration field that errors name.

        Raises:
            ConfigError: It is no such URI, or the proxy is spoken to in another way.
        """
        shown = f"...@{text.rpartition('@')[2]}" if "@" in text else text  # an error is no place for a password
        parts, port = _split(text if "://" in text else f"http://{text}", shown, field)
        scheme = parts.scheme
        known = " or ".join(f"{each}://" for each in PROXY_PORTS)
        require(
            scheme in PROXY_PORTS, field, f"{shown!r} is no proxy that can be spoken to; write {known} and HOST:PORT"
        )
        bare = parts.path in ("", "/") and not (parts.query or parts.fragment)
        require(bare, field, f"{shown!r} has something behind the port; write {scheme}://HOST:PORT")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        basic = ":" not in username or scheme not in ("http", "https")
        require(basic, field, f"{shown!r} has a user with a colon, which Basic credentials cannot have")
        require((username + password).isprintable(), field, f"{shown!r} has control characters in its credentials")
        return cls(Address(parts.hostname or "", port or PROXY_PORTS[scheme]), username, password, scheme)

    def __str__(self) -> str:
        """Write it as a URI, without the credentials."""
        return f"{self.scheme}://{self.address}"


def require_proxy(value: object) -> None:
    """Check a configuration's field ``proxy``.

    Raises:
        ConfigError: It is neither ``"system"`` nor ``"off"`` nor the URI of a proxy.
    """
    require(isinstance(value, str), "proxy", f"must be a text, not {type(value).__name__}")
    if value not in (SYSTEM, OFF):
        ProxyUri.parse(str(value))


def is_web_path(text: object) -> bool:
    """Tell whether a text is the path of a WebSocket."""
    return isinstance(text, str) and _PATH.fullmatch(text) is not None


def _split(text: str, shown: str, field: str) -> tuple[SplitResult, int | None]:
    """Take a URI with a host apart.

    Raises:
        ConfigError: It is none.
    """
    bare = text.strip()
    try:
        parts = urlsplit(bare)
        port = parts.port
    except ValueError as error:
        raise ConfigError(field, f"{shown!r}: {str(error).lower()}") from None
    host = parts.hostname or ""
    named = bare.isprintable() and " " not in bare and _HOST.fullmatch(host) is not None and port != 0
    if named and ":" in host:
        named = Address(host, 0).is_literal
    require(named, field, f"{shown!r} names no host and port")
    return parts, port
