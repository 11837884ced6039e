"""Dialling lost peers again: with growing delays, some chance, and an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from librats.config import ReconnectConfig
from librats.errors import RatsError, UsageError
from librats.peers.events import ReconnectFailed, Reconnecting
from librats.runtime.tasks import TaskSet, end_all
from librats.types import Entropy

__all__ = ["Reconnector"]

logger = logging.getLogger("librats.peers")

MAX_WAITING = 1024
"""Peers that may wait for their next try; more are not dialled again."""


class _Wait:
    """One peer that is to be dialled again."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.back = asyncio.Event()
        self.news = asyncio.Event()
        """Set where it is back, and where its next try shall not wait any longer."""
        self.task: asyncio.Task[None] | None = None


class Reconnector:
    """Dials peers again.

    Args:
        config: Delays and limits.
        dial: Connects to a peer by its id; raises a RatsError where it cannot be reached.
        entropy: For the chance in the delays.
        tasks: Owner of the tasks.
        announce: Called with each event.
    """

    def __init__(
        self,
        config: ReconnectConfig,
        *,
        dial: Callable[[str], Awaitable[object]],
        entropy: Entropy,
        tasks: TaskSet,
        announce: Callable[[Any], None],
    ) -> None:
        self._config = config
        self._dial = dial
        self._entropy = entropy
        self._tasks = tasks
        self._announce = announce
        self._room = asyncio.Semaphore(config.max_concurrent)
        self._waiting: dict[str, _Wait] = {}
        self._attempts: dict[str, int] = {}

    @property
    def waiting(self) -> list[str]:
        """Ids of the peers that are being dialled again."""
        return list(self._waiting)

    def begin(self, peer_id: str, *, uptime: float = 0.0) -> None:
        """Dial a peer again after a while, and again until it is there.

        Args:
            peer_id: Who was lost.
            uptime: Seconds that the session lasted. A short one does not end the row of tries.
        """
        before = self._attempts.pop(peer_id, 0)
        if peer_id in self._waiting or len(self._waiting) >= MAX_WAITING:
            return
        wait = self._waiting[peer_id] = _Wait(0 if uptime >= self._config.stable_after else before)
        wait.task = self._tasks.create(self._run(peer_id, wait), name=f"librats reconnects {peer_id[:8]}")

    def connected(self, peer_id: str) -> None:
        """Take note that a session with a peer has begun, whoever dialled."""
        wait = self._waiting.get(peer_id)
        if wait is not None:
            wait.back.set()
            wait.news.set()

    def hasten(self, peer_id: str) -> None:
        """Dial a lost peer now, for something waits for it; that counts as no try. Nothing where it is not lost."""
        wait = self._waiting.get(peer_id)
        if wait is not None:
            wait.news.set()

    def cancel(self, peer_id: str) -> bool:
        """Dial a peer no more; False where it is not being dialled again."""
        self._attempts.pop(peer_id, None)
        wait = self._waiting.pop(peer_id, None)
        if wait is None:
            return False
        if wait.task is not None:
            wait.task.cancel()
        return True

    async def close(self) -> None:
        """Dial nobody any more, and wait until nothing of it is left."""
        tasks = [wait.task for wait in self._waiting.values() if wait.task is not None]
        await end_all(tasks)
        self._waiting.clear()
        self._attempts.clear()

    def _delay(self, attempts: int) -> float:
        """Return how long to wait after that many tries."""
        full = self._config.initial_delay
        for _ in range(attempts):
            full = min(full * self._config.multiplier, self._config.max_delay)
        return self._entropy.uniform(full / 2, full)

    async def _run(self, peer_id: str, wait: _Wait) -> None:
        error = "it was lost too often"
        try:
            while wait.attempts < self._config.max_attempts and not wait.back.is_set():
                delay = self._delay(wait.attempts)
                self._announce(Reconnecting(peer_id, wait.attempts + 1, delay))
                wait.news.clear()
                is_hastened = await _is_set_within(wait.news, delay)
                if wait.back.is_set():
                    return
                wait.attempts += not is_hastened
                try:
                    async with self._room:
                        if not wait.back.is_set():
                            await self._dial(peer_id)
                except UsageError:  # the client is being stopped
                    return
                except RatsError as problem:
                    error = str(problem)
                    logger.debug("reconnecting %s: %s", peer_id[:8], error)
                else:
                    self._remember(peer_id, wait.attempts)
                    return
            if not wait.back.is_set():
                self._announce(ReconnectFailed(peer_id, wait.attempts, error))
        finally:
            if self._waiting.get(peer_id) is wait:
                del self._waiting[peer_id]

    def _remember(self, peer_id: str, attempts: int) -> None:
        """Keep how many tries it took, in case the new session does not last."""
        while len(self._attempts) >= MAX_WAITING:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[peer_id] = attempts


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
