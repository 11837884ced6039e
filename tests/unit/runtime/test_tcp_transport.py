"""The transport of TCP connections: reading, writing against a full socket, and every way to end."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from librats.runtime.tcp_transport import TcpTransport, takes_transports

WAIT = 20.0  # seconds after which a test gives up; nothing here takes a tenth of one
LOCAL = "127.0.0.1"
BUFFERS = 16 * 1024
MUCH = bytes(range(256)) * 8192


class Recorder(asyncio.Protocol):
    """Keeps what happens to one connection."""

    keeps_open = False

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.has_come = asyncio.Event()
        self.paused: list[bool] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.half_closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.has_come.set()

    def eof_received(self) -> bool:
        self.half_closed.set()
        return self.keeps_open

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


class Patient(Recorder):
    """Goes on writing when the other side has ended its way."""

    keeps_open = True


class Buffered(asyncio.BufferedProtocol):
    """Takes bytes in a buffer of its own, a few at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray(7)
        self.received = bytearray()
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


def complaints_of_the_loop() -> list[dict[str, Any]]:
    """Return what the loop complains of from now on."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints


class Line:
    """A connection: one end a transport, the other one a plain socket of the test's."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        with socket.create_server((LOCAL, 0)) as server:
            self.far = socket.create_connection(server.getsockname())
            self.near, self.name = server.accept()
        for sock in (self.far, self.near):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFERS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFERS)

    def begin(self, protocol: Any) -> TcpTransport:
        transport = TcpTransport(self.loop, self.near, self.name)
        transport.begin(protocol)
        return transport

    async def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            data = await self.loop.sock_recv(self.far, 1 << 20)
            if not data:
                break
            found += data
        return found

    def reset(self) -> None:
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.far.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    async with asyncio.timeout(WAIT):
        yield line
    line.far.close()
    line.near.close()


async def test_bytes_go_both_ways_at_once_after_the_connection_is_made(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    assert recorder.transport is transport
    transport.write(b"hello")
    assert await line.read(5) == b"hello"
    line.far.send(b"and back")
    await recorder.has_come.wait()
    assert recorder.received == b"and back"
    transport.close()
    assert await recorder.ended is None
    assert await line.read(1) == b""
    assert line.near.fileno() == -1


async def test_it_tells_names_and_socket_and_sends_small_messages_at_once(line: Line) -> None:
    transport = line.begin(Recorder())
    assert transport.get_extra_info("peername") == line.far.getsockname()
    assert transport.get_extra_info("sockname") == line.far.getpeername()
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert transport.get_extra_info("cipher", "none") == "none"
    assert str(line.name) in repr(transport)
    transport.abort()
    await cast("Recorder", transport.get_protocol()).ended
    assert transport.get_extra_info("sockname", "gone") == "gone"
    assert repr(transport).endswith("closing>")


async def test_a_buffered_protocol_gets_bytes_in_its_own_buffer(line: Line) -> None:
    buffered = Buffered()
    line.begin(buffered)
    line.far.send(b"more than seven bytes")
    line.far.shutdown(socket.SHUT_WR)
    assert await buffered.ended is None
    assert buffered.received == b"more than seven bytes"


async def test_another_protocol_hears_what_comes_from_then_on(line: Line) -> None:
    first, second = Recorder(), Buffered()
    transport = line.begin(first)
    transport.set_protocol(second)
    line.far.send(b"for you")
    line.far.shutdown(socket.SHUT_WR)
    await second.ended
    assert (bytes(first.received), bytes(second.received)) == (b"", b"for you")
    assert not first.ended.done()


async def test_nothing_is_read_while_reading_is_paused(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    line.far.send(b"later")
    await asyncio.sleep(0.01)
    assert recorder.received == b""
    transport.resume_reading()
    transport.resume_reading()
    assert transport.is_reading()
    await recorder.has_come.wait()
    assert recorder.received == b"later"
    transport.abort()
    await recorder.ended


async def test_a_protocol_that_pauses_when_the_connection_is_made_hears_nothing_yet(line: Line) -> None:
    class Shy(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    shy = Shy()
    line.far.send(b"early")
    transport = line.begin(shy)
    await asyncio.sleep(0.01)
    assert shy.received == b""
    transport.resume_reading()
    await shy.has_come.wait()
    transport.abort()
    await shy.ended


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_what_the_system_does_not_take_at_once_waits_and_leaves_in_order(
    line: Line, kind: Callable[[bytes], Any]
) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.set_write_buffer_limits(high=1000, low=100)
    assert transport.get_write_buffer_limits() == (100, 1000)
    mutable = bytearray(MUCH)
    transport.write(kind(bytes(mutable)))
    transport.write(kind(b"the end"))
    assert transport.get_write_buffer_size() > 1000
    assert recorder.paused == [True]
    assert await line.read(len(MUCH) + 7) == MUCH + b"the end"
    await asyncio.sleep(0)
    assert recorder.paused == [True, False]
    assert transport.get_write_buffer_size() == 0
    transport.write(b"more")
    assert await line.read(4) == b"more"
    transport.abort()
    await recorder.ended


async def test_limits_follow_from_each_other(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.write(MUCH)
    assert recorder.paused == [True]
    transport.set_write_buffer_limits(high=4000)
    assert transport.get_write_buffer_limits() == (1000, 4000)
    transport.set_write_buffer_limits(low=2000)
    assert transport.get_write_buffer_limits() == (2000, 8000)
    transport.set_write_buffer_limits()
    assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    transport.abort()
    assert transport.get_write_buffer_size() == 0
    assert await recorder.ended is None


async def test_limits_that_are_passed_already_pause_at_once(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.set_write_buffer_limits(high=2 * len(MUCH))
    transport.write(MUCH)
    assert recorder.paused == []
    transport.set_write_buffer_limits(high=10)
    assert recorder.paused == [True]
    transport.abort()
    await recorder.ended


async def test_closing_hands_over_what_was_written(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.write(MUCH)
    transport.close()
    transport.close()
    assert transport.is_closing()
    assert not recorder.ended.done()
    assert await line.read(len(MUCH) + 1) == MUCH
    assert await recorder.ended is None


async def test_one_way_ends_behind_what_was_written_and_the_other_goes_on(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    assert transport.can_write_eof()
    transport.write(MUCH)
    transport.write_eof()
    transport.write_eof()
    transport.write(b"nothing more")
    assert await line.read(len(MUCH) + 1) == MUCH
    line.far.send(b"thanks")
    await recorder.has_come.wait()
    assert recorder.received == b"thanks"
    line.far.close()
    assert await recorder.ended is None


async def test_a_protocol_may_go_on_writing_when_the_other_side_has_ended_its_way(line: Line) -> None:
    patient = Patient()
    transport = line.begin(patient)
    line.far.shutdown(socket.SHUT_WR)
    await patient.half_closed.wait()
    transport.write(b"still here")
    assert await line.read(10) == b"still here"
    transport.close()
    assert await patient.ended is None


async def test_aborting_drops_what_waits_and_tells_once(line: Line) -> None:
    complaints = complaints_of_the_loop()
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.write(MUCH)
    transport.abort()
    transport.abort()
    transport.close()
    transport.write(b"unheard")
    assert await recorder.ended is None
    assert len(await line.read(len(MUCH))) < len(MUCH)
    assert complaints == []


@pytest.mark.parametrize("protocol", [Recorder, Buffered])
async def test_a_reset_is_told_to_who_reads(line: Line, protocol: Callable[[], Any]) -> None:
    hearing = protocol()
    line.begin(hearing)
    line.reset()
    assert isinstance(await hearing.ended, ConnectionResetError)


async def test_a_reset_is_told_to_who_writes(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.pause_reading()
    line.reset()
    transport.write(b"anybody")
    assert isinstance(await recorder.ended, OSError)


async def test_a_reset_is_told_to_who_waits_to_write(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.pause_reading()
    transport.write(MUCH)
    line.reset()
    assert isinstance(await recorder.ended, OSError)


async def test_ending_a_way_on_a_connection_that_is_gone_ends_it(line: Line) -> None:
    recorder = Recorder()
    transport = line.begin(recorder)
    transport.pause_reading()
    line.near.shutdown(socket.SHUT_RDWR)
    line.reset()
    transport.write_eof()
    assert isinstance(await recorder.ended, OSError)


@pytest.mark.parametrize("base", [Recorder, Buffered])
async def test_what_a_protocol_raises_ends_its_connection_and_is_told_to_the_loop(line: Line, base: Any) -> None:
    class Clumsy(base):  # type: ignore[misc]
        def data_received(self, data: bytes) -> None:
            raise OSError("of the protocol's own")

        buffer_updated = data_received

    told: list[dict[str, Any]] = []
    line.loop.set_exception_handler(lambda _loop, context: told.append(context))
    clumsy = Clumsy()
    line.begin(clumsy)
    line.far.send(b"x")
    assert str(await clumsy.ended) == "of the protocol's own"
    assert [str(context["exception"]) for context in told] == ["of the protocol's own"]


async def test_a_transport_that_nobody_closes_is_complained_of(line: Line) -> None:
    transport = TcpTransport(line.loop, line.near, line.name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]


async def test_only_loops_on_a_selector_take_these_transports() -> None:
    assert takes_transports(asyncio.get_running_loop())
    assert not takes_transports(cast("Any", object()))
