"""A client's sessions with the introducers of its configuration: dialled, kept, and dialled again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from librats.accounts import describe
from librats.config import RatsConfig, SessionConfig
from librats.errors import HandshakeError, RatsError
from librats.introduce.services import Services
from librats.peers.identity import Identity
from librats.peers.introducer_sessions import IntroducerSessions
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.servers import TurnCredentials, TurnServer, introducer_address
from librats.services.dialling import dial_first
from librats.services.introducer import Introductions
from librats.services.introduction_letters import Introducer
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.types import Address, ConnectionMethod, TurnTransport

__all__ = ["IntroducerKeeper"]

logger = logging.getLogger("librats.introducer")

DIAL_TIMEOUT = 10.0
RETRY_DELAYS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before an introducer is dialled again; the last goes for all that follow."""

SIGN_OF_LIFE = 1.5
"""Seconds that an introducer has to answer where its session may be dead."""

STABLE = 60.0
"""Seconds after which a session that ends is dialled again as if for the first time."""

MOST_PATIENCE = 0.8
"""Seconds that a granted relay may take over UDP, before it is asked over TCP, too."""

LARGEST_MESSAGE = 65536


class IntroducerKeeper:
    """Keeps the sessions with the introducers that a configuration names.

    Args:
        config: The configuration.
        network: Where.
        tasks: Owner of the tasks.
        identity: Who we are.
        agent: What we call our software.
        granted: Called when an introducer relays for us, with the seconds that it may take to make an allocation.
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
    ) -> None:
        self._wanted = dict(introducer_address(text) for text in config.nat.introducers)
        self._network = network
        self._tasks = tasks
        self._granted = granted
        self._loop = asyncio.get_running_loop()
        session = config.session
        least = SessionConfig()
        quiet = replace(
            least,
            max_message_size=LARGEST_MESSAGE,
            max_json_size=LARGEST_MESSAGE,
            ping_interval=session.ping_interval,
            idle_timeout=session.idle_timeout,
        )
        self.sessions = IntroducerSessions(
            identity,
            replace(config, session=quiet),
            entropy=network.entropy,
            new_key=network.new_key,
            agent=agent,
            features=Feature.INTRODUCED | Feature.CARRIED,
            most=max(1, len(self._wanted)),
        )
        """The sessions."""
        self._services: dict[str, tuple[Services, float]] = {}
        self._relays: set[str] = set()
        self._told: set[str] = set()
        self._dialled: dict[str, float] = {}
        self._failed: set[str] = set()
        self._changed = asyncio.Event()

    def start(self, circle: Introductions) -> None:
        """Dial, from now on."""
        self.sessions.circle = circle
        self.sessions.ready = lambda link: self._told.discard(link.peer_id)
        for peer_id, address in self._wanted.items():
            self._tasks.create(self._keep(peer_id, address), name=f"librats introducer {peer_id[:8]}")

    async def _keep(self, peer_id: str, address: Address) -> None:
        tries = 0
        while True:
            began = self._loop.time()
            try:
                link = await self._dial(peer_id, address)
            except (RatsError, OSError) as error:
                logger.log(
                    logging.DEBUG if tries else logging.WARNING,
                    "no session with introducer %s at %s: %s",
                    *(peer_id[:8], address, describe(error)),
                )
                self._failed.add(peer_id)
                self._changed.set()
            else:
                self._failed.discard(peer_id)
                await link.closed
                logger.debug("the session with introducer %s has ended: %s", peer_id[:8], link.reason[1])
            tries = 0 if self._loop.time() - began > STABLE else tries + 1
            await asyncio.sleep(RETRY_DELAYS[min(max(0, tries - 1), len(RETRY_DELAYS) - 1)])

    async def _dial(self, peer_id: str, address: Address) -> Link:
        made: list[Link] = []

        def new_link() -> Link:
            made.append(self.sessions.new_link(expect_id=peer_id))
            return made[-1]

        addresses = await self._network.resolve(address)
        self._dialled[peer_id] = self._loop.time()
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await dial_first(self._network, new_link, addresses, timeout=DIAL_TIMEOUT)
                await asyncio.shield(made[-1].settled)
        except TimeoutError:
            problem: RatsError = HandshakeError(f"no session within {DIAL_TIMEOUT:g} s")
        except asyncio.CancelledError:
            for link in made:
                link.abort()
            raise
        else:
            link = made[-1]
            if link.ready and link.error is None:
                return link
            problem = link.error or HandshakeError(link.reason[1])
        for link in made:
            link.abort()
        raise problem

    # What they are good for

    @property
    def introducers(self) -> list[Introducer]:
        """Those that are connected."""
        circle = self.sessions.circle
        if circle is None:
            return []
        return [
            Introducer(
                *(circle, peer_id, link.address, link.method, link.round_trip, self._seen(peer_id)),
                carries=self.sessions.carries(peer_id),
            )
            for peer_id, link in self.sessions.links.items()
        ]

    def introducer(self, peer_id: str) -> Introducer | None:
        """Return the one with that id, where it is connected."""
        return next((one for one in self.introducers if one.peer_id == peer_id), None)

    def _seen(self, peer_id: str) -> Address | None:
        seen = self.sessions.observed.get(peer_id)
        return Address(seen.host, 0) if seen is not None and seen.is_literal else None

    @property
    def is_ready(self) -> bool:
        """True where one of them is connected, and has said what else it does for us."""
        return any(peer_id in self._told for peer_id in self.sessions.links)

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
            # Over TCP at the port of this session, which is one that this host's network lets it reach.
            is_tcp = link.method is ConnectionMethod.TCP
            ports = {
                TurnTransport.UDP: services.turn_port,
                TurnTransport.TCP: link.address.port if is_tcp else services.turn_port,
            }
            # An allocation takes fewer round trips than the session has taken, where UDP gets through.
            patience = min(MOST_PATIENCE, self._loop.time() - self._dialled[introducer])
            for transport, port in ports.items():
                server = TurnServer(
                    host=link.address.host,
                    port=port,
                    transport=transport,
                    credentials=lambda: self._credentials(introducer),
                )
                self._granted(server, patience)

    def _credentials(self, introducer: str) -> TurnCredentials:
        services, at = self._services[introducer]
        left = max(1.0, services.lifetime - (self._loop.time() - at))
        return TurnCredentials(username=services.username, password=services.password, lifetime=left)

    @property
    def stun_servers(self) -> tuple[str, ...]:
        """Where connected introducers answer STUN."""
        return tuple(
            str(Address(link.address.host, services.stun_port))
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
