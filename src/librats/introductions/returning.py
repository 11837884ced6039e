"""Sessions whose path has died: introducers help to find another one, and a direct one where there was one before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextvars import copy_context
from typing import Any

from msgspec import Struct

from librats.attempts.accounts import describe
from librats.attempts.strategies import Ways
from librats.errors import RatsError
from librats.introduce.parcels import LIMITS
from librats.peers.links.paths import INDIRECT
from librats.peers.manager import PeerManager
from librats.runtime.tasks import TaskSet
from librats.services.session import Link
from librats.types import ConnectionAttempt, ConnectionMethod, Entropy, PathPolicy

__all__ = ["Returning"]

logger = logging.getLogger("librats.introducer")

PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each try; the last one is repeated."""

AFTER_THE_OTHER = 20.0
"""Seconds that the side has which has dialled, before the other one looks for a direct way, too."""

RESCUES = (0.3, 1.0, 1.0, 2.0, 2.0, 3.0)
"""Seconds before each try to find any way for a session without a path."""

RESCUING = Ways.DIRECT | Ways.RELAYED | Ways.PUNCHED
"""Ways for a session without a path, besides being carried: that is tried as well, but where a limit has ended it."""

PATIENT = 2
"""Tries that are left out where direct ways do not last, for those that are known may lead to a relay."""

RESCUE_AFTER_THE_OTHER = 1.5

SPREAD = 0.2
"""Share of a pause that is left to chance."""

LASTING = 300.0
"""Seconds after which a direct way has lasted: a NAT that forgets everything after a minute breaks each one."""

FICKLE, MOST_FALLS = 3600.0, 3
"""Seconds to stay where a session is after two in a row that did not; four times as long after each further one."""

MOST_ATTEMPTS = 64
"""How many of the last attempts are kept."""

Move = Callable[[Link, list[ConnectionAttempt], Ways], Awaitable[None]]


class _Standing(Struct):
    """What is remembered of a session."""

    direct_since: float | None = None
    """Since when it goes a direct way; None where it does not."""

    falls: int = 0
    """How many direct ways in a row did not last."""


class Returning:
    """Has sessions go on another way that introducers help to find: any where theirs has died, a direct one later.

    Args:
        manager: Whose sessions.
        tasks: Owner of the tasks.
        move: Looks for a way by introducers, and has a session go over to it.
        may_ask: Tells whether there are introducers, and they may know the peer.
        verify: Sees to it that sessions with introducers that have died, too, begin anew.
        entropy: Random values.
        relay_hosts: Returns the IP addresses of the relays that are known.
    """

    def __init__(
        self,
        manager: PeerManager,
        tasks: TaskSet,
        move: Move,
        may_ask: Callable[[Link], bool],
        verify: Callable[[], None],
        *,
        entropy: Entropy,
        relay_hosts: Callable[[], Collection[str]],
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._move = move
        self._verify = verify
        self._entropy = entropy
        self._context = copy_context()
        self._relay_hosts = relay_hosts
        self._standings: dict[Link, _Standing] = {}
        self._looking: set[Link] = set()
        self._rescuing: set[Link] = set()
        manager.paths.watch = self.watch
        manager.paths.may_ask = may_ask

    def watch(self, link: Link) -> None:
        """Take note of how a session goes, or that it does not."""
        if self._manager.paths.is_rescued(link):
            self._note_end(link)
            if link not in self._rescuing:
                self._rescuing.add(link)
                self._begin(self._rescue(link), f"librats rescues {link.peer_id[:8]}")
        elif not self._is_indirect(link):
            standing = self._standings.get(link)
            if standing is None:
                standing = self._standings[link] = _Standing()
                link.closed.add_done_callback(lambda _: self._standings.pop(link, None))
            if standing.direct_since is None:
                standing.direct_since = link.now()
        elif link in self._standings:
            self._note_end(link)
            if link not in self._looking:
                self._looking.add(link)
                self._begin(self._return(link, self._standings[link]), f"librats returns to {link.peer_id[:8]}")

    def _note_end(self, link: Link) -> None:
        """Take note that a session goes a direct way no longer, where it did."""
        standing = self._standings.get(link)
        if standing is not None and standing.direct_since is not None:
            lasted = link.now() - standing.direct_since
            standing.falls = standing.falls + 1 if lasted < LASTING else 0
            standing.direct_since = None

    def _is_indirect(self, link: Link) -> bool:
        return link.method in INDIRECT or link.address.host in self._relay_hosts()

    def _begin(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run something as this client, whoever has noticed that it is needed."""
        self._tasks.create(coroutine, name=name, context=self._context.copy())

    async def _rescue(self, link: Link) -> None:
        """Look for any way for a session without a path, beside the addresses that are known."""
        try:
            await asyncio.sleep(0.0 if link.initiator else RESCUE_AFTER_THE_OTHER)
            for number, pause in enumerate(RESCUES):
                await asyncio.sleep(pause)
                if not self._manager.paths.is_rescued(link) or self._manager.paths.policy is not PathPolicy.AUTO:
                    return
                if not number and link.method is not ConnectionMethod.CARRIED:
                    self._verify()
                standing = self._standings.get(link)
                if number >= PATIENT or standing is None or standing.falls <= 1:
                    await self._try(link, RESCUING if link.reason[0] in LIMITS else RESCUING | Ways.CARRIED)
        finally:
            self._rescuing.discard(link)

    def _may(self, link: Link) -> bool:
        is_over = link.closed.done() or self._manager.closing or not link.can_move
        return not is_over and self._is_indirect(link)

    async def _return(self, link: Link, standing: _Standing) -> None:
        tries = 0
        first = 0.0 if link.initiator else AFTER_THE_OTHER
        try:
            while True:
                pause = first + PAUSES[min(tries, len(PAUSES) - 1)]
                if standing.falls > 1:
                    pause += FICKLE * 4 ** min(standing.falls - 2, MOST_FALLS)
                await asyncio.sleep(pause * (1 + self._entropy.uniform(-SPREAD, SPREAD)))
                if not self._may(link):
                    return
                if self._manager.paths.policy is PathPolicy.AUTO:
                    await self._try(link, Ways.DIRECT | Ways.PUNCHED)
                if not self._may(link):
                    return
                first, tries = 0.0, tries + 1
        finally:
            self._looking.discard(link)

    async def _try(self, link: Link, ways: Ways) -> None:
        attempts: list[ConnectionAttempt] = []
        try:
            await self._move(link, attempts, ways)
        except (RatsError, OSError) as error:
            logger.debug("%r stays as it goes: %s", link, describe(error))
        peer = self._manager.peers.get(link.peer_id)
        if peer is not None:
            peer.attempts = (*peer.attempts, *attempts)[-MOST_ATTEMPTS:]
