"""The race of dials to one peer: every address in every way, one after the other (RFC 8305), and the first wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct, structs

from librats.attempts.accounts import OVERTAKEN, describe, reason_of
from librats.config import RatsConfig
from librats.errors import HandshakeError, OperationTimeout, RatsError
from librats.peers.manager import PeerManager
from librats.runtime.tasks import end_all
from librats.services.session import Link
from librats.session.frames import Reason
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod

__all__ = ["DialAddress", "DialRace", "session_over", "settled"]

UDP_FIRST_DELAY = 1.2
"""Seconds until TCP is tried where UDP is tried first, as in librats 2 (LIBRATS2 wire, section 9.5)."""
RELAY_DELAY = 1.0
"""Seconds that direct ways have at the most before a relay is tried, too."""
MAX_RELAYED = 4
"""Addresses that are tried through a relay."""
AFTER_REFUSAL = 0.1
"""Seconds that a host which has refused TCP gets to answer over UDP, beyond a few round trips."""
ENDINGS: dict[str, AttemptReason] = {
    Reason.REFUSED: AttemptReason.PEER_REFUSED,
    Reason.LIMIT: AttemptReason.PEER_REFUSED,
    Reason.TIMEOUT: AttemptReason.NO_ANSWER,
    Reason.LOST: AttemptReason.NO_ANSWER,
}
"""What it means for an attempt how its session has ended at once."""


class DialAddress(Protocol):
    """Connects to one address, and gives the connection to a protocol."""

    def __call__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        address: Address,
        method: ConnectionMethod,
        *,
        timeout: float,
    ) -> Awaitable[None]:
        """Connect.

        Args:
            factory: Makes the protocol, once there is a connection.
            address: Where to.
            method: How.
            timeout: Seconds until it is given up.
        """


class _Try(Struct, eq=False):
    """One attempt of a race."""

    start: float
    """Seconds after the race's beginning, where nothing that runs has failed until then."""

    address: Address
    method: ConnectionMethod


class DialRace:
    """Attempts to reach one peer, of which the first to finish its handshake wins.

    Args:
        dial: Makes connections.
        manager: Where links become peers.
        config: Timing and limits.
        expect_id: The only peer id that is accepted, or None for any.
        methods: How connections are made, the one that is tried first first.
        attempts: Where every attempt is noted.
    """

    def __init__(
        self,
        dial: DialAddress,
        manager: PeerManager,
        config: RatsConfig,
        *,
        expect_id: str | None,
        methods: Sequence[ConnectionMethod],
        attempts: list[ConnectionAttempt] | None = None,
    ) -> None:
        self._dial = dial
        self._manager = manager
        self._config = config
        self._expect_id = expect_id
        self._methods = methods
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Link], _Try] = {}
        self._start = self._loop.time()
        self._begun: dict[_Try, float] = {}
        self._refused: dict[str, float] = {}
        self._reached: set[Address] = set()
        self.attempts = [] if attempts is None else attempts
        self.last_error: BaseException | None = None
        self.refused_here = False

    def _plan(self, addresses: list[Address]) -> list[_Try]:
        """Lay the attempts out in time: addresses as in RFC 8305, section 5, at each one way after the other."""
        methods = self._methods
        if len(addresses) == 1 == len(methods):
            return [_Try(0.0, addresses[0], methods[0])]
        direct = [method for method in methods if method is not ConnectionMethod.RELAY]
        step = self._config.attempt_delay
        pause = UDP_FIRST_DELAY if direct and direct[0] is ConnectionMethod.UDP else step
        tries = [
            _Try(place * step + turn * pause, address, method)
            for place, address in enumerate(addresses)
            for turn, method in enumerate(direct)
        ]
        if ConnectionMethod.RELAY in methods:
            start = min(RELAY_DELAY, max(one.start for one in tries) + step) if tries else 0.0
            if methods[0] is ConnectionMethod.RELAY:  # it has worked before
                start, tries = 0.0, [structs.replace(one, start=one.start + step) for one in tries]
            tries += [
                _Try(start + place * step, address, ConnectionMethod.RELAY)
                for place, address in enumerate(addresses[:MAX_RELAYED])
            ]
        return sorted(tries, key=lambda one: one.start)

    async def run(self, addresses: list[Address]) -> Link | None:
        """Start the attempts one after the other, and return the first link that is ready, or None."""
        first, *others = self._plan(addresses)
        return await self._run_first(first, others)

    async def _run_first(self, first: _Try, others: list[_Try]) -> Link | None:
        """Make the first attempt in the task at hand, since another one would take turns of the loop to be heard of.

        The others have a task of their own from when on their time has come.
        """
        rest: asyncio.Task[Link | None] | None = None
        me = asyncio.current_task()
        has_lost = False

        def begin_others() -> None:
            nonlocal rest
            rest = self._loop.create_task(self._run_others(others), name="librats dial race")
            rest.add_done_callback(others_done)

        def others_done(task: asyncio.Task[Link | None]) -> None:
            nonlocal has_lost
            if me is not None and first in self._begun and not task.cancelled() and task.exception() is None:
                has_lost = task.result() is not None
                if has_lost:
                    me.cancel()

        self._begun[first] = self._loop.time()
        timer = self._loop.call_later(others[0].start - first.start, begin_others) if others else None
        try:
            link = await self._attempt(first)
        except asyncio.CancelledError:
            if rest is None or not has_lost or me is None or me.uncancel() > 0:
                await self._stop(rest)
                raise
            self._note(first, *OVERTAKEN)
            return rest.result()
        except Exception as error:
            self._note(first, describe(error), reason_of(error, first.method))
            self.last_error = error
        else:
            self._note(first)
            await self._stop(rest)
            self.give_up(*OVERTAKEN)
            return link
        finally:
            if timer is not None:
                timer.cancel()
        try:
            return await (rest if rest is not None else self._run_others(others))
        except asyncio.CancelledError:
            await self._stop(rest)
            raise

    @staticmethod
    async def _stop(task: asyncio.Task[Link | None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run_others(self, tries: list[_Try]) -> Link | None:
        waiting = list(reversed(tries))
        try:
            while True:
                at_hand = None
                # Whoever was reached in one way and did not become a peer would not in another.
                waiting = [one for one in waiting if one.address not in self._reached]
                if not (waiting or self._running):
                    return None
                if waiting:
                    at_hand = waiting.pop()
                    self._begun[at_hand] = self._loop.time()
                    task = self._loop.create_task(self._attempt(at_hand), name=f"librats dial {at_hand.address}")
                    self._running[task] = at_hand
                pause = waiting[-1].start - at_hand.start if waiting and at_hand is not None else None
                link = await self._first_done(pause)
                if link is not None:
                    for one in self._running.values():
                        self._note(one, *OVERTAKEN)
                    return link
        finally:
            tasks = list(self._running)
            await end_all(tasks)

    async def _first_done(self, timeout: float | None) -> Link | None:
        done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        winner = None
        for task in [task for task in self._running if task in done]:
            one = self._running.pop(task)
            error = task.exception()
            if error is None:
                self._note(one)
                winner = winner or task.result()
            else:
                self._note(one, describe(error), reason_of(error, one.method))
                self.last_error = error
        return winner

    def give_up(self, why: str, reason: AttemptReason) -> None:
        """Note every attempt that is still running as given up."""
        for one in list(self._begun):
            self._note(one, why, reason)

    def _note(self, one: _Try, error: str = "", reason: AttemptReason | None = None) -> None:
        began = self._begun.pop(one)
        self.attempts.append(
            ConnectionAttempt(
                address=one.address,
                method=one.method,
                duration=self._loop.time() - began,
                error=error,
                reason=reason,
                started=began - self._start,
            )
        )

    async def _attempt(self, one: _Try) -> Link:
        denied = self._manager.admission.access.check_dial(one.address.host)
        if denied is not None:
            self._manager.admission.refusals[denied.limit] += 1
            self.refused_here = True
            self._reached.add(one.address)
            raise denied
        made: list[Link] = []

        def new_link() -> Link:
            # Called once the connection is there: the peer gets it ready meanwhile.
            made.append(self._manager.new_link(expect_id=self._expect_id))
            return made[-1]

        seconds = self._patience(one)
        try:
            await self._dial(new_link, one.address, one.method, timeout=seconds)
        except OperationTimeout:
            raise  # a server on the way, and not the peer
        except TimeoutError:
            raise HandshakeError(f"no connection within {round(seconds, 2):g} s", AttemptReason.NO_ANSWER) from None
        except ConnectionRefusedError:
            self._refused[one.address.host] = self._loop.time() - self._begun[one]
            raise
        link = made[-1]
        try:
            return await settled(self._manager, link)
        except RatsError:
            self.refused_here = link.refused_here
            self._reached.add(one.address)
            raise

    def _patience(self, one: _Try) -> float:
        """Return how long a connection may take; not long over UDP where the host has refused TCP already."""
        refusal = self._refused.get(one.address.host)
        if refusal is None or one.method is not ConnectionMethod.UDP:
            return self._config.dial_timeout
        return min(self._config.dial_timeout, AFTER_REFUSAL + 4 * refusal)


async def settled(manager: PeerManager, link: Link) -> Link:
    """Wait until both sides of a link have let each other in.

    Raises:
        HandshakeError: One of them has not; likewise another :class:`~librats.RatsError`.
    """
    try:
        await link.settled
    except asyncio.CancelledError:
        if not manager.spare(link):
            link.abort()
        raise
    if link.error is not None or not link.ready:
        raise link.error or HandshakeError(link.reason[1], ENDINGS.get(link.reason[0], AttemptReason.HANDSHAKE_FAILED))
    return link


async def session_over(
    manager: PeerManager, dial: Callable[[Callable[[], Link]], Awaitable[object]], *, expect_id: str
) -> Link:
    """Begin a session with a peer over a connection that somebody else makes.

    Args:
        manager: Where the link becomes a peer.
        dial: Makes the connection, and gives it to the link that it is handed the maker of.
        expect_id: Who the peer has to be.

    Raises:
        HandshakeError: It did not come about; likewise another :class:`~librats.RatsError`.
        OSError: No connection came about.
    """
    made: list[Link] = []

    def new_link() -> Link:
        made.append(manager.new_link(expect_id=expect_id))
        return made[-1]

    await dial(new_link)
    return await settled(manager, made[-1])
