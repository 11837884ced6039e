"""The race between the ways to one peer: a direct dial and introducers, of which the first to bring a session wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from librats.attempts.accounts import describe, reason_of
from librats.errors import (
    TELLING,
    ClosedError,
    ConnectError,
    PeerDenied,
    PeerLimitReached,
    RatsError,
    UsageError,
    most_telling,
)
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet, end_all
from librats.types import AttemptReason, ConnectionAttempt

__all__ = ["ReachRace"]


class ReachRace:
    """A direct dial and introducers, of which the first to bring a peer wins.

    Args:
        tasks: Owner of the tasks.
        text: What the caller named.
        attempts: Where every attempt is noted; the ways add theirs, at the latest when they are cancelled.
    """

    def __init__(self, tasks: TaskSet, text: str, attempts: list[ConnectionAttempt]) -> None:
        self._tasks = tasks
        self._text = text
        self._attempts = attempts
        self._running: dict[asyncio.Task[Peer | RatsError], None] = {}
        self._last: RatsError | None = None

    def start(self, coroutine: Coroutine[Any, Any, Peer], name: str) -> None:
        """Begin one of the ways."""
        self._running[self._tasks.create(_or_error(coroutine), name=f"librats reaches {self._text} {name}")] = None

    async def run(
        self, rest: Mapping[str, Callable[[], Coroutine[Any, Any, Peer]]], *, head_start: float, seconds: float
    ) -> Peer:
        """Begin the other ways when the head start is over, or used up, and return the first peer.

        Args:
            rest: The other ways by what they are called.
            head_start: Seconds that those have which are begun already.
            seconds: Seconds for everything.

        Raises:
            ConnectError: Nothing worked, or the time is up, or the client was stopped.
            PeerLimitReached: ``max_peers`` are connected; likewise PeerDenied.
        """
        try:
            async with asyncio.timeout(seconds):
                peer = await self._first(head_start) if self._running else None
                if peer is None:
                    for name, way in rest.items():
                        self.start(way(), name)
                while peer is None and self._running:
                    peer = await self._first(None)
        except TimeoutError:
            words, known = f"no session within {seconds:g} s", len(self._attempts)
            await self._end()  # each notes what it has tried
            self._attempts[known:] = [_out_of_time(one, words) for one in self._attempts[known:]]
            raise ConnectError(self._text, self._attempts, words, AttemptReason.TIMEOUT) from None
        finally:
            await self._end()
        if peer is None:
            if isinstance(self._last, PeerLimitReached | PeerDenied | UsageError):
                raise self._last
            if self._last is None:
                raise ConnectError(self._text, self._attempts)
            words = "" if self._attempts else _words(self._last)
            telling = most_telling(self._attempts)
            code = telling if telling in TELLING else reason_of(self._last)
            raise ConnectError(self._text, self._attempts, words, code) from self._last
        self._attempts += [one for one in peer.attempts if one not in self._attempts]
        peer.attempts = tuple(self._attempts)
        return peer

    async def _end(self) -> None:
        await end_all(self._running)
        self._running.clear()

    async def _first(self, patience: float | None) -> Peer | None:
        done, _ = await asyncio.wait(self._running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        winner = None
        for task in [task for task in self._running if task in done]:
            del self._running[task]
            if task.cancelled():
                raise ConnectError(self._text, self._attempts, "the client was stopped", AttemptReason.CANCELLED)
            result = task.result()
            if isinstance(result, Peer):
                winner = winner or result
            else:
                self._last = result
        return winner


def _out_of_time(attempt: ConnectionAttempt, words: str) -> ConnectionAttempt:
    """Return an attempt that was given up as one for which the time was up."""
    if attempt.reason is not AttemptReason.OVERTAKEN:
        return attempt
    return replace(attempt, error=words, reason=AttemptReason.TIMEOUT)


def _words(error: RatsError) -> str:
    return error.reason or str(error) if isinstance(error, ConnectError) else describe(error)


async def _or_error(coroutine: Coroutine[Any, Any, Peer]) -> Peer | RatsError:
    try:
        return await coroutine
    except RatsError as error:
        return error
    except OSError as error:
        return ClosedError(str(error))
