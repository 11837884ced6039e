"""What trackers are told when: that it has begun, is complete, and is reached at another port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from librats.bittorrent.tracker_http import AnnounceReply
from librats.errors import RemoteProtocolError
from librats.services.torrenting import trackers as module
from librats.services.torrenting.trackers import Trackers
from librats.testing.entropy import SeededEntropy

SECONDS = 30.0


class Asked:
    """Trackers that keep what they are told, and fail where they are to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()
        self._heard = asyncio.Condition()
        monkeypatch.setattr(Trackers, "_announce", lambda _trackers, url, event: self._answer(url, event))

    async def _answer(self, url: str, event: str) -> AnnounceReply:
        async with self._heard:
            self.events.append((url, event))
            self._heard.notify_all()
        await self.answers.wait()
        if url in self.fails:
            raise RemoteProtocolError("it does not want to")
        return AnnounceReply()

    async def heard(self, count: int) -> list[str]:
        """Wait for so many announcements; return their events."""
        async with asyncio.timeout(SECONDS), self._heard:
            await self._heard.wait_for(lambda: len(self.events) >= count)
        return [event for _, event in self.events]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@asynccontextmanager
async def running(*tiers: list[str]) -> AsyncIterator[Trackers]:
    network: Any = SimpleNamespace(entropy=SeededEntropy(1))
    describe: Any = None  # nobody is told
    trackers = Trackers(network, tiers, describe, list)
    trackers.start()
    try:
        yield trackers
    finally:
        await trackers.close()


async def test_another_port_is_told_at_once_without_an_event(asked: Asked) -> None:
    async with running(["a"]) as trackers:
        await asked.heard(1)
        trackers.announce_again()
        assert await asked.heard(2) == ["started", ""]


async def test_another_port_that_comes_up_while_the_old_one_is_told_is_told_too(asked: Asked) -> None:
    asked.answers.clear()
    async with running(["a"]) as trackers:
        await asked.heard(1)
        trackers.announce_again()
        asked.answers.set()
        assert await asked.heard(2) == ["started", ""]


async def test_what_is_complete_while_the_begin_is_told_is_told_after_it(asked: Asked) -> None:
    asked.answers.clear()
    async with running(["a"]) as trackers:
        await asked.heard(1)
        trackers.tell_completed()
        asked.answers.set()
        assert await asked.heard(2) == ["started", "completed"]


async def test_what_was_complete_before_the_begin_is_told_is_no_event_of_its_own(asked: Asked) -> None:
    async with running(["a"]) as trackers:
        trackers.tell_completed()
        await asked.heard(1)
        trackers.announce_again()
        assert await asked.heard(2) == ["started", ""]


async def test_what_a_tracker_that_fails_was_to_be_told_is_told_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY", 0.0)
    async with running(["a"]) as trackers:
        await asked.heard(1)
        asked.fails.add("a")
        trackers.tell_completed()
        await asked.heard(2)
        asked.fails.clear()
        assert (await asked.heard(3))[:3] == ["started", "completed", "completed"]


async def test_each_tracker_that_was_told_of_the_begin_is_told_of_the_end(asked: Asked) -> None:
    asked.fails.add("b")
    async with running(["a"], ["b"], ["c"]):
        await asked.heard(3)
    assert {url for url, event in asked.events if event == "stopped"} == {"a", "c"}


async def test_of_a_tier_any_tracker_may_be_the_first_and_the_one_that_works_stays_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_INTERVAL", 0.0)
    urls = [str(number) for number in range(10)]
    firsts = set()
    for seed in range(20):
        monkeypatch.setattr(SeededEntropy, "randbelow", lambda _self, limit, seed=seed: seed % limit)
        async with running(urls) as trackers:
            count = len(asked.events)
            await asked.heard(count + 1)
            first = asked.events[count][0]
            firsts.add(first)
            trackers.announce_again()
            await asked.heard(count + 2)
            assert asked.events[count + 1] == (first, "")
    assert len(firsts) == len(urls)
