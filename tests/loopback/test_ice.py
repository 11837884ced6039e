"""``IceAgent`` on real sockets of the loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from librats import (
    ClosedError,
    ConfigError,
    ConnectError,
    DecodeError,
    IceAgent,
    IceState,
    NatTraversalConfig,
    OperationTimeout,
    PeerNotConnected,
    UsageError,
)
from librats.services.ice.agent import MAX_WAITING
from librats.services.ice.gathering import hosts_to_use

OFFLINE = NatTraversalConfig.offline()
SECONDS = 20.0


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever a test waits for
            await asyncio.sleep(0.001)


@asynccontextmanager
async def pair(host: str = "127.0.0.1", **options: Any) -> AsyncIterator[tuple[IceAgent, IceAgent]]:
    async with (
        IceAgent("controlling", OFFLINE, local_hosts=[host], **options) as a,
        IceAgent("controlled", OFFLINE, local_hosts=[host], **options) as b,
        asyncio.timeout(SECONDS),
    ):
        b.set_remote_description(json.loads(json.dumps(a.local_description)))
        a.set_remote_description(json.loads(json.dumps(b.local_description)))
        yield a, b


async def test_datagrams_go_both_ways(host: str) -> None:
    async with pair(host) as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        assert a.is_connected
        assert b.is_connected
        for size in (0, 1, 1200, 20_000):
            assert a.send(bytes([1]) * size)
            assert await b.recv() == bytes([1]) * size
            assert b.send(bytearray(size))
            assert await a.recv() == bytes(size)
        assert a.remote_address == b.local_candidates[0].address


async def test_data_that_looks_like_the_beginning_of_stun_is_data(host: str) -> None:
    async with pair(host) as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        for data in (b"\0", b"\1\1\0\0\x21\x12\xa4\x42" + bytes(12), bytes(100)):
            a.send(data)
            assert await b.recv() == data


async def test_before_there_is_a_way_nothing_can_be_sent() -> None:
    async with pair() as (a, b):
        with pytest.raises(PeerNotConnected, match="the ICE agent is new"):
            a.send(b"early")
        await asyncio.gather(a.connect(), b.connect())
        a.send(b"now")
        assert await b.recv() == b"now"


async def test_a_stranger_on_the_port_is_not_heard() -> None:
    loop = asyncio.get_running_loop()
    async with pair() as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        address = b.local_candidates[0].address
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(address.host, address.port)
        )
        transport.sendto(b"from a stranger")
        a.send(b"from the peer")
        assert await b.recv() == b"from the peer"
        transport.close()


async def test_a_function_may_take_what_comes() -> None:
    heard: list[bytes] = []
    done = asyncio.Event()

    def receive(data: bytes) -> None:
        heard.append(data)
        done.set()
        raise ValueError("of the application's")

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with pair(receive=receive) as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        a.send(b"data")
        await done.wait()
        assert heard == [b"data"]
        assert [type(complaint["exception"]) for complaint in complaints] == [ValueError]
        assert a.is_connected


async def test_what_nobody_takes_is_dropped_and_counted() -> None:
    async with pair() as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        for _ in range(MAX_WAITING + 100):
            a.send(b"data")
            await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            while not b.dropped:
                a.send(b"data")
                await asyncio.sleep(0.001)
        for _ in range(MAX_WAITING):
            assert await b.recv() == b"data"


async def test_states_are_told() -> None:
    states: list[IceState] = []
    async with pair(on_state=states.append) as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        await until(lambda: a.state is b.state is IceState.COMPLETED)
    assert states[0] is IceState.CHECKING
    assert states[-2:] == [IceState.CLOSED] * 2


async def test_closing_wakes_whoever_waits_and_may_be_done_twice() -> None:
    async with pair() as (a, b):
        receiving = asyncio.create_task(a.recv())
        connecting = asyncio.create_task(a.connect())
        await asyncio.sleep(0)
        await a.close()
        await a.stop()
        for task in (receiving, connecting):
            with pytest.raises(ClosedError):
                await task
        for call in (a.start, a.gather_candidates, a.connect, a.restart):
            with pytest.raises(ClosedError):
                await call()
        with pytest.raises(PeerNotConnected):
            a.send(b"late")
        with pytest.raises(ClosedError):
            await a.recv()
        assert repr(a) == "<IceAgent controlling closed>"
        assert b.state is IceState.NEW


async def test_what_has_come_before_the_end_can_be_read_after_it() -> None:
    async with pair() as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        a.send(b"last words")
        a.send(b"really")
        assert await b.recv() == b"last words"
        await until(lambda: b._inbox)
        await b.close()
        assert await b.recv() == b"really"


async def test_a_time_limit_is_kept() -> None:
    async with IceAgent("controlling", OFFLINE, local_hosts=["127.0.0.1"]) as agent:
        with pytest.raises(OperationTimeout, match=r"within 0\.05 seconds"):
            await agent.connect(timeout=0.05)


async def test_failure_tells_why() -> None:
    config = NatTraversalConfig(stun_servers=(), ice_connectivity_timeout=0.2)
    async with IceAgent("controlling", config, local_hosts=["127.0.0.1"]) as a, pair() as (b, _):
        description = {**b.local_description, "pwd": "x" * 24}  # not what the other side checks with
        refused = "candidate:1 1 udp 2130706431 224.0.0.1 5000 typ host"
        a.set_remote_description({**description, "candidates": [*description["candidates"], refused]})
        with pytest.raises(ConnectError) as caught:
            await a.connect()
        assert caught.value.reason == "no pair works after 0.2 seconds"
        errors = [attempt.error for attempt in caught.value.attempts]
        assert errors == ["it was in-progress", "not tried: not an address of a peer"]
        with pytest.raises(PeerNotConnected, match="no pair works"):
            await a.recv()
        assert a.state is IceState.FAILED


async def test_an_agent_that_is_not_started_says_so() -> None:
    agent = IceAgent("controlling", OFFLINE)
    assert (agent.state, agent.is_connected, agent.local_candidates) == (IceState.NEW, False, [])
    for call in (agent.statistics, agent.start_connectivity_checks, lambda: agent.local_description):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError):
        agent.add_remote_candidate(None)
    await agent.close()


@pytest.mark.parametrize("role", ["both", "", None])
async def test_a_role_that_there_is_not_is_refused(role: Any) -> None:
    with pytest.raises(ConfigError):
        IceAgent(role, OFFLINE)


@pytest.mark.parametrize("value", [{}, {"ufrag": "abcd"}, None, "text"])
async def test_what_is_no_description_is_refused_and_changes_nothing(value: Any) -> None:
    async with pair() as (a, b):
        with pytest.raises(DecodeError):
            a.set_remote_description(value)
        with pytest.raises(DecodeError):
            a.add_remote_candidate("candidate:1")
        await asyncio.gather(a.connect(), b.connect())


async def test_an_interface_that_is_not_there_costs_its_candidate_alone() -> None:
    async with IceAgent("controlling", OFFLINE, local_hosts=["192.0.2.77", "127.0.0.1"]) as agent:
        candidates = await agent.gather_candidates()
        assert [candidate.address.host for candidate in candidates] == ["127.0.0.1"]


async def test_a_name_that_nobody_has_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librats.services.ice.names.PATIENCE", 0.05)
    async with pair() as (a, b):
        a.add_remote_candidate("candidate:1 1 udp 2130706431 4c1a8a5e-9c0f-4d2a.local 5000 typ host")
        await asyncio.gather(a.connect(), b.connect())
        await until(lambda: not len(a._tasks))
        assert a.is_connected
        assert len(a.statistics().remote_candidates) == 1


async def test_a_restart_over_real_sockets() -> None:
    async with pair() as (a, b):
        await asyncio.gather(a.connect(), b.connect())
        before = b.local_description
        b.set_remote_description(await a.restart())
        assert b.local_description["ufrag"] != before["ufrag"]
        a.set_remote_description(b.local_description)
        await until(lambda: a.state is b.state is IceState.COMPLETED)
        a.send(b"data")
        assert await b.recv() == b"data"


def test_hosts_are_chosen_by_who_can_reach_them() -> None:
    assert hosts_to_use(["10.0.0.2", "192.0.2.7", "127.0.0.1", "fe80::1%eth0"]) == ["10.0.0.2", "192.0.2.7"]
    assert hosts_to_use(["fe80::1%eth0", "127.0.0.1"]) == ["fe80::1%eth0"]
    assert hosts_to_use(["127.0.0.1", "::1"], prefer_ipv6=True) == ["::1", "127.0.0.1"]
    assert hosts_to_use([]) == []
    assert len(hosts_to_use([f"10.0.{n}.1" for n in range(100)])) == 16
