"""What is asked of a link: room, answers, round trips and streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from librats.config import SessionConfig
from librats.errors import ClosedError, PeerNotConnected
from librats.services.stream import Stream
from librats.services.waiting import Waiters
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session
from librats.session.payloads import Payload

if TYPE_CHECKING:
    from librats.services.session import Link

__all__ = ["LinkVerbs"]

MAX_DATAGRAM_QUEUE = 256 * 1024


class LinkVerbs:
    """Mixed into :class:`~librats.services.session.Link`."""

    if TYPE_CHECKING:
        _config: SessionConfig
        _loop: asyncio.AbstractEventLoop
        _session: Session | Librats2Session | None
        _streams: dict[int, Stream]
        _waiters: Waiters
        reason: tuple[str, str]

        @property
        def session(self) -> Session | Librats2Session:
            """See the link."""

        @property
        def is_open(self) -> bool:
            """See the link."""

        def request_flush(self) -> None:
            """See the link."""

        def _arm_timer(self) -> None:
            """See the link."""

    @property
    def has_room(self) -> bool:
        """True where less than the high-water mark is queued."""
        return self._session is not None and self._session.queued < self._config.send_high_water

    @property
    def has_room_for_datagram(self) -> bool:
        """True where a datagram would leave soon; where it would not, it is better dropped."""
        return self._session is not None and self._session.control_queued < MAX_DATAGRAM_QUEUE

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

    async def wait_for_reply_room(self) -> None:
        """Wait until the network has taken most of our replies, or the session has ended.

        Messages that wait for the peer's credit do not count: two peers could wait for each other's handlers.
        """
        while self.is_open and self.session.replies_queued >= self._config.send_high_water:
            await self._waiters.reply_room()

    async def request(self, payload: Payload, name: bytes, timeout: float | None) -> tuple[int, bytes]:
        """Send a request and wait for its answer.

        Returns:
            Kind and content of the answer.

        Raises:
            RequestTimeout: The deadline passed; the peer is told.
            RemoteError: The peer refused, or its handler failed.
            PeerNotConnected: The session ended first.
        """
        session = self.session
        number = session.send_request(payload, name, timeout=timeout, now=self._loop.time())
        answer = self._waiters.reply(number)
        self.request_flush()
        self._arm_timer()
        try:
            return await answer
        finally:
            if self._waiters.forget_reply(number):
                session.requests.cancel(number)
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
