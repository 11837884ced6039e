"""The TURN driver on loopback, with the reference server: what coturn cannot be made to do, and everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.reference.turn_server import ReferenceServer
from tests.reference.turn_talk import Heard, eventually, peer_on
from tests.reference.turn_udp import TurnServerThread

from librats import (
    Address,
    ClosedError,
    ConfigError,
    ConnectError,
    OperationTimeout,
    TurnAllocated,
    TurnAllocation,
    TurnCredentials,
    TurnError,
    TurnLost,
    TurnMoved,
    TurnPeerRefused,
    TurnServer,
    TurnTcpAllocation,
    UsageError,
)
from librats.runtime.network import SystemNetwork


def config(thread: TurnServerThread, **fields: Any) -> TurnServer:
    host, port = thread.address
    login = {} if "credentials" in fields else {"username": "ann", "password": "secret"}
    return TurnServer(host=host, port=port, **(login | fields))


@pytest.fixture
def thread() -> Iterator[TurnServerThread]:
    with TurnServerThread(ReferenceServer({"ann": "secret"}, modern=True, mobility=True)) as running:
        yield running


async def test_both_families_are_relayed_together(thread: TurnServerThread) -> None:
    ours = Heard()
    async with await TurnAllocation.open(config(thread), receive=ours, family="dual") as relay:
        assert [address.host for address in relay.local_addresses] == ["127.0.0.1", "::1"]
        for number, host in enumerate(("127.0.0.1", "::1")):
            async with peer_on(host) as (theirs, endpoint):
                assert relay.send(b"there", endpoint.local_address)
                assert await theirs.until(1) == [(b"there", relay.local_addresses[number])]
                endpoint.send(b"back", relay.local_addresses[number])
                assert (await ours.until(number + 1))[-1] == (b"back", endpoint.local_address)


async def test_an_allocation_is_used_like_an_endpoint(thread: TurnServerThread) -> None:
    async with await TurnAllocation.open(config(thread)) as relay, peer_on("127.0.0.1") as (theirs, endpoint):
        buffers: list[Any] = [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")]
        assert relay.send_many((data, endpoint.local_address) for data in buffers) == 3
        assert [data for data, _ in await theirs.until(3)] == [b"bytes", b"bytearray", b"memoryview"]
        await relay.wait_for_room()
        assert "127.0.0.1" in repr(relay)
        assert "secret" not in repr(relay)


async def test_a_gap_is_told_and_closes_by_itself(thread: TurnServerThread) -> None:
    events: list[object] = []
    ours = Heard()
    relay = await TurnAllocation.open(config(thread), receive=ours, on_event=events.append, keep_alive=0.2)
    async with relay, peer_on("127.0.0.1") as (_, endpoint):
        await relay.create_permission("127.0.0.1")
        before = relay.relayed_address
        thread.server.restart()
        await eventually(lambda: relay.relayed_address != before)
        endpoint.send(b"found you", relay.relayed_address)
        assert (await ours.until(1))[0][0] == b"found you"
    assert [type(event) for event in events] == [TurnAllocated, TurnLost, TurnAllocated]


async def test_a_move_keeps_the_relayed_address(thread: TurnServerThread) -> None:
    events: list[object] = []
    ours = Heard()
    relay = await TurnAllocation.open(config(thread), receive=ours, on_event=events.append, mobility=True)
    async with relay, peer_on("127.0.0.1") as (_, endpoint):
        await relay.create_permission("127.0.0.1")
        before, [client] = relay.relayed_address, thread.server.allocations
        assert await relay.move()
        assert relay.relayed_address == before
        assert client not in thread.server.allocations
        endpoint.send(b"still here", before)
        assert (await ours.until(1))[0][0] == b"still here"
        assert isinstance(events[-1], TurnMoved)


async def test_a_move_without_a_ticket_makes_another_allocation(thread: TurnServerThread) -> None:
    async with await TurnAllocation.open(config(thread)) as relay:
        before = relay.relayed_address
        assert not await relay.move()
        assert relay.relayed_address != before


async def test_a_move_to_an_address_that_is_not_ours_changes_nothing(thread: TurnServerThread) -> None:
    async with await TurnAllocation.open(config(thread), mobility=True) as relay:
        with pytest.raises(ConfigError):
            await relay.move("192.0.2.1")
        await relay.create_permission("127.0.0.1")
        assert relay.counters.allocations == 1
        assert await relay.move("127.0.0.1")


async def test_closing_gives_the_allocation_back_and_leaves_nothing(thread: TurnServerThread) -> None:
    relay = await TurnAllocation.open(config(thread))
    await relay.close()
    await relay.close()
    assert thread.server.allocations == {}
    assert not relay.is_allocated
    assert not relay.send(b"x", Address("127.0.0.1", 9))
    with pytest.raises(ClosedError):
        await relay.create_permission("127.0.0.1")
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_closing_without_a_server_takes_a_moment(thread: TurnServerThread) -> None:
    relay = await TurnAllocation.open(config(thread))
    thread.is_deaf = True
    waiting = asyncio.ensure_future(relay.create_permission("127.0.0.1"))
    await asyncio.sleep(0)
    async with asyncio.timeout(2.0):
        await relay.close()
    with pytest.raises(ClosedError):
        await waiting


async def test_no_answer_is_a_timeout(thread: TurnServerThread) -> None:
    thread.is_deaf = True
    with pytest.raises(OperationTimeout, match="udp"):
        await TurnAllocation.open(config(thread), timeout=0.3)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_opening_can_be_cancelled(thread: TurnServerThread) -> None:
    thread.is_deaf = True
    opening = asyncio.ensure_future(TurnAllocation.open(config(thread)))
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_the_next_address_of_a_name_is_tried(thread: TurnServerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_self: object, address: Address) -> list[Address]:
        assert address.host == "turn.example.org"
        return [Address("127.0.0.1", 1), thread.address]

    monkeypatch.setattr(SystemNetwork, "resolve", resolve)
    server = TurnServer(host="turn.example.org", username="ann", password="secret")
    async with await TurnAllocation.open(server, timeout=1.0) as relay:
        assert relay.server_address == thread.address


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_self: object, _address: Address) -> list[Address]:
        raise OSError("Name or service not known")

    monkeypatch.setattr(SystemNetwork, "resolve", resolve)
    with pytest.raises(ConnectError, match="no such host"):
        await TurnAllocation.open("turn:turn.example.org")


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_server_that_does_not_listen_is_told(thread: TurnServerThread, transport: str) -> None:
    with pytest.raises(ConnectError, match="refused"):
        await TurnAllocation.open(config(thread, transport=transport))


async def test_a_refused_peer_is_told_by_an_event(thread: TurnServerThread) -> None:
    thread.server.forbidden = {"127.0.0.1"}
    events: list[Any] = []
    async with await TurnAllocation.open(config(thread), on_event=events.append) as relay:
        relay.send(b"x", Address("127.0.0.1", 9))
        await eventually(lambda: len(events) > 1)
        refused = events[1]
        assert isinstance(refused, TurnPeerRefused)
        assert isinstance(refused.error, TurnError)
        assert (refused.host, refused.error.code) == ("127.0.0.1", 403)
        with pytest.raises(TurnError) as caught:
            await relay.create_permission("127.0.0.1")
        assert caught.value.code == 403


async def test_a_callback_that_fails_harms_nothing(thread: TurnServerThread) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    heard: list[object] = []

    def receive(batch: list[tuple[bytes, Address]]) -> None:
        heard.append(batch)
        raise ValueError("not mine")

    async with await TurnAllocation.open(config(thread), receive=receive) as relay, peer_on("127.0.0.1") as (_, peer):
        await relay.create_permission("127.0.0.1")
        peer.send(b"x", relay.relayed_address)
        await eventually(lambda: len(heard) == 1)
        peer.send(b"x", relay.relayed_address)
        await eventually(lambda: len(heard) == 2)
        assert relay.is_allocated
    assert [str(problem["exception"]) for problem in problems] == ["not mine"] * 2


async def test_credentials_come_from_a_plain_function_too(thread: TurnServerThread) -> None:
    def credentials() -> TurnCredentials:
        return TurnCredentials(username="ann", password="secret")

    async with await TurnAllocation.open(config(thread, credentials=credentials)) as relay:
        assert relay.is_allocated


async def test_a_credentials_callback_that_fails_is_the_error(thread: TurnServerThread) -> None:
    def fails() -> TurnCredentials:
        raise RuntimeError("the password service is away")

    with pytest.raises(ConnectError, match="password service"):
        await TurnAllocation.open(config(thread, credentials=fails))
    with pytest.raises(ConfigError, match="TurnCredentials"):
        await TurnAllocation.open(config(thread, credentials=lambda: ("ann", "secret")))


async def test_arguments_are_checked(thread: TurnServerThread) -> None:
    wrong: list[dict[str, Any]] = [{"family": "ipv5"}, {"keep_alive": 0}, {"lifetime": 0}]
    for arguments in wrong:
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            await TurnAllocation.open(config(thread), **arguments)
    with pytest.raises(ConfigError, match="transport"):
        await TurnTcpAllocation.open(config(thread))
    with pytest.raises(ConfigError, match="family"):
        await TurnTcpAllocation.open(config(thread, transport="tcp"), family="dual")
    async with await TurnAllocation.open(config(thread)) as relay:
        with pytest.raises(UsageError):
            relay.send(b"x", Address("peer.example", 9))
        with pytest.raises(UsageError):
            await relay.create_permission("peer.example")
