"""The paths of sessions: who else leads to a peer, and when a session goes over to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from itertools import zip_longest

from msgspec import Struct

from librats.errors import HandshakeError, PeerNotConnected, RatsError, RemoteProtocolError
from librats.peers.hello import UNSPECIFIED
from librats.peers.peer import Peer
from librats.peers.scopes import Scope, scope_of
from librats.runtime.tasks import TaskSet, end_all
from librats.services.introduction.carried import CarryEnded
from librats.services.link.joining import Joining, Leaving
from librats.services.session import Link
from librats.session.path_keys import Join
from librats.types import Address, ConnectionMethod, PathPolicy

__all__ = ["Connect", "Dial", "PathKeeper"]

logger = logging.getLogger("librats.peers")

Dial = Callable[[Callable[[], asyncio.BaseProtocol], Address, ConnectionMethod], Awaitable[None]]
"""Connects to an address, in that way, and gives the connection to a protocol."""

Connect = Callable[[Callable[[], Joining]], Awaitable[object]]
"""Makes a connection, and gives it to a protocol."""

Way = tuple[Address, ConnectionMethod]

DIAL_TIMEOUT = 3.0
RETRY_DELAY = 0.5
MAX_RETRY_DELAY = 8.0
MAX_CANDIDATES = 8
STAGGER = 0.1
"""Seconds between the starts of two tries."""
LEAD = 2
"""Direct ways that are tried before the first one through a relay."""
IMPROVEMENTS = (0.0, 1.0, 5.0, 15.0, 60.0)
"""Seconds before each try to leave the relay; the last goes for all that follow."""
FOR_GOOD = 10 * 365 * 86400.0
"""Seconds that no session lasts."""
HOLD = 30.0
"""Seconds for which a session stays where the application has moved it, unless it stalls there."""
STABLE = 60.0
"""A direct path that has died sooner than that many seconds after it was moved to is returned to the more slowly."""
UNSETTLED = 10.0
"""Seconds after a move in which the peer may still be on another path."""
INDIRECT = frozenset({ConnectionMethod.RELAY, ConnectionMethod.CARRIED})
"""Ways through somebody else, which are left for direct ones."""


class _Standing(Struct):
    """What is remembered of a session's moves."""

    held_until: float = 0.0
    """Until then it stays, for the application has moved it."""

    moved_at: float = 0.0
    """When it has moved last."""

    falls: int = 0
    """How often in a row a direct path did not last."""


class PathKeeper:
    """Moves the sessions of one client to other paths.

    Args:
        peers: The connected peers by id.
        tasks: Owner of the tasks in which it dials.
    """

    def __init__(self, peers: Mapping[str, Peer], tasks: TaskSet) -> None:
        self._peers = peers
        self._tasks = tasks
        self._links: dict[bytes, Link] = {}
        self._standings: dict[Link, _Standing] = {}
        self._rescues: set[Link] = set()
        self._searches: Counter[str] = Counter()
        self._moves: dict[Link, list[asyncio.Future[None]]] = {}
        self._improvements: dict[Link, asyncio.Task[None]] = {}
        self.dial: Dial | None = None
        """How connections are made; None where this side only waits for those of the peer."""
        self.direct_methods: tuple[ConnectionMethod, ...] = (ConnectionMethod.TCP,)
        """How direct connections can be made."""
        self.has_relays = False
        """Whether there is a relay to go through."""
        self.policy = PathPolicy.AUTO
        """Which ways sessions may go."""
        self.relay_stalled: Callable[[], object] = lambda: None
        """Called when nothing comes through a relayed address of ours."""
        self.watch: Callable[[Link], object] = lambda _: None
        """Called with a session that is there, that has moved, or whose path is dead."""
        self.may_ask: Callable[[Link], bool] = lambda _: False
        """Tells whether whoever watches can ask introducers for ways to a session's peer."""
        self.own: Callable[[], Collection[Address]] = tuple
        """Returns where this side takes connections."""
        self.moved = 0
        """How often a session has moved."""

    @property
    def methods(self) -> tuple[ConnectionMethod, ...]:
        """How connections are made, the one that is tried first first."""
        relay = (ConnectionMethod.RELAY,) if self.has_relays and self.policy is not PathPolicy.DIRECT_ONLY else ()
        return relay if self.policy is PathPolicy.RELAY_ONLY else (*self.direct_methods, *relay)

    def allows(self, method: ConnectionMethod) -> bool:
        """Tell whether the policy lets a session go that way."""
        if self.policy is PathPolicy.AUTO:
            return True
        if method is ConnectionMethod.CARRIED:
            return False
        return (method is ConnectionMethod.RELAY) == (self.policy is PathPolicy.RELAY_ONLY)

    # What the manager tells

    def ready(self, link: Link) -> None:
        """Take note of a session that may move."""
        token = link.path_token
        if token:
            self._links[token] = link
            self._standings[link] = _Standing(moved_at=link.now())
            self._improve_soon(link, 0)
            self.watch(link)

    def closed(self, link: Link) -> None:
        """Forget a session."""
        self._standings.pop(link, None)
        self._tell_move(link)
        improvement = self._improvements.pop(link, None)
        if improvement is not None:
            improvement.cancel()
        if self._links.get(link.path_token) is link:
            del self._links[link.path_token]

    def changed(self, link: Link) -> None:
        """Take note that a session has moved; where the peer wanted that, it stays there for a while."""
        self._tell_move(link)
        standing = self._standings.get(link)
        if standing is not None:
            standing.moved_at = link.now()
            standing.held_until = link.now() + HOLD
            if link not in self._rescues and link not in self._improvements:
                self._improve_soon(link, 0)
            self.watch(link)

    def joined(self, transport: asyncio.Transport, join: Join, leftover: bytes) -> None:
        """Give a connection to the session that it names; where there is none, it is closed."""
        link = self._links.get(join.token)
        try:
            if link is None:
                raise HandshakeError("no such session")
            link.answer_path(join, transport, leftover)
        except HandshakeError as error:
            logger.debug("a path that leads nowhere: %s", error)
            transport.set_protocol(Leaving())
            transport.abort()

    def lost(self, link: Link, error: Exception | None) -> bool:
        """Tell whether a session outlives its connection, and look for another one.

        Where the peer's system has closed it, the peer is gone; where the network failed, or somebody meddles with the
        connection, it may be reached otherwise. Anybody on the way may reset a TCP connection, and a NAT does that to a
        host which has come from another network: then every way is tried once. So it is right behind a move, of which
        the peer may not know yet; where nothing has come from it since, it has given that path up, and it is for the
        peer to come as well. Over UDP, where a reset is of somebody who has not the session's key (the address may have
        become another host's, or our own), introducers have the time to find a way, also where no address is known.
        """
        if link.has_joinings:
            return True
        if isinstance(error, CarryEnded) and error.is_limit:
            return self._outlives_limit(link)
        standing = self._standings.get(link)
        has_just_moved = standing is not None and link.now() - standing.moved_at < UNSETTLED
        is_broken = isinstance(error, RemoteProtocolError)
        if is_broken or link.peer_may_be_elsewhere:
            self.rescue(link, after=RETRY_DELAY if is_broken and has_just_moved else 0.0)
            return True
        is_tcp = link.method is ConnectionMethod.TCP
        may_be_elsewhere = isinstance(error, ConnectionResetError) and (is_tcp or has_just_moved)
        is_gone = error is None or (isinstance(error, ConnectionError) and not may_be_elsewhere)
        if is_gone or (may_be_elsewhere and not self._can_look(link, asks=not is_tcp)):
            return False
        self.rescue(link, once=may_be_elsewhere and is_tcp)
        return True

    def _can_look(self, link: Link, *, asks: bool) -> bool:
        """Tell whether there is anywhere to look for a peer: at addresses, or, where that is wanted, at introducers."""
        if self.dial is None:
            return False
        return bool(self.ways(link)) or (asks and self.policy is PathPolicy.AUTO and self.may_ask(link))

    def _outlives_limit(self, link: Link) -> bool:
        """Tell whether a session goes on that is carried no longer: there is another way, or one is looked for."""
        is_sought = bool(self._searches[link.peer_id])
        if not is_sought and not self._can_look(link, asks=False):
            return False
        self.rescue(link, once=not is_sought)
        return True

    def stay(self, link: Link) -> None:
        """Leave a session on the relay that it was brought to on purpose, unless it stalls there."""
        standing = self._standings.get(link)
        if standing is not None:
            standing.held_until = link.now() + FOR_GOOD
            self._improve_soon(link, 0)

    # Those who look for other ways

    @contextlib.contextmanager
    def search(self, peer_id: str) -> Iterator[None]:
        """Have sessions with a peer outlive their connections as long as somebody looks for ways, in the block."""
        self._searches[peer_id] += 1
        try:
            yield
        finally:
            self._searches[peer_id] -= 1
            if not self._searches[peer_id]:
                del self._searches[peer_id]

    async def wait_for_move(self, link: Link) -> None:
        """Wait until a session has moved the next time, or is over."""
        if link in self._standings:
            moved = asyncio.get_running_loop().create_future()
            self._moves.setdefault(link, []).append(moved)
            await moved

    def _tell_move(self, link: Link) -> None:
        for moved in self._moves.pop(link, ()):
            if not moved.done():
                moved.set_result(None)

    # Moving

    def rescue(self, link: Link, *, once: bool = False, after: float = 0.0) -> None:
        """Look for another path to a peer whose path is dead, or may be.

        Args:
            link: The session's link.
            once: Whether the session ends where no way works the first time.
            after: Seconds before the first try.
        """
        if link not in self._rescues and self.dial is not None and link.can_move:
            if link.method is ConnectionMethod.RELAY:
                self.relay_stalled()
            self._rescues.add(link)
            self._tasks.create(self._rescue(link, once=once, after=after), name="librats path rescue")
            self.watch(link)

    def is_rescued(self, link: Link) -> bool:
        """Tell whether another path is looked for, because the one at hand is dead, or may be."""
        return link in self._rescues and link.needs_path

    async def _rescue(self, link: Link, *, once: bool, after: float) -> None:
        delay = RETRY_DELAY
        was_direct = link.method not in INDIRECT
        before = self._standings[link].moved_at if link in self._standings else 0.0
        try:
            await asyncio.sleep(after)
            while link.needs_path and not await self._move_anywhere(link, self.ways(link), lambda: link.needs_path):
                if once and not link.has_joinings:
                    link.give_up_waiting()
                    break
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_DELAY)
        finally:
            self._rescues.discard(link)
        standing = self._standings.get(link)
        if standing is None:
            return
        now = link.now()
        if was_direct and standing.moved_at != before:  # whichever side has found the other path
            standing.falls = standing.falls + 1 if now - before < STABLE else 1
        standing.moved_at = standing.held_until = now
        self._improve_soon(link, standing.falls)

    def _improve_soon(self, link: Link, skipped: int) -> None:
        """See to it that a session leaves the relay, or who carries it, when it can."""
        if link not in self._standings or self.dial is None:
            return
        before = self._improvements.pop(link, None)
        if before is not None:
            before.cancel()
        if link.method in INDIRECT:
            task = self._tasks.create(self._improve(link, skipped), name="librats path improvement")
            self._improvements[link] = task

    async def _improve(self, link: Link, skipped: int) -> None:
        """Try to leave the relay for a direct way, the more seldom the longer that fails."""

        def is_wanted() -> bool:
            may_leave = self.policy is PathPolicy.AUTO and link.method in INDIRECT
            return may_leave and link.can_move and link.now() >= standing.held_until

        standing = self._standings[link]
        number = min(skipped, len(IMPROVEMENTS) - 1)
        while link.can_move and link.method in INDIRECT:
            await asyncio.sleep(max(IMPROVEMENTS[number], standing.held_until - link.now()))
            if is_wanted() and await self._move_anywhere(link, self._direct_ways(link), is_wanted):
                standing.moved_at = link.now()
                break
            number = min(number + 1, len(IMPROVEMENTS) - 1)

    async def move_by_hand(self, link: Link, ways: list[Way]) -> None:
        """Go over to the first of several ways that works, and stay there for a while.

        Raises:
            HandshakeError: None of them leads to the peer.
            PeerNotConnected: The session has ended, or stays on its path.
        """
        if self.dial is None or not link.can_move:
            raise PeerNotConnected("the session has ended, or stays on its path")
        problems: list[str] = []
        if not ways or not await self._move_anywhere(link, ways, lambda: link.can_move, problems):
            reason = "; ".join(problems) or "no address of the peer is known for that"
            raise HandshakeError(f"the session stays where it is: {reason}")
        standing = self._standings.get(link)
        if standing is not None:
            standing.moved_at = link.now()
            standing.held_until = link.now() + HOLD
            self._improve_soon(link, 0)

    async def obey(self, policy: PathPolicy) -> list[Link]:
        """Let sessions go only the ways that a policy names.

        Returns:
            The links that are on another way, and could not be moved.
        """
        self.policy = policy
        links = [link for peer in self._peers.values() for link in peer.links]
        wrong = [link for link in links if not self.allows(link.method)]
        await asyncio.gather(*(self._move_anywhere(one, self.ways(one), lambda one=one: one.can_move) for one in wrong))  # type: ignore[misc]
        if policy is PathPolicy.AUTO:
            for link in self._standings:
                self._improve_soon(link, 0)
        return [link for link in wrong if not self.allows(link.method)]

    async def _move_anywhere(
        self, link: Link, ways: list[Way], is_wanted: Callable[[], bool], problems: list[str] | None = None
    ) -> bool:
        """Try every way at about the same time; tell whether one of them worked."""
        running: dict[asyncio.Task[str], None] = {}  # in order, so that two runs end them alike
        waiting = list(reversed(ways))
        try:
            while (waiting or running) and is_wanted():
                if waiting:
                    way = waiting.pop()
                    task = asyncio.get_running_loop().create_task(self._tries(link, way), name=f"librats path {way[0]}")
                    running[task] = None
                done, _ = await asyncio.wait(
                    running, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                results = [task.result() for task in running if task in done]
                running = {task: None for task in running if task not in done}
                if "" in results:
                    return True
                if problems is not None:
                    problems += results
        finally:
            await end_all(running)
        return False

    async def _tries(self, link: Link, way: Way) -> str:
        """Try one way; return why it does not lead to the peer, or nothing."""
        try:
            await self.move(link, *way)
        except (RatsError, OSError) as error:
            return str(error) or type(error).__name__
        return ""

    async def move(self, link: Link, address: Address, method: ConnectionMethod = ConnectionMethod.TCP) -> None:
        """Open a path to an address and go over to it.

        Args:
            link: The session's link.
            address: Where the peer is.
            method: How to get there.

        Raises:
            HandshakeError: The peer is not there, or does not want to.
            OSError: No connection came about.
            PeerNotConnected: The session has ended, or stays on its path.
        """
        dial = self.dial
        if dial is None:
            raise PeerNotConnected("the session has ended, or stays on its path")
        await self.move_over(link, lambda factory: dial(factory, address, method), address)

    async def move_over(self, link: Link, connect: Connect, address: Address) -> None:
        """Go over to a connection that somebody else makes.

        Args:
            link: The session's link.
            connect: Makes the connection to the peer, and gives it to a protocol.
            address: Where to, for words.

        Raises:
            HandshakeError: The peer is not there, or does not want to.
            OSError: No connection came about.
            PeerNotConnected: The session has ended, or stays on its path.
        """
        if not link.can_move:
            raise PeerNotConnected("the session has ended, or stays on its path")
        joining: Joining = link.call_path()
        try:
            await self._until_moved(joining, connect, address)
        except BaseException as error:
            self._give_up(joining, str(error) or type(error).__name__)
            raise
        self.moved += 1

    @staticmethod
    async def _until_moved(joining: Joining, connect: Connect, address: Address) -> None:
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await connect(lambda: joining)
                await asyncio.shield(joining.done)
        except TimeoutError:
            if not joining.has_switched:
                raise HandshakeError(f"no path to {address} within {DIAL_TIMEOUT:g} s") from None
            await asyncio.shield(joining.done)  # the peer may have moved already: its answer is waited for

    @staticmethod
    def _give_up(joining: Joining, reason: str) -> None:
        """Let a path go, but not one that the peer may have moved to already: that has a clock of its own."""
        if not joining.has_switched:
            joining.fail(reason)

    def ways(self, link: Link) -> list[Way]:
        """How the peer may be reached as the policy has it, the way at hand last, where it has stalled."""
        direct = self._direct_ways(link)
        if ConnectionMethod.RELAY not in self.methods:
            return direct
        relayed = [(address, ConnectionMethod.RELAY) for address in self._addresses(link)]
        if link.method is ConnectionMethod.RELAY:
            return [*direct, *relayed]
        mixed = (way for pair in zip_longest(relayed, direct[LEAD:]) for way in pair if way is not None)
        return [*direct[:LEAD], *mixed]

    def _direct_ways(self, link: Link) -> list[Way]:
        if self.policy is PathPolicy.RELAY_ONLY:
            return []
        methods = sorted(self.direct_methods, key=lambda method: method is link.method)
        return [(address, method) for address in self._addresses(link) for method in methods]

    def _addresses(self, link: Link) -> list[Address]:
        """Where the peer may be."""
        found = list(link.reached_at)
        peer = self._peers.get(link.peer_id)
        if peer is not None and peer.hello is not None:
            for text in peer.hello.listen_for(link.address.host):
                with contextlib.suppress(RatsError):
                    address = Address.parse(text)
                    if link.method is ConnectionMethod.CARRIED and scope_of(address.host) is not Scope.GLOBAL:
                        continue  # a stranger does not have us knock in our own network, which ICE knows to tell apart
                    if address.host not in UNSPECIFIED:
                        found.append(address)
                    elif link.method not in INDIRECT:
                        found.append(Address(link.address.host, address.port))
        own = self.own()  # in another network of the same numbers, the peer may have one of ours
        return [address for address in dict.fromkeys(found) if address not in own][:MAX_CANDIDATES]
