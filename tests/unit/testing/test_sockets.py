"""Simulated TCP behaves as TCP: order, back-pressure, half-close, refusal, resets and time-outs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from librats.testing import DeadlockError, SimHost, SimNetwork
from librats.testing.ends import BUFFER, CONNECT_TIMEOUT, SEGMENT

PORT = 7000


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listening(host: SimHost, serve: Serve) -> asyncio.Server:
    with host:
        return await asyncio.start_server(serve, "0.0.0.0", PORT)  # noqa: S104 - simulated


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class Recorder(asyncio.Protocol):
    """Takes note of what a transport tells its protocol."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.keep_open = keep_open
        self.error: BaseException | None = None
        self.transport: Any = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.error = exc
        self.lost.set_result(None)


async def recorders(
    a: SimHost, b: SimHost, *, keep_open: bool = False
) -> tuple[Recorder, Recorder, asyncio.AbstractServer]:
    """Connect a to b, and return the protocols at both ends."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Recorder] = loop.create_future()

    def accept() -> Recorder:
        recorder = Recorder(keep_open=keep_open)
        accepted.set_result(recorder)
        return recorder

    with b:
        server = await loop.create_server(accept, port=PORT)
    with a:
        _, ours = await loop.create_connection(lambda: Recorder(keep_open=keep_open), b.name, PORT)
    theirs = await accepted
    while not theirs.calls:  # noqa: ASYNC110 - the recorder has no event for it
        await asyncio.sleep(0.001)
    return ours, theirs, server


@pytest.mark.parametrize("seed", range(5))
def test_bytes_arrive_once_and_in_order_over_a_bad_link(seed: int) -> None:
    with SimNetwork(seed, delay=0.02, jitter=0.05, loss=0.1) as net:
        a, b = net.host("a"), net.host("b")
        sent = bytes(range(256)) * 3000

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hashlib.sha256(await reader.read()).digest())
            await closed(writer)

        async def main() -> bytes:
            server = await listening(b, serve)
            with a:
                reader, writer = await asyncio.open_connection("b", PORT)
            for start in range(0, len(sent), 50_001):
                writer.write(sent[start : start + 50_001])
                await writer.drain()
            writer.write_eof()
            answer = await reader.read()
            await closed(writer)
            server.close()
            return answer

        assert net.run(main()) == hashlib.sha256(sent).digest()
        assert net.left_behind() == []


def test_a_writer_is_paused_where_nobody_reads_and_what_is_held_is_bounded(net: SimNetwork) -> None:
    async def main() -> None:
        ours, theirs, server = await recorders(net.host("a"), net.host("b"))
        theirs.transport.pause_reading()
        ours.transport.set_write_buffer_limits(high=10_000, low=2_000)
        written = 0
        while "pause" not in ours.calls:
            ours.transport.write(bytes(1000))
            written += 1000
            await asyncio.sleep(0.001)
        assert ours.transport.get_write_buffer_limits() == (2_000, 10_000)
        await asyncio.sleep(60)
        # The buffers of both kernels are full, and so is the transport's.
        assert 2 * BUFFER - SEGMENT <= written - 10_000 <= 2 * BUFFER + 2000
        assert theirs.data == b""
        theirs.transport.resume_reading()
        while "resume" not in ours.calls:  # noqa: ASYNC110 - the recorder has no event for it
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert len(theirs.data) == written
        ours.transport.close()
        await theirs.lost
        server.close()

    net.run(main())


def test_a_port_without_a_listener_refuses_after_a_round_trip(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")

    async def main() -> None:
        with a, pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(b.addresses[0], PORT)

    net.run(main())
    assert net.time == pytest.approx(0.02)
    assert net.left_behind() == []


@pytest.mark.parametrize("how", ["down", "cut", "cut back", "nobody"])
def test_who_does_not_answer_is_given_up(net: SimNetwork, how: str) -> None:
    a, b = net.host("a"), net.host("b")
    address = b.addresses[0]
    if how == "down":
        b.down()
    elif how == "cut":
        net.cut(a, b)
    elif how == "cut back":
        net.cut(b, a, one_way=True)
    else:
        address = "10.9.9.9"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody can get here")

    async def main() -> None:
        server = await listening(b, serve)
        with a, pytest.raises(TimeoutError):
            await asyncio.open_connection(address, PORT)
        server.close()

    net.run(main())
    assert CONNECT_TIMEOUT <= net.time < CONNECT_TIMEOUT + 1
    assert net.left_behind() == []


def test_a_host_without_ipv6_cannot_reach_an_ipv6_address(net: SimNetwork) -> None:
    a = net.host("a", addresses=["192.0.2.1"])
    net.host("b", addresses=["2001:db8::2"])

    async def main() -> None:
        with a:
            with pytest.raises(OSError, match=str(errno.ENETUNREACH)):
                await asyncio.open_connection("2001:db8::2", PORT)
            with pytest.raises(OSError, match="b"):  # only an IPv6 address is behind the name
                await asyncio.open_connection("b", PORT)
            with pytest.raises(OSError, match="not known"):
                await asyncio.open_connection("nobody", PORT)

    net.run(main())


def test_a_connection_lives_through_a_short_partition_and_dies_of_a_long_one(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = net.host("a"), net.host("b")
        ours, theirs, server = await recorders(a, b)
        net.partition([a], [b])
        ours.transport.write(b"patience")
        await asyncio.sleep(30)
        assert theirs.data == b""
        net.heal()
        await asyncio.sleep(60)
        assert bytes(theirs.data) == b"patience"
        b.down()
        ours.transport.write(b"gone")
        began = net.time
        await ours.lost
        assert isinstance(ours.error, TimeoutError)
        assert 600 < net.time - began < 1200
        theirs.transport.abort()
        server.close()

    net.run(main())


def test_what_gets_lost_is_sent_again_after_a_few_round_trips_also_where_connecting_took_long(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = net.host("a"), net.host("b")
        net.cut(b, a, one_way=True)
        net.at(0.5, net.mend, b, a)
        ours, theirs, server = await recorders(a, b)
        assert 1 < net.time < 2  # what agreed to it got lost
        ours.transport.write(b"first")
        await asyncio.sleep(1)
        net.cut(a, b)
        ours.transport.write(b" second")
        net.mend(a, b)
        await asyncio.sleep(0.5)
        assert bytes(theirs.data) == b"first second"
        for each in (ours, theirs):
            each.transport.abort()
        server.close()

    net.run(main())


def test_ports_are_taken_once_and_given_back(net: SimNetwork) -> None:
    a = net.host("a", addresses=["192.0.2.1", "192.0.2.2", "2001:db8::1"])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with a:
            first = await loop.create_server(asyncio.Protocol, "192.0.2.1", PORT)
            for host in ("192.0.2.1", "0.0.0.0", None):  # noqa: S104 - simulated
                with pytest.raises(OSError, match="in use"):
                    await loop.create_server(asyncio.Protocol, host, PORT)
            others = [await loop.create_server(asyncio.Protocol, host, PORT) for host in ("192.0.2.2", "::")]
            with pytest.raises(OSError, match="assign"):
                await loop.create_server(asyncio.Protocol, "192.0.2.9", PORT)
            for server in (first, *others):
                server.close()
            again = await loop.create_server(asyncio.Protocol, None, PORT)
            again.close()

    net.run(main())
    assert net.left_behind() == []


def test_connections_that_nobody_accepts_are_refused_once_the_backlog_is_full(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = b.stack.socket(2)
        sock.bind(("0.0.0.0", PORT))  # noqa: S104 - simulated
        sock.listen(3)
        callers = [a.stack.socket(2) for _ in range(5)]
        dials = [asyncio.create_task(loop.sock_connect(caller, (b.addresses[0], PORT))) for caller in callers]
        await asyncio.sleep(1)
        # As with Linux: one that is over the backlog is dropped in silence, and asks again later.
        assert [dial.done() for dial in dials] == [True] * 5
        accepted = [await loop.sock_accept(sock) for _ in range(3)]
        assert sorted(name for _, name in accepted) == sorted(caller.getsockname() for caller in callers[:3])
        sock.close()
        for each in (*callers, *(conn for conn, _ in accepted)):
            each.close()

    net.run(main())
    assert net.left_behind() == []


def test_a_cancelled_dial_leaves_nothing_at_either_end(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")
    lost: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            lost.append(await reader.read())
        await asyncio.wait([asyncio.ensure_future(closed(writer))])

    async def main() -> None:
        server = await listening(b, serve)
        for after in (0.0, 0.005, 0.015):
            with a, pytest.raises(TimeoutError):
                async with asyncio.timeout(after):
                    await asyncio.open_connection("b", PORT)
            await asyncio.sleep(5)
        server.close()
        assert [host.connections for host in net.hosts] == [0, 0]

    net.run(main())
    assert lost == []
    assert net.left_behind() == []


class Buffered(asyncio.BufferedProtocol):
    """Takes bytes in a buffer of its own, of seven bytes."""

    def __init__(self) -> None:
        self.buffer = bytearray(7)
        self.pieces: list[bytes] = []
        self.hints: set[int] = set()
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.hints.add(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.pieces.append(bytes(self.buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


def test_a_buffered_protocol_gets_what_fits_into_its_buffer(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Buffered] = []

        def accept() -> Buffered:
            made.append(Buffered())
            return made[-1]

        with b:
            server = await loop.create_server(accept, port=PORT)
        with a:
            transport, _ = await loop.create_connection(asyncio.Protocol, "b", PORT)
        transport.write(b"twenty bytes, no more")
        transport.close()
        await asyncio.sleep(1)
        [protocol] = made
        assert await protocol.ended is None
        assert protocol.pieces == [b"twenty ", b"bytes, ", b"no more"]
        assert protocol.hints == {-1}
        server.close()

    net.run(main())


def test_names_and_addresses_of_both_ends_are_told(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = net.host("a"), net.host("b")
        ours, theirs, server = await recorders(a, b)
        info = ours.transport.get_extra_info
        assert info("peername") == (b.addresses[0], PORT) == theirs.transport.get_extra_info("sockname")
        assert info("sockname") == theirs.transport.get_extra_info("peername")
        assert info("sockname")[0] == a.addresses[0]
        ours.transport.abort()
        await theirs.lost
        server.close()

    net.run(main())


def test_waiting_for_bytes_that_never_come_is_a_deadlock_that_is_told(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            await closed(writer)

    async def wait_in_vain() -> None:
        server = await listening(b, serve)
        with a:
            reader, writer = await asyncio.open_connection("b", PORT)
        try:
            await reader.readexactly(1)
        finally:
            server.close()
            await closed(writer)

    with pytest.raises(DeadlockError, match=r"(?s)deadlock.*StreamReader\._wait_for_data"):
        net.run(wait_in_vain())
