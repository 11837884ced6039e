"""Punched ways to peers that were introduced: when one is looked for, for whom, and the session that goes over it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import Any

from librats.attempts.accounts import describe, outcome
from librats.attempts.dialling import session_over
from librats.config import NatTraversalConfig
from librats.errors import ConnectError, DecodeError, HandshakeError, PeerNotConnected, RatsError
from librats.ice.addresses import Reach, reach_of
from librats.ice.descriptions import IceDescription
from librats.introduce.guard import OfferGuard, OfferHosts
from librats.introduce.letters import Letter
from librats.peers.manager import PeerManager
from librats.punch.offers import PunchOffer, head_start
from librats.punch.plans import NatFacts, PunchReason
from librats.punch.settings import PunchSettings
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet, end_all
from librats.runtime.udp_sockets import EVERY_HOST
from librats.services.nat_watch import NatWatch
from librats.services.punch.letters import PunchLetters
from librats.services.punch.path import PunchedConnection, PunchedPath
from librats.services.punch.puncher import HolePuncher
from librats.services.session import Link
from librats.types import Address, ConnectionAttempt, ConnectionMethod, NatType, NatTypeInfo, PathPolicy

__all__ = ["PunchAnswer", "PunchCall", "Punching", "hosts_in", "race"]

logger = logging.getLogger("librats.punch")

Way = PunchedPath | PunchedConnection
ProtocolFactory = Callable[[], asyncio.BufferedProtocol]
Dial = Callable[[ProtocolFactory], Awaitable[None]]

FIRST_STREAM = 10.0
"""Seconds in which a session has to begin on a punched path."""

LAST_BYTES = 6.0
"""Seconds in which the last bytes of a session have to arrive, when it has ended."""

LOOK_EVERY = 0.25

MOST_LAVISH, FEW_SOCKETS = 2, 32
"""Runs at a time that may have as many sockets as they want, and how many each of those beyond may have. One in three
of their rounds fails by chance, where ports are random, but nobody uses up what this process may open."""

MOVES, MOVE_AGAIN = 4, 0.5
"""How often a session tries to go over to a path, and seconds in between."""

DOUBT = 1.5
"""Seconds after which a side that seemed to have no UDP is asked once more."""

ICE_ALONE = 3.0
"""Seconds that ICE has at the least where no hole can be punched, and nobody relays."""


class Punching:
    """Punches holes for one client, from its start to its stop.

    Args:
        manager: Where links become peers.
        settings: Whether that is done, and how often it is tried.
        tasks: Owner of the tasks.
        network: Where.
        watch: What is known of this host's NAT.
        guard: How often others may ask for it.
        servers: Returns the STUN servers to ask.
        transports: How sessions may go: ``"udp"``, ``"tcp"``.
        listen_host: Where the client listens: holes are punched for the same addresses.
        options: For the streams on a punched path.
    """

    def __init__(
        self,
        manager: PeerManager,
        settings: NatTraversalConfig,
        tasks: TaskSet,
        network: Network,
        *,
        watch: NatWatch,
        guard: OfferGuard,
        servers: Callable[[], tuple[str, ...]],
        transports: Collection[str],
        listen_host: str,
        **options: Any,
    ) -> None:
        self.manager = manager
        """Where links become peers."""
        self.tasks = tasks
        """Owner of the tasks."""
        self.watch = watch
        """What is known of this host's NAT."""
        self.guard = guard
        """How often others may ask for it."""
        self._settings = settings
        self._network = network
        self._servers = servers
        self._transports = frozenset(transports)
        self._listen_host = listen_host
        self._options = options
        self._running = 0

    @property
    def offer(self) -> dict[str, Any] | None:
        """What goes with an offer or its answer; None where no holes are punched."""
        hides = self.manager.paths.policy is PathPolicy.RELAY_ONLY
        if not self._settings.enable_hole_punching or hides or not self._servers() or not self._transports:
            return None
        self.watch.look()
        return PunchOffer(nat=self.facts).to_json()

    @property
    def facts(self) -> NatFacts | None:
        """What is known of this side's NAT."""
        if "udp" not in self._transports:
            return NatFacts(udp=False)
        return None if self.watch.info is None else NatFacts.of(self.watch.info)

    def both(self, letter: Letter) -> PunchOffer | None:
        """Return what a peer's offer or answer says of hole punching; None where one of the two does not do it."""
        if letter.punch is None or self.offer is None:
            return None
        try:
            return PunchOffer.from_json(letter.punch)
        except DecodeError as error:
            logger.debug("the peer punches no holes: %s", error)
            return None

    async def _hosts(self) -> list[str]:
        """Return this host's addresses, as far as the client listens there."""
        named, is_one = self._listen_host, self._listen_host not in ("", *EVERY_HOST)
        if is_one:
            return [named]
        found = await self._network.interface_addresses()
        return [host for host in found if not named or (":" in host) == (":" in named)]

    @contextlib.asynccontextmanager
    async def puncher(
        self, letters: PunchLetters, *, leads: bool, hosts: Collection[str], asked: OfferHosts | None = None
    ) -> AsyncIterator[HolePuncher]:
        """Return what makes a way to a peer, until the end of the block.

        Args:
            letters: How the two tell each other something.
            leads: Whether this side does.
            hosts: IP addresses at which the peer is seen, as its offer or answer has them.
            asked: Counts those that an offer has us send to; None where this side has called.
        """
        settings = dataclasses.replace(self._settings, stun_servers=self._servers())

        def allows(address: Address, guessing: bool) -> bool:
            host = address.host
            if (guessing and host not in hosts) or self.manager.admission.access.check_dial(host) is not None:
                return False
            return asked is None or bool(asked.within([host], now=asyncio.get_running_loop().time()))

        wanted = PunchSettings(rounds=settings.hole_punch_attempts)
        if self._running >= MOST_LAVISH:
            wanted = dataclasses.replace(wanted, birthday_sockets=FEW_SOCKETS)
        puncher = HolePuncher(
            letters,
            leads=leads,
            config=settings,
            nat=self._present_nat,
            local_hosts=await self._hosts(),
            settings=wanted,
            tcp="tcp" in self._transports,
            network=self._network,
            allows=allows,
        )
        self._running += 1
        try:
            yield puncher
        finally:
            self._running -= 1

    def _present_nat(self) -> NatTypeInfo:
        if "udp" not in self._transports:
            return NatTypeInfo(type=NatType.BLOCKED)
        return self.watch.info or NatTypeInfo()

    # Sessions over a way

    def dialler(self, way: Way) -> Dial:
        """Return what makes connections over a way, and gives each to a protocol: one alone, where the way is one."""
        if isinstance(way, PunchedConnection):

            async def take(factory: ProtocolFactory) -> None:
                way.take(factory)

            return take
        port = self._port(way)

        async def dial(factory: ProtocolFactory) -> None:
            await port.dial(factory, way.remote_address, punch=True)

        return dial

    def accept(self, way: Way) -> None:
        """Take the connection that the peer makes over a way."""
        if isinstance(way, PunchedConnection):
            way.take(self.manager.incoming_link)
        else:
            self._port(way)

    def _port(self, way: PunchedPath) -> RudpPort:
        left = asyncio.Event()
        port = RudpPort.adopt(
            way.endpoint,
            accept=self.manager.incoming_link,
            entropy=self._network.entropy,
            left=lambda _: left.set(),
            **self._options,
        )
        self.watch.habits.keep(port)
        self.tasks.create(self._hold(port, way, left), name=f"librats punched {way.remote_address}")
        port.receive(way.hand_over())
        return port

    async def _hold(self, port: RudpPort, way: PunchedPath, left: asyncio.Event) -> None:
        """Keep a port as long as sessions use it."""
        try:
            await asyncio.sleep(FIRST_STREAM)
            while port.is_used or await self._is_used_again(port):
                left.clear()
                await left.wait()
        finally:
            port.close()
            way.close()

    @staticmethod
    async def _is_used_again(port: RudpPort) -> bool:
        """Wait for the last bytes on a port, and tell whether another session has come to it meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_BYTES
        while len(port) and not port.is_used and loop.time() < until:  # noqa: ASYNC110 - what is over tells nobody
            await asyncio.sleep(LOOK_EVERY)
        return port.is_used


def hosts_in(letter: Letter) -> set[str]:
    """Return the IP addresses at which a peer is seen, as its offer or answer has them."""
    try:
        candidates = IceDescription.from_json(letter.ice).candidates
    except DecodeError:
        candidates = ()
    found = {one.address.host for one in candidates if not (one.is_name or one.is_relayed)}
    return found | ({letter.seen} if letter.seen else set())


class PunchCall:
    """A way that the caller of an introduction looks for, beside ICE.

    Args:
        owner: Who punches.
        peer_id: To whom.
        letters: How the two tell each other something.
        remote: What the peer has said of itself.
        hosts: IP addresses at which it is seen.
        round_trip: Seconds that its answer has taken.
    """

    def __init__(
        self,
        owner: Punching,
        peer_id: str,
        letters: PunchLetters,
        remote: PunchOffer,
        *,
        hosts: Collection[str],
        round_trip: float,
    ) -> None:
        self._owner = owner
        self._peer_id = peer_id
        self.letters = letters
        """How the two tell each other something."""
        self._remote = remote
        self._hosts = hosts
        self._round_trip = round_trip
        self._loop = asyncio.get_running_loop()
        self.session: Link | None = None
        """The session that goes another way, a relay's for example, and is to move."""
        self.attempts: list[ConnectionAttempt] = []
        """What was tried."""
        self.is_hopeless = False
        """True once it is known that no hole can be punched."""
        self.task: asyncio.Task[Link | RatsError | OSError] | None = None
        """What does it, once :func:`race` has begun."""

    async def run(self) -> Link:
        """Punch when it is time, and return the session that goes over the way.

        Raises:
            RatsError: There is none.
            OSError: The peer does not answer on it.
        """
        await self._wait_for_turn()
        began = self._loop.time()
        way = await self._punch_or_tell(began)
        try:
            link = await self._over(way)
        except HandshakeError:
            if self.session is None or not self.session.can_move or isinstance(way, PunchedPath):
                raise
            # It was moving between two relayed ways just then, and a connection can be used but once.
            way = await self._punch_or_tell(began)
            link = await self._over(way)
        self.attempts.append(
            ConnectionAttempt(
                address=link.address, method=link.method, duration=self._loop.time() - began, technique=way.technique
            )
        )
        return link

    async def _punch_or_tell(self, began: float) -> Way:
        try:
            return await self._punch(began)
        except asyncio.CancelledError:
            self.letters.end(PunchReason.NOT_NEEDED)
            raise

    async def _punch(self, began: float) -> Way:
        """Make a way; where a side has only seemed to have no UDP, because of what was lost, once more."""
        doubts = True
        while True:
            self.letters.forget()
            async with self._owner.puncher(self.letters, leads=True, hosts=self._hosts) as puncher:
                try:
                    return await puncher.punch()
                except ConnectError as error:
                    if not (doubts and error.reason == PunchReason.UDP_BLOCKED and not puncher.attempts):
                        self.is_hopeless = error.reason != PunchReason.PEER_SILENT
                        self.attempts += error.attempts or [self._vain(error.reason, self._loop.time() - began)]
                        raise
            doubts = False
            await asyncio.sleep(DOUBT)

    def _vain(self, reason: str, duration: float) -> ConnectionAttempt:
        """Tell of a try for which nothing was sent to the peer."""
        best = min(self._hosts, key=lambda host: (reach_of(host) != Reach.GLOBAL, host), default="")
        words = f"no hole was punched: {reason}"
        return ConnectionAttempt(address=Address(best, 0), method=ConnectionMethod.UDP, duration=duration, error=words)

    async def _wait_for_turn(self) -> None:
        """Leave ICE to itself as long as it may do."""
        began, watch = self._loop.time(), self._owner.watch
        while True:
            until = began + head_start(self._owner.facts, self._remote.nat, self._round_trip)
            if self._loop.time() >= until:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await watch.learn()

    async def _over(self, way: Way) -> Link:
        """Begin the session over a way, or let that go there which is there already; close a connection that fails."""
        try:
            return await self._use(way)
        except BaseException:
            if isinstance(way, PunchedConnection):
                way.close()
            raise

    async def _use(self, way: Way) -> Link:
        manager, session = self._owner.manager, self.session
        dial = self._owner.dialler(way)
        if session is None:
            return await session_over(manager, dial, expect_id=self._peer_id)
        tries = MOVES if isinstance(way, PunchedPath) else 1
        while True:
            tries -= 1
            while session.has_joinings:  # noqa: ASYNC110 - each ends within seconds, and tells nobody else
                await asyncio.sleep(LOOK_EVERY)
            try:
                await manager.paths.move_over(session, dial, way.remote_address)
            except PeerNotConnected:
                way.close()
                raise
            except HandshakeError:
                if not tries:
                    raise
                await asyncio.sleep(MOVE_AGAIN)  # it may be moving between two relayed ways just now
            else:
                return session

    def follows(self, link: Link) -> None:
        """Let a session go over to the way, once there is one; where it ends before, no way is looked for any more."""
        self.session = link
        task = self.task
        if task is not None:
            link.closed.add_done_callback(lambda _: task.cancel())
            task.add_done_callback(lambda _: self._tell(link))

    def _tell(self, link: Link) -> None:
        peer = self._owner.manager.peers.get(link.peer_id)
        if peer is not None:
            peer.attempts = (*peer.attempts, *self.attempts)


class PunchAnswer:
    """A way that the target of an introduction looks for once the caller wants it.

    Args:
        owner: Who punches.
        letters: How the two tell each other something.
        hosts: IP addresses at which the caller is seen.
        asked: Counts those that its offer has us send to.
    """

    def __init__(self, owner: Punching, letters: PunchLetters, hosts: Collection[str], asked: OfferHosts) -> None:
        self._owner = owner
        self._letters = letters
        self._hosts = hosts
        self._asked = asked
        self._task: asyncio.Task[None] | None = None

    def heard(self, message: dict[str, Any]) -> None:
        """Take what the caller says; with the first message it begins, where that does not happen too often."""
        if self._task is None or self._task.done():
            if "end" in message or "go" in message:
                return
            if not self._owner.guard.punches(now=asyncio.get_running_loop().time()):
                self._letters.end(PunchReason.LIMITED)
                return
            self._letters.forget()
            self._task = self._owner.tasks.create(self._run(), name="librats punches for a caller")
        self._letters.heard(message)

    async def _run(self) -> None:
        try:
            owner, asked = self._owner, self._asked
            async with owner.puncher(self._letters, leads=False, hosts=self._hosts, asked=asked) as puncher:
                way = await puncher.punch()
            self._owner.accept(way)
        except (RatsError, OSError) as error:
            logger.debug("no way for a caller: %s", describe(error))

    async def wait(self) -> None:
        """Wait until it is over, where it has begun."""
        if self._task is not None:
            await asyncio.wait([self._task])


async def race(
    ice: Coroutine[Any, Any, tuple[Link, bool]], call: PunchCall, tasks: TaskSet, *, can_relay: Callable[[], bool]
) -> tuple[Link, bool]:
    """Return the first session, over what ICE finds or over a punched way, and whether it is that of ICE.

    Where ICE has found a relayed way, the session begins there, and moves when a hole was punched: the call goes on.

    Args:
        ice: Connects over what ICE finds, and tells whether that is relayed.
        call: Punches.
        tasks: Owner of the tasks.
        can_relay: Tells whether there is a relayed address of either side; where there is none, and no hole can be
            punched, ICE is not waited for any longer.

    Raises:
        RatsError: Neither works: what has gone wrong last.
        OSError: Likewise.
    """
    began = asyncio.get_running_loop().time()
    by_ice = tasks.create(outcome(ice), name="librats connects by ICE")
    by_punching = call.task = tasks.create(outcome(call.run()), name="librats punches")
    running: list[asyncio.Task[Any]] = [by_ice, by_punching]
    problem: RatsError | OSError | None = None
    until: float | None = None
    try:
        while running:
            left = None if until is None else max(0.0, until - asyncio.get_running_loop().time())
            done, _ = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done and not can_relay():
                break
            until = None
            for task in [task for task in running if task in done]:
                running.remove(task)
                result = task.result()
                if isinstance(result, RatsError | OSError):
                    problem = result
                    if task is by_punching and call.is_hopeless:
                        until = began + ICE_ALONE
                elif task is by_punching:
                    return result, False
                else:
                    link, is_relayed = result
                    if is_relayed and by_punching in running:
                        running.remove(by_punching)
                        call.follows(link)
                    return link, True
    finally:
        await end_all(running)
    raise problem or HandshakeError("no way to the peer")
