"""A record is put, kept, and put anew: against a DHT that is a dictionary, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.conftest import Simulate

from librats.dht.items import Item, ItemStore
from librats.dht.records import PeerRecord, record_target
from librats.discovery.publishing import LEAST, LIFETIME, LOOK_EVERY, REFRESH, Publisher
from librats.errors import KrpcError, RatsError
from librats.introducers.announcing import IntroducerAnnouncer
from librats.peers.identity import Identity
from librats.runtime.tasks import TaskSet
from librats.testing import SimNetwork
from librats.types import Address

ALICE, NEXT = Identity(bytes(range(32))), Identity(bytes(range(1, 33)))


class DictionaryDht:
    """Keeps items as nodes do."""

    def __init__(self) -> None:
        self.store = ItemStore()
        self.puts: list[tuple[float, Item]] = []
        self.announced: list[tuple[float, bytes, int | None]] = []
        self.is_down = False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        await asyncio.sleep(0.1)
        return self.store.get(target, now=self._now())

    async def put(self, item: Item, *, compare: int | None = None, timeout: float | None = None) -> int:
        await asyncio.sleep(0.1)
        if self.is_down:
            raise RatsError("nobody answers")
        try:
            self.store.put(item, now=self._now(), compare=compare)
        except KrpcError as error:
            raise RatsError(str(error)) from None
        self.puts.append((self._now(), item))
        return 8

    async def announce(
        self, info_hash: bytes, port: int | None = None, *, is_seed: bool = False, timeout: float | None = None
    ) -> int:
        await asyncio.sleep(0.1)
        if self.is_down:
            raise RatsError("nobody answers")
        self.announced.append((self._now(), info_hash, port))
        return 8


class Scene:
    """A client's publisher, and what it is to tell."""

    def __init__(self) -> None:
        self.dht = DictionaryDht()
        self.identity = ALICE
        self.told = PeerRecord(public_key=ALICE.public_key, expires=0, addresses=(Address("203.0.113.7", 1),))
        self.wall_offset = 1_700_000_000.0
        self.is_there = True
        self.publisher = Publisher(
            lambda: self.dht if self.is_there else None,
            lambda: replace(self.told, public_key=self.identity.public_key),
            lambda: self.identity,
            wall=self.wall,
        )

    def wall(self) -> float:
        return self.wall_offset + asyncio.get_running_loop().time()

    def found(self) -> PeerRecord:
        """Return what somebody finds who knows the key."""
        item = self.dht.store.get(record_target(self.identity.verify_key), now=asyncio.get_running_loop().time())
        assert item is not None
        return PeerRecord.read(item, now=self.wall(), peer_id=self.identity.peer_id)


def publishing(simulate: Simulate, scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole(_net: SimNetwork) -> None:
        scene = Scene()
        task = asyncio.create_task(scene.publisher.run())
        try:
            await scenario(scene)
        finally:
            task.cancel()

    simulate(whole)


def test_a_record_is_published_at_once_and_long_before_it_is_past(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(1)
        assert scene.found().addresses == scene.told.addresses
        assert scene.found().expires == pytest.approx(scene.wall() + LIFETIME, abs=2)
        await asyncio.sleep(10 * LIFETIME)
        assert scene.found().expires > scene.wall() + LIFETIME - REFRESH - 2 * LOOK_EVERY
        times = [at for at, _ in scene.dht.puts]
        assert len(times) > 10
        assert all(REFRESH <= later - at <= REFRESH + 2 * LOOK_EVERY for at, later in pairwise(times))
        numbers = [item.sequence for _, item in scene.dht.puts]
        assert numbers == sorted(set(numbers))

    publishing(simulate, scenario)


def test_a_change_is_published_soon_and_changes_do_not_come_too_fast(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(1)
        for port in range(2, 200):
            scene.told = replace(scene.told, addresses=(Address("203.0.113.7", port),))
            await asyncio.sleep(1)
        await asyncio.sleep(LEAST + LOOK_EVERY)
        assert scene.found().addresses == scene.told.addresses
        assert len(scene.dht.puts) <= 1 + 200 / LEAST + 1

    publishing(simulate, scenario)


def test_a_new_identity_is_published_under_its_own_key(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.identity = NEXT
        scene.publisher.look()
        await asyncio.sleep(1)
        assert scene.found().peer_id == NEXT.peer_id
        assert len(scene.dht.puts) == 2

    publishing(simulate, scenario)


def test_a_record_that_is_ahead_of_the_clock_is_followed_by_a_later_one(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        early = replace(scene.told, expires=int(scene.wall() + 60), sequence=int(scene.wall()) + 10**6)
        await scene.dht.put(early.sign(bytes(ALICE.signing_key)))
        await asyncio.sleep(1)
        assert scene.found().sequence == early.sequence + 1
        scene.told = replace(scene.told, addresses=())
        await asyncio.sleep(LEAST + LOOK_EVERY)
        assert scene.found().sequence == early.sequence + 2
        assert scene.found().addresses == ()

    publishing(simulate, scenario)


def test_where_nobody_takes_it_it_is_tried_again(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        scene.dht.is_down = True
        await asyncio.sleep(120)
        assert scene.publisher.counters == {"published": 0, "failed": 5}
        scene.dht.is_down = False
        await asyncio.sleep(300 + LOOK_EVERY)
        assert scene.found().addresses == scene.told.addresses

    publishing(simulate, scenario)


def test_nothing_is_published_before_there_is_a_dht(simulate: Simulate) -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_there = False
        await asyncio.sleep(60)
        assert scene.publisher.record is None
        scene.is_there = True
        await asyncio.sleep(LOOK_EVERY + 1)
        assert scene.publisher.record == scene.found()

    publishing(simulate, scenario)


def test_an_introducer_is_announced_for_those_who_are_there_and_no_longer(simulate: Simulate) -> None:
    async def scenario(_net: SimNetwork) -> None:
        dht, tasks = DictionaryDht(), TaskSet()
        ports: list[int | None] = [None]
        announcer = IntroducerAnnouncer(lambda: dht, lambda: ports[0], tasks)
        task = asyncio.create_task(announcer.run())
        announcer.joined("ab" * 32)
        await asyncio.sleep(60)
        assert dht.announced == []  # nobody outside reaches it
        ports[0] = 3478
        await asyncio.sleep(6)
        announcer.joined("cd" * 32)
        await asyncio.sleep(1)
        assert [port for _, _, port in dht.announced] == [3478, 3478]
        announcer.left("ab" * 32)
        await asyncio.sleep(901)
        assert [info_hash for _, info_hash, _ in dht.announced[2:]] == [dht.announced[1][1]]
        dht.is_down = True
        await asyncio.sleep(1000)
        assert announcer.counters["failed"] > 0
        assert len(announcer) == 1
        task.cancel()
        await tasks.close()

    simulate(scenario)
