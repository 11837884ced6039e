"""A client's sessions with the introducers of its configuration: dialled, kept, and dialled again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from librats.attempts.accounts import describe
from librats.config import RatsConfig
from librats.errors import ProxyError, RatsError
from librats.introduce.services import Services
from librats.introducers.dialling import IntroducerDialler
from librats.peers.identity import Identity
from librats.peers.introducer_sessions import IntroducerSessions
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.servers import TurnCredentials, TurnServer, introducer_place
from librats.services.introducer import Introductions
from librats.services.introduction.letters import Introducer
from librats.services.server_dialling import require_web
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.types import Address, AttemptReason, ConnectionMethod, TurnTransport
from librats.web_uris import WEB_PATH, WebUri

__all__ = ["IntroducerKeeper", "check_introducers"]

logger = logging.getLogger("librats.introducer")

RETRY_DELAYS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before an introducer is dialled again; the last goes for all that follow."""

SIGN_OF_LIFE = 3.0
"""Seconds that an introducer has to answer where its session may be dead."""

STABLE = 60.0
"""Seconds after which a session that ends is dialled again as if for the first time."""

SETTLING = (5.0, 60.0, 600.0)
"""Seconds after which a session that has begun over UDP goes on over TCP, and after which that is tried again."""

LOSSY = 0.1
"""The share of packets that had to be sent again from which on a session stays with UDP."""

BUSY = 1.0
"""Seconds between two looks whether introductions are under way."""

MOST_PATIENCE = 0.8
"""Seconds that a granted relay may take over UDP, before it is asked over TCP, too."""


def check_introducers(introducers: Iterable[str]) -> None:
    """Check that the introducers of a configuration can be spoken to.

    Raises:
        ConfigError: One is a WebSocket, and what that takes is not installed.
    """
    if any(isinstance(introducer_place(text)[1], WebUri) for text in introducers):
        require_web("introducers")


class IntroducerKeeper:
    """Keeps the sessions with the introducers that a configuration names.

    Args:
        config: The configuration.
        network: Where.
        tasks: Owner of the tasks.
        identity: Who we are.
        agent: What we call our software.
        granted: Called when an introducer relays for us, with the seconds that it may take to make an allocation.
        udp: The port from which to dial over UDP; None where that is not done.
    """

    def __init__(
        self,
        config: RatsConfig,
        network: Network,
        tasks: TaskSet,
        *,
        identity: Callable[[], Identity],
        agent: str,
        granted: Callable[[TurnServer, float], object],
        udp: RudpPort | None,
    ) -> None:
        self._wanted: dict[str, list[Address | WebUri]] = {}
        for text in config.nat.introducers:
            peer_id, place = introducer_place(text)
            self._wanted.setdefault(peer_id, []).append(place)
        self._ca_file, self._proxy = config.nat.ca_file, config.nat.proxy
        self._network = network
        self._tasks = tasks
        self._granted = granted
        self._loop = asyncio.get_running_loop()
        self.sessions = IntroducerSessions(
            identity,
            config,
            entropy=network.entropy,
            new_key=network.new_key,
            agent=agent,
            features=Feature.INTRODUCED | Feature.CARRIED | (Feature.FINDABLE if config.dht.publish else Feature(0)),
            most=max(1, len(self._wanted)),
        )
        """The sessions."""
        self._services: dict[str, tuple[Services, float]] = {}
        self._relays: set[str] = set()
        self._told: set[str] = set()
        self._settling: set[str] = set()
        self._dialler = IntroducerDialler(network, self.sessions, config.nat, udp)
        self._worked: dict[str, Address | WebUri] = {}
        self._failed: dict[str, RatsError | OSError] = {}
        self._changed = asyncio.Event()

    def start(self, circle: Introductions) -> None:
        """Dial, from now on."""
        self.sessions.circle = circle
        self.sessions.ready = self._begun
        for peer_id, places in self._wanted.items():
            self._tasks.create(self._keep(peer_id, places), name=f"librats introducer {peer_id[:8]}")

    async def _keep(self, peer_id: str, places: list[Address | WebUri]) -> None:
        tries = 0
        while True:
            began = self._loop.time()
            try:
                # Whichever way has worked the last time goes first.
                ordered = sorted(places, key=lambda place: place != self._worked.get(peer_id))
                link, self._worked[peer_id] = await self._dialler.dial(peer_id, ordered)
            except (RatsError, OSError) as error:
                logger.log(
                    logging.DEBUG if tries else logging.WARNING,
                    "no session with introducer %s at %s: %s",
                    *(peer_id[:8], " and ".join(map(str, places)), describe(error)),
                )
                self._failed[peer_id] = error
                self._changed.set()
            else:
                self._failed.pop(peer_id, None)
                link = await self._settle(peer_id, link, self._worked[peer_id])
                await link.closed
                logger.debug("the session with introducer %s has ended: %s", peer_id[:8], link.reason[1])
            tries = 0 if self._loop.time() - began > STABLE else tries + 1
            await asyncio.sleep(RETRY_DELAYS[min(max(0, tries - 1), len(RETRY_DELAYS) - 1)])

    async def _settle(self, peer_id: str, link: Link, place: Address | WebUri) -> Link:
        """Go over to TCP where a session has begun over UDP: NATs forget that far later, and it needs no signs of life.
        Not where much is lost, for then TCP waits for seconds.

        Returns:
            The session that lasts.
        """
        circle = self.sessions.circle
        for seconds in SETTLING:
            if link.method is not ConnectionMethod.UDP or not isinstance(place, Address) or circle is None:
                break
            _, still = await asyncio.wait([link.closed], timeout=seconds)
            while still and not circle.is_idle:  # what is under way has its order in one session
                _, still = await asyncio.wait([link.closed], timeout=BUSY)
            if not still:
                break
            if link.loss > LOSSY:
                continue
            self._settling.add(peer_id)
            try:
                link = await self._dialler.dial_by_tcp(peer_id, place)
            except (RatsError, OSError) as error:
                logger.debug("introducer %s goes on over UDP: %s", peer_id[:8], describe(error))
            finally:
                self._settling.discard(peer_id)
        return link

    def _begun(self, link: Link) -> None:
        if link.peer_id not in self._settling:  # what it does for us is known there
            self._told.discard(link.peer_id)

    # What they are good for

    @property
    def introducers(self) -> list[Introducer]:
        """Those that are connected."""
        return self.sessions.introducers

    @property
    def on_own_ports(self) -> list[tuple[str, Address]]:
        """Those that are connected and were reached at their own port, not at a WebSocket's: id, and where that is."""
        places = self._dialler.places
        return [
            (one, link.address) for one, link in self.sessions.links.items() if isinstance(places.get(link), Address)
        ]

    def introducer(self, peer_id: str) -> Introducer | None:
        """Return the one with that id, where it is connected."""
        return next((one for one in self.introducers if one.peer_id == peer_id), None)

    @property
    def is_ready(self) -> bool:
        """True where one of them is connected, and has said what else it does for us."""
        return any(peer_id in self._told for peer_id in self.sessions.links)

    @property
    def problem(self) -> tuple[str, AttemptReason]:
        """Why none of them is connected, in words and in one word."""
        error = next(iter(self._failed.values()), None)
        words = "no introducer is connected" + ("" if error is None else f": {describe(error)}")
        return words, error.code if isinstance(error, ProxyError) else AttemptReason.NO_INTRODUCER

    async def wait(self, seconds: float) -> None:
        """Wait until that is so, that long at the most, and not where none of them can be reached."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_ready and len(self._failed) < len(self._wanted):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def served(self, introducer: str, services: Services) -> None:
        """Take what an introducer does for us."""
        link = self.sessions.links.get(introducer)
        if link is None:
            return
        self._services[introducer] = (services, self._loop.time())
        self._told.add(introducer)
        self._changed.set()
        if services.relays and introducer not in self._relays:
            self._relays.add(introducer)
            patience = self._patience(introducer, link)
            for server in self._granted_servers(introducer, link, services):
                self._granted(server, patience)

    def _patience(self, introducer: str, link: Link) -> float:
        """Return how long a relay may take over UDP before it is asked over TCP, too."""
        if link.method is ConnectionMethod.TCP and self._dialler.tries_udp:
            return 0.0  # it has been outrun already
        # An allocation takes fewer round trips than the session has taken, where UDP gets through.
        return min(MOST_PATIENCE, self._loop.time() - self._dialler.began[introducer])

    def _granted_servers(self, introducer: str, link: Link, services: Services) -> Iterator[TurnServer]:
        """The relay over UDP, and as this session reaches it, which is one way that the network lets through."""
        place = self._dialler.places.get(link)

        by_tls = self._proxy.startswith("https:")

        def server(transport: TurnTransport, port: int, path: str = WEB_PATH) -> TurnServer:
            return TurnServer(
                host=self._host(link),
                port=port,
                transport=transport,
                credentials=lambda: self._credentials(introducer),
                ca_file=self._ca_file if by_tls or transport is TurnTransport.WSS else None,
                path=path,
                proxy=self._proxy,
            )

        yield server(TurnTransport.UDP, services.turn_port)
        if isinstance(place, WebUri):
            web = TurnTransport.WSS if place.secure else TurnTransport.WS
            yield server(web, place.address.port, place.path)
        else:
            is_tcp = link.method is ConnectionMethod.TCP
            yield server(TurnTransport.TCP, link.address.port if is_tcp else services.turn_port)

    def _host(self, link: Link) -> str:
        """Return where an introducer serves besides: by the name of its WebSocket, at which a proxy may answer."""
        place = self._dialler.places.get(link)
        return place.address.host if isinstance(place, WebUri) else link.address.host

    def _credentials(self, introducer: str) -> TurnCredentials:
        services, at = self._services[introducer]
        left = max(1.0, services.lifetime - (self._loop.time() - at))
        return TurnCredentials(username=services.username, password=services.password, lifetime=left)

    @property
    def stun_servers(self) -> tuple[str, ...]:
        """Where connected introducers answer STUN."""
        return tuple(
            str(Address(self._host(link), services.stun_port))
            for peer_id, link in self.sessions.links.items()
            if (services := self._services.get(peer_id, (Services(), 0.0))[0]).stun_port
        )

    def verify(self) -> None:
        """Make sure that the sessions live, for something else has died: one that does not is ended, and begun anew."""
        for link in self.sessions.links.values():
            self._tasks.create(self._verify(link), name=f"librats verifies {link.peer_id[:8]}")

    @staticmethod
    async def _verify(link: Link) -> None:
        try:
            async with asyncio.timeout(SIGN_OF_LIFE):
                await link.ping()
        except TimeoutError:
            link.abort()
        except RatsError as error:
            logger.debug("%r: %s", link, describe(error))

    def close(self) -> None:
        """End the sessions."""
        self.sessions.close()
