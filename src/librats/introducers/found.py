"""Sessions with introducers that nobody has configured: those that tickets, records and the DHT tell of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec import field as struct_field

from librats.attempts.accounts import outcome
from librats.config import RatsConfig
from librats.errors import HandshakeError, RatsError
from librats.introduce.services import Services
from librats.introducers.dialling import IntroducerDialler
from librats.peers.identity import Identity
from librats.peers.introducer_sessions import IntroducerSessions
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.services.introducer import Introductions
from librats.services.introduction.ends import Sealing
from librats.services.introduction.letters import Introducer
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.types import Address, AttemptReason
from librats.web_uris import WebUri

__all__ = ["FoundIntroducers"]

MOST = 32
"""Sessions at a time."""

LINGER = 5.0
"""Seconds that a session lasts which nobody needs any more."""


class _Place(Struct, eq=False):
    dialling: asyncio.Task[Link | RatsError | OSError]
    users: int = 0
    """Who look for a peer by way of it."""

    led_to: set[Link] = struct_field(default_factory=set)
    """Sessions with peers that have come about by way of it."""

    @property
    def link(self) -> Link | None:
        """The session; None where there is none yet, or none has come about."""
        if not self.dialling.done() or self.dialling.cancelled():
            return None
        found = self.dialling.result()
        return None if isinstance(found, Exception) else found

    @property
    def is_over(self) -> bool:
        """Whether the session has ended, or has not come about."""
        return self.dialling.done() and (self.link is None or not self.link.is_open)

    @property
    def is_needed(self) -> bool:
        return bool(self.users or self.led_to)


class HeldIntroducer(Struct, frozen=True):
    """A session with an introducer that somebody needs."""

    introducer: Introducer
    """Who it is."""

    release: Callable[[Link | None], object]
    """To be called once, with the session with a peer that has come about by way of it, or None."""


class FoundIntroducers:
    """Dials introducers for one client when they are needed, and keeps the sessions as long as they are.

    That is while a peer is looked for, and as long as a session lasts that has come about: it may begin by way of the
    introducer, and is helped by it to another path when its own dies.

    Args:
        config: Limits and timing, proxy and certificates.
        network: Where.
        tasks: Owner of the tasks.
        identity: Who we are.
        agent: What we call our software.
        sealing: What letters are sealed with.
        is_kept: Tells whether the client has a session with an introducer besides.
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
        sealing: Sealing,
        is_kept: Callable[[str], bool],
        udp: RudpPort | None,
    ) -> None:
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._is_kept = is_kept
        self._sessions = IntroducerSessions(
            identity,
            config,
            entropy=network.entropy,
            new_key=network.new_key,
            agent=agent,
            # Not INTRODUCED: nobody is let in by way of introducers that strangers have named.
            features=Feature.CARRIED,
            most=MOST,
            taken=self._is_taken,
        )
        self._claims: dict[str, Link] = {}
        self._stun_ports: dict[str, int] = {}
        self._sessions.circle = self._circle = Introductions(self._sessions.send, sealing=sealing, served=self._served)
        self._dialler = IntroducerDialler(network, self._sessions, config.nat, udp)
        self._places: dict[Address | WebUri, _Place] = {}
        self._closed = False

    def _is_taken(self, link: Link) -> bool:
        """Tell whether an introducer is spoken to already; else the link is the one on which it is."""
        other = self._claims.get(link.peer_id)
        if self._is_kept(link.peer_id) or (other is not None and other.is_open):
            return True
        self._claims[link.peer_id] = link
        link.closed.add_done_callback(lambda _: self._unclaim(link))
        return False

    def _unclaim(self, link: Link) -> None:
        self._stun_ports.pop(link.peer_id, None)
        if self._claims.get(link.peer_id) is link:
            del self._claims[link.peer_id]

    def _served(self, introducer: str, services: Services) -> None:
        self._stun_ports[introducer] = services.stun_port

    @property
    def stun_servers(self) -> tuple[str, ...]:
        """Where those that are connected answer STUN."""
        links = self._sessions.links.items()
        ports = [(link.address.host, self._stun_ports.get(peer_id, 0)) for peer_id, link in links]
        return tuple(str(Address(host, port)) for host, port in ports if port)

    @property
    def introducers(self) -> list[Introducer]:
        """Those that are connected."""
        return self._sessions.introducers

    async def hold(self, place: Address | WebUri, peer_id: str | None) -> HeldIntroducer:
        """Return a session with an introducer, dialled where there is none; it has to be released.

        Args:
            place: Where it is.
            peer_id: Who it has to be; None for any introducer.

        Raises:
            HandshakeError: It did not come about, or there are as many sessions as there may be.
            RatsError: It did not come about.
            OSError: Likewise.
        """
        there = self._places.get(place)
        if there is None or there.is_over:
            if len(self._places) >= MOST or self._closed:
                words = f"sessions with {len(self._places)} introducers are there, or begun"
                raise HandshakeError(words, AttemptReason.DENIED)
            dialling = self._tasks.create(outcome(self._dial(place, peer_id)), name=f"librats finds {place}")
            there = self._places[place] = _Place(dialling)
        there.users += 1
        try:
            link = await asyncio.shield(there.dialling)
            if isinstance(link, Exception):
                raise link
            if peer_id not in (None, link.peer_id):
                words = f"expected introducer {str(peer_id)[:8]}, but {link.peer_id[:8]} is there"
                raise HandshakeError(words, AttemptReason.WRONG_IDENTITY)
        except BaseException:
            self._release(place, there, None)
            raise
        return HeldIntroducer(self._sessions.introducer_on(link), partial(self._release, place, there))

    async def _dial(self, place: Address | WebUri, peer_id: str | None) -> Link:
        link, _ = await self._dialler.dial(peer_id, [place])
        return link

    def _release(self, place: Address | WebUri, there: _Place, led_to: Link | None) -> None:
        there.users -= 1
        if led_to is not None and led_to.is_open:
            there.led_to.add(led_to)
            led_to.closed.add_done_callback(lambda _: self._parted(place, there, led_to))
        self._look_at(place, there)

    def _parted(self, place: Address | WebUri, there: _Place, link: Link) -> None:
        there.led_to.discard(link)
        self._look_at(place, there)

    def _look_at(self, place: Address | WebUri, there: _Place) -> None:
        """End a session that nobody needs: soon, for somebody may want it again."""
        if there.is_needed or self._places.get(place) is not there:
            return
        if there.is_over or not there.dialling.done():
            self._forget(place, there)
        else:
            self._loop.call_later(LINGER, self._forget, place, there)

    def _forget(self, place: Address | WebUri, there: _Place) -> None:
        if there.is_needed or self._places.get(place) is not there:
            return
        del self._places[place]
        there.dialling.cancel()
        if (link := there.link) is not None:
            link.abort()

    def close(self) -> None:
        """End the sessions."""
        self._closed = True
        self._circle.close()
        self._sessions.close()
