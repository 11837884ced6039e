"""How a link ends: refused, drained, closed with a goodbye, or dropped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from librats.errors import RatsError
from librats.services.link.state import LinkState
from librats.session.frames import Reason
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session

__all__ = ["LinkEnding"]


class LinkEnding(LinkState):
    """Mixed into :class:`~librats.services.session.Link`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _connection_ended(self, exc: Exception | None) -> None:
            """End the link: there is no connection any more."""

    def retire(self, *, peer_is_done: bool = False) -> None:
        """Finish what is under way on this link, then close it: another one has taken over.

        Args:
            peer_is_done: True where the peer has said that it is done with the link.
        """
        self._retirement.begin(peer_is_done=peer_is_done)

    def reinstate(self) -> None:
        """Take a retired link into use again: the one that had taken over is gone."""
        self._retirement.undo()

    def refuse(self, error: RatsError, code: str) -> None:
        """Send the peer away, and take nothing more from it."""
        self.error = error
        self.refused_here = True
        self.admitted = False
        if not self._closing:
            self.reason = (code, str(error))
            self._say_goodbye(code, str(error))

    def _say_goodbye(self, code: str, message: str) -> None:
        if self._session is not None:
            self._closing = True
            self._session.go_away(code, message)
            self._said_goodbye = True
            self._linger()
            self._flush()

    def _tell_failure(self) -> None:
        """Let the peer read why the session ends: a connection closed on what it still sends would be reset instead."""
        self._deaf = True
        self._said_goodbye = True
        self._linger()
        self._flush()

    def _linger(self) -> None:
        """Give the last bytes a little time: a peer that does not take them must not hold us up."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._config.close_timeout, self.abort)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._linger()

    async def close(self, code: str = Reason.CLOSED, message: str = "") -> None:
        """Send what is queued and why, and close; after ``close_timeout`` seconds without ceremony. Idempotent."""
        if not self._closing and (self._transport is not None or self.is_between_paths):
            self.reason = (code, "closed on this side")
            if self._session is None or self._transport is None:
                self._abort(code, message)
            else:
                self._say_goodbye(code, message)
        if self._transport is not None:
            await asyncio.wait([self.closed])

    def hang_up(self) -> None:
        """Close the connection after the peer has said goodbye: what we still send, it does not take."""
        self._closing = True
        self._flush()
        self._close_transport()

    def _abort(self, code: str, message: str) -> None:
        self._closing = True
        self.reason = (code, message)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._closing = True
        if self._session is not None:
            self._session.shortcut.close()
        for joining in list(self._joinings):
            joining.fail("the session ends")
        if self._transport is not None:
            self._transport.abort()
        elif self.is_between_paths:
            self._connection_ended(None)

    def _check_arrival(self, session: Session) -> None:
        """Ask the peer, behind all messages, for an answer: a connection that is closed may lose what is on its way."""
        self._retirement.checked = session.messages_sent
        answer = self._waiters.pong(session.ping(now=self._loop.time()))
        answer.add_done_callback(self._arrival_checked)
        self.request_flush()

    def _arrival_checked(self, answer: asyncio.Future[float]) -> None:
        if answer.exception() is None:
            self.request_flush()

    def _leave_if_done(self, session: Session | Librats2Session) -> None:
        """Tell the peer that a retired link is done with, and close it once the peer has said so too."""
        retirement = self._retirement
        is_done = session.is_idle and not self._waiters.any_pong
        if retirement.may_leave and not retirement.has_left and is_done:
            if isinstance(session, Session) and retirement.checked < session.messages_sent:
                self._check_arrival(session)
                return
            retirement.has_left = True
            session.go_away(Reason.SUPERSEDED, "another link took over")
            self.request_flush()
        elif retirement.has_left and (retirement.peer_has_left or self.speaks_librats2) and not session.wants_to_send:
            self._closing = True
            self._close_transport()
