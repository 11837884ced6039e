"""The way through an HTTP proxy: a CONNECT request (RFC 9110, 9.3.6), and what a proxy makes of it."""

from __future__ import annotations

import base64
import re

from librats.errors import ProxyError
from librats.reasons import AttemptReason
from librats.types import Address
from librats.web_uris import ProxyUri

__all__ = ["Tunnel"]

LONGEST_ANSWER = 16 * 1024
"""Bytes of a proxy's answer, all headers together."""

LONGEST_WORDS = 100
"""Letters of a proxy's own words that are told."""

FIRST_SUCCESS, LAST_SUCCESS = 200, 299
UNAUTHENTICATED = 407

_BEGINNING = b"HTTP/1."
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r\n")
_SCHEMES = re.compile(rb"^proxy-authenticate:[ \t]*([A-Za-z0-9_-]+)", re.IGNORECASE | re.MULTILINE)


class Tunnel:
    """One request for a tunnel to a host.

    Args:
        proxy: The proxy.
        target: Host name or IP address, and TCP port. The proxy looks the name up.

    Example:
        >>> tunnel = Tunnel(ProxyUri.parse("http://127.0.0.1:3128"), Address("relay.example.org", 443))
        >>> tunnel.data_to_send().decode().splitlines()[0]
        'CONNECT relay.example.org:443 HTTP/1.1'
        >>> tunnel.receive_data(b"HTTP/1.1 200 Connection established\\r\\n\\r\\n")
        True
    """

    def __init__(self, proxy: ProxyUri, target: Address) -> None:
        self.proxy = proxy
        """The proxy."""
        self.target = target
        """Where the tunnel leads."""
        self.is_there = False
        """True once the proxy has made it."""
        self._is_sent = False
        self._received = bytearray()

    def data_to_send(self) -> bytes:
        """Return the request, once."""
        if self._is_sent:
            return b""
        self._is_sent = True
        lines = [f"CONNECT {self.target} HTTP/1.1", f"Host: {self.target}"]
        if self.proxy.username:
            pair = f"{self.proxy.username}:{self.proxy.password}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
        return "\r\n".join([*lines, "", ""]).encode()

    def receive_data(self, data: bytes) -> bool:
        """Take what the proxy says, and tell whether the tunnel is there.

        Args:
            data: What has come; none where the proxy has closed the connection.

        Raises:
            ProxyError: The proxy does not make the tunnel, or speaks something else than HTTP.
        """
        if not data:
            raise self._broken("it has closed the connection before its answer")
        self._received += data
        while True:
            head, end, rest = self._received.partition(_END)
            if not head.startswith(_BEGINNING) and not _BEGINNING.startswith(head):
                raise self._broken("it does not answer in HTTP")
            if len(head) > LONGEST_ANSWER:
                raise self._broken("its answer is too long")
            if not end:
                return False
            status = _STATUS.match(head + b"\r\n")
            if status is None:
                raise self._broken("it does not answer in HTTP")
            code = int(status[1])
            if code < FIRST_SUCCESS:  # not the answer yet
                self._received = rest
                continue
            if code > LAST_SUCCESS:
                raise self._refused(code, (status[2] or b"").decode("ascii", "replace"), bytes(head))
            if rest:
                raise self._broken("it says more than it was asked")  # whoever is behind it waits for our first words
            self.is_there = True
            return True

    def _broken(self, what: str) -> ProxyError:
        return ProxyError(str(self.proxy), what, AttemptReason.PROXY_UNREACHABLE)

    def _refused(self, code: int, words: str, head: bytes) -> ProxyError:
        printable = "".join(letter for letter in words if letter.isprintable())[:LONGEST_WORDS].strip()
        what = f"it answers {code} {printable}".rstrip() + f" to CONNECT {self.target}"
        if code == UNAUTHENTICATED:
            schemes = [each.decode("ascii", "replace").lower() for each in _SCHEMES.findall(head)]
            if "basic" not in schemes and schemes:
                what += f"; it wants {', '.join(dict.fromkeys(schemes))}, and only Basic is spoken"
            elif self.proxy.username:
                what += "; it does not take this user and password"
            else:
                what += "; write user and password into its URI"
        return ProxyError(str(self.proxy), what, AttemptReason.PROXY_DENIED, status=code)
