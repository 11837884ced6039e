"""A session that begins through the introducer itself, which carries it, while other ways are looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from librats.attempts.accounts import OVERTAKEN, describe, outcome, reason_of
from librats.attempts.dialling import settled
from librats.errors import IntroductionError, RatsError
from librats.peers.manager import PeerManager
from librats.runtime.tasks import TaskSet, end_all
from librats.services.introduction.ends import Call
from librats.services.introduction.letters import Introducer
from librats.services.link.joining import Joining
from librats.services.session import Link
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod

__all__ = ["CarriedCall"]

Outcome = Link | RatsError | OSError

SIGN_OF_LIFE = 3.0
"""Seconds that the peer has to answer on the carried path, before it is believed to be ready for another one."""


class CarriedCall:
    """The caller's side.

    Args:
        manager: Where links become peers.
        tasks: Owner of the tasks.
        introducer: Who carries.
        target: Peer id of the target.
        rescued: A session without a path, which is to go on through the introducer; None where one is to begin.
    """

    def __init__(
        self,
        manager: PeerManager,
        tasks: TaskSet,
        introducer: Introducer,
        target: str,
        rescued: Link | None = None,
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._introducer = introducer
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._rescued = rescued
        self._joining: Joining | None = None
        self._began = 0.0
        self.session: Link | None = None
        """The session, once it is there."""
        self.attempts: list[ConnectionAttempt] = []
        """What has come of it."""

    def begin(self, call: Call) -> None:
        """Send the first message of the handshake behind the offer, or what opens a path for the session."""
        self._began = self._loop.time()
        if self._rescued is not None:
            joining = self._joining = self._rescued.call_path()
            call.carry(lambda: joining, self._introducer.address)
            return
        self._link = self._manager.new_link(expect_id=self._target, in_letters=True)
        link = self._link
        call.carry(lambda: link, self._introducer.address)

    def presume(self, hello: dict[str, Any] | None) -> None:
        """Take the hello that the target has sent with its answer: the session need not wait for it again."""
        if hello is not None and self._link is not None:
            self._link.presume(msgspec.json.encode(hello))

    @property
    def is_ready(self) -> bool:
        """True where the session is there, though nobody may have heard of it yet."""
        return self._link is not None and self._link.ready

    async def race(
        self, ways: Coroutine[Any, Any, Link], ready: Callable[[Link], object]
    ) -> tuple[Link, asyncio.Task[Outcome] | None]:
        """Return the first session, the carried one or over another way.

        Args:
            ways: Looks for other ways, and moves the carried session to the one that it finds where that is there.
            ready: Called with the carried session when it is there.

        Returns:
            The session, and what looks for other ways yet.

        Raises:
            RatsError: The peer does not want to, or nothing works: what the other ways have come to.
            OSError: Likewise.
        """
        by_ways = self._tasks.create(outcome(ways), name="librats looks for ways beside the introducer")
        by_carrier = self._tasks.create(outcome(self._settle()), name="librats begins through the introducer")
        running: list[asyncio.Task[Outcome]] = [by_carrier, by_ways]
        problem: RatsError | OSError | None = None
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done]:
                    running.remove(task)
                    result = task.result()
                    if task is by_carrier and isinstance(result, Link):
                        self._note()
                        self.session = result
                        ready(result)
                        if by_ways in running:
                            running.remove(by_ways)
                            return result, by_ways
                        return result, None
                    if isinstance(result, Link):
                        return result, None
                    if task is by_carrier:
                        self._note(describe(result), reason_of(result))
                        problem = problem or result
                    else:
                        problem = result
                        if isinstance(result, IntroductionError):
                            raise result
        finally:
            if by_carrier in running:
                self._note(*OVERTAKEN)
            await end_all(running)
        raise problem or IntroductionError("failed", "no way to the peer")

    async def _settle(self) -> Link:
        if self._rescued is not None and self._joining is not None:
            await asyncio.shield(self._joining.done)
            return self._rescued
        if self._link is None:
            raise IntroductionError("failed", "nothing was begun")
        return await settled(self._manager, self._link)

    def _note(self, error: str = "", reason: AttemptReason | None = None) -> None:
        self.attempts.append(
            ConnectionAttempt(
                address=Address(self._introducer.address.host, 0),
                method=ConnectionMethod.CARRIED,
                duration=self._loop.time() - self._began,
                error=error,
                reason=reason,
            )
        )

    async def move(self, link: Link, connect: Callable[[Any], Awaitable[object]], address: Address) -> None:
        """Have the session go over to another way, once the peer is there as well.

        Args:
            link: The session.
            connect: Makes the connection.
            address: Where to, for words.

        Raises:
            RatsError: It does not.
            OSError: No connection came about.
        """
        if not link.needs_path:
            try:
                async with asyncio.timeout(SIGN_OF_LIFE):
                    await link.ping()
            except TimeoutError:
                pass
        if link.method is ConnectionMethod.CARRIED:
            await self._manager.paths.move_over(link, connect, address)
