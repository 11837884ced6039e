"""Partitions, silence and slow readers: what is on its way arrives when the network is mended, or both sides know."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import (
    ClosedError,
    ConnectError,
    Peer,
    PeerDisconnected,
    PeerNotConnected,
    RatsClient,
    RequestTimeout,
    SessionConfig,
    Stream,
)
from librats.testing import SimHost, SimNetwork

IDLE_TIMEOUT = 45.0


class Two:
    """Two connected clients, the numbers that the second one has heard, and when either has lost the other."""

    def __init__(self, net: SimNetwork) -> None:
        self.net = net
        self.here, self.there = net.host("here"), net.host("there")
        self.heard: list[Any] = []
        self.losses: list[tuple[str, float, str]] = []
        self.a: RatsClient
        self.b: RatsClient
        self.to_b: Peer

    async def __aenter__(self) -> Two:
        self.a, self.b = await self._start(self.here), await self._start(self.there)
        self.b.on("n", lambda peer, data: self.heard.append(data))
        self.b.on("echo", lambda peer, data: data)
        self.to_b = await self.a.connect(f"there:{PORT}")
        await until(lambda: self.b.peers)
        return self

    async def _start(self, host: SimHost) -> RatsClient:
        client = await start_client(host, session=SessionConfig(idle_timeout=IDLE_TIMEOUT, ping_interval=15.0))
        client.on_event(PeerDisconnected, lambda event: self.losses.append((host.name, self.net.time, event.code)))
        return client

    async def __aexit__(self, *exc: object) -> None:
        self.net.heal()
        await self.a.stop()
        await self.b.stop()


async def write_for_ever(stream: Stream) -> None:
    while True:
        stream.write(bytes(50_000))
        await stream.drain()


@pytest.mark.parametrize("seconds", [1, 10, 20])
def test_what_is_sent_into_a_short_partition_arrives_when_it_is_healed(simulate: Simulate, seconds: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            net.partition([two.here], [two.there])
            waiting = asyncio.create_task(two.to_b.request("echo", "late", timeout=None))
            for number in range(100):
                await two.to_b.send("n", number)
                await asyncio.sleep(seconds / 100)
            assert two.heard == []
            net.heal()
            assert await waiting == "late"
            await until(lambda: len(two.heard) == 100, within=60)
            assert two.heard == list(range(100))
            assert two.losses == []

    simulate(scenario, loss=0.01)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("how", ["partition", "down", "one way"])
def test_silence_is_noticed_by_both_sides_within_the_idle_timeout(simulate: Simulate, how: str, busy: bool) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            await asyncio.sleep(100)
            began = net.time
            if how == "partition":
                net.partition([two.here], [two.there])
            elif how == "down":
                two.there.down()
            else:
                net.cut(two.there, two.here, one_way=True)
            if busy:
                for number in range(50):
                    two.to_b.try_send("n", number)
            waiting = asyncio.create_task(two.to_b.request("echo", 1, timeout=None))
            with pytest.raises(PeerNotConnected):
                await waiting
            await until(lambda: len(two.losses) == 2, within=2 * IDLE_TIMEOUT)
            ends = {name: when - began for name, when, _ in two.losses}
            assert 0.5 * IDLE_TIMEOUT < ends["here"] <= IDLE_TIMEOUT + 5
            # Where one direction works, the other side hears our goodbye, or falls silent to itself only later.
            assert ends["there"] <= (2 if how == "one way" else 1) * IDLE_TIMEOUT + 5
            two.there.up()
            net.heal()
            assert (await two.a.connect(f"there:{PORT}")).id == two.b.peer_id

    simulate(scenario)


def test_a_request_into_a_partition_ends_at_its_deadline_and_no_later(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            net.partition([two.here], [two.there])
            began = net.time
            with pytest.raises(RequestTimeout):
                await two.to_b.request("echo", 1, timeout=7.5)
            assert net.time - began == pytest.approx(7.5)

    simulate(scenario)


def test_dialling_a_host_that_is_down_takes_the_connect_timeout(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            await two.to_b.close()
            two.there.down()
            began = net.time
            with pytest.raises(ConnectError) as raised:
                await two.a.connect(f"there:{PORT}", timeout=4.0)
            assert net.time - began == pytest.approx(4.0)
            assert {attempt.address.host for attempt in raised.value.attempts} == set(two.there.addresses)
            two.there.up()
            assert await two.a.connect(f"there:{PORT}")

    simulate(scenario)


def test_stopping_does_not_wait_for_who_cannot_be_reached(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            two.to_b.try_send("n", "x" * 100_000)
            two.there.down()
            began = net.time
            await two.a.stop()
            assert net.time - began <= 1.0
            two.there.up()

    simulate(scenario)


def test_a_stream_goes_on_after_a_partition_and_fails_on_both_sides_in_a_long_one(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with Two(net) as two:
            ends: list[type[BaseException] | int] = []

            @two.b.on_stream("count/1")
            async def count(stream: Stream) -> None:
                size = 0
                try:
                    async for piece in stream:
                        size += len(piece)
                except ClosedError as error:
                    ends.append(type(error))
                else:
                    ends.append(size)

            stream = await two.to_b.open_stream("count/1")
            net.at(net.time + 0.5, net.partition, [two.here], [two.there])
            net.at(net.time + 20, net.heal)
            for _ in range(100):
                stream.write(bytes(100_000))
                await stream.drain()
            await stream.close()
            await until(lambda: ends == [10_000_000])
            ends.clear()
            stream = await two.to_b.open_stream("count/1")
            net.partition([two.here], [two.there])
            with pytest.raises(ClosedError):
                await write_for_ever(stream)
            await until(lambda: ends == [ClosedError])
            assert {code for _, _, code in two.losses} == {"timeout"}

    simulate(scenario, bandwidth=2e6)


def test_a_reader_that_never_reads_does_not_grow_the_sender(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> int:
        async with Two(net) as two:
            release = asyncio.Event()

            @two.b.on("slow")
            async def slow(peer: Peer, data: Any) -> None:
                await release.wait()

            @two.b.on_stream("slow/1")
            async def hold(stream: Stream) -> None:
                await release.wait()

            async def push_messages() -> None:
                while True:
                    await two.to_b.send("slow", "x" * 10_000)

            async def push_stream() -> None:
                await write_for_ever(await two.to_b.open_stream("slow/1"))

            tasks = [asyncio.create_task(push()) for push in (push_messages, push_stream)]
            await asyncio.sleep(60)
            gc.collect()
            tracemalloc.start()
            await asyncio.sleep(3600)
            assert await two.to_b.ping() < 1
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            release.set()
            assert two.losses == []
            return grown

    assert simulate(scenario) < 200_000


def test_discovery_on_the_local_network_says_that_there_is_none(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: SimNetwork) -> bool:
        client = await start_client(net.host("here"))
        found = await client.start_mdns_discovery("me")
        await client.stop()
        return found

    assert simulate(scenario) is False
    assert "simulated" in caplog.text
