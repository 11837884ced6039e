"""Who we are connected to: from links to peers, two links to one peer, and the end of sessions."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Callable
from typing import Any

from librats._core.messages import MessageRun
from librats.config import RatsConfig
from librats.errors import ClosedError, DecodeError, HandshakeError, PeerLimitReached
from librats.peers.entry.access import Access
from librats.peers.entry.admission import Admission
from librats.peers.entry.arrivals import Arrivals
from librats.peers.entry.openings import Openings
from librats.peers.events import PathChanged, PeerConnected, PeerDisconnected
from librats.peers.exchange import Dial, PeerExchange
from librats.peers.gone import Gone
from librats.peers.handling.dispatch import Dispatcher
from librats.peers.handling.handlers import HandlerTable
from librats.peers.handling.passing_on import PassingOn
from librats.peers.handling.stream_serving import StreamServing
from librats.peers.hello import Hello
from librats.peers.identity import Identity
from librats.peers.links.choosing import LinkChoice
from librats.peers.links.paths import PathKeeper
from librats.peers.links.session_numbers import SessionNumbers
from librats.peers.peer import Peer
from librats.peers.self_description import SelfDescription, hello_of
from librats.reasons import AttemptReason
from librats.runtime.tasks import TaskSet
from librats.runtime.tcp import receive_buffer
from librats.services.session import Link
from librats.services.stream import Stream
from librats.session.events import DatagramReceived, FollowsReceived
from librats.session.frames import Kind, Reason
from librats.session.librats2_wire import Identify
from librats.session.opening import LAST_MESSAGE
from librats.session.order import InOrder, Order
from librats.session.path_keys import Join
from librats.session.shared_limits import SharedLimits
from librats.types import Address, Entropy

__all__ = ["PeerManager"]

logger = logging.getLogger("librats.peers")

COUNTED = ("links_in", "links_out", "handshakes_failed", "peers_connected", "peers_disconnected")


class PeerManager(PassingOn):
    """The peers of one client.

    Args:
        identity: Who we are.
        config: Limits and timing.
        handlers: The application's handlers.
        tasks: Owner of every task.
        entropy: Random values for everything but keys.
        new_key: Makes ephemeral keys: 32 bytes from the system.
        agent: What we call our software.
        access: Whom we talk to; everybody where it is None.
    """

    def __init__(
        self,
        identity: Identity,
        config: RatsConfig,
        handlers: HandlerTable,
        tasks: TaskSet,
        *,
        entropy: Entropy,
        new_key: Callable[[int], bytes],
        agent: str,
        access: Access | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._handlers = handlers
        self._tasks = tasks
        self._entropy = entropy
        self.shared = SharedLimits(config)
        """The limits that all sessions keep together."""
        self.own = SelfDescription(identity, config, agent=agent, window=self.shared.first_window, new_key=new_key)
        """What peers are told of us."""
        self._openings = Openings(
            identity, self.own.greeting, protocol=config.protocol, encryption=config.encryption, new_key=new_key
        )
        self.scratch = receive_buffer()
        """Where every link receives what it need not keep."""
        self.dispatcher = Dispatcher(handlers, tasks, config.session)
        """Where messages go."""
        self.peers: dict[str, Peer] = {}
        """Connected peers by id."""
        self.admission = Admission(
            config, handlers, self.dispatcher, tasks, self.peers, access=access or Access(), shared=self.shared
        )
        """Who may come in."""
        self._order: Order[Link] = Order(self._deliver, config.session.message_window, self._messages_lost)
        self._numbers = SessionNumbers()
        self._choice = LinkChoice(self.dispatcher)
        self._streams = StreamServing(handlers, self.dispatcher, tasks)
        self._waiting: dict[Link, Peer] = {}
        self._links: dict[Link, None] = {}
        self.paths = PathKeeper(self.peers, tasks)
        """What else than the connection at hand leads to a peer."""
        self.paths.own = lambda: self.own.listening
        self.closing = False
        """True once nobody is let in any more."""
        self.counters = dict.fromkeys(COUNTED, 0)
        """What has happened so far, for statistics."""
        self.arrivals = Arrivals()
        """Who is waited for."""
        self.gone = Gone()
        """Traffic of peers that are gone."""

    @property
    def identity(self) -> Identity:
        """Who we are on the next link."""
        return self.own.identity

    def start_exchange(self, dial: Dial) -> None:
        """Take part in peer exchange from now on.

        Args:
            dial: Connects to somebody of whom a peer told.
        """
        self.exchange = PeerExchange(
            self.identity.peer_id,
            self._config,
            self.peers,
            self.dispatcher,
            self._tasks,
            entropy=self._entropy,
            dial=dial,
        )
        self._tasks.create(self.exchange.keep_asking(), name="librats peer exchange")

    def become(self, identity: Identity, successions: bytes) -> None:
        """Be somebody else from the next link on, and tell the peers.

        Args:
            identity: Who we are from now on.
            successions: Records that lead to it.
        """
        self.own.become(identity, successions)
        self._openings.become(identity, self.own.greeting)
        for link in self._links:
            if link.admitted:
                link.send_succession(successions)

    # Making links

    def new_link(self, *, expect_id: str | None = None, initiator: bool = True, in_letters: bool = False) -> Link:
        """Make the protocol of a connection that is about to be made, or was just accepted."""
        config = self._config.session
        if in_letters:  # an offer and its answer, which may take as long as the whole, have the handshake with them
            whole = config.handshake_timeout
            config = dataclasses.replace(config, first_byte_timeout=whole, message_timeout=whole)
        return Link(
            self._openings.take(expect_id, initiator=initiator),
            self,
            initiator=initiator,
            config=config,
            entropy=self._entropy,
            shared=self.shared,
            connected=self._connected,
            own_id=self.identity.peer_id,
        )

    def hello_ahead(self, link: Link, peer_id: str) -> bytes | None:
        """Return the hello for a peer whose id is known before the handshake is done; None where that has to decide.

        Args:
            link: The link that it has dialled.
            peer_id: Who it is, as it has proven elsewhere.
        """
        is_new = not link.opening_step > LAST_MESSAGE and peer_id not in self.peers and not self.closing
        return self._hello(link, peer_id) if is_new and self.admission.is_sure_of(peer_id) else None

    def incoming_link(self) -> Link:
        """Make the protocol of a connection that somebody else dialled."""
        return self.new_link(initiator=False)

    def handshake_begins(self, link: Link) -> float | None:
        """Tell in how many seconds a handshake that somebody else has begun may go on; None where it may not."""
        return self.admission.handshake_begins(link)

    def handshake_waits(self, link: Link) -> float:
        """Tell in how many more seconds a handshake may go on that has waited."""
        return self.admission.handshake_waits(link)

    def _connected(self, link: Link) -> bool:
        """Let a connection begin its handshake, or not."""
        self._links[link] = None
        self.counters["links_out" if link.initiator else "links_in"] += 1
        if self.closing or not self.paths.allows(link.method):
            return False
        return link.initiator or self.admission.connected(link)

    # What links report

    def link_opened(self, link: Link) -> None:
        """Admit a peer whose id is now known, or send it away."""
        if self.own.is_me(link.peer_id):
            link.refuse(HandshakeError("that is this client itself", AttemptReason.OWN_ADDRESS), Reason.REFUSED)
            return
        if link.order_id:
            self._order.opened(link, link.order_id, link.peer_id)
        denied = self.admission.access.check_id(link.peer_id)
        if denied is not None:
            self.admission.turn_away(link, denied, Reason.REFUSED, denied.limit)
            return
        if self._is_full(link):
            self.admission.turn_away(link, self.admission.limit_reached(), Reason.LIMIT, "max_peers")
            return
        if self.shared.memory.is_overdrawn:
            self.admission.turn_away(link, PeerLimitReached(self.shared.memory_words()), Reason.LIMIT, "max_memory")
            return
        if link.initiator or not self.admission.has_hooks:
            self._admit(link)
            return
        peer = self._waiting[link] = Peer(link, self._config, self.dispatcher)
        verdict = self.admission.ask(peer)
        if inspect.isawaitable(verdict):
            self._tasks.create(self._admit_later(link, verdict), name="librats incoming hook")
        else:
            self._admit_or_not(link, verdict)

    def _is_full(self, link: Link) -> bool:
        return self.closing or not self.admission.has_place_for(link.peer_id)

    async def _admit_later(self, link: Link, verdict: Any) -> None:
        self._admit_or_not(link, await verdict)

    def _admit_or_not(self, link: Link, verdict: bool) -> None:
        if verdict:
            self._admit(link)
        else:
            self.admission.turn_away(
                link,
                HandshakeError("the application refused the peer", AttemptReason.DENIED),
                Reason.REFUSED,
                "incoming",
            )

    def _admit(self, link: Link) -> None:
        if link.is_open:
            link.admit(self.own.identify(link) if link.speaks_librats2 else self._hello(link))
            if self.own.successions:
                link.send_succession(self.own.successions)

    def _hello(self, link: Link, peer_id: str = "") -> bytes:
        return self.own.hello(link, self._numbers.tell(link, self.peers.get(link.peer_id), peer_id=peer_id))

    def identified(self, link: Link, identify: Identify) -> None:
        """Take note of where a librats 2 node listens; of a second time, what it adds."""
        peer = self.peers.get(link.peer_id)
        if peer is not None:
            peer.hello = hello_of(identify, link.address, peer.hello)

    def channel(self, number: int) -> tuple[Kind, str] | None:
        """Return kind and name of the channel with that librats 2 number, where somebody here listens to it."""
        return self._handlers.channel(number)

    def link_ready(self, link: Link, hello: bytes) -> None:
        """Take a link into use that both sides have admitted."""
        self.admission.handshake_over(link)
        waiting = self._waiting.pop(link, None)
        told = self._read_hello(link, hello)
        number = told.session if told is not None else 0
        if not self._makes_room_for(link, number):
            return
        if self._is_full(link):
            self.admission.turn_away(link, self.admission.limit_reached(), Reason.LIMIT, "max_peers")
            return
        self.paths.ready(link)
        peer = self.peers.get(link.peer_id)
        if peer is None:
            peer = waiting or Peer(link, self._config, self.dispatcher)
            peer.hello = told
            self._numbers.begin(link, number)
            self.peers[peer.id] = peer
            self.counters["peers_connected"] += 1
            logger.debug("connected: %r", peer)
            if self.observer is not None:
                self.observer.connected(peer)
            self.dispatcher.notify("connect", peer)
            self.dispatcher.announce(PeerConnected(peer))
            if self.exchange is not None:
                self.exchange.joined(peer)
            if self.punches is not None:
                self.punches.joined(peer.id)
        else:
            peer.hello = told or peer.hello
            self._numbers.joined(link)
            self._choice.choose(peer, link)
        self.arrivals.tell(peer)

    def _makes_room_for(self, link: Link, number: int) -> bool:
        """End the session that a new link cannot continue; False where it is the link whose session has ended."""
        peer = self.peers.get(link.peer_id)
        if peer is None:
            return True
        ghost = self._numbers.why_over(link, peer, number)
        if ghost:
            # Nobody is at the other end any more, though the connection may not know it yet.
            self._numbers.forget(peer.id)
            self._part(peer, Reason.LOST, ghost)
            for old in peer.links:
                old.abort()
        elif self._numbers.is_late(link, number):
            link.abort()
        elif not any(old.is_usable for old in peer.links):
            self._end_session(peer)
        return link.is_open

    def _end_session(self, peer: Peer) -> None:
        """Part with a peer whose last link is going, and with links that were let in as more of that session."""
        self._part(peer, *peer.link.reason)
        for late in self._numbers.end(peer.id):
            late.abort()

    def _read_hello(self, link: Link, hello: bytes) -> Hello | None:
        try:
            return Hello.decode(hello)
        except DecodeError as error:
            self.dispatcher.bad_payloads += 1
            logger.debug("%r: %s", link, error)
            return None

    def spare(self, link: Link) -> bool:
        """Drain a link that another one to the same peer was quicker than; False where there is none, or nothing on it.

        The peer may have let us in already, and send on it: cutting it would lose that.
        """
        return not self.closing and self._choice.spare(self.peers.get(link.peer_id), link)

    def messages_received(self, link: Link, item: InOrder) -> None:
        """Hand messages and requests to their peer's inbox, in the order in which they were sent on all its links."""
        self._order.take(link, item)

    def _deliver(self, link: Link, item: InOrder) -> None:
        peer = self.peers.get(link.peer_id)
        if type(item) is MessageRun:
            if peer is not None:
                peer.inbox.deliver_run(link, item)
        elif isinstance(item, FollowsReceived) or not link.is_wanted(item.request_id):
            link.consumed(item.cost)
        elif peer is not None:
            peer.inbox.deliver(link, item)

    def request_cancelled(self, link: Link, number: int) -> None:
        """Tell the peer's inbox that an answer is no longer wanted."""
        peer = self.peers.get(link.peer_id)
        if peer is not None:
            peer.inbox.cancel(link, number)

    def stream_opened(self, link: Link, stream: Stream) -> None:
        """Hand a stream to the handler of its protocol."""
        self._streams.opened(self.peers.get(link.peer_id), stream)

    def datagram_received(self, link: Link, event: DatagramReceived) -> None:
        """Hand a datagram to those who listen; one that has overtaken the hello is of no session yet."""
        peer = self.peers.get(link.peer_id)
        if peer is not None and event.kind == Kind.BYTES and link in peer.links:
            peer.inbox.datagram(event.payload)

    def link_going(self, link: Link, code: str, message: str) -> None:
        """Answer the peer's goodbye."""
        if code != Reason.SUPERSEDED:
            link.hang_up()
            return
        peer = self.peers.get(link.peer_id)
        if peer is not None and peer.link is link:
            self._choice.move(peer)
        link.retire(peer_is_done=True)

    # Paths

    def path_joined(self, link: Link, join: Join, leftover: bytes) -> None:
        """Give a connection to the session that it was made for."""
        self._links.pop(link, None)
        self.admission.handshake_over(link)
        self.paths.joined(link.hand_over(), join, leftover)

    def path_stalled(self, link: Link) -> None:
        """Look for another path: the one at hand may be dead."""
        self.paths.rescue(link)

    def path_lost(self, link: Link, error: Exception | None) -> bool:
        """Tell whether a session outlives its connection."""
        return not self.closing and self.paths.lost(link, error)

    def path_changed(self, link: Link, old: Address) -> None:
        """Tell of a session that goes over another connection now."""
        self.paths.changed(link)
        peer = self.peers.get(link.peer_id)
        if peer is not None and peer.link is link:
            self.dispatcher.announce(PathChanged(peer, old, link.address, link.method))

    def link_closed(self, link: Link) -> None:
        """Take note that a connection is gone, and with the last one the peer."""
        self._links.pop(link, None)
        self.paths.closed(link)
        self._order.closed(link)
        self.admission.handshake_over(link)
        self._waiting.pop(link, None)
        self._numbers.closed(link)
        self._openings.make_ready()  # whoever waited was told
        if not link.ready:
            self.counters["handshakes_failed"] += 1
            return
        peer = self.peers.get(link.peer_id)
        if peer is None or link not in peer.links:
            return
        peer.drop(link)
        if peer.link is link and not self._choice.move(peer):
            self._end_session(peer)

    def _messages_lost(self, link: Link) -> None:
        """End a session of whose messages some were lost with one of its links, and tell the peer."""
        peer = self.peers.get(link.peer_id)
        if peer is not None and link in peer.links:
            self._part(peer, Reason.LOST, str(error := ClosedError("messages were lost with a connection")))
            for each in (*peer.links, *self._numbers.end(peer.id)):
                each.refuse(error, Reason.LOST)

    def _part(self, peer: Peer, code: str, reason: str) -> None:
        """Take note that the session with a peer has ended."""
        self._order.end(peer.id, peer.links)
        del self.peers[peer.id]
        peer.disconnected = True
        self.gone.add(peer.stats)
        self._told_of_end(peer)
        self.counters["peers_disconnected"] += 1
        logger.debug("disconnected: %r: %s", peer, reason)
        if self.observer is not None:
            self.observer.parted(peer, code)
        self.dispatcher.notify("disconnect", peer, reason)
        self.dispatcher.announce(PeerDisconnected(peer, code, reason))

    # Changes of the lists

    def enforce_access(self) -> None:
        """End the sessions, and the handshakes, with those that are no longer talked to."""
        self.admission.part_with_denied(list(self._links))

    # The end

    async def close(self) -> None:
        """Say goodbye to every peer and wait until every connection is gone."""
        self.closing = True
        self._openings.close()
        links = list(self._links)
        for link in links:
            if not link.ready:
                link.abort()
        try:
            await asyncio.gather(*(link.close(Reason.CLOSED, "the peer shut down") for link in links))
        finally:
            for link in links:  # of which some are there yet where the caller was cancelled
                link.abort()
