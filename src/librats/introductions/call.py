"""One attempt to reach one peer through introducers: who asks them, makes an offer, and goes where the answer leads."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from librats.attempts.accounts import OVERTAKEN, describe, later, reason_of
from librats.attempts.strategies import Ways, joins_nats
from librats.errors import ConnectError, HandshakeError, IntroductionError, OperationTimeout, RatsError
from librats.hole_punching.punching import PunchCall, Punching, hosts_in, race
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import IceRole
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.introductions.carried_call import CarriedCall
from librats.introductions.ways import IntroductionWays
from librats.peers.events import TraversalStep
from librats.services.ice.agent import IceAgent
from librats.services.introduction.ends import Call
from librats.services.introduction.letters import Introducer, Trickle, has_relay, is_relayed, note_seen, offer_of
from librats.services.punch.letters import PunchLetters
from librats.services.session import Link
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, PathPolicy

__all__ = ["IntroductionCall"]

logger = logging.getLogger("librats.introducer")

ASK_TIMEOUT = 5.0
"""Seconds that an introducer has to tell a key."""

CARRIED_DELAY = 0.003
"""Seconds that STUN servers have beyond that where the session begins with the offer; what they tell follows."""

FIRST_WORDS = 0.01
"""Seconds in which the application says what it wants to in a session that is there, before this host is busy with the
search for a better way for it."""

ANOTHER_PAIR, LOOK_EVERY = 2.0, 0.1
"""Seconds in which ICE has to find another pair, where no session begins on the one that it had, and in between."""

DIALS_AGAIN = 2

ANSWER_TIMEOUT = 10.0
"""Seconds that a target has to answer an offer."""


class IntroductionCall:
    """One attempt to reach one peer through introducers.

    Args:
        owner: What this side has.
        target: The peer's id.
        ways: What may be used.
        session: The session that is there already, and is to go over to what is found; None where one is to begin.
    """

    def __init__(self, owner: IntroductionWays, target: str, ways: Ways, session: Link | None = None) -> None:
        self._owner = owner
        self._session = session
        self._target = target
        self._ways = ways
        self._loop = asyncio.get_running_loop()
        self._trickle = Trickle(owner.sealing.new_letter_id())
        self._agent: IceAgent | None = None
        self._call: Call | None = None
        self._was_answered = self._is_there = False
        self._answered_at: float | None = None
        self._link: Link | None = None
        self._punch: PunchCall | None = None
        self._carried: CarriedCall | None = None
        self._afterwards: asyncio.Task[None] | None = None
        self._searching = contextlib.ExitStack()

    async def run(self, introducers: Sequence[Introducer], attempts: list[ConnectionAttempt]) -> Link:
        """Ask all of them at once, and call through those that know the peer, one after the other."""
        began = self._loop.time()
        # Introducers look for the key while the agent gets ready.
        asking = {
            self._owner.tasks.create(self._ask(one), name=f"librats asks {one.peer_id[:8]}"): one for one in introducers
        }
        try:
            await asyncio.sleep(0)
            self._searching.enter_context(self._owner.manager.paths.search(self._target))
            return await self._run(asking, attempts, began)
        finally:
            if self._afterwards is None:
                self._searching.close()
            for task in asking:
                task.cancel()

    async def _run(
        self, asking: dict[asyncio.Task[bytes | RatsError], Introducer], attempts: list[ConnectionAttempt], began: float
    ) -> Link:
        self._agent = agent = await self._owner.new_agent(
            IceRole.CONTROLLING, ways=self._ways, on_candidate=self._found, on_path=self._path_chosen
        )
        # What is found later is told in further letters.
        waits = not self._ways & Ways.DIRECT
        patience = None if waits else self._owner.gathering_patience
        gathering = self._owner.tasks.create(agent.gather_candidates(relays=waits), name="librats ICE gathering")
        last: RatsError | OSError = IntroductionError(Refusal.UNKNOWN_PEER, "nobody to ask")
        goes_on = False
        try:
            async for introducer, found in self._keys(asking):
                try:
                    if isinstance(found, Exception):
                        raise found
                    note_seen(agent, introducer, None)
                    carries = self._is_carried_by(introducer)
                    await asyncio.wait([gathering], timeout=CARRIED_DELAY if carries and patience else patience)
                    link, search = await self._through(introducer, found, agent, carries=carries)
                except asyncio.CancelledError:
                    attempts += self._account(introducer, began, *OVERTAKEN)
                    raise
                except (RatsError, OSError) as error:
                    last = error
                    attempts += self._account(introducer, began, describe(error), reason_of(error))
                    if self._was_answered or (isinstance(error, IntroductionError) and error.by_peer):
                        raise  # the peer was asked: another introducer would change nothing
                else:
                    if search is None:
                        attempts += self._tried(began)
                    elif self._carried is not None:
                        goes_on = True
                        attempts += self._carried.attempts
                        self._afterwards = self._owner.tasks.create(
                            self._go_on(link, search, gathering, began), name=f"librats leaves {introducer.peer_id[:8]}"
                        )
                    return link
        finally:
            if not goes_on:
                gathering.cancel()
        raise last

    def _is_carried_by(self, introducer: Introducer) -> bool:
        session = self._session
        if session is not None:
            # One that is carried slowly stays within the rate that is granted.
            is_lost = session.is_between_paths or session.method is not ConnectionMethod.CARRIED
            if not (session.needs_path and is_lost):
                return False
        free = self._owner.manager.paths.policy is PathPolicy.AUTO
        return free and Ways.CARRIED in self._ways and introducer.carries

    async def _go_on(
        self,
        link: Link,
        search: asyncio.Task[Link | RatsError | OSError],
        gathering: asyncio.Task[None],
        began: float,
    ) -> None:
        """Look for another way for a session that is there, and is carried, as long as it lasts."""
        manager = self._owner.manager
        link.closed.add_done_callback(lambda _: search.cancel())
        try:
            await asyncio.wait([search])
        finally:
            self._searching.close()
            search.cancel()
            gathering.cancel()
            await self._let_go()
        if not search.cancelled() and isinstance(problem := search.result(), Exception):
            logger.debug("%r stays with who carries it: %s", link, describe(problem))
        peer = manager.peers.get(link.peer_id)
        if peer is not None:
            peer.attempts = (*peer.attempts, *self._pairs(began))

    @staticmethod
    async def _keys(
        asking: dict[asyncio.Task[bytes | RatsError], Introducer],
    ) -> AsyncIterator[tuple[Introducer, bytes | RatsError]]:
        """Yield each introducer with the target's key, or with why it does not tell it."""
        waiting = dict(asking)
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in waiting if task in done]:
                one = waiting.pop(task)
                yield one, task.result()

    async def _ask(self, introducer: Introducer) -> bytes | RatsError:
        if introducer.key is not None:
            return introducer.key
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await introducer.circle.ask(introducer.peer_id, self._target)
        except TimeoutError:
            return OperationTimeout(f"no answer within {ASK_TIMEOUT:g} s")
        except RatsError as error:
            return error

    def _tried(self, began: float) -> list[ConnectionAttempt]:
        """Tell of the pairs of ICE and of punching; of the former none has worked where a hole was punched."""
        carried = [] if self._carried is None else self._carried.attempts
        return [*carried, *self._pairs(began)]

    def _pairs(self, began: float) -> list[ConnectionAttempt]:
        if self._agent is None or self._answered_at is None:
            return []
        words, reason = OVERTAKEN
        pairs = self._agent.attempts
        if not self._is_there:
            pairs = [one if one.error else dataclasses.replace(one, error=words, reason=reason) for one in pairs]
        punched = [] if self._punch is None else self._punch.attempts
        return later([*pairs, *punched], self._answered_at - began)

    def _account(
        self, introducer: Introducer, began: float, problem: str, reason: AttemptReason
    ) -> list[ConnectionAttempt]:
        """Tell what was tried by way of an introducer without success."""
        whole = ConnectionAttempt(
            address=introducer.address,
            method=introducer.method,
            duration=self._loop.time() - began,
            error=f"by introducer {introducer.peer_id[:8]}: {problem}",
            reason=reason,
        )
        return [*self._tried(began), whole]

    async def _through(
        self, introducer: Introducer, key: bytes, agent: IceAgent, *, carries: bool
    ) -> tuple[Link, asyncio.Task[Link | RatsError | OSError] | None]:
        """Return a session, and what looks for a better way for it yet where it is carried."""
        owner = self._owner
        letter_id = owner.sealing.new_letter_id()
        self._trickle = Trickle(letter_id)
        self._trickle.told(agent)
        punching = owner.punching if Ways.PUNCHED in self._ways else None
        letter = offer_of(
            *(agent, letter_id, owner.sealing, introducer),
            nat=owner.nat_type(),
            no_relay=Ways.RELAYED not in self._ways,
            carried=carries,
            moves=self._session is not None,
            punch=None if punching is None else punching.offer,
        )
        self._call = call = introducer.circle.call(introducer.peer_id, key, letter)
        self._carried = (
            CarriedCall(owner.manager, owner.tasks, introducer, self._target, self._session) if carries else None
        )
        if self._carried is None:
            owner.tell(self._target, TraversalStep.OFFERED)
            return await self._answered(call, letter_id, agent, punching), None
        self._carried.begin(call)
        owner.tell(self._target, TraversalStep.OFFERED)
        return await self._carried.race(self._answered(call, letter_id, agent, punching), self._carried_is_there)

    def _carried_is_there(self, link: Link) -> None:
        if self._punch is not None:
            self._punch.session = link

    async def _answered(self, call: Call, letter_id: str, agent: IceAgent, punching: Punching | None) -> Link:
        """Wait for the answer, and go where it leads."""
        owner, carried = self._owner, self._carried
        asked = self._loop.time()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await call.answer
        except TimeoutError:
            raise OperationTimeout(f"the peer has not answered within {ANSWER_TIMEOUT:g} s") from None
        self._was_answered, self._answered_at = True, self._loop.time()
        owner.tell(self._target, TraversalStep.ANSWERED)
        if carried is not None and answer.hello is not None:
            carried.presume(answer.hello)
            answer = await self._whole(call, answer)
            if carried.is_ready:
                await asyncio.sleep(FIRST_WORDS)
        if answer.seen:
            agent.note_peer_seen(answer.seen)
        owner.describe_peer(agent, IceDescription.from_json(answer.ice), hosts=None)
        remote = None if punching is None else punching.both(answer)
        punch: PunchCall | None = None
        if punching is not None and remote is not None:
            letters = PunchLetters(letter_id, call.send)
            punch = self._punch = PunchCall(
                punching, self._target, letters, remote, hosts=hosts_in(answer), round_trip=self._loop.time() - asked
            )
            punch.session = self._session or (None if carried is None else carried.session)

        def heard(letter: Letter) -> None:
            if letter.punch is None:
                owner.add_further(agent, letter, hosts=None)
            elif punch is not None:
                punch.letters.heard(letter.punch)

        call.listen(heard)
        self._trickle.begin(call.send)
        try:
            if punch is None:
                link, _ = await self._by_ice(agent)
            else:
                ice = self._by_ice(agent)
                link, self._is_there = await race(ice, punch, owner.tasks, can_relay=lambda: has_relay(agent))
        except ConnectError as error:
            if error.code is AttemptReason.NO_PATH and not joins_nats(owner.nat_type(), answer.nat):
                error.code = AttemptReason.NAT_INCOMPATIBLE
            raise
        finally:
            owner.note_nat(self._target, answer)
        return link

    async def _whole(self, call: Call, answer: Letter) -> Letter:
        """Return an answer with what the target has told behind its hello, which it had not gathered yet.

        Raises:
            HandshakeError: It has none.
            OperationTimeout: It has told nothing more.
        """
        if answer.ice is not None:
            return answer
        told: asyncio.Future[Letter] = self._loop.create_future()

        def heard(letter: Letter) -> None:
            if told.done():
                call.early.append(letter)
            else:
                told.set_result(letter)

        call.listen(heard)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                rest = await told
        except TimeoutError:
            raise OperationTimeout(f"the peer has told no addresses within {ANSWER_TIMEOUT:g} s") from None
        finally:
            call.on_letter = None
        if rest.refused:
            raise HandshakeError(
                f"the peer has no addresses to tell: {rest.words or rest.refused}", AttemptReason.NO_PATH
            )
        return msgspec.structs.replace(answer, ice=rest.ice)

    async def _by_ice(self, agent: IceAgent) -> tuple[Link, bool]:
        """Return a session over what ICE finds, and whether that is relayed."""
        owner = self._owner
        await agent.connect()
        owner.tell(self._target, TraversalStep.FOUND, str(agent.remote_address))
        carried = self._carried
        if self._session is not None:
            link = self._session
            await owner.manager.paths.move_over(link, *owner.dialler(agent))
        elif carried is not None and carried.session is not None:
            link = carried.session
            await carried.move(link, *owner.dialler(agent))
        else:
            link = await self._dial(agent)
        self._link, self._is_there = link, True
        relayed = is_relayed(agent) or link.address.host in owner.relay_hosts
        owner.let_go(agent, self._target, is_relayed=relayed)
        return link, relayed

    async def _dial(self, agent: IceAgent) -> Link:
        """Begin a session over what ICE has found; where that dies meanwhile, over what it finds then."""
        again = 0
        while True:
            tried = agent.remote_address, agent.uses_relay
            try:
                return await self._owner.dial(agent, self._target)
            except OSError:
                again += 1
                until = self._loop.time() + ANOTHER_PAIR
                while (agent.remote_address, agent.uses_relay) == tried and self._loop.time() < until:  # noqa: ASYNC110 - it tells one listener only
                    await asyncio.sleep(LOOK_EVERY)
                if again > DIALS_AGAIN or agent.remote_address is None or not agent.is_connected:
                    raise

    def _found(self, candidate: IceCandidate | None) -> None:
        self._owner.found(self._target, candidate)
        self._trickle.found(candidate)

    def _path_chosen(self, address: Address) -> None:
        """Follow the agent to a better way."""
        link, agent = self._link, self._agent
        if link is not None and agent is not None and not agent.uses_relay and address != link.address:
            self._owner.tasks.create(self._follow(link, address), name="librats ICE better path")

    async def _follow(self, link: Link, address: Address) -> None:
        if link.can_move and self._owner.manager.paths.policy is not PathPolicy.RELAY_ONLY:
            with contextlib.suppress(RatsError, OSError):
                await self._owner.manager.paths.move(link, address, ConnectionMethod.UDP)

    async def end(self) -> None:
        """Let go what is not needed any more: not yet what a session needs that is to leave who carries it."""
        if self._afterwards is None:
            await self._let_go()

    async def _let_go(self) -> None:
        call, task = self._call, None if self._punch is None else self._punch.task
        if call is not None and task is not None and not task.done():
            task.add_done_callback(lambda _: call.close())
        elif call is not None:
            call.close()
        if self._agent is not None and not self._is_there:
            await self._agent.close()
