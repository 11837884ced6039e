"""Peers that are reached with the help of others: through an introducer, by ICE on the client's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from librats.accounts import OVERTAKEN, describe, later, reason_of
from librats.config import NatTraversalConfig
from librats.connector import settled
from librats.errors import (
    ConnectError,
    DecodeError,
    HandshakeError,
    IntroductionError,
    OperationTimeout,
    RatsError,
    UsageError,
)
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import IceRole
from librats.introduce.guard import OfferGuard
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.peers.events import IceCandidateFound, NatTraversalProgress, TraversalStep
from librats.peers.manager import PeerManager
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.runtime.udp import DatagramEndpoint
from librats.services.ice import IceAgent
from librats.services.ice_ports import SharedSocket
from librats.services.introducer import Call, Offered, Sealing
from librats.services.introduction_letters import Introducer, Trickle, answer_to, is_relayed, note_seen, offer_of
from librats.services.relays import Relays
from librats.services.session import Link
from librats.strategies import Ways, joins_nats, policy_of
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, NatType, PathPolicy

__all__ = ["IntroducedPeers"]

logger = logging.getLogger("librats.introducer")

ASK_TIMEOUT = 5.0
"""Seconds that an introducer has to tell a key."""

ANSWER_TIMEOUT = 10.0
"""Seconds that a target has to answer an offer."""

MAX_ASKED = 8
"""Introducers that are asked for one peer."""

LINGER = 3.0
"""Seconds for which an agent still answers checks when the session is there: the other side may not know yet."""

UPGRADE_TIME = 30.0
"""The same, where the session goes through a relay, and a direct way may be found yet."""

OFFER_LIFETIME = 120.0
"""Seconds for which an offer that the application carries is good, and for which its caller is waited for."""

MAX_HOSTS = 64


class IntroducedPeers:
    """Reaches peers by ICE, and lets them reach this client, for one client from its start to its stop.

    Args:
        manager: Where links become peers.
        settings: Servers, times, and what is allowed.
        tasks: Owner of the tasks.
        udp: The port for sessions over UDP; None where there is none.
        relays: Relayed addresses.
        sealing: What letters are sealed and opened with.
    """

    def __init__(
        self,
        manager: PeerManager,
        settings: NatTraversalConfig,
        tasks: TaskSet,
        *,
        udp: RudpPort | None,
        relays: Relays,
        sealing: Sealing,
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._tasks = tasks
        self._udp = udp
        self._relays = relays
        self._sealing = sealing
        self._loop = asyncio.get_running_loop()
        # What a client's port opens is an endpoint of datagrams, whatever it asks of it.
        self.shared = None if udp is None else SharedSocket(cast("DatagramEndpoint", udp.endpoint))
        """The socket of sessions over UDP, as ICE agents use it."""
        self.nearer_stun: Callable[[], tuple[str, ...]] = tuple
        """Returns STUN servers that are asked instead of those of the configuration: introducers that are one, too."""
        self.nat_type: Callable[[], str] = lambda: NatType.UNKNOWN
        """Returns what stands in front of this client, which peers are told."""
        self._offers: dict[str, IceAgent] = {}
        self.guard = OfferGuard(per_minute=settings.introductions_per_minute)
        """What is made of offers."""

    @property
    def _has_ways(self) -> bool:
        return self._udp is not None or bool(self._relays.servers)

    # Agents

    async def new_agent(
        self,
        role: IceRole,
        *,
        ways: Ways = Ways.ALL,
        on_candidate: Callable[[IceCandidate | None], object] | None = None,
        on_path: Callable[[Address], object] | None = None,
    ) -> IceAgent:
        """Return an agent on the client's socket, which has begun to gather.

        Raises:
            RatsError: There is nothing to gather on.
        """
        if not self._has_ways:
            raise IntroductionError(Refusal.FAILED, "this client has no UDP port and no relay")
        agent = IceAgent(
            role,
            dataclasses.replace(
                self._settings,
                path_policy=policy_of(ways, self._manager.paths.policy),
                ice_tcp=False,
                stun_servers=self.nearer_stun() or self._settings.stun_servers,
                turn_servers=self._relays.servers,
            ),
            shared=self.shared,
            local_hosts=None if self.shared is not None else [],
            strangers=True,
            on_candidate=on_candidate,
        )
        agent.relays, agent.on_path = self._relays, on_path
        await agent.start()
        return agent

    def describe_peer(self, agent: IceAgent, description: IceDescription, *, is_offer: bool) -> None:
        """Give an agent what the peer has told, without the addresses that this client does not talk to."""
        hosts = [candidate.address.host for candidate in description.candidates if not candidate.is_name]
        access = self._manager.admission.access
        allowed = {host for host in hosts if access.check_dial(host) is None}
        if is_offer:
            allowed &= self.guard.hosts_within(sorted(allowed)[:MAX_HOSTS], now=self._loop.time())
        kept = tuple(one for one in description.candidates if one.is_name or one.address.host in allowed)
        agent.set_remote_description(dataclasses.replace(description, candidates=kept).to_json())

    def add_further(self, agent: IceAgent, letter: Letter, *, is_offer: bool) -> None:
        """Take a further letter."""
        lines = [*letter.candidates[:MAX_HOSTS]]
        access = self._manager.admission.access
        try:
            parsed = IceDescription.from_json(
                {"ufrag": "none", "pwd": "n" * 22, "candidates": lines, "end_of_candidates": letter.end_of_candidates}
            )
            for one in parsed.candidates:
                hosts = set() if one.is_name else {one.address.host}
                if hosts and access.check_dial(one.address.host) is not None:
                    continue
                if is_offer and hosts and not self.guard.hosts_within([one.address.host], now=self._loop.time()):
                    continue
                agent.add_remote_candidate(one)
            if letter.end_of_candidates:
                agent.add_remote_candidate(None)
        except (DecodeError, RatsError) as error:
            logger.debug("a further letter: %s", error)

    async def dial(self, agent: IceAgent, peer_id: str) -> Link:
        """Begin a session over the way that an agent has found.

        Raises:
            RatsError: It did not come about.
            OSError: Nobody answered.
        """
        made: list[Link] = []

        def new_link() -> Link:
            made.append(self._manager.new_link(expect_id=peer_id))
            return made[-1]

        address = agent.remote_address
        if address is None:
            raise HandshakeError("the way to the peer is gone")
        if agent.uses_relay or self._udp is None:
            await self._relays.dial(new_link, address)
        else:
            await self._udp.dial(new_link, address, punch=True)
        return await settled(self._manager, made[-1])

    def let_go(self, agent: IceAgent, peer_id: str, *, is_relayed: bool) -> None:
        """Close an agent whose session is there, when the other side has had its time."""
        seconds = UPGRADE_TIME if is_relayed else LINGER
        self._tasks.create(self._close_later(agent, seconds), name=f"librats ICE {peer_id[:8]}")

    @staticmethod
    async def _close_later(agent: IceAgent, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            await agent.close()

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
        caller = _Caller(self, target, ways)
        try:
            return await caller.run([self._discreet(one) for one in introducers[:MAX_ASKED]], attempts)
        finally:
            await caller.end()

    def _discreet(self, introducer: Introducer) -> Introducer:
        """Return an introducer without where it sees us, where peers are not to learn that."""
        hides = self._manager.paths.policy is PathPolicy.RELAY_ONLY
        return dataclasses.replace(introducer, observed=None) if hides else introducer

    def tell(self, peer_id: str, step: TraversalStep, words: str = "") -> None:
        """Let the application know how far the way to a peer is."""
        self._manager.dispatcher.announce(NatTraversalProgress(peer_id, step, words))

    def found(self, peer_id: str, candidate: IceCandidate | None) -> None:
        """Let the application know of a candidate."""
        if candidate is not None:
            self._manager.dispatcher.announce(IceCandidateFound(peer_id, candidate))

    def note_nat(self, peer_id: str, letter: Letter) -> None:
        """Take what stands in front of a peer, as it says."""
        peer = self._manager.peers.get(peer_id)
        if peer is not None and letter.nat in list(NatType):
            peer.nat_type = NatType(letter.nat)

    @property
    def sealing(self) -> Sealing:
        """What letters are sealed and opened with."""
        return self._sealing

    @property
    def manager(self) -> PeerManager:
        """Where links become peers."""
        return self._manager

    @property
    def tasks(self) -> TaskSet:
        """Owner of the tasks."""
        return self._tasks

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
            self.describe_peer(agent, description, is_offer=True)
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
            self.describe_peer(agent, description, is_offer=False)
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
        caller = offered.caller_id
        self.tell(caller, TraversalStep.STARTED)

        def found(candidate: IceCandidate | None) -> None:
            self.found(caller, candidate)
            trickle.found(candidate)

        is_there = False
        try:
            description = IceDescription.from_json(offered.letter.ice)
            ways = Ways.ALL & ~Ways.RELAYED if offered.letter.no_relay else Ways.ALL
            agent = await self.new_agent(IceRole.CONTROLLED, ways=ways, on_candidate=found)
            note_seen(agent, introducer, offered.letter)
            self.describe_peer(agent, description, is_offer=True)
            agent.start_connectivity_checks()
            taken: IceAgent = agent
            offered.on_letter = lambda letter: self.add_further(taken, letter, is_offer=True)
            trickle.told(agent)
            offered.answer(answer_to(offered.letter, agent, introducer, nat=self.nat_type()))
            trickle.begin(offered.send)
            self.tell(caller, TraversalStep.ANSWERED)
            async with asyncio.timeout(self._settings.ice_connectivity_timeout):
                await self._manager.arrivals.wait(offered.caller_id)
            is_there = True
            self.note_nat(caller, offered.letter)
            self.tell(caller, TraversalStep.CONNECTED)
            self.let_go(agent, caller, is_relayed=is_relayed(agent))
        except TimeoutError:
            logger.debug("%s was introduced, and did not come", caller[:8])
            self.tell(caller, TraversalStep.FAILED, "the peer did not come")
        except (RatsError, OSError) as error:
            logger.debug("%s was introduced, but: %s", caller[:8], error)
            self.tell(caller, TraversalStep.FAILED, describe(error))
            if not offered.is_answered:
                offered.refuse(Refusal.FAILED, describe(error))
        finally:
            offered.close()
            if agent is not None and not is_there:
                await agent.close()


class _Caller:
    """One attempt to reach one peer through introducers."""

    def __init__(self, owner: IntroducedPeers, target: str, ways: Ways) -> None:
        self._owner = owner
        self._target = target
        self._ways = ways
        self._loop = asyncio.get_running_loop()
        self._trickle = Trickle(owner.sealing.new_letter_id())
        self._agent: IceAgent | None = None
        self._call: Call | None = None
        self._was_answered = self._is_there = False
        self._answered_at: float | None = None
        self._link: Link | None = None

    async def run(self, introducers: Sequence[Introducer], attempts: list[ConnectionAttempt]) -> Link:
        """Ask all of them at once, and call through those that know the peer, one after the other."""
        began = self._loop.time()
        self._agent = agent = await self._owner.new_agent(
            IceRole.CONTROLLING, ways=self._ways, on_candidate=self._found, on_path=self._path_chosen
        )
        # A relayed candidate that takes longer is told in a further letter.
        waits = not self._ways & Ways.DIRECT
        gathering = self._owner.tasks.create(agent.gather_candidates(relayed=waits), name="librats ICE gathering")
        last: RatsError | OSError = IntroductionError(Refusal.UNKNOWN_PEER, "nobody to ask")
        try:
            async for introducer, found in self._keys(introducers):
                try:
                    if isinstance(found, Exception):
                        raise found
                    note_seen(agent, introducer, None)
                    await asyncio.wait([gathering])
                    link = await self._through(introducer, found, agent)
                except asyncio.CancelledError:
                    attempts += self._account(introducer, began, *OVERTAKEN)
                    raise
                except (RatsError, OSError) as error:
                    last = error
                    attempts += self._account(introducer, began, describe(error), reason_of(error))
                    if self._was_answered or (isinstance(error, IntroductionError) and error.by_peer):
                        raise  # the peer was asked: another introducer would change nothing
                else:
                    attempts += self._pairs_tried(began)
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

    def _pairs_tried(self, began: float) -> list[ConnectionAttempt]:
        if self._agent is None or self._answered_at is None:
            return []
        return later(self._agent.attempts(), self._answered_at - began)

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
        return [*self._pairs_tried(began), whole]

    async def _through(self, introducer: Introducer, key: bytes, agent: IceAgent) -> Link:
        owner = self._owner
        letter_id = owner.sealing.new_letter_id()
        self._trickle = Trickle(letter_id)
        self._trickle.told(agent)
        letter = offer_of(
            *(agent, letter_id, owner.sealing, introducer),
            nat=owner.nat_type(),
            no_relay=Ways.RELAYED not in self._ways,
        )
        self._call = call = introducer.circle.call(introducer.peer_id, key, letter)
        owner.tell(self._target, TraversalStep.OFFERED)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await call.answer
        except TimeoutError:
            raise OperationTimeout(f"the peer has not answered within {ANSWER_TIMEOUT:g} s") from None
        self._was_answered, self._answered_at = True, self._loop.time()
        owner.tell(self._target, TraversalStep.ANSWERED)
        if answer.seen:
            agent.note_peer_seen(answer.seen)
        owner.describe_peer(agent, IceDescription.from_json(answer.ice), is_offer=False)
        call.listen(lambda letter: owner.add_further(agent, letter, is_offer=False))
        self._trickle.begin(call.send)
        try:
            await agent.connect()
        except ConnectError as error:
            if error.code is AttemptReason.NO_PATH and not joins_nats(owner.nat_type(), answer.nat):
                error.code = AttemptReason.NAT_INCOMPATIBLE
            raise
        owner.tell(self._target, TraversalStep.FOUND, str(agent.remote_address))
        link = await owner.dial(agent, self._target)
        owner.note_nat(self._target, answer)
        self._link, self._is_there = link, True
        owner.let_go(agent, self._target, is_relayed=is_relayed(agent))
        return link

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
        """Let go what is not needed any more."""
        if self._call is not None:
            self._call.close()
        if self._agent is not None and not self._is_there:
            await self._agent.close()
