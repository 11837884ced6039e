"""The way through a SOCKS proxy: version 5 (RFC 1928), with a user and a password where it wants them (RFC 1929)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from librats.errors import ProxyError
from librats.reasons import AttemptReason
from librats.types import Address
from librats.web_uris import ProxyUri

__all__ = ["SocksTunnel"]

VERSION = 5
AUTHENTICATION_VERSION = 1
ANYBODY, BY_PASSWORD, NO_METHOD = 0, 2, 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
MOST = 255
HEAD = 4
"""Bytes of a reply before its address."""

REPLIES = {
    1: "it has failed",
    2: "its rules do not allow this",
    3: "it has no way to that network",
    4: "it cannot reach that host",
    5: "that host refuses the connection",
    6: "that is too far away",
    7: "it makes no connections for others",
    8: "it does not take such addresses",
}


class SocksTunnel:
    """One request for a tunnel to a host: a machine like :class:`librats.web.tunnel.Tunnel`.

    Args:
        proxy: The proxy.
        target: Host name or IP address, and TCP port. The proxy looks a name up.

    Raises:
        ProxyError: The name, or the user or the password, is longer than a proxy can be told.

    Example:
        >>> tunnel = SocksTunnel(ProxyUri.parse("socks5h://127.0.0.1:1080"), Address("relay.example.org", 443))
        >>> tunnel.data_to_send()
        b'\\x05\\x01\\x00'
        >>> tunnel.receive_data(b"\\x05\\x00"), tunnel.data_to_send()
        (False, b'\\x05\\x01\\x00\\x03\\x11relay.example.org\\x01\\xbb')
        >>> tunnel.receive_data(b"\\x05\\x00\\x00\\x01\\xc0\\x00\\x02\\x07\\x04\\x38")
        True
    """

    def __init__(self, proxy: ProxyUri, target: Address) -> None:
        self.proxy = proxy
        """The proxy."""
        self.target = target
        """Where the tunnel leads."""
        self.is_there = False
        """True once the proxy has made it."""
        self._credentials = (proxy.username.encode(), proxy.password.encode())
        if max(map(len, self._credentials)) > MOST:
            raise self._broken(f"user and password have {MOST} bytes at the most there")
        self._request = bytes([VERSION, CONNECT, 0]) + self._place() + target.port.to_bytes(2)
        methods = (ANYBODY, BY_PASSWORD) if proxy.username else (ANYBODY,)
        self._out = bytes([VERSION, len(methods), *methods])
        self._received = bytearray()
        self._expects: Callable[[], bool] = self._take_method

    def _place(self) -> bytes:
        """Return the host of the target as requests have it."""
        host = self.target.host
        if self.target.is_literal:
            packed = ipaddress.ip_address(host.partition("%")[0]).packed
            return bytes([IPV6 if ":" in host else IPV4]) + packed
        try:
            name = host.encode("ascii") if host.isascii() else host.encode("idna")
        except UnicodeError:
            raise self._broken(f"{host!r} is no name that it can be told") from None
        if not 1 <= len(name) <= MOST:
            raise self._broken(f"a name has {MOST} bytes at the most there")
        return bytes([NAME, len(name)]) + name

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, each once."""
        out, self._out = self._out, b""
        return out

    def receive_data(self, data: bytes) -> bool:
        """Take what the proxy says, and tell whether the tunnel is there.

        Args:
            data: What has come; none where the proxy has closed the connection.

        Raises:
            ProxyError: The proxy does not make the tunnel, or speaks something else than SOCKS 5.
        """
        if not data:
            raise self._broken("it has closed the connection before its answer")
        self._received += data
        while not self.is_there and self._expects():
            continue
        if self._received and self.is_there:
            raise self._broken("it says more than it was asked")  # whoever is behind it waits for our first words
        return self.is_there

    def _taken(self, size: int) -> bytes | None:
        """Return so many bytes of what has come; None where there are fewer."""
        if len(self._received) < size:
            return None
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _take_method(self) -> bool:
        if self._received[:1] not in (b"", bytes([VERSION])):
            raise self._broken("it does not answer in SOCKS 5")
        chosen = self._taken(2)
        if chosen is None:
            return False
        method = chosen[1]
        if method == ANYBODY:
            self._out, self._expects = self._request, self._take_reply
        elif method == BY_PASSWORD and self.proxy.username:
            username, password = self._credentials
            told = bytes([AUTHENTICATION_VERSION, len(username)]) + username + bytes([len(password)]) + password
            self._out, self._expects = told, self._take_permission
        elif method == NO_METHOD and not self.proxy.username:
            raise self._refused("it wants to know who we are; write user and password into its URI", method)
        else:
            raise self._refused("it takes neither anybody nor a user and a password", method)
        return True

    def _take_permission(self) -> bool:
        answer = self._taken(2)
        if answer is None:
            return False
        if answer[0] != AUTHENTICATION_VERSION:
            raise self._broken("it does not answer in SOCKS 5")
        if answer[1]:
            raise self._refused("it does not take this user and password", answer[1])
        self._out, self._expects = self._request, self._take_reply
        return True

    def _take_reply(self) -> bool:
        received = self._received
        if received[:1] not in (b"", bytes([VERSION])):
            raise self._broken("it does not answer in SOCKS 5")
        if len(received) < 2:  # noqa: PLR2004 - version and reply; what refuses may be all that comes
            return False
        if received[1]:
            what = REPLIES.get(received[1], f"it answers {received[1]}")
            raise self._refused(f"{what}, asked for {self.target}", received[1])
        if len(received) <= HEAD:
            return False
        sizes = {IPV4: 4, IPV6: 16, NAME: 1 + received[HEAD]}
        size = sizes.get(received[HEAD - 1])
        if size is None:
            raise self._broken("it does not answer in SOCKS 5")
        self.is_there = self._taken(HEAD + size + 2) is not None
        return False

    def _broken(self, what: str) -> ProxyError:
        return ProxyError(str(self.proxy), what, AttemptReason.PROXY_UNREACHABLE)

    def _refused(self, what: str, status: int) -> ProxyError:
        return ProxyError(str(self.proxy), what, AttemptReason.PROXY_DENIED, status=status)
