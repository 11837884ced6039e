"""The two ends of a WebSocket (RFC 6455) that carries bytes: the rules are websockets', the limits are ours."""

from __future__ import annotations

import logging
from http import HTTPStatus

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from librats.errors import ConnectError
from librats.reasons import AttemptReason
from librats.web_uris import WEB_PATH, WebUri

__all__ = ["ClientSocket", "ServerSocket", "WebSocket"]

_SILENT = logging.Logger("librats.web.rules", logging.CRITICAL + 1)
"""What websockets logs to: it would show what is carried."""

LONGEST_MESSAGE = 256 * 1024
"""Bytes of one message, all its fragments together, that the other side may send."""

LONGEST_HANDSHAKE = 16 * 1024
"""Bytes of a request, or of the answer to one, all headers together."""

FRAME = 64 * 1024
"""Bytes that leave in one message."""

_END = b"\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebSocket:
    """What both ends do once it is open. A message's bounds mean nothing: what comes is one stream of bytes.

    Args:
        protocol: The rules.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol) -> None:
        self._protocol = protocol
        self._is_deaf = False
        self._received: list[bytes] = []
        self._to_send: list[bytes] = []
        self.is_over = False
        """True once nothing more is sent or taken: the connection is to be closed behind what is to be sent."""

    @property
    def is_open(self) -> bool:
        """True once bytes may be sent, until it closes."""
        return self._protocol.state is State.OPEN

    def receive_data(self, data: bytes) -> None:
        """Take what has come."""
        if self.is_over:
            return
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if self._is_deaf:
                break
            if isinstance(event, Frame):
                self._take_frame(event)
            else:
                self._take_handshake(event)
        self._collect()

    def take_data(self) -> list[bytes]:
        """Return the bytes that have come inside."""
        received, self._received = self._received, []
        return received

    def data_to_send(self) -> bytes:
        """Return what is to be written to the connection."""
        out, self._to_send = self._to_send, []
        return b"".join(out)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, where it is open."""
        if not self.is_open:
            return
        view = memoryview(data).cast("B")
        for start in range(0, len(view), FRAME):
            self._protocol.send_binary(view[start : start + FRAME])
        self._collect()

    def close(self) -> None:
        """Say that this is the end. Idempotent."""
        if self.is_open:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._collect()
        self.is_over = True

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            if frame.data:
                self._received.append(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self._is_deaf = True
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "binary messages only")

    def _collect(self) -> None:
        """Take over what the rules want to be sent, and whether it is over."""
        protocol = self._protocol
        self._to_send += [each for each in protocol.data_to_send() if each != SEND_EOF]
        if protocol.state in (State.CLOSING, State.CLOSED) or protocol.eof_sent or protocol.handshake_exc is not None:
            self.is_over = True

    def _take_handshake(self, event: object) -> None:
        """Take a request, or the answer to one."""


class ServerSocket(WebSocket):
    """The end that is asked for a WebSocket at ``/librats``; whatever else is asked for is answered shortly."""

    def __init__(self) -> None:
        self._server = ServerProtocol(max_size=LONGEST_MESSAGE, logger=_SILENT)
        super().__init__(self._server)
        self._request: bytearray | None = bytearray()
        self.forwarded_for = ""
        """The last address that a reverse proxy has noted in ``X-Forwarded-For``; empty where none has."""

    def receive_data(self, data: bytes) -> None:
        """Take what has come; the request whole, since what is behind it is to be read by its answer's rules."""
        if self._request is None:
            super().receive_data(data)
            return
        if self.is_over:
            return
        self._request += data
        head, end, rest = self._request.partition(_END)
        if len(head) > LONGEST_HANDSHAKE:
            self._refuse(_TOO_LARGE)
        elif not head.isascii():  # older versions of websockets fail at some
            self._refuse(_BAD_REQUEST)
        elif end:
            self._request = None
            self._take_request(bytes(head + end))
            super().receive_data(bytes(rest))

    def _take_request(self, request: bytes) -> None:
        super().receive_data(request)
        if self.is_over and not self._to_send:
            self._refuse(_BAD_REQUEST)

    def _refuse(self, answer: bytes) -> None:
        self._to_send.append(answer)
        self.is_over = True

    def _take_handshake(self, event: object) -> None:
        if not isinstance(event, Request):
            return
        if event.path.partition("?")[0] != WEB_PATH:
            response = self._server.reject(HTTPStatus.NOT_FOUND, "There is nothing here.\n")
        else:
            response = self._server.accept(event)
            hops = ",".join(event.headers.get_all("X-Forwarded-For")).split(",")
            self.forwarded_for = hops[-1].strip()
        self._server.send_response(response)


class ClientSocket(WebSocket):
    """The end that asks for a WebSocket.

    Args:
        uri: Where it is.

    Example:
        >>> ClientSocket(WebUri.parse("ws://127.0.0.1:8080")).data_to_send().splitlines()[0]
        b'GET /librats HTTP/1.1'
    """

    def __init__(self, uri: WebUri) -> None:
        self._uri = uri
        self._client = ClientProtocol(parse_uri(str(uri)), max_size=LONGEST_MESSAGE, logger=_SILENT)
        super().__init__(self._client)
        self._answered = 0
        self._client.send_request(self._client.connect())
        self._collect()

    def receive_data(self, data: bytes) -> None:
        """Take what has come."""
        is_answer = not self.is_open
        super().receive_data(data)
        if is_answer and not self.is_open:
            self._answered += len(data)
            if self._answered > LONGEST_HANDSHAKE:
                self.is_over = True

    @property
    def problem(self) -> ConnectError:
        """Why it did not open."""
        error = self._client.handshake_exc
        words = "the connection ended before there was a WebSocket" if error is None else _printable(str(error))
        return ConnectError(str(self._uri), reason=words, code=AttemptReason.HANDSHAKE_FAILED)


def _printable(words: str) -> str:
    return "".join(letter for letter in words if letter.isprintable())[:200]
