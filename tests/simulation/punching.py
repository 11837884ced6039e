"""Two hole punchers in a simulated network, and how they tell each other something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from librats import ConnectError, NatTraversalConfig, NatTypeInfo
from librats.punch import PunchSettings
from librats.relay.config import RelayConfig
from librats.services.punch.path import PunchedConnection, PunchedPath
from librats.services.punch.puncher import HolePuncher
from librats.services.stun import measure_behaviour
from librats.testing import SimHost, SimNetwork, SimRelay, SimRouter
from librats.types import Address

SERVER = ("203.0.113.10", "198.51.100.10")
STUN = f"{SERVER[0]}:3478"
CONFIG = NatTraversalConfig(stun_servers=(STUN,))


class Wire:
    """One side's way to tell the other one something, which takes some time."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        self.other: Wire

    async def send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message)
        asyncio.get_running_loop().call_later(self._delay, self.other._inbox.put_nowait, text)

    async def receive(self) -> Mapping[str, Any]:
        message: Mapping[str, Any] = json.loads(await self._inbox.get())
        return message


def wires(there: float, back: float) -> tuple[Wire, Wire]:
    """Return the two ends, whose messages take so many seconds."""
    one, other = Wire(there), Wire(back)
    one.other, other.other = other, one
    return one, other


@dataclass
class Outcome:
    """What has come of it."""

    technique: str
    """What has made the way; empty where there is none."""

    reasons: tuple[str, str]
    """Why there is none, on either side."""

    seconds: float
    """From the first message until both have it."""

    rounds: int
    sent: tuple[int, int]
    """Datagrams of either side, of all rounds."""


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(
        listen=(Address(SERVER[0], 3478),), alternate=Address(SERVER[1], 3479), users={"ann": "secret"}
    )
    with net.host("server", addresses=SERVER):
        relay = SimRelay(config)
        await relay.start()
    return relay


async def nat_of(host: SimHost) -> NatTypeInfo:
    with host:
        return await measure_behaviour(CONFIG.stun_addresses, network=host, first_answer=0.5, timeout=2.0)


async def join(
    one: SimHost,
    other: SimHost,
    *,
    delays: tuple[float, float] = (0.04, 0.04),
    late: float = 0.0,
    ipv6: bool = False,
    settings: PunchSettings | None = None,
    worsen: Callable[[], object] = lambda: None,
    **options: Any,
) -> Outcome:
    """Punch between two hosts, and let what has come of it carry datagrams both ways.

    Their NATs are measured first; then the network may get worse.
    """
    loop = asyncio.get_running_loop()
    nats = [await nat_of(one), await nat_of(other)]
    worsen()
    channels = wires(*delays)
    punchers = []
    for host, wire, nat, leads in zip((one, other), channels, nats, (True, False), strict=True):
        with host:
            hosts = [address for address in host.addresses if ipv6 or ":" not in address]
            puncher = HolePuncher(
                wire, leads=leads, config=CONFIG, nat=nat, settings=settings, local_hosts=hosts, **options
            )
            punchers.append(puncher)
    began = loop.time()

    async def run(number: int) -> PunchedPath | PunchedConnection | ConnectError:
        if number and late:
            await asyncio.sleep(late)
        try:
            return await punchers[number].punch()
        except ConnectError as error:
            return error

    a, b = await asyncio.gather(*(host.spawn(run(number)) for number, host in enumerate((one, other))))
    seconds = loop.time() - began
    sent = tuple(sum(attempt.sent for attempt in puncher.attempts) for puncher in punchers)
    rounds = len(punchers[0].attempts)
    if isinstance(a, ConnectError) or isinstance(b, ConnectError):
        assert isinstance(a, ConnectError), b
        assert isinstance(b, ConnectError), a
        return Outcome("", (a.reason, b.reason), seconds, rounds, (sent[0], sent[1]))
    assert a.technique == b.technique
    if isinstance(a, PunchedPath) and isinstance(b, PunchedPath):
        await asyncio.gather(assert_carried(a, b), assert_carried(b, a))
    elif isinstance(a, PunchedConnection) and isinstance(b, PunchedConnection):
        await assert_streams(a, b)
    a.close()
    b.close()
    return Outcome(str(a.technique), ("", ""), seconds, rounds, (sent[0], sent[1]))


async def assert_carried(here: PunchedPath, there: PunchedPath) -> None:
    """Check that a datagram gets from one to the other, some of which may be lost."""
    heard = asyncio.ensure_future(there.recv())
    for _ in range(50):
        here.send(b"data")
        done, _ = await asyncio.wait({heard}, timeout=0.1)
        if done:
            assert heard.result() == b"data"
            return
    heard.cancel()
    raise AssertionError("nothing came")


class Reader(asyncio.Protocol):
    """What comes over a connection."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


async def assert_streams(one: PunchedConnection, other: PunchedConnection) -> None:
    """Check that all bytes get from one to the other, and none but those."""
    readers = [Reader(), Reader()]
    one.take(lambda: readers[0])
    one.transport.write(b"first" * 1000)
    await asyncio.sleep(0.2)
    other.take(lambda: readers[1])
    other.transport.write(b"second" * 1000)
    async with asyncio.timeout(20):
        while [len(reader.data) for reader in readers] != [6000, 5000]:  # noqa: ASYNC110 - until both are there
            await asyncio.sleep(0.01)
    assert readers[0].data == b"second" * 1000
    assert readers[1].data == b"first" * 1000


async def join_behind(net: SimNetwork, kinds: tuple[str, str], *, loss: float = 0.0, **options: Any) -> Outcome:
    def worsen() -> None:
        everything: list[SimHost | SimRouter] = [*net.routers, *net.hosts]
        machines = [each for each in everything if net.internet in each.segments]
        for one, other in combinations(machines, 2):
            net.set_link(one, other, loss=loss)

    relay = await serve(net)
    hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", kind)) for n, kind in enumerate(kinds)]
    try:
        return await join(*hosts, worsen=worsen if loss else lambda: None, **options)
    finally:
        await relay.close()
