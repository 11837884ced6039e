"""A transport inside a WebSocket, over connections that only note what is done to them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.web.test_sockets import BINARY, PING, REQUEST, frame

from librats.services.web_transport import WebCarrier, WebTransport
from librats.web.sockets import ServerSocket


class Under(asyncio.Transport):
    """The connection that carries."""

    def __init__(self) -> None:
        super().__init__({"peername": ("203.0.113.9", 5), "sockname": ("127.0.0.1", 443)})
        self.written = b""
        self.told: list[str] = []
        self.waiting = 0

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def is_closing(self) -> bool:
        return "close" in self.told or "abort" in self.told

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def get_write_buffer_size(self) -> int:
        return self.waiting


class Inside(asyncio.Protocol):
    """What is spoken inside."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.transport: WebTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, WebTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.heard.append(error)

    def pause_writing(self) -> None:
        self.heard.append("full")

    def resume_writing(self) -> None:
        self.heard.append("room")


class Buffered(asyncio.BufferedProtocol):
    """The same with a buffer of three bytes."""

    def __init__(self) -> None:
        self.buffer = bytearray(3)
        self.heard = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]


@pytest.fixture
def under() -> Under:
    return Under()


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def carrier(under: Under, inside: Inside) -> WebCarrier:
    carrier = WebCarrier(
        ServerSocket(),
        lambda: inside,
        lambda: inside.heard.append("failed"),
        extra=lambda under: {"peername": ("a", 1)},
    )
    carrier.connection_made(under)
    return carrier


@pytest.fixture
def opened(carrier: WebCarrier, under: Under) -> WebCarrier:
    carrier.data_received(REQUEST)
    assert under.written.startswith(b"HTTP/1.1 101")
    under.written = b""
    return carrier


def test_nobody_inside_hears_of_a_request_that_is_refused(carrier: WebCarrier, under: Under, inside: Inside) -> None:
    carrier.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert under.told == ["close"]
    carrier.connection_lost(None)
    assert inside.heard == ["failed"]


def test_what_comes_right_behind_the_request_is_heard(carrier: WebCarrier, inside: Inside) -> None:
    carrier.data_received(REQUEST + frame(BINARY, b"early"))
    assert inside.heard == [b"early"]


def test_who_pauses_hears_nothing_until_it_goes_on(opened: WebCarrier, under: Under, inside: Inside) -> None:
    inside.transport.pause_reading()
    opened.data_received(frame(BINARY, b"one") + frame(BINARY, b"two"))
    opened.connection_lost(None)
    assert inside.heard == []
    inside.transport.resume_reading()
    assert inside.heard == [b"one", b"two", None]
    assert under.told == ["pause", "resume"]


def test_who_pauses_within_a_message_hears_the_rest_later(opened: WebCarrier, inside: Inside) -> None:
    class Careful(Inside):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            inside.transport.pause_reading()

    careful = Careful()
    inside.transport.set_protocol(careful)
    opened.data_received(frame(BINARY, b"one") + frame(BINARY, b"two"))
    assert careful.heard == [b"one"]
    inside.transport.resume_reading()
    assert careful.heard == [b"one", b"two"]


def test_protocols_with_buffers_hear_all_of_it(opened: WebCarrier, inside: Inside) -> None:
    buffered = Buffered()
    inside.transport.set_protocol(buffered)
    opened.data_received(frame(BINARY, b"0123456789"))
    assert buffered.heard == b"0123456789"


def test_what_is_written_leaves_in_messages_and_closing_says_so(
    opened: WebCarrier, under: Under, inside: Inside
) -> None:
    inside.transport.write(b"hello")
    inside.transport.close()
    inside.transport.write(b"too late")
    inside.transport.close()
    assert under.written == frame(BINARY, b"hello", masked=False) + frame(8, b"\x03\xe8", masked=False)
    assert under.told == ["close"]
    assert inside.transport.is_closing()


def test_the_network_s_lack_of_room_is_passed_on(opened: WebCarrier, under: Under, inside: Inside) -> None:
    opened.pause_writing()
    opened.resume_writing()
    assert inside.heard == ["full", "room"]
    under.waiting = 77
    assert inside.transport.get_write_buffer_size() == 77


def test_who_asks_for_answers_and_takes_none_is_not_read_any_more(opened: WebCarrier, under: Under) -> None:
    opened.data_received(frame(PING, b"!"))
    assert under.told == []
    opened.pause_writing()
    opened.data_received(frame(PING, b"!") * 3)
    assert under.told == ["pause"]
    opened.resume_writing()
    assert under.told == ["pause", "resume"]


def test_what_is_told_of_the_connection_is_the_carriers_unless_known_better(opened: WebCarrier, inside: Inside) -> None:
    transport = inside.transport
    assert transport.get_extra_info("peername") == ("a", 1)
    assert transport.get_extra_info("sockname") == ("127.0.0.1", 443)
    assert transport.get_extra_info("sslcontext") is None
    assert not transport.can_write_eof()
