"""A punched connection is handed over with what has come already, to protocols of both kinds."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from librats.services.punch.path import PunchedConnection
from librats.services.punch.tcp import PeerConnection, TcpMeeting


class Transport:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return ("192.0.2.7", 80)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Meeting:
    """Chooses a connection as soon as one message has come."""

    is_driven = True

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def made(self, _connection: PeerConnection) -> None:
        """Nothing is sent."""

    def came(self, connection: PeerConnection, message: bytes) -> None:
        self.messages.append(message)
        connection.choose()


class Whole(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.transport: object = None

    def connection_made(self, transport: object) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data


class InPieces(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.data = b""
        self.buffer = bytearray(3)
        self.transport: object = None

    def connection_made(self, transport: object) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]


MESSAGE = bytes.fromhex("000100042112a442") + bytes(12) + b"body"


def connection_with(data: bytes) -> tuple[PeerConnection, Meeting, Transport]:
    meeting, transport = Meeting(), Transport()
    connection = PeerConnection(cast("TcpMeeting", meeting))
    connection.connection_made(cast("asyncio.Transport", transport))
    for at in range(0, len(data), 5):
        connection.data_received(data[at : at + 5])
    return connection, meeting, transport


@pytest.mark.parametrize("kind", [Whole, InPieces])
def test_what_follows_the_last_message_is_the_protocols(kind: type[Whole] | type[InPieces]) -> None:
    connection, meeting, transport = connection_with(MESSAGE + b"\x00\x01 data of the peer's")
    assert meeting.messages == [MESSAGE]
    assert transport.calls == [("pause_reading",)]
    protocol = kind()
    PunchedConnection(connection, 1, None).take(lambda: protocol)
    assert protocol.data == b"\x00\x01 data of the peer's"
    assert protocol.transport is transport
    assert transport.calls[1:] == [("set_protocol", protocol), ("resume_reading",)]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", bytes.fromhex("0001ffff2112a442") + bytes(12)])
def test_who_says_something_else_is_cut_off(data: bytes) -> None:
    _, meeting, transport = connection_with(data)
    assert meeting.messages == []
    assert ("abort",) in transport.calls
