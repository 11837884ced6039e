"""Clients of a relay on blocking sockets: no more of TURN than its tests need."""

from __future__ import annotations

import itertools
import socket
import ssl
from typing import Any, Self

from librats._core.stun import StunMessage, channel_data, frame_size, parse, parse_channel_data, serialise
from librats.stun.constants import Attribute, MessageClass, Method
from librats.stun.credentials import long_term_key
from librats.types import Address

WAIT = 10.0
SHORT = 0.2
USER, PASSWORD = "bob", "secret"
UDP, TCP = 17, 6

_transactions = itertools.count(1)


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Peer:
    """Somebody outside, with a UDP socket."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.settimeout(WAIT)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.sock.getsockname()[:2]
        return host, port

    def receive(self) -> bytes:
        return self.sock.recv(65536)

    def hears_nothing(self) -> bool:
        self.sock.settimeout(SHORT)
        try:
            self.sock.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(WAIT)
        return False

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self.sock.sendto(data, to)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class TurnClient:
    """A client that speaks TURN over UDP, TCP or TLS.

    Args:
        server: Where.
        transport: ``"udp"``, ``"tcp"`` or ``"tls"``.
    """

    def __init__(self, server: Address, transport: str = "udp", *, user: str = USER, password: str = PASSWORD) -> None:
        self.server = server
        self.user = user
        self.nonce = ""
        self.realm = ""
        self._password = password
        self._buffer = b""
        self.is_stream = transport != "udp"
        kind = socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM
        sock = socket.socket(family_of(server.host), kind)
        sock.settimeout(WAIT)
        sock.connect((server.host, server.port))
        if transport == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname="relay.test")
        self.sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def key(self) -> bytes:
        return long_term_key(self.user, self.realm, self._password)

    def receive(self) -> bytes:
        """Return the next datagram, or frame of the stream; b"" at its end."""
        if not self.is_stream:
            return self.sock.recv(65536)
        while True:
            size = frame_size(self._buffer) if len(self._buffer) >= 4 else 0
            if size and len(self._buffer) >= size:
                frame, self._buffer = self._buffer[:size], self._buffer[size:]
                return frame
            more = self.sock.recv(65536)
            if not more:
                return b""
            self._buffer += more

    def read(self, size: int) -> bytes:
        """Return up to so many bytes of a joined connection; they may have come along with the last answer."""
        if not self._buffer:
            return self.sock.recv(size)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def ask(self, method: Method, *attributes: tuple[int, Any]) -> StunMessage:
        """Send a request with credentials, and return the answer; credentials are got as they are asked for."""
        for _ in range(3):
            answer = self._ask(method, attributes)
            error = answer.get(Attribute.ERROR_CODE)
            if error is None or error[0] not in (401, 438) or (error[0] == 401 and self.nonce):
                return answer
            self.realm, self.nonce = answer.get(Attribute.REALM), answer.get(Attribute.NONCE)
        return answer

    def _ask(self, method: Method, attributes: tuple[tuple[int, Any], ...]) -> StunMessage:
        transaction = next(_transactions).to_bytes(12, "big")
        more: list[tuple[int, Any]] = []
        if self.nonce:
            more = [(Attribute.USERNAME, self.user), (Attribute.REALM, self.realm), (Attribute.NONCE, self.nonce)]
        key = self.key if self.nonce else None
        self.sock.sendall(serialise(method, MessageClass.REQUEST, transaction, [*attributes, *more], key=key))
        while True:
            message = parse(self.receive())
            if message.transaction_id == transaction:
                return message

    def code(self, method: Method, *attributes: tuple[int, Any]) -> int:
        error = self.ask(method, *attributes).get(Attribute.ERROR_CODE)
        return 0 if error is None else int(error[0])

    def allocate(self, *attributes: tuple[int, Any], transport: int = UDP) -> tuple[str, int]:
        """Allocate, and return the first relayed address."""
        answer = self.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, transport), *attributes)
        host, port = answer.get(Attribute.XOR_RELAYED_ADDRESS)
        return host, port

    def permit(self, peer: tuple[str, int]) -> int:
        return self.code(Method.CREATE_PERMISSION, (Attribute.XOR_PEER_ADDRESS, peer))

    def bind(self, channel: int, peer: tuple[str, int]) -> int:
        return self.code(Method.CHANNEL_BIND, (Attribute.CHANNEL_NUMBER, channel), (Attribute.XOR_PEER_ADDRESS, peer))

    def refresh(self, lifetime: int) -> int:
        return self.code(Method.REFRESH, (Attribute.LIFETIME, lifetime))

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        """Send by a Send indication."""
        attributes = [(Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data)]
        self.sock.sendall(serialise(Method.SEND, MessageClass.INDICATION, bytes(12), attributes))

    def send_channel(self, channel: int, data: bytes) -> None:
        self.sock.sendall(channel_data(channel, data, padded=self.is_stream))

    def data(self) -> tuple[bytes, tuple[str, int]]:
        """Return what the next Data indication brings."""
        message = parse(self.receive())
        assert message.method == Method.DATA
        return message.get(Attribute.DATA), message.get(Attribute.XOR_PEER_ADDRESS)

    def channel(self) -> tuple[int, bytes]:
        """Return what the next ChannelData brings."""
        return parse_channel_data(self.receive())
