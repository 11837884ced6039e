"""How a link begins: the handshake, when it may go on, and how long its stages may take."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from librats.errors import HandshakeError, RatsError
from librats.reasons import AttemptReason
from librats.services.link.ending import LinkEnding
from librats.session.frames import Reason
from librats.session.opening import LAST_MESSAGE, BlockOpening, Opened, PlainOpened
from librats.session.opening_clock import OpeningClock

if TYPE_CHECKING:
    from librats.services.session import Link

__all__ = ["LinkOpening"]

logger = logging.getLogger("librats.session")


class LinkOpening(LinkEnding):
    """Mixed into :class:`~librats.services.session.Link`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _begin_session(self, opening: BlockOpening, opened: Opened | PlainOpened) -> None:
            """Go on with what the handshake left behind."""

    @property
    def opening_step(self) -> int:
        """How many of the three handshake messages have passed; 2 where this side has it wait for its turn.

        It is not to make room for others then, as it has come no further through no fault of its own.
        """
        if self._opening is None:
            return LAST_MESSAGE + 1
        return LAST_MESSAGE if self._clock is not None and self._clock.waits else self._opening.step

    def _start_opening(self) -> None:
        self._clock = OpeningClock(self._config, now=self._loop.time())
        self._arm_opening_timer(self._clock)
        self._send_opening()
        if not self.initiator and self._opening is not None:
            self._opening.prepare()

    def _send_opening(self) -> None:
        if self._opening is not None and self._transport is not None:
            data = self._opening.data_to_send()
            if data:
                self._transport.write(data)

    def _arm_opening_timer(self, clock: OpeningClock) -> None:
        when = clock.next_timer()
        if self._timer is None or self._timer_at > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._opening_due)

    def _opening_due(self) -> None:
        """Give an opening up that has taken too long, or look again when the next of its deadlines comes."""
        self._timer = None
        clock = self._clock
        if clock is None:
            return
        late = clock.expired(now=self._loop.time())
        if late is None:
            self._arm_opening_timer(clock)
        elif self._session is not None:
            self.refuse(HandshakeError(late, AttemptReason.NO_ANSWER), Reason.TIMEOUT)
        else:
            self._fail_opening(HandshakeError(late, AttemptReason.NO_ANSWER))

    def _fail_opening(self, error: RatsError) -> None:
        logger.debug("%s: %s", self.address, error)
        self.error = error
        self._abort(Reason.PROTOCOL_ERROR, str(error))

    def _take_opening(self, data: bytes) -> None:
        opening, clock = self._opening, self._clock
        if opening is None or clock is None or self._closing:
            return
        if not (self.initiator or clock.begun):
            clock.begun = True
            delay = self._owner.handshake_begins(cast("Link", self))
            if delay is None:
                self._abort(Reason.LIMIT, "too many handshakes")
                return
            if delay > 0:
                clock.waits = True
                self.pause()
                self._loop.call_later(delay, self._begin_handshake, data)
                return
        try:
            opening.receive_data(data)
        except HandshakeError as error:
            self._fail_opening(error)
            return
        if opening.join is not None:
            self._owner.path_joined(cast("Link", self), opening.join, opening.leftover)
            return
        clock.heard(opening.step, now=self._loop.time())
        self._arm_opening_timer(clock)
        self._send_opening()  # the last message, too, at once: the peer goes on with it while this side does
        if opening.result is not None:
            self._begin_session(opening, opening.result)

    def _begin_handshake(self, data: bytes) -> None:
        """Go on with a handshake that has waited for its turn, once that has come."""
        delay = 0.0 if self._closing else self._owner.handshake_waits(cast("Link", self))
        if delay > 0:
            self._loop.call_later(delay, self._begin_handshake, data)
            return
        if self._clock is not None:
            self._clock.waits = False
        self.resume()
        self._take_opening(data)
