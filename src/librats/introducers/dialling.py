"""A session with an introducer, on whichever of its ways gets through: its port, by UDP or TCP, or its WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from librats.config import NatTraversalConfig
from librats.errors import ConnectError, HandshakeError, RatsError
from librats.peers.introducer_sessions import IntroducerSessions
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import end_all
from librats.runtime.tls import ClientTls, client_tls
from librats.services.dialling import dial_first
from librats.services.server_dialling import ServerPlace, dial_server, proxy_to, resolve_server
from librats.services.session import Link
from librats.services.turn.paths import problem_of
from librats.types import Address, ConnectionMethod
from librats.web_uris import WebUri

__all__ = ["IntroducerDialler"]

DIAL_TIMEOUT = 10.0
"""Seconds that one way has to bring a session."""

NEXT_WAY = 1.0
"""Seconds without a session after which the next way is tried, too."""

HEAD_START = 0.2
"""Seconds that UDP has before TCP, which loses far more time to a lost packet."""

WEB_PROTOCOL = ["http/1.1"]

_Way = tuple[ConnectionMethod, Address]


def _failure_of(link: Link) -> RatsError | None:
    """Return why a link whose beginning is over has not become a session; None where it has."""
    return None if link.ready and link.error is None else link.error or HandshakeError(link.reason[1])


async def _first_success(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until one of several has come to a good end.

    Raises:
        Exception: None has; what the last in line has ended by.
    """
    running = set(tasks)
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() is None for task in done):
            return
    tasks[-1].result()


class IntroducerDialler:
    """Dials introducers.

    Args:
        network: Where.
        sessions: Where links become sessions.
        nat: Proxy and certificates.
        udp: The port from which to dial over UDP; None where that is not done.
    """

    def __init__(
        self, network: Network, sessions: IntroducerSessions, nat: NatTraversalConfig, udp: RudpPort | None
    ) -> None:
        self._network = network
        self._udp = udp
        self._sessions = sessions
        self._nat = nat
        self._loop = asyncio.get_running_loop()
        self._tls: ClientTls | None = None
        self.places: dict[Link, Address | WebUri] = {}
        """Where links lead that are not closed."""
        self.began: dict[str | None, float] = {}
        """When the connection of the latest session with each was begun, by its id."""

    @property
    def tries_udp(self) -> bool:
        """Whether an introducer's own port is dialled over UDP, too, and before it is over TCP."""
        return self._udp is not None

    async def dial(self, peer_id: str | None, places: Sequence[Address | WebUri]) -> tuple[Link, Address | WebUri]:
        """Begin a session.

        Args:
            peer_id: Who has to be there; None for any introducer.
            places: Where, the best first.

        Returns:
            The session, and where it leads.

        Raises:
            RatsError: It does not come about: what went wrong on the first way.
            OSError: Likewise.
        """
        waiting = list(places)
        running: dict[asyncio.Task[Link], Address | WebUri] = {}
        problem: BaseException | None = None
        try:
            while waiting or running:
                if waiting:
                    place = waiting.pop(0)
                    task = self._loop.create_task(self._try(peer_id, place), name=f"librats introducer at {place}")
                    running[task] = place
                pause = NEXT_WAY if waiting else None
                done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                ended = [(task, running.pop(task)) for task in done]
                for task, place in ended:
                    error = task.exception()
                    if error is None and task.result().is_open:  # of two at once, one has made way for the other
                        return task.result(), place
                    problem = problem or error
        finally:
            await end_all(running)
        raise problem or HandshakeError("the session has ended at once")

    async def dial_by_tcp(self, peer_id: str, place: Address) -> Link:
        """Begin a session at an introducer's own port, over TCP.

        Raises:
            RatsError: It does not come about.
            OSError: Likewise.
        """
        return await self._try(peer_id, place, by_tcp=True)

    async def _try(self, peer_id: str | None, place: Address | WebUri, *, by_tcp: bool = False) -> Link:
        made: list[Link] = []

        def new_link() -> Link:
            link = self._sessions.new_link(expect_id=peer_id, dialled=True)
            made.append(link)
            self.places[link] = place
            link.closed.add_done_callback(lambda _: self.places.pop(link, None))
            return link

        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await self._connect(peer_id, new_link, place, by_tcp=by_tcp)
                await asyncio.shield(made[-1].settled)
        except TimeoutError:
            problem: RatsError | OSError = HandshakeError(f"no session within {DIAL_TIMEOUT:g} s")
        except asyncio.CancelledError:
            for link in made:
                link.abort()
            raise
        except OSError as error:
            problem = ConnectError(str(place), reason=problem_of(error)) if isinstance(place, WebUri) else error
        except RatsError as error:
            problem = error
        else:
            failure = _failure_of(made[-1])
            if failure is None:
                return made[-1]
            problem = failure
        for link in made:
            link.abort()
        raise problem

    async def _connect(
        self, peer_id: str | None, factory: Callable[[], Link], place: Address | WebUri, *, by_tcp: bool
    ) -> None:
        if isinstance(place, Address):
            addresses = await self._network.resolve(place)
            self.began[peer_id] = self._loop.time()
            await self._connect_directly(factory, addresses, by_tcp=by_tcp)
            return
        server = ServerPlace(place.address, await self._tls_with(place), place, self._nat.proxy, self._nat.ca_file)
        addresses = await resolve_server(self._network, server)
        self.began[peer_id] = self._loop.time()
        if await proxy_to(self._network, server) is not None:
            await dial_server(self._network, factory, addresses[0], server)
            return

        async def dial(make: Callable[[], asyncio.BaseProtocol], address: Address) -> None:
            await dial_server(self._network, make, address, server)

        await dial_first(dial, factory, addresses, timeout=DIAL_TIMEOUT, stagger=NEXT_WAY)

    async def _connect_directly(
        self, factory: Callable[[], Link], addresses: Sequence[Address], *, by_tcp: bool
    ) -> None:
        tcp = [(ConnectionMethod.TCP, address) for address in addresses]
        if by_tcp or not self.tries_udp:
            await dial_first(self._dial, factory, tcp, timeout=DIAL_TIMEOUT, again=tcp)
            return
        await self._race(factory, [(ConnectionMethod.UDP, address) for address in addresses], tcp)

    async def _race(self, factory: Callable[[], Link], udp: Sequence[_Way], tcp: Sequence[_Way]) -> None:
        """Connect over UDP, or over TCP where that has brought a session before UDP has connected: where packets get
        lost the one is quicker from there on, by seconds."""
        made: list[Link] = []

        def make() -> Link:
            made.append(factory())
            return made[-1]

        async def settle_over_tcp() -> None:
            await dial_first(self._dial, make, tcp, timeout=DIAL_TIMEOUT, stagger=2 * HEAD_START, again=tcp)
            await asyncio.shield(made[-1].settled)
            failure = _failure_of(made[-1])
            if failure is not None:
                raise failure

        first = dial_first(self._dial, factory, udp, timeout=DIAL_TIMEOUT, stagger=2 * HEAD_START)
        over_udp = self._loop.create_task(first, name="librats dials an introducer over UDP")
        tasks = [over_udp]
        try:
            await asyncio.wait(tasks, timeout=HEAD_START)
            if not over_udp.done() or over_udp.exception() is not None:
                tasks.append(self._loop.create_task(settle_over_tcp(), name="librats dials an introducer over TCP"))
                await _first_success(tasks)
        finally:
            await end_all(tasks)
            if made and not over_udp.cancelled() and over_udp.exception() is None:
                made[-1].abort()

    async def _dial(self, factory: Callable[[], asyncio.BaseProtocol], way: _Way) -> None:
        method, address = way
        if method is ConnectionMethod.UDP and self._udp is not None:
            await self._udp.dial(factory, address, urgent=True)
        else:
            await self._network.dial_tcp(factory, address)

    async def _tls_with(self, place: WebUri) -> ClientTls | None:
        if not place.secure:
            return None
        if self._tls is None:
            self._tls = await client_tls(place.address.host, self._nat.ca_file)
            self._tls.context.set_alpn_protocols(WEB_PROTOCOL)
        return ClientTls(self._tls.context, place.address.host)
