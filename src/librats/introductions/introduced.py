"""Peers that are reached with the help of others: through an introducer, by ICE on the client's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from librats.attempts.accounts import describe
from librats.attempts.strategies import Ways
from librats.config import NatTraversalConfig
from librats.errors import (
    RatsError,
    UsageError,
)
from librats.hole_punching.punching import PunchAnswer, Punching, hosts_in
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import IceRole
from librats.introduce.guard import OfferHosts
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.introductions.call import IntroductionCall
from librats.introductions.ice_agents import LINGER, UPGRADE_TIME
from librats.introductions.ways import IntroductionWays
from librats.peers.events import TraversalStep
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.services.ice.agent import IceAgent
from librats.services.introduction.ends import Offered
from librats.services.introduction.letters import (
    Introducer,
    Trickle,
    answer_to,
    is_relayed,
    note_seen,
)
from librats.services.punch.letters import PunchLetters
from librats.services.session import Link
from librats.types import ConnectionAttempt, ConnectionMethod, PathPolicy

__all__ = ["IntroducedPeers"]

logger = logging.getLogger("librats.introducer")

MAX_ASKED = 8
"""Introducers that are asked for one peer."""

OFFER_LIFETIME = 120.0
"""Seconds for which an offer that the application carries is good, and for which its caller is waited for."""


class IntroducedPeers(IntroductionWays):
    """Reaches peers by ICE, and lets them reach this client, for one client from its start to its stop.

    Args:
        options: As for :class:`~librats.introductions.ice_agents.IceAgents`.
    """

    def __init__(self, manager: PeerManager, settings: NatTraversalConfig, tasks: TaskSet, **options: Any) -> None:
        super().__init__(manager, settings, tasks, **options)
        self._offers: dict[str, IceAgent] = {}

    # The caller

    async def reach(
        self,
        target: str,
        introducers: Sequence[Introducer],
        attempts: list[ConnectionAttempt],
        *,
        ways: Ways = Ways.ALL,
    ) -> Link:
        """Reach a peer through the first introducer that knows it.

        Args:
            target: The peer's id.
            introducers: Whom to ask.
            attempts: Where every attempt is noted, with the time since the call.
            ways: What may be used.

        Raises:
            RatsError: Nothing worked: the last of what went wrong.
        """
        caller = IntroductionCall(self, target, ways)
        try:
            return await caller.run([self._discreet(one) for one in introducers[:MAX_ASKED]], attempts)
        finally:
            await caller.end()

    async def move(
        self, link: Link, introducers: Sequence[Introducer], attempts: list[ConnectionAttempt], *, ways: Ways
    ) -> None:
        """Have a session go over to another way, through the first introducer that knows the peer.

        Args:
            link: The session's link.
            introducers: Whom to ask.
            attempts: Where every attempt is noted, with the time since the call.
            ways: What may be used.

        Raises:
            RatsError: There is no such way: the last of what went wrong.
            OSError: Likewise.
        """
        caller = IntroductionCall(self, link.peer_id, ways, link)
        try:
            await caller.run([self._discreet(one) for one in introducers[:MAX_ASKED]], attempts)
        finally:
            await caller.end()

    def _discreet(self, introducer: Introducer) -> Introducer:
        """Return an introducer without where it sees us, where peers are not to learn that."""
        hides = self._manager.paths.policy is PathPolicy.RELAY_ONLY
        return structs.replace(introducer, observed=None) if hides else introducer

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
        if offered.letter.moves and offered.caller_id not in manager.peers:
            offered.refuse(Refusal.FAILED, "there is no session that could move")
            return
        is_free = manager.paths.policy is PathPolicy.AUTO
        if offered.letter.carried and introducer is not None and is_free:
            offered.carried_to = (lambda: self._carried_link(offered), introducer.address)
        name = f"librats is introduced to {offered.caller_id[:8]}"
        # Who introduces itself is nobody who could say that the two of us are in one network.
        is_third = introducer is not None and introducer.peer_id != offered.caller_id
        through = self._discreet(introducer) if introducer is not None and is_third else None
        self._tasks.create(self._answer_in_search(offered, through), name=name)

    def _carried_link(self, offered: Offered) -> Link:
        link = offered.carried = self._manager.new_link(expect_id=offered.caller_id, initiator=False, in_letters=True)
        return link

    def _hello_ahead(self, offered: Offered) -> dict[str, Any] | None:
        """Return this side's hello for a caller whose session has begun, and that is let in."""
        hello = None
        if offered.carried is not None:
            hello = self._manager.hello_ahead(offered.carried, offered.caller_id)
        return None if hello is None else msgspec.json.decode(hello, type=dict[str, Any])

    async def _answer_in_search(self, offered: Offered, introducer: Introducer | None) -> None:
        with self._manager.paths.search(offered.caller_id):
            await self._answer(offered, introducer)

    async def _answer(self, offered: Offered, introducer: Introducer | None) -> None:
        trickle = Trickle(offered.letter.id)
        agent: IceAgent | None = None
        caller = offered.caller_id
        self.tell(caller, TraversalStep.STARTED)

        def found(candidate: IceCandidate | None) -> None:
            self.found(caller, candidate)
            trickle.found(candidate)

        is_there = False
        arrival = self._tasks.create(self._awaited(offered), name=f"librats awaits {caller[:8]}")
        punching = self.punching
        punch = None if punching is None or punching.both(offered.letter) is None else punching.offer
        answer: PunchAnswer | None = None
        hosts = OfferHosts(self.guard)
        try:
            description = IceDescription.from_json(offered.letter.ice)
            self._promise(offered, introducer, punch)
            ways = Ways.ALL & ~Ways.RELAYED if offered.letter.no_relay else Ways.ALL
            agent = await self.new_agent(IceRole.CONTROLLED, ways=ways, on_candidate=found)
            note_seen(agent, introducer, offered.letter)
            self.describe_peer(agent, description, hosts=hosts)
            answer = self._hear(offered, agent, hosts, None if punch is None else punching)
            trickle.told(agent)
            self._tell_addresses(offered, agent, introducer, punch)
            agent.start_connectivity_checks()
            trickle.begin(offered.send)
            self.tell(caller, TraversalStep.ANSWERED)
            async with asyncio.timeout(self._settings.ice_connectivity_timeout):
                peer = await arrival
            is_there = True
            await self._arrived(peer, offered.letter)
            self.let_go(agent, caller, is_relayed=is_relayed(agent))
        except TimeoutError:
            logger.debug("%s was introduced, and did not come", caller[:8])
            self.tell(caller, TraversalStep.FAILED, "the peer did not come")
        except (RatsError, OSError) as error:
            self._tell_failure(offered, error, has_agent=agent is not None)
        finally:
            arrival.cancel()
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

    def _promise(self, offered: Offered, introducer: Introducer | None, punch: dict[str, Any] | None) -> None:
        """Answer a caller that is let in before this side knows where it is, so that it need not wait for that."""
        hello = self._hello_ahead(offered)
        if hello is not None:
            offered.answer(answer_to(offered.letter, None, introducer, nat=self.nat_type(), punch=punch, hello=hello))

    def _tell_addresses(
        self, offered: Offered, agent: IceAgent, introducer: Introducer | None, punch: dict[str, Any] | None
    ) -> None:
        if offered.is_answered:
            offered.send(Letter(id=offered.letter.id, ice=agent.local_description))
        else:
            offered.answer(answer_to(offered.letter, agent, introducer, nat=self.nat_type(), punch=punch))

    def _tell_failure(self, offered: Offered, error: RatsError | OSError, *, has_agent: bool) -> None:
        logger.debug("%s was introduced, but: %s", offered.caller_id[:8], error)
        self.tell(offered.caller_id, TraversalStep.FAILED, describe(error))
        if not offered.is_answered:
            offered.refuse(Refusal.FAILED, describe(error))
        elif not has_agent:
            offered.send(Letter(id=offered.letter.id, refused=Refusal.FAILED, words=describe(error)))

    async def _awaited(self, offered: Offered) -> Peer:
        """Wait for a caller's session, or for the one that is there already to go another way."""
        manager = self._manager
        there = manager.peers.get(offered.caller_id) if offered.letter.moves else None
        if there is None:
            return await manager.arrivals.wait(offered.caller_id)
        await manager.paths.wait_for_move(there.link)
        return there

    async def _arrived(self, peer: Peer, letter: Letter) -> None:
        """Take that a caller is there, and wait until its session has left who carries it, as long as it may yet."""
        self.note_nat(peer.id, letter)
        self.tell(peer.id, TraversalStep.CONNECTED)
        paths, link = self._manager.paths, peer.link
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.ice_connectivity_timeout):
                while link.method is ConnectionMethod.CARRIED and not link.closed.done():
                    await paths.wait_for_move(link)

    def _hear(
        self, offered: Offered, agent: IceAgent, hosts: OfferHosts, punching: Punching | None
    ) -> PunchAnswer | None:
        """Take further letters of a caller's, and return who punches holes with it, where somebody does."""
        answer = None
        if punching is not None:
            letters = PunchLetters(offered.letter.id, offered.send)
            answer = PunchAnswer(punching, letters, hosts_in(offered.letter), hosts)

        def heard(letter: Letter) -> None:
            if letter.punch is None:
                self.add_further(agent, letter, hosts=hosts)
            elif answer is not None:
                answer.heard(letter.punch)

        offered.on_letter = heard
        return answer

    @staticmethod
    async def _close_offered(offered: Offered, answer: PunchAnswer, seconds: float) -> None:
        """Hear letters as long as a hole may yet be punched."""
        try:
            await asyncio.sleep(seconds)
            await answer.wait()
        finally:
            offered.close()
