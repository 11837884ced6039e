"""Dialling again: the delays, the end of the tries, and who stops them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from librats import ConnectError, ReconnectConfig, ReconnectFailed, Reconnecting, UsageError
from librats.peers.reconnect import Reconnector
from librats.runtime.tasks import TaskSet

A, B = "a" * 64, "b" * 64
WAIT = 20.0


class FullEntropy:
    """Draws the upper end, and notes between what it had to draw."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, float]] = []

    def token_bytes(self, size: int) -> bytes:
        return bytes(size)

    def randbelow(self, limit: int) -> int:
        return limit - 1

    def uniform(self, low: float, high: float) -> float:
        self.drawn.append((low, high))
        return high


class Scene:
    """A reconnector, what it dials and what it tells."""

    def __init__(self, **settings: Any) -> None:
        self.entropy = FullEntropy()
        self.tasks = TaskSet()
        self.events: list[Any] = []
        self.dials: list[str] = []
        self.reachable = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        config = ReconnectConfig(**{"initial_delay": 0.001, "max_delay": 0.004, "max_attempts": 4, **settings})
        self.reconnector = Reconnector(
            config, dial=self.dial, entropy=self.entropy, tasks=self.tasks, announce=self.events.append
        )

    async def dial(self, peer_id: str) -> None:
        self.dials.append(peer_id)
        await self.may_answer.wait()
        if not self.reachable:
            raise ConnectError(peer_id, reason="nobody there")

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT):
            while self.reconnector.waiting:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.reconnector.close()
    assert len(scene.tasks) == 0


async def test_the_delays_grow_up_to_the_longest_and_then_the_peer_is_given_up(scene: Scene) -> None:
    scene.reconnector.begin(A)
    assert scene.reconnector.waiting == [A]
    await scene.ended()
    delays = [0.001, 0.002, 0.004, 0.004]
    assert scene.events == [
        *(Reconnecting(A, attempt + 1, delay) for attempt, delay in enumerate(delays)),
        ReconnectFailed(A, 4, f"cannot connect to {A}: nobody there"),
    ]
    assert scene.entropy.drawn == [(delay / 2, delay) for delay in delays]
    assert scene.dials == [A] * 4


async def test_a_peer_that_is_reached_is_dialled_no_more(scene: Scene) -> None:
    scene.reachable = True
    scene.reconnector.begin(A)
    scene.reconnector.begin(A)
    await scene.ended()
    assert scene.events == [Reconnecting(A, 1, 0.001)]
    assert scene.dials == [A]


async def test_a_session_that_did_not_last_goes_on_with_the_delays(scene: Scene) -> None:
    scene.reachable = True
    for uptime in (0.0, 1.0, 2.0, 3.0):
        scene.reconnector.begin(A, uptime=uptime)
        await scene.ended()
    scene.reconnector.begin(A, uptime=60.0)
    await scene.ended()
    assert [event.attempt for event in scene.events] == [1, 2, 3, 4, 1]


async def test_a_peer_that_is_always_lost_at_once_is_given_up(scene: Scene) -> None:
    scene.reachable = True
    for _ in range(5):
        scene.reconnector.begin(A, uptime=0.1)
        await scene.ended()
    assert scene.events[-1] == ReconnectFailed(A, 4, "it was lost too often")
    assert scene.dials == [A] * 4


async def test_a_peer_that_something_waits_for_is_dialled_at_once_and_that_counts_as_no_try() -> None:
    scene = Scene(initial_delay=3600.0, max_delay=3600.0, max_attempts=1)
    scene.reconnector.hasten(A)  # who is not lost is left alone
    assert scene.reconnector.waiting == []
    scene.reconnector.begin(A)
    for tries in range(1, 4):
        await asyncio.sleep(0)
        scene.reconnector.hasten(A)
        async with asyncio.timeout(WAIT):
            while len(scene.dials) < tries:  # noqa: ASYNC110 - a fake tells nobody
                await asyncio.sleep(0.001)
    scene.reachable = True
    scene.reconnector.hasten(A)
    await scene.ended()
    assert scene.events == [Reconnecting(A, 1, 3600.0)] * 4
    scene.reconnector.begin(A, uptime=1.0)  # the row of tries has not gone on
    await asyncio.sleep(0)
    assert scene.events[-1] == Reconnecting(A, 1, 3600.0)


async def test_a_peer_that_comes_back_by_itself_is_not_dialled() -> None:
    scene = Scene(initial_delay=3600.0, max_delay=3600.0)
    scene.reconnector.begin(A)
    scene.reconnector.begin(B)
    scene.reconnector.connected(B)
    await asyncio.sleep(0)
    scene.reconnector.connected(A)
    await scene.ended()
    assert scene.dials == []
    assert scene.events == [Reconnecting(A, 1, 3600.0)]
    scene.reconnector.connected("c" * 64)


@pytest.mark.parametrize("while_dialling", [True, False])
async def test_cancelling_ends_the_tries(while_dialling: bool) -> None:
    scene = Scene(**({} if while_dialling else {"initial_delay": 3600.0, "max_delay": 3600.0}))
    scene.may_answer.clear()
    scene.reconnector.begin(A)
    async with asyncio.timeout(WAIT):
        while while_dialling and not scene.dials:  # noqa: ASYNC110 - a fake tells nobody
            await asyncio.sleep(0.001)
    assert scene.reconnector.cancel(A)
    assert not scene.reconnector.cancel(A)
    assert scene.reconnector.waiting == []
    await scene.tasks.close()
    assert len(scene.dials) == while_dialling


async def test_no_more_are_dialled_at_once_than_the_limit_allows() -> None:
    scene = Scene(max_concurrent=2)
    scene.reachable = True
    scene.may_answer.clear()
    ids = [f"{number:064x}" for number in range(5)]
    for peer_id in ids:
        scene.reconnector.begin(peer_id)
    await asyncio.sleep(0.05)
    assert len(scene.dials) == 2
    scene.may_answer.set()
    await scene.ended()
    assert sorted(scene.dials) == ids


async def test_a_client_that_is_being_stopped_is_no_reason_to_go_on(scene: Scene) -> None:
    async def refuse(_: str) -> None:
        raise UsageError("the client is not running")

    scene.reconnector._dial = refuse
    scene.reconnector.begin(A)
    await scene.ended()
    assert scene.events == [Reconnecting(A, 1, 0.001)]


async def test_no_more_peers_wait_than_a_thousand() -> None:
    scene = Scene(initial_delay=3600.0, max_delay=3600.0)
    for number in range(2000):
        scene.reconnector.begin(f"{number:064x}")
    assert len(scene.reconnector.waiting) == 1024
    await scene.reconnector.close()
    assert len(scene.tasks) == 0


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"initial_delay": 0}, "initial_delay"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"initial_delay": 10.0, "max_delay": 5.0}, "initial_delay"),
        ({"enabled": 1}, "enabled"),
        ({"saved_peers": "yes"}, "saved_peers"),
        ({"max_attempts": 1.5}, "max_attempts"),
    ],
)
def test_settings_that_cannot_be_used_are_told(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        ReconnectConfig(**settings)


async def test_no_more_is_remembered_of_earlier_tries_than_the_limit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librats.peers.reconnect.MAX_WAITING", 2)
    scene.reachable = True
    for number in range(5):
        scene.reconnector.begin(f"{number:064x}")
        await scene.ended()
    assert list(scene.reconnector._attempts) == [f"{number:064x}" for number in (3, 4)]
