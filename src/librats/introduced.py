"""Peers that are reached with the help of others: through an introducer, by ICE on the client's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from librats.config import NatTraversalConfig
from librats.connector import describe
from librats.errors import (
    IntroductionError,
    OperationTimeout,
    RatsError,
    UsageError,
)
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import IceRole
from librats.ice_agents import LINGER, UPGRADE_TIME, IceAgents
from librats.introduce.guard import OfferHosts
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.peers.manager import PeerManager
from librats.punching import PunchAnswer, PunchCall, Punching, hosts_in, race
from librats.runtime.tasks import TaskSet
from librats.services.ice import IceAgent
from librats.services.introducer import Call, Offered
from librats.services.introduction_letters import (
    Introducer,
    Trickle,
    answer_to,
    has_relay,
    is_relayed,
    note_seen,
    offer_of,
)
from librats.services.punch_letters import PunchLetters
from librats.services.session import Link
from librats.types import Address, ConnectionAttempt, ConnectionMethod, PathPolicy

__all__ = ["IntroducedPeers"]

logger = logging.getLogger("librats.introducer")

ASK_TIMEOUT = 5.0
"""Seconds that an introducer has to tell a key."""

ANSWER_TIMEOUT = 10.0
"""Seconds that a target has to answer an offer."""

MAX_ASKED = 8
"""Introducers that are asked for one peer."""

OFFER_LIFETIME = 120.0
"""Seconds for which an offer that the application carries is good, and for which its caller is waited for."""


class IntroducedPeers(IceAgents):
    """Reaches peers by ICE, and lets them reach this client, for one client from its start to its stop.

    Args:
        options: As for :class:`~librats.ice_agents.IceAgents`.
    """

    def __init__(self, manager: PeerManager, settings: NatTraversalConfig, tasks: TaskSet, **options: Any) -> None:
        super().__init__(manager, settings, tasks, **options)
        self._offers: dict[str, IceAgent] = {}
        self.punching: Punching | None = None
        """Who punches holes where ICE does not do; None where nobody does."""

    @property
    def gathering_patience(self) -> float:
        """Seconds that servers have to tell where they see this side before it is offered."""
        facts = None if self.punching is None else self.punching.facts
        return self._settings.stun_first_answer if facts is None or facts.udp else 0.0

    # The caller

    async def reach(self, target: str, introducers: Sequence[Introducer], attempts: list[ConnectionAttempt]) -> Link:
        """Reach a peer through the first introducer that knows it.

        Args:
            target: The peer's id.
            introducers: Whom to ask.
            attempts: Where every attempt is noted.

        Raises:
            RatsError: Nothing worked: the last of what went wrong.
        """
        caller = _Caller(self, target)
        try:
            return await caller.run([self._discreet(one) for one in introducers[:MAX_ASKED]], attempts)
        finally:
            await caller.end()

    def _discreet(self, introducer: Introducer) -> Introducer:
        """Return an introducer without where it sees us, where peers are not to learn that."""
        hides = self._manager.paths.policy is PathPolicy.RELAY_ONLY
        return dataclasses.replace(introducer, observed=None) if hides else introducer

    # By signals of the application's own

    async def make_offer(self, peer_id: str) -> dict[str, Any]:
        """Return an offer for a peer; an older one for the same peer is no longer good."""
        agent = await self.new_agent(IceRole.CONTROLLING)
        await self._forget_offer(peer_id)
        self._offers[peer_id] = agent
        self._tasks.create(self._expire(peer_id, agent), name=f"librats ICE offer {peer_id[:8]}")
        await agent.gather_candidates()
        return agent.local_description

    async def _expire(self, peer_id: str, agent: IceAgent) -> None:
        try:
            await asyncio.sleep(OFFER_LIFETIME)
        finally:
            if self._offers.get(peer_id) is agent:
                del self._offers[peer_id]
                await agent.close()

    async def _forget_offer(self, peer_id: str) -> None:
        agent = self._offers.pop(peer_id, None)
        if agent is not None:
            await agent.close()

    async def answer_offer(self, peer_id: str, description: IceDescription) -> dict[str, Any]:
        """Return the answer to an offer, and let the peer in when it comes."""
        agent = await self.new_agent(IceRole.CONTROLLED)
        try:
            self.describe_peer(agent, description, hosts=OfferHosts(self.guard))
            await agent.gather_candidates()
            agent.start_connectivity_checks()
            answer = agent.local_description
        except BaseException:
            await agent.close()
            raise
        self._tasks.create(self._let_in(agent, peer_id), name=f"librats ICE {peer_id[:8]}")
        return answer

    async def _let_in(self, agent: IceAgent, peer_id: str) -> None:
        try:
            async with asyncio.timeout(OFFER_LIFETIME):
                await self._manager.arrivals.wait(peer_id)
            await asyncio.sleep(UPGRADE_TIME if is_relayed(agent) else LINGER)
        except TimeoutError:
            logger.debug("%s was answered, and did not come", peer_id[:8])
        finally:
            await agent.close()

    async def take_answer(self, peer_id: str, description: IceDescription) -> Link:
        """Begin the session that an answer makes possible.

        Raises:
            UsageError: There is no offer for that peer, or not any more.
            RatsError: It did not come about.
            OSError: Nobody answered.
        """
        agent = self._offers.pop(peer_id, None)
        if agent is None:
            raise UsageError(f"there is no offer for {peer_id[:8]}, or not any more")
        is_there = False
        try:
            self.describe_peer(agent, description, hosts=None)
            await agent.connect()
            link = await self.dial(agent, peer_id)
            is_there = True
        finally:
            if not is_there:
                await agent.close()
        self.let_go(agent, peer_id, is_relayed=is_relayed(agent))
        return link

    # The target

    def offered(self, offered: Offered, introducer: Introducer | None) -> None:
        """Answer an offer, where the caller may come in."""
        manager = self._manager
        denied = manager.admission.access.check_id(offered.caller_id)
        if denied is not None or manager.closing or not manager.admission.has_place_for(offered.caller_id):
            self.guard.counters["refused"] += 1
            offered.refuse(Refusal.REFUSED, "" if denied is not None else "max_peers are connected")
            return
        name = f"librats is introduced to {offered.caller_id[:8]}"
        through = None if introducer is None else self._discreet(introducer)
        self._tasks.create(self._answer(offered, through), name=name)

    async def _answer(self, offered: Offered, introducer: Introducer | None) -> None:
        trickle = Trickle(offered.letter.id)
        agent: IceAgent | None = None
        is_there = False
        punching = self.punching
        punch = None if punching is None or punching.both(offered.letter) is None else punching.offer
        answer: PunchAnswer | None = None
        hosts = OfferHosts(self.guard)
        try:
            description = IceDescription.from_json(offered.letter.ice)
            agent = await self.new_agent(IceRole.CONTROLLED, on_candidate=trickle.found)
            note_seen(agent, introducer, offered.letter)
            self.describe_peer(agent, description, hosts=hosts)
            agent.start_connectivity_checks()
            taken: IceAgent = agent
            if punching is not None and punch is not None:
                letters = PunchLetters(offered.letter.id, offered.send)
                answer = PunchAnswer(punching, letters, hosts_in(offered.letter), hosts)

            def heard(letter: Letter) -> None:
                if letter.punch is None:
                    self.add_further(taken, letter, hosts=hosts)
                elif answer is not None:
                    answer.heard(letter.punch)

            offered.on_letter = heard
            trickle.told(agent)
            offered.answer(answer_to(offered.letter, agent, introducer, punch))
            trickle.begin(offered.send)
            async with asyncio.timeout(self._settings.ice_connectivity_timeout):
                await self._manager.arrivals.wait(offered.caller_id)
            is_there = True
            self.let_go(agent, offered.caller_id, is_relayed=is_relayed(agent))
        except TimeoutError:
            logger.debug("%s was introduced, and did not come", offered.caller_id[:8])
        except (RatsError, OSError) as error:
            logger.debug("%s was introduced, but: %s", offered.caller_id[:8], error)
            if not offered.is_answered:
                offered.refuse(Refusal.FAILED, describe(error))
        finally:
            if agent is not None and not is_there:
                await agent.close()
            if answer is None or self._manager.closing:
                offered.close()
            else:
                # The caller may go through a relay of its own, whose address looks like any other one at first.
                self._tasks.create(
                    self._close_offered(offered, answer, UPGRADE_TIME if is_there else 0.0),
                    name=f"librats hears {offered.caller_id[:8]}",
                )

    @staticmethod
    async def _close_offered(offered: Offered, answer: PunchAnswer, seconds: float) -> None:
        """Hear letters as long as a hole may yet be punched."""
        try:
            await asyncio.sleep(seconds)
            await answer.wait()
        finally:
            offered.close()


class _Caller:
    """One attempt to reach one peer through introducers."""

    def __init__(self, owner: IntroducedPeers, target: str) -> None:
        self._owner = owner
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._trickle = Trickle(owner.sealing.new_letter_id())
        self._agent: IceAgent | None = None
        self._call: Call | None = None
        self._was_answered = self._is_there = False
        self._link: Link | None = None
        self._punch: PunchCall | None = None

    async def run(self, introducers: Sequence[Introducer], attempts: list[ConnectionAttempt]) -> Link:
        """Ask all of them at once, and call through those that know the peer, one after the other."""
        began = self._loop.time()
        self._agent = agent = await self._owner.new_agent(
            IceRole.CONTROLLING, on_candidate=self._found, on_path=self._path_chosen
        )
        gathering = self._owner.tasks.create(agent.gather_candidates(), name="librats ICE gathering")
        last: RatsError | OSError = IntroductionError(Refusal.UNKNOWN_PEER, "nobody to ask")
        try:
            async for introducer, found in self._keys(introducers):
                try:
                    if isinstance(found, Exception):
                        raise found
                    note_seen(agent, introducer, None)
                    # What is found later is told in further letters.
                    await asyncio.wait([gathering], timeout=self._owner.gathering_patience)
                    link = await self._through(introducer, found, agent, attempts)
                except (RatsError, OSError) as error:
                    last = error
                    words = f"by introducer {introducer.peer_id[:8]}: {describe(error)}"
                    duration = self._loop.time() - began
                    attempts.append(
                        ConnectionAttempt(
                            address=introducer.address, method=introducer.method, duration=duration, error=words
                        )
                    )
                    if self._was_answered or (isinstance(error, IntroductionError) and error.by_peer):
                        raise  # the peer was asked: another introducer would change nothing
                else:
                    if not any(one.technique and not one.error for one in attempts):  # that says it all
                        attempts.append(
                            ConnectionAttempt(
                                address=link.address, method=link.method, duration=self._loop.time() - began
                            )
                        )
                    return link
        finally:
            gathering.cancel()
        raise last

    async def _keys(self, introducers: Sequence[Introducer]) -> AsyncIterator[tuple[Introducer, bytes | RatsError]]:
        """Yield each introducer with the target's key, or with why it does not tell it."""
        waiting = {
            self._owner.tasks.create(self._ask(one), name=f"librats asks {one.peer_id[:8]}"): one for one in introducers
        }
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in waiting if task in done]:
                    one = waiting.pop(task)
                    yield one, task.result()
        finally:
            for task in waiting:
                task.cancel()

    async def _ask(self, introducer: Introducer) -> bytes | RatsError:
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await introducer.circle.ask(introducer.peer_id, self._target)
        except TimeoutError:
            return OperationTimeout(f"no answer within {ASK_TIMEOUT:g} s")
        except RatsError as error:
            return error

    async def _through(
        self, introducer: Introducer, key: bytes, agent: IceAgent, attempts: list[ConnectionAttempt]
    ) -> Link:
        owner = self._owner
        letter_id = owner.sealing.new_letter_id()
        self._trickle = Trickle(letter_id)
        self._trickle.told(agent)
        punching = owner.punching
        letter = offer_of(agent, letter_id, owner.sealing, introducer, None if punching is None else punching.offer)
        asked = self._loop.time()
        self._call = call = introducer.circle.call(introducer.peer_id, key, letter)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await call.answer
        except TimeoutError:
            raise OperationTimeout(f"the peer has not answered within {ANSWER_TIMEOUT:g} s") from None
        self._was_answered = True
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

        def heard(letter: Letter) -> None:
            if letter.punch is None:
                owner.add_further(agent, letter, hosts=None)
            elif punch is not None:
                punch.letters.heard(letter.punch)

        call.listen(heard)
        self._trickle.begin(call.send)
        link: Link | None = None
        try:
            if punch is None:
                link, _ = await self._by_ice(agent)
                return link
            ice = self._by_ice(agent)
            link, self._is_there = await race(ice, punch, owner.tasks, can_relay=lambda: has_relay(agent))
        finally:
            if link is None:
                attempts += agent.attempts
            if punch is not None:
                attempts += punch.attempts
        return link

    async def _by_ice(self, agent: IceAgent) -> tuple[Link, bool]:
        """Return a session over what ICE finds, and whether that is relayed."""
        await agent.connect()
        link = await self._owner.dial(agent, self._target)
        self._link, self._is_there = link, True
        relayed = is_relayed(agent) or link.address.host in self._owner.relay_hosts
        self._owner.let_go(agent, self._target, is_relayed=relayed)
        return link, relayed

    def _found(self, candidate: IceCandidate | None) -> None:
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
        """Let go what is not needed any more."""
        call, task = self._call, None if self._punch is None else self._punch.task
        if call is not None and task is not None and not task.done():
            task.add_done_callback(lambda _: call.close())
        elif call is not None:
            call.close()
        if self._agent is not None and not self._is_there:
            await self._agent.close()
