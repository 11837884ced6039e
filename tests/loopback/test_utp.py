"""uTP on real sockets: what a transport of asyncio owes its protocol, over IPv4 and IPv6, with and without batches."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from tests.simulation.joined_tables import FILLER

from librats._core.utp_packets import serialise
from librats.errors import ConfigError, UsageError
from librats.runtime.datagrams import Origin
from librats.services.utp import UtpSocket
from librats.types import Address

SECONDS = 30.0
HOSTS = ["127.0.0.1", "::1"]


class Ear(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.data = b""
        self.paused = 0
        self.made = asyncio.Event()
        self.ended = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.ended.set()
        return True

    def pause_writing(self) -> None:
        self.paused += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Two:
    """Two sockets, and a connection between them."""

    def __init__(self, here: UtpSocket, there: UtpSocket, near: Ear, far: Ear) -> None:
        self.here, self.there, self.near, self.far = here, there, near, far


@asynccontextmanager
async def two(host: str = "127.0.0.1") -> AsyncIterator[Two]:
    came: asyncio.Queue[Ear] = asyncio.Queue()

    def accept() -> Ear:
        came.put_nowait(Ear())
        return came._queue[-1]  # type: ignore[attr-defined, no-any-return]

    here = await UtpSocket.open(host, accept=accept)
    there = await UtpSocket.open(host)
    try:
        near = Ear()
        await there.dial(lambda: near, here.local_address)
        near.transport.write(b"hello")
        far = await came.get()
        yield Two(here, there, near, far)
    finally:
        here.close()
        there.close()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("host", HOSTS)
async def test_bytes_go_both_ways_and_both_sides_end(host: str) -> None:
    async with asyncio.timeout(SECONDS), two(host) as pair:
        pair.far.transport.write(b"back")
        await until(lambda: pair.far.data == b"hello" and pair.near.data == b"back")
        assert pair.near.transport.get_extra_info("peername")[:2] == tuple(pair.here.local_address)
        assert pair.far.transport.get_extra_info("peername")[:2] == tuple(pair.there.local_address)
        pair.near.transport.write_eof()
        await pair.far.ended.wait()
        pair.far.transport.write(b" and more")
        pair.far.transport.close()
        assert await pair.far.lost is None
        await pair.near.ended.wait()
        assert pair.near.data == b"back and more"
        pair.near.transport.close()
        assert await pair.near.lost is None


@pytest.mark.parametrize("portable", [False, True], ids=["batches", "portable"])
async def test_megabytes_arrive_whole(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRATS_PORTABLE", "1" if portable else "0")
    size = len(FILLER) * (4 if portable else 24)
    digest = hashlib.sha256(FILLER * (size // len(FILLER))).digest()
    found = hashlib.sha256()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            found.update(data)
        writer.write(found.digest())
        writer.close()

    loop = asyncio.get_running_loop()
    here = await UtpSocket.open(
        "127.0.0.1", accept=lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve, loop)
    )
    there = await UtpSocket.open("127.0.0.1")
    async with asyncio.timeout(SECONDS):
        reader, writer = await there.open_connection(here.local_address)
        for _ in range(size // len(FILLER)):
            writer.write(FILLER)
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == digest
    here.close()
    there.close()


async def test_a_reader_that_pauses_pauses_the_writer() -> None:
    async with asyncio.timeout(SECONDS), two() as pair:
        await until(lambda: pair.far.data)
        pair.far.transport.pause_reading()
        while not pair.near.paused:
            pair.near.transport.write(FILLER)
            await asyncio.sleep(0)
        held = len(pair.far.data)
        await until(lambda: pair.near.transport.get_extra_info("rudp")["in_flight"] == 0)
        assert len(pair.far.data) == held
        pair.far.transport.resume_reading()
        pair.near.transport.write_eof()
        await pair.far.ended.wait()
        assert pair.far.data.startswith(b"hello" + FILLER)


async def test_an_abort_is_told_to_the_other_side() -> None:
    async with asyncio.timeout(SECONDS), two() as pair:
        pair.near.transport.abort()
        assert await pair.near.lost is None
        assert isinstance(await pair.far.lost, ConnectionResetError)


async def test_a_closed_socket_ends_its_connections() -> None:
    async with asyncio.timeout(SECONDS), two() as pair:
        pair.here.close()
        pair.here.close()
        assert isinstance(await pair.near.lost, ConnectionResetError)
        assert await pair.far.lost is None


async def test_who_accepts_nobody_refuses() -> None:
    here, there = await UtpSocket.open("127.0.0.1"), await UtpSocket.open("127.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        await there.dial(Ear, here.local_address)
    here.close()
    there.close()


async def test_who_does_not_answer_times_out() -> None:
    there = await UtpSocket.open("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            await there.dial(Ear, Address(*silent.getsockname()), timeout=0.05)
    there.close()


async def test_what_is_not_of_utp_is_handed_on_and_strangers_are_counted() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    def take(batch: list[tuple[bytes, Origin]]) -> None:
        for data, _ in batch:
            heard.put_nowait(data)

    here = await UtpSocket.open("127.0.0.1", others=take)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(SECONDS)
        stranger.sendto(serialise(0, conn_id=1, number=1, payload=b"?"), tuple(here.local_address))
        stranger.sendto(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", tuple(here.local_address))
        async with asyncio.timeout(SECONDS):
            assert (await heard.get()).startswith(b"d1:ad2:id20:")
        assert stranger.recv(100)[0] == 0x31
    assert here.counters["unknown"] == 1
    assert heard.empty()
    here.close()


async def test_many_connections_share_a_socket() -> None:
    ears: list[Ear] = []

    def accept() -> Ear:
        ears.append(Ear())
        return ears[-1]

    here, there = await UtpSocket.open("127.0.0.1", accept=accept), await UtpSocket.open("127.0.0.1")
    async with asyncio.timeout(SECONDS):
        near = [Ear() for _ in range(50)]
        for index, ear in enumerate(near):
            await there.dial(lambda ear=ear: ear, here.local_address)  # type: ignore[misc]
            ear.transport.write(b"%d" % index)
        await until(lambda: len(ears) == 50 and all(ear.data for ear in ears))
        assert sorted(int(ear.data) for ear in ears) == list(range(50))
        assert len(here) == len(there) == 50
    here.close()
    there.close()


async def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError):
        await UtpSocket.open("127.0.0.1", control="none")
    with pytest.raises(ConfigError):
        await UtpSocket.open("not an address")
