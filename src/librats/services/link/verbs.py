"""What is asked of a link: room, answers, round trips and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from librats.errors import ClosedError, PeerNotConnected
from librats.runtime.rudp_transport import RudpTransport
from librats.services.link.state import LinkState
from librats.services.stream import Stream
from librats.session.datagrams import OVERHEAD
from librats.session.events import DatagramReceived
from librats.session.frames import Kind
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session
from librats.session.payloads import Payload

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from librats._core.messages import ReplyReceived
    from librats.services.session import Link

__all__ = ["LinkVerbs"]

MAX_DATAGRAM_QUEUE = 256 * 1024


class LinkVerbs(LinkState):
    """Mixed into :class:`~librats.services.session.Link`."""

    __slots__ = ()

    @property
    def has_room(self) -> bool:
        """True where less than the high-water mark is queued."""
        return self._session is not None and self._session.queued < self._shared.send_high_water

    @property
    def takes_requests(self) -> bool:
        """True where a request can be queued at once."""
        session = self._session
        return (
            session is not None
            and session.failed is None
            and self.ready
            and not (self._closing or self._retirement.has_left)
            and session.shortcut.queued < self._shared.send_high_water
        )

    def post(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> bool:
        """Queue a message, where that can be done at once.

        Returns:
            False where there is no room, or where messages cannot be sent at all; nothing was queued then.

        Raises:
            UsageError: The payload is too long for one side.
        """
        session = self._session
        if session is None or session.failed is not None or not self.ready or self._closing:
            return False
        if self._retirement.has_left:
            return False
        high_water = self._shared.send_high_water
        if session.queued >= high_water:
            self._shared.refuse("send_high_water")
            return False
        session.send_message(kind, name, payload)
        if self._flush_handle is None:
            self.request_flush()
        # Until the flush, which closes it, a further one needs no more than to be queued: what lets this one go, now or
        # when there is credit, takes it along.
        session.shortcut.open(high_water)
        return True

    @property
    def max_datagram(self) -> int:
        """Bytes of the longest payload that goes beside the stream; 0 where the path has nothing but the stream."""
        if self._datagrams is None or not isinstance(self._transport, RudpTransport):
            return 0
        return max(0, self._transport.max_datagram - OVERHEAD)

    def send_datagram(self, payload: bytes | bytearray | memoryview) -> None:
        """Send a payload that may get lost: beside the stream where the path carries it, else ahead of the stream.

        Where it would not leave soon, it is dropped.

        Raises:
            PeerLacks: The peer is a librats 2 node.
            PeerNotConnected: The session is closed.
        """
        session, transport = self.session, self._transport
        if self._datagrams is not None and isinstance(transport, RudpTransport) and len(payload) <= self.max_datagram:
            transport.send_datagram(self._datagrams.seal(Kind.BYTES, payload))
        elif session.control_queued < MAX_DATAGRAM_QUEUE:
            session.send_datagram(Kind.BYTES, payload)
            self.request_flush()

    def take_datagrams(self, items: list[bytes]) -> None:
        """Take what has come beside the stream; nothing holds its sender back, so what is in the way drops it."""
        sealed = self._datagrams
        for item in items:
            if sealed is None or not self.admitted or not self.is_open or self._held_back:
                break
            opened = sealed.open(item)
            if opened is not None:
                self._owner.datagram_received(cast("Link", self), DatagramReceived(*opened))

    async def wait_for_room(self) -> None:
        """Wait until less than the high-water mark is queued.

        Raises:
            PeerNotConnected: The session ended.
        """
        self.request_flush()
        while not self.has_room:
            if not self.is_open:
                raise PeerNotConnected(f"the session ended: {self.reason[1]}")
            await self._waiters.room()

    @property
    def has_reply_room(self) -> bool:
        """True where less than the high-water mark of replies waits for the network."""
        session = self._session
        return session is not None and session.replies_queued < self._shared.send_high_water

    async def wait_for_reply_room(self) -> None:
        """Wait until the network has taken most of our replies, or the session has ended.

        Messages that wait for the peer's credit do not count: two peers could wait for each other's handlers.
        """
        while self.is_open and not self.has_reply_room:
            await self._waiters.reply_room()

    def send_succession(self, payload: bytes) -> None:
        """Tell the peer that this side has, or had, another identity; a librats 2 node would not understand."""
        if isinstance(self._session, Session):
            self._session.send_succession(payload)
            self.request_flush()

    def send_introduction(self, body: bytes) -> bool:
        """Send what belongs to an introduction; False where it cannot leave, or the peer is a librats 2 node."""
        session = self._session
        if not isinstance(session, Session) or not self.is_open or not session.send_introduction(body):
            return False
        self.request_flush()
        return True

    def send_file_chunk(self, payload: bytes, *, ahead: bool = False) -> bool:
        """Send a word about files to a librats 2 node; False where it cannot leave. There need be no room for it.

        Args:
            payload: What it says.
            ahead: Whether it goes ahead of messages.
        """
        session = self._session
        if not isinstance(session, Librats2Session) or not self.is_open or not session.takes(len(payload)):
            return False
        if not session.send_file_chunk(payload, ahead=ahead):
            return False
        self.request_flush()
        return True

    @property
    def round_trip(self) -> float | None:
        """Seconds of a round trip, as measured lately; None where none was."""
        return self._session.round_trip.smoothed if isinstance(self._session, Session) else None

    def request(
        self, payload: Payload, name: bytes, timeout: float | None
    ) -> tuple[int, asyncio.Future[ReplyReceived]]:
        """Send a request; whoever does not wait for its answer to the end tells :meth:`give_up`.

        Returns:
            Its number, and the answer to come; or a RequestTimeout where the deadline passed, of
            which the peer is told, a RemoteError where the peer refused or its handler failed, or PeerNotConnected
            where the session ended first.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is too long for one side, or too many requests wait for their answers.
        """
        session = self._session or self.session
        now = self._loop.time()
        number = session.send_request(payload, name, timeout=timeout, now=now)
        answer = self._waiters.replies[number] = self._loop.create_future()
        if self._spoke_first or self._flush_handle is not None or self._processing:
            self.request_flush()
        else:  # the first since anything has come leaves at once, what follows together
            self._spoke_first = True
            self._flush(now)
        if timeout is not None and (self._timer is None or self._timer_at > now + timeout):
            self._arm_timer()
        return number, answer

    def give_up(self, number: int) -> None:
        """Wait no more for the answer to a request; where it has not come, the peer is told."""
        if self._waiters.forget_reply(number):
            self.session.requests.cancel(number)
            self.request_flush()

    def is_wanted(self, number: int) -> bool:
        """Whether the peer still waits for the answer to one of its requests."""
        return self._session is not None and number in self._session.requests.theirs

    def follow(self, links: Sequence[tuple[bytes, int]]) -> None:
        """Let the peer handle what is sent here from now on after what was sent on other links.

        Args:
            links: Ids of those, and how many messages and requests were queued on each.
        """
        if links and isinstance(self._session, Session):
            self._session.send_follows(links)
            self.request_flush()

    def once_taken(self, function: Callable[[], None]) -> None:
        """Call a function when the other side has the link in use, too; never, where the link ends before."""
        session = self.session
        if not isinstance(session, Session):
            function()  # a librats 2 node does not say
            return
        if not self.is_open:
            return

        def answered(answer: asyncio.Future[float]) -> None:
            if answer.exception() is None:
                function()

        # The answer comes from behind our hello, which let the other side take the link into use.
        self._waiters.pong(session.ping(now=self._loop.time())).add_done_callback(answered)
        self.request_flush()

    async def ping(self) -> float:
        """Measure one round trip, in seconds.

        Raises:
            PeerNotConnected: The session ended first.
        """
        token = self.session.ping(now=self._loop.time())
        answer = self._waiters.pong(token)
        self.request_flush()
        try:
            return await answer
        finally:
            self._waiters.forget_pong(token)

    async def open_stream(self, name: bytes) -> Stream:
        """Open a stream and wait until the peer has agreed to it.

        Raises:
            RemoteError: The peer refused.
            ClosedError: The session ended first.
        """
        if not self.is_open:
            raise ClosedError("the session is closed")
        state = self.session.streams.open(name)
        stream = self._streams[state.number] = Stream(cast("Link", self), state)
        self.request_flush()
        try:
            await stream.wait_accepted()
        except BaseException:
            stream.reset("no longer wanted")
            raise
        return stream
