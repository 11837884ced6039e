"""Hole punching among librats 2 nodes: this client passes their words on, opens, and answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from librats.attempts.accounts import describe
from librats.attempts.dialling import settled
from librats.config import NatTraversalConfig
from librats.errors import ConnectError, RatsError, UsageError
from librats.ice.addresses import ORDER, AddressPolicy, reach_of
from librats.introduce.guard import OfferGuard
from librats.peers.exchange import Dial as DialKnown
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.punch.rendezvous import Dial, GivenUp, PunchRelay, Rendezvous, Say
from librats.punch.sightings import Sightings
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet, end_all
from librats.services.session import Link
from librats.session.exchange import KnownPeer
from librats.session.librats2 import Librats2Session
from librats.session.librats2_punch import Envelope, PunchOp
from librats.types import Address, ConnectionAttempt, ConnectionMethod

__all__ = ["NodePunching"]

logger = logging.getLogger("librats.node_punching")

HEAD_START = 1.0
"""Seconds that other ways have before librats 2 nodes are asked as well."""

AFTER_DIAL = 30.0
"""Seconds within which a dial of somebody of whom a peer told has to fail, for a hole to be punched instead."""


class _Call:
    """Somebody who waits for a peer."""

    def __init__(self, attempts: list[ConnectionAttempt]) -> None:
        self.attempts = attempts
        self.done: asyncio.Future[Peer | None] = asyncio.get_running_loop().create_future()

    def settle(self, peer: Peer | None) -> None:
        if not self.done.done():
            self.done.set_result(peer)


class NodePunching:
    """Takes part in librats 2's hole punching, for one client from its start to its stop.

    Args:
        manager: The connected peers.
        settings: What is allowed.
        tasks: Owner of the dials.
        udp: The port for sessions over UDP; None where there is none.
        takes_part: Returns whether this client opens and answers now.
        own_hosts: Returns the addresses of its interfaces.
        check_limits: Raises where a peer may not be connected to.
        guard: How often others may have us dial one host; one of its own where it is None.
    """

    def __init__(
        self,
        manager: PeerManager,
        settings: NatTraversalConfig,
        tasks: TaskSet,
        *,
        udp: RudpPort | None,
        takes_part: Callable[[], bool],
        own_hosts: Callable[[], Collection[str]],
        check_limits: Callable[[str], None],
        guard: OfferGuard | None = None,
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._udp = udp
        self._takes_part = takes_part
        self._own_hosts = own_hosts
        self._check_limits = check_limits
        self._guard = guard or OfferGuard(per_minute=settings.introductions_per_minute)
        self._loop = asyncio.get_running_loop()
        self._relay = PunchRelay(self._is_node) if settings.allow_introductions else None
        self._machine = Rendezvous(
            self._sightings, self._nodes, answers_per_minute=float(settings.introductions_per_minute)
        )
        self._calls: dict[str, list[_Call]] = {}
        self._dialling: dict[asyncio.Task[None], tuple[str, list[Link]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._passed = dict.fromkeys(("passed_on", "not_passed_on", "refused", "addresses_refused", "dials_failed"), 0)

    @property
    def counters(self) -> dict[str, int]:
        """What has happened so far, for statistics."""
        return self._passed | self._machine.counters

    def close(self) -> None:
        """Do nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._manager.punches is self:
            self._manager.punches = None

    # Who is there, and what they say of us

    def _is_node(self, peer_id: str) -> bool:
        peer = self._manager.peers.get(peer_id)
        return peer is not None and peer.is_connected and peer.link.speaks_librats2

    def _nodes(self) -> list[str]:
        return [peer_id for peer_id in self._manager.peers if self._is_node(peer_id)]

    def _sightings(self) -> Sightings:
        if self._udp is None or not self._takes_part():
            return Sightings()
        seen = [_observed(peer) for peer in reversed(self._manager.peers.values())]
        return Sightings([address for address in seen if address is not None], self._own_hosts())

    # What librats 2 nodes say

    def received(self, link: Link, envelope: Envelope) -> None:
        """Pass a word on, or take one that was passed on."""
        now = self._loop.time()
        if envelope.op is PunchOp.TO_RELAY:
            relay, said = self._relay, None
            if relay is not None:
                said = relay.take(link.peer_id, envelope, own_id=link.own_id, now=now)
            passed = said is not None and self._say(said)
            self._passed["passed_on" if passed else "not_passed_on"] += 1
        elif self._lets_in(envelope.peer_id):
            self._machine.take(link.peer_id, envelope, own_id=link.own_id, now=now)
            self._act()
        else:
            self._passed["refused"] += 1

    def _lets_in(self, peer_id: str) -> bool:
        admission = self._manager.admission
        return (
            not self._manager.closing
            and admission.access.check_id(peer_id) is None
            and admission.has_place_for(peer_id)
        )

    def joined(self, peer_id: str) -> None:
        """Take that a session with a peer has begun: whoever waits for it has it."""
        self._machine.arrived(peer_id)
        peer = self._manager.peers.get(peer_id)
        for call in self._calls.get(peer_id, ()):
            call.settle(peer)
        for task, (target, made) in self._dialling.items():
            if target == peer_id and not made:
                task.cancel()  # nobody has answered there yet
        self._arm()

    def left(self, peer_id: str) -> None:
        """Forget a peer that is gone."""
        if self._relay is not None:
            self._relay.left(peer_id)

    def _act(self) -> None:
        for action in self._machine.take_actions():
            match action:
                case Say():
                    self._say(action)
                case Dial():
                    self._dial(action)
                case GivenUp():
                    self._give_up(action)
        self._arm()

    def _say(self, said: Say) -> bool:
        peer = self._manager.peers.get(said.to)
        if peer is None or not peer.is_connected:
            return False
        session = peer.link.session
        if not isinstance(session, Librats2Session) or not session.send_punch(said.envelope):
            return False
        peer.link.request_flush()
        return True

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._machine):
            self._timer = self._loop.call_at(self._machine.next_timer(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._machine.handle_timer(now=self._loop.time())
        self._act()

    def _give_up(self, given_up: GivenUp) -> None:
        logger.debug("%s was not reached: %s", given_up.peer_id[:8], given_up.reason)
        calls = self._calls.get(given_up.peer_id, ())
        for call in calls:
            self._note_asked(call, given_up.asked, given_up.reason, given_up.seconds)
            call.settle(None)

    def _note_asked(self, call: _Call, asked: Sequence[str], reason: str, seconds: float) -> None:
        for peer_id in asked:
            peer = self._manager.peers.get(peer_id)
            if peer is not None:
                words = f"by librats 2 peer {peer_id[:8]}: {reason}"
                call.attempts.append(
                    ConnectionAttempt(address=peer.address, method=peer.method, duration=seconds, error=words)
                )

    # Dialling

    def _dial(self, dial: Dial) -> None:
        for address in self._allowed(dial.addresses):
            made: list[Link] = []
            name = f"librats punches to {dial.peer_id[:8]} at {address}"
            task = self._tasks.create(self._dial_one(dial.peer_id, address, made), name=name)
            self._dialling[task] = (dial.peer_id, made)
            task.add_done_callback(self._dialled)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dialling.pop(task, None)

    async def _dial_one(self, target: str, address: Address, made: list[Link]) -> None:
        if self._udp is None:
            return
        began = self._loop.time()

        def new_link() -> Link:
            made.append(self._manager.new_link(expect_id=target))
            return made[-1]

        try:
            await self._udp.dial(new_link, address, punch=True)
            await settled(self._manager, made[-1])
        except (RatsError, OSError) as error:
            self._passed["dials_failed"] += 1
            attempt = ConnectionAttempt(
                address=address,
                method=ConnectionMethod.UDP,
                duration=self._loop.time() - began,
                error=describe(error),
            )
            for call in self._calls.get(target, ()):
                call.attempts.append(attempt)

    def _allowed(self, addresses: Sequence[Address]) -> list[Address]:
        """Return which of a stranger's addresses are dialled.

        Those of our own networks are where the stranger seems to be in one of them, or where nobody whom we are
        connected to is further away than that.
        """
        policy = AddressPolicy(strangers=True)
        for host in (*self._own_hosts(), *(each.host for each in self._sightings().endpoints)):
            policy.note_own(host)
        for address in addresses:
            policy.note_peer(address.host)
        furthest = max((_rank(peer.address.host) for peer in self._manager.peers.values()), default=0)
        access = self._manager.admission.access
        near = [
            address
            for address in addresses
            if (not policy.refusal(address) or 0 < furthest <= _rank(address.host))
            and _rank(address.host)
            and access.check_dial(address.host) is None
        ]
        hosts = self._guard.hosts_within([address.host for address in near], now=self._loop.time())
        allowed = [address for address in near if address.host in hosts]
        self._passed["addresses_refused"] += len(addresses) - len(allowed)
        return allowed

    # This client opens

    async def race(
        self, others: Callable[[], Coroutine[Any, Any, Peer]], target: str, text: str, *, seconds: float
    ) -> Peer:
        """Reach a peer in other ways, and with the help of librats 2 nodes where these take long or do not work.

        Args:
            others: The other ways.
            target: The peer's id.
            text: What the caller dialled, for error messages.
            seconds: How long it may take.

        Raises:
            ConnectError: Nothing worked.
            PeerLimitReached: ``max_peers`` are connected; likewise PeerDenied.
        """
        if not (self._takes_part() and self._nodes()):
            return await others()
        self._check_limits(target)
        began = self._loop.time()
        running = {self._tasks.create(_or_error(others()), name=f"librats reaches {text}")}
        is_punching = False
        errors: list[ConnectError] = []
        attempts: list[ConnectionAttempt] = []
        try:
            while running:
                patience = None if is_punching else HEAD_START
                done, running = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.cancelled():
                        raise ConnectError(text, attempts, "the client was stopped")
                    result = task.result()
                    if isinstance(result, Peer):
                        return result
                    if not isinstance(result, ConnectError):
                        raise result
                    errors.append(result)
                if not is_punching:
                    is_punching = True
                    left = max(0.0, began + seconds - self._loop.time())
                    punching = _or_error(self._reach_within(target, text, attempts, left))
                    running.add(self._tasks.create(punching, name=f"librats punches to {text}"))
        finally:
            await end_all(running)
        tried = [attempt for error in errors for attempt in error.attempts]
        raise ConnectError(text, tried, "" if tried else errors[0].reason) from errors[-1]

    async def _reach_within(self, target: str, text: str, attempts: list[ConnectionAttempt], seconds: float) -> Peer:
        try:
            async with asyncio.timeout(seconds):
                return await self.reach(target, text, attempts)
        except TimeoutError:
            raise ConnectError(text, attempts, f"no session within {seconds:g} s") from None

    async def reach(self, target: str, text: str, attempts: list[ConnectionAttempt]) -> Peer:
        """Reach a peer with the help of librats 2 nodes.

        Args:
            target: The peer's id.
            text: What the caller dialled, for error messages.
            attempts: Where every attempt is noted.

        Raises:
            ConnectError: It does not work.
        """
        began = self._loop.time()
        call = _Call(attempts)
        why = self._machine.open(target, now=began)
        if why:
            self._note_asked(call, self._nodes()[:1], why, 0.0)
            raise ConnectError(text, attempts, "" if attempts else why)
        calls = self._calls.setdefault(target, [])
        calls.append(call)
        try:
            self._act()
            peer = await call.done
        except asyncio.CancelledError:
            self._note_asked(call, self._machine.asked(target), "no session so far", self._loop.time() - began)
            raise
        finally:
            calls.remove(call)
            if not calls:
                del self._calls[target]
                self._machine.close(target)
                self._arm()
        if peer is None:
            raise ConnectError(text, attempts)
        seconds = self._loop.time() - began
        attempts.append(ConnectionAttempt(address=peer.address, method=peer.method, duration=seconds))
        peer.attempts = tuple(attempts)
        return peer

    def or_punch(self, dial: DialKnown) -> DialKnown:
        """Return a dial of those of whom peers tell, after whose failure a hole is punched, as librats 2 does.

        Args:
            dial: The dial alone.
        """

        async def dial_or_punch(known: KnownPeer) -> object:
            began = self._loop.time()
            try:
                return await dial(known)
            except ConnectError:
                if self._loop.time() - began <= AFTER_DIAL:
                    self._begin(known.peer_id)
                raise

        return dial_or_punch

    def _begin(self, target: str) -> None:
        if target in self._manager.peers or not (self._takes_part() and self._lets_in(target)):
            return
        why = self._machine.open(target, now=self._loop.time())
        if why:
            logger.debug("no hole is punched to %s: %s", target[:8], why)
        self._act()


def _rank(host: str) -> int:
    return ORDER.index(reach_of(host))


def _observed(peer: Peer) -> Address | None:
    """Where a librats 2 peer sees this client's UDP port; None where it came in another way, or does not tell."""
    link = peer.link
    if peer.hello is None or link.method is not ConnectionMethod.UDP or not link.speaks_librats2:
        return None
    try:
        seen = Address.parse(peer.hello.observed)
    except UsageError:
        return None
    return seen if seen.is_literal and seen.port else None


async def _or_error(coroutine: Coroutine[Any, Any, Peer]) -> Peer | RatsError:
    try:
        return await coroutine
    except RatsError as error:
        return error
