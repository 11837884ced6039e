"""What a link does with the events of its session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from librats._core.messages import Message, MessageRun
from librats.errors import HandshakeError, RemoteError, RequestTimeout
from librats.reasons import AttemptReason
from librats.services.link.state import LinkState
from librats.services.stream import Stream
from librats.session.events import (
    DatagramReceived,
    Event,
    FileChunkReceived,
    FollowsReceived,
    GoAwayReceived,
    HelloReceived,
    IdentifyReceived,
    IntroductionReceived,
    PathBroken,
    PathStalled,
    PeersOffered,
    PeersWanted,
    PongReceived,
    PunchReceived,
    ReplyReceived,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    SessionFailed,
    StreamChanged,
    StreamOpened,
    SuccessionReceived,
)
from librats.session.frames import Reason
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session

if TYPE_CHECKING:
    from librats.services.session import Link

__all__ = ["LinkEvents"]

logger = logging.getLogger("librats.session")


class LinkEvents(LinkState):
    """Mixed into :class:`~librats.services.session.Link`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _tell_failure(self) -> None:
            """Let the peer read why the session ends."""

        def _leave_broken_path(self, words: str) -> None:
            """Take nothing more from the connection at hand."""

        def abort(self) -> None:
            """Drop the connection at once."""

    @property
    def _link(self) -> Link:
        return self  # type: ignore[return-value]  # nothing else is one

    def _process(self, now: float | None = None) -> None:
        session = self._session
        if session is None:
            return
        link: Link = self  # type: ignore[assignment]  # nothing else is one
        events = session.take_events() if session.streams.changed else session.events
        self._processing = True
        try:
            while events and (self.admitted or session.failed is not None):
                event = events.popleft()
                if not self.admitted and type(event) not in (GoAwayReceived, SessionFailed):
                    continue  # what came from somebody who was never let in is not heard
                if type(event) is MessageRun or type(event) is Message or type(event) is FollowsReceived:
                    self._owner.messages_received(link, event)
                elif type(event) is ReplyReceived:
                    answer = self._waiters.replies.pop(event.request_id, None)
                    if answer is not None and not answer.done():
                        answer.set_result(event)
                else:
                    self._take_event(event)
        finally:
            self._processing = False
        if self._just_consumed:
            session.consumed(self._just_consumed)
            self._just_consumed = 0
        if session.wants_pause != self._held_back:
            self._hold_back(session)
        if session.wants_to_send or self._retirement.begun:
            self._flush(now)
        elif session.paths_timer() < self._timer_at:
            self._arm_timer()

    def _hold_back(self, session: Session | Librats2Session) -> None:
        """Stop taking from the network while the session cannot hold its peer back in another way."""
        wanted = session.wants_pause
        if wanted != self._held_back:
            self._held_back = wanted
            if wanted:
                self.pause()
            else:
                self.resume()

    def _take_event(self, event: Event) -> None:  # noqa: PLR0912 - one branch for each event
        match event:
            case StreamChanged():
                stream = self._streams.get(event.stream.number)
                if stream is not None:
                    stream.changed()
                    if event.stream.dead:
                        del self._streams[event.stream.number]
            case RequestFailed():
                self._waiters.fail_reply(event.request_id, RemoteError(event.code, event.message))
            case RequestExpired():
                self._waiters.fail_reply(event.request_id, RequestTimeout("no reply within the deadline"))
            case RequestCancelled():
                self._owner.request_cancelled(self._link, event.request_id)
            case PongReceived():
                self._waiters.settle_pong(event.token, event.rtt)
            case StreamOpened():
                stream = self._streams[event.stream.number] = Stream(self._link, event.stream)
                self._owner.stream_opened(self._link, stream)
            case DatagramReceived():
                self._owner.datagram_received(self._link, event)
            case HelloReceived():
                if not self.ready:
                    self._become_ready(event.payload)
            case IdentifyReceived():
                self._owner.identified(self._link, event.identify)
            case PeersWanted() | PeersOffered():
                self._owner.peer_exchange(self._link, event)
            case PunchReceived():
                self._owner.punch_received(self._link, event.envelope)
            case FileChunkReceived():
                self._owner.file_chunk_received(self._link, event)
            case SuccessionReceived():
                self._owner.succession_received(self._link, event.payload)
            case IntroductionReceived():
                self._owner.introduction_received(self._link, event.body)
            case GoAwayReceived():
                self._take_go_away(event)
            case PathStalled():
                self._owner.path_stalled(self._link)
            case PathBroken():
                self._leave_broken_path(event.message)
            case SessionFailed():
                self._take_failure(event)

    def _become_ready(self, hello: bytes) -> None:
        self.ready = True
        self._clock = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm_timer()
        if not self.settled.done():  # as it is where who waited for it has given up
            self.settled.set_result(None)
        self._owner.link_ready(self._link, hello)

    def _take_go_away(self, event: GoAwayReceived) -> None:
        if not self.ready:
            self.error = HandshakeError(f"the peer refused: {event.message or event.code}", AttemptReason.PEER_REFUSED)
        if not self._closing and event.code != Reason.SUPERSEDED:
            self.reason = (event.code, event.message or "the peer closed the session")
        self._owner.link_going(self._link, event.code, event.message)

    def _take_failure(self, event: SessionFailed) -> None:
        if not self._closing:
            self._closing = True
            self.reason = (event.code, event.message)
            logger.debug("%r failed: %s", self, event.message)
            if event.code in (Reason.LOST, Reason.TIMEOUT):
                self.abort()  # nobody is there to be told
            else:
                self._tell_failure()

    def consumed(self, cost: int) -> None:
        """Take note that a message has been handled."""
        if self._processing:
            self._just_consumed += cost
        elif self._session is not None and self._session.failed is None:
            self._session.consumed(cost)
            self._hold_back(self._session)
            if self._session.wants_to_send or self.retired:
                self.request_flush()
