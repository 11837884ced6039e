"""The TURN client with coturn: every transport, address family and mode, its death and return."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.interop.coturn import Coturn
from tests.reference.certificates import make_certificate
from tests.reference.turn_talk import SECONDS, Events, Heard, exchange, peer_on

from librats import (
    Address,
    ConnectError,
    TurnAllocated,
    TurnAllocation,
    TurnCredentials,
    TurnError,
    TurnLost,
    TurnMoved,
    TurnServer,
    TurnTcpAllocation,
)

pytestmark = pytest.mark.interop

USER = ("--lt-cred-mech", "--user=bob:secret")
TRANSPORTS = ["udp", "tcp", "tls"]

StartCoturn = Callable[..., Awaitable[Coturn]]


@pytest.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[StartCoturn]:
    """Start coturn, once or more, and end it with the test."""
    started: list[Coturn] = []

    async def start(*options: str, host: str = "127.0.0.1") -> Coturn:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Coturn(folder, *(options or USER), host=host))
        return await started[-1].start()

    yield start
    for server in started:
        await server.kill()


@pytest.mark.parametrize("channels", [True, False], ids=["channels", "send"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_datagrams_go_both_ways(coturn: StartCoturn, transport: str, channels: bool) -> None:
    server = await coturn()
    heard = Heard()
    async with await TurnAllocation.open(server.server(transport), receive=heard, channels=channels) as relay:
        assert relay.local_address == relay.relayed_address
        assert relay.relayed_address.host == "127.0.0.1"
        assert relay.mapped_address is not None
        await exchange(relay, heard)
        counters = relay.counters
        assert (counters.sent, counters.received, counters.dropped) == (20, 20, 0)
        assert counters.forged == counters.malformed == counters.foreign == counters.uninvited == 0
    assert relay.is_closed


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ipv6_is_relayed_and_spoken(coturn: StartCoturn, transport: str) -> None:
    server = await coturn(host="::1")
    heard = Heard()
    async with await TurnAllocation.open(server.server(transport), receive=heard, family="ipv6") as relay:
        assert relay.relayed_address.host == "::1"
        await exchange(relay, heard, "::1")


async def test_half_of_a_dual_allocation_is_used_where_coturn_gives_no_more(coturn: StartCoturn) -> None:
    # Its version 4.6.1 relays IPv4 alone, for its own client, too.
    server = await coturn(*USER, "--listening-ip=::1", "--relay-ip=127.0.0.1", "--relay-ip=::1")
    heard, events = Heard(), Events()
    async with await TurnAllocation.open(server.server(), receive=heard, on_event=events, family="dual") as relay:
        [allocated] = events.seen
        assert isinstance(allocated, TurnAllocated)
        hosts = [address.host for address in relay.relayed_addresses]
        assert (hosts, [error.code for error in allocated.missing]) in [
            (["127.0.0.1"], [440]),
            (["127.0.0.1", "::1"], []),
        ]
        for host in hosts:
            await exchange(relay, heard, host)


async def test_a_burst_goes_through_a_bound_channel(coturn: StartCoturn) -> None:
    server = await coturn()
    async with await TurnAllocation.open(server.server()) as relay, peer_on() as (echoed, peer):
        await relay.bind_channel(peer.local_address)
        data = [number.to_bytes(4, "big") * 40 for number in range(100)]
        assert relay.send_many([(item, peer.local_address) for item in data]) == 100
        assert [item for item, _ in await echoed.until(100)] == data


async def test_a_wrong_password_and_a_forbidden_peer_are_told(coturn: StartCoturn) -> None:
    server = await coturn(*USER, "--denied-peer-ip=127.9.9.9")
    with pytest.raises(TurnError) as wrong:
        await TurnAllocation.open(server.server(password="guess"))
    assert wrong.value.code == 401
    async with await TurnAllocation.open(server.server()) as relay:
        with pytest.raises(TurnError) as forbidden:
            await relay.create_permission("127.9.9.9", "127.0.0.1")
        assert forbidden.value.code == 403
        with pytest.raises(TurnError) as channel:
            await relay.bind_channel(Address("127.9.9.9", 9))
        assert channel.value.code == 403
        with pytest.raises(TurnError) as family:
            await relay.create_permission("::1")
        assert family.value.code == 443


async def test_a_full_quota_is_told(coturn: StartCoturn) -> None:
    server = await coturn(*USER, "--user-quota=1")
    async with await TurnAllocation.open(server.server()):
        with pytest.raises(TurnError, match="close some") as caught:
            await TurnAllocation.open(server.server())
        assert caught.value.code == 486
    async with asyncio.timeout(SECONDS):  # the first one was given back, and is counted for a moment yet
        while True:
            with contextlib.suppress(TurnError):
                await (await TurnAllocation.open(server.server())).close()
                break
            await asyncio.sleep(0.05)


async def test_nonces_become_stale(coturn: StartCoturn) -> None:
    server = await coturn(*USER, "--stale-nonce=1")
    heard, events = Heard(), Events()
    async with await TurnAllocation.open(server.server(), receive=heard, on_event=events, keep_alive=0.3) as relay:
        for _ in range(4):
            await asyncio.sleep(0.7)
            await relay.refresh()
        await exchange(relay, heard, rounds=3)
    assert not any(isinstance(event, TurnLost) for event in events.seen)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_killed_server_leaves_a_gap_and_no_error(coturn: StartCoturn, transport: str) -> None:
    server = await coturn()
    heard, events = Heard(), Events()
    relay = await TurnAllocation.open(server.server(transport), receive=heard, on_event=events, keep_alive=0.5)
    async with relay, peer_on() as (_, peer):
        await relay.bind_channel(peer.local_address)
        await server.kill()
        await asyncio.sleep(1.0)
        await server.start()
        await events.until(TurnLost)
        await events.until(TurnAllocated, 2)
        # The channel is there without being asked for again, so the peer is let in.
        async with asyncio.timeout(SECONDS):
            while not heard.datagrams:
                peer.send(b"are you there?", relay.relayed_address)
                await asyncio.sleep(0.05)
        assert heard.datagrams[0] == (b"are you there?", peer.local_address)
        await exchange(relay, heard, rounds=3)


async def test_an_allocation_moves_to_another_port(coturn: StartCoturn) -> None:
    server = await coturn(*USER, "--mobility")
    heard, events = Heard(), Events()
    async with await TurnAllocation.open(server.server(), receive=heard, on_event=events, mobility=True) as relay:
        await exchange(relay, heard, rounds=3)
        before = relay.relayed_address
        assert await relay.move("127.0.0.1")
        assert relay.relayed_address == before
        assert any(isinstance(event, TurnMoved) for event in events.seen)
        assert not any(isinstance(event, TurnLost) for event in events.seen)
        await exchange(relay, heard, rounds=3)
        await relay.move()
        await exchange(relay, heard, rounds=3)


async def test_a_move_that_goes_wrong_ends_in_another_allocation(coturn: StartCoturn) -> None:
    # Over TCP, coturn 4.6.1 moves the allocation, but its answer lacks the beginning.
    server = await coturn(*USER, "--mobility")
    heard, events = Heard(), Events()
    relay = await TurnAllocation.open(server.server("tcp"), receive=heard, on_event=events, mobility=True)
    async with relay:
        await exchange(relay, heard, rounds=3)
        if not await relay.move():
            await events.until(TurnAllocated, 2)
        await exchange(relay, heard, rounds=3)


async def test_time_limited_credentials_come_from_a_callback(coturn: StartCoturn) -> None:
    server = await coturn("--use-auth-secret", "--static-auth-secret=north")
    asked = 0

    async def credentials() -> TurnCredentials:
        nonlocal asked
        asked += 1
        username = f"{int(time.time()) + 3600}:bob{asked}"
        digest = hmac.digest(b"north", username.encode(), hashlib.sha1)
        return TurnCredentials(username=username, password=base64.b64encode(digest).decode(), lifetime=2.0)

    config = TurnServer(host=server.host, port=server.port, credentials=credentials)
    heard, events = Heard(), Events()
    async with await TurnAllocation.open(config, receive=heard, on_event=events, keep_alive=0.5) as relay:
        async with asyncio.timeout(SECONDS):
            while asked < 3:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.05)
        await exchange(relay, heard, rounds=3)
        await server.kill()
        await server.start()
        await events.until(TurnAllocated, 2)
        await exchange(relay, heard, rounds=3)


async def test_another_server_is_followed(coturn: StartCoturn) -> None:
    second = await coturn()
    first = await coturn(*USER, f"--alternate-server=127.0.0.1:{second.port}")
    heard = Heard()
    async with await TurnAllocation.open(first.server(), receive=heard) as relay:
        assert relay.server_address == Address("127.0.0.1", second.port)
        await exchange(relay, heard, rounds=3)


async def test_a_certificate_of_somebody_else_is_refused(coturn: StartCoturn, tmp_path: Path) -> None:
    server = await coturn()
    other = make_certificate(tmp_path)
    for ca_file in (other, None):
        config = TurnServer(
            host=server.host,
            port=server.tls_port,
            username="bob",
            password="secret",
            transport="tls",  # type: ignore[arg-type]
            ca_file=ca_file,
        )
        with pytest.raises(ConnectError, match="certificate"):
            await TurnAllocation.open(config)


# RFC 6062


class Ends(asyncio.Protocol):
    """Collects what comes of a connection."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._changed.set()

    async def until(self, size: int) -> bytes:
        async with asyncio.timeout(SECONDS):
            while len(self.data) < size or self.transport is None:
                self._changed.clear()
                await self._changed.wait()
        return bytes(self.data)

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_the_server_connects_to_a_peer(coturn: StartCoturn, transport: str) -> None:
    server = await coturn()
    theirs = Ends()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: theirs, "127.0.0.1", 0)
    where = Address(*listener.sockets[0].getsockname())
    async with await TurnTcpAllocation.open(server.server(transport)) as relay:
        ours = Ends()
        await relay.connect(lambda: ours, where)
        ours.write(b"hello" * 10_000)
        assert await theirs.until(50_000) == b"hello" * 10_000
        theirs.write(b"welcome" * 10_000)
        assert await ours.until(70_000) == b"welcome" * 10_000
        with pytest.raises(TurnError) as caught:
            await relay.connect(Ends, where)
        assert caught.value.code == 446
        assert ours.transport is not None
        ours.transport.close()
    listener.close()


async def test_a_peer_connects_to_the_server(coturn: StartCoturn) -> None:
    server = await coturn()
    accepted: list[tuple[Address, Ends]] = []

    def incoming(peer: Address) -> Ends:
        accepted.append((peer, Ends()))
        return accepted[-1][1]

    async with await TurnTcpAllocation.open(server.server("tcp"), incoming=incoming) as relay:
        await relay.create_permission("127.0.0.1")
        reader, writer = await asyncio.open_connection(*relay.relayed_address)
        writer.write(b"knock")
        async with asyncio.timeout(SECONDS):
            while not accepted:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        [(peer, ends)] = accepted
        assert peer == Address(*writer.get_extra_info("sockname"))
        assert await ends.until(5) == b"knock"
        ends.write(b"come in")
        async with asyncio.timeout(SECONDS):
            assert await reader.readexactly(7) == b"come in"
        writer.close()
        await writer.wait_closed()


async def test_a_closed_port_of_a_peer_is_told(coturn: StartCoturn) -> None:
    server = await coturn()
    async with await TurnTcpAllocation.open(server.server("tcp")) as relay:
        with pytest.raises(TurnError) as caught:
            await relay.connect(Ends, Address("127.0.0.1", 1))
        assert caught.value.code == 447
