"""Requests under way on a session: ours that wait for answers, the peer's that wait for ours."""

from __future__ import annotations

from collections import deque

from librats._core.framing import FrameQueue
from librats._core.requests import RequestNumbers
from librats.config import SessionConfig
from librats.errors import UsageError
from librats.session.events import Event, RequestCancelled, RequestExpired, RequestFailed
from librats.session.frames import FrameType, Reason, reason_body
from librats.session.shared_limits import SharedLimits, limit_words

__all__ = ["RequestTable"]


class RequestTable(RequestNumbers):
    """Numbers, deadlines and limits of requests.

    Args:
        messages: Where requests wait to be sent.
        limit: How many may be under way in one direction.
        control: Where cancellations are queued.
        events: Where expiries and refusals are told.
        config: The limits.
        shared: Where refusals are counted.
    """

    __slots__ = ("_config", "_control", "_events", "_shared")

    def __init__(
        self,
        messages: FrameQueue,
        limit: int,
        control: FrameQueue,
        events: deque[Event],
        config: SessionConfig,
        shared: SharedLimits,
    ) -> None:
        self._control = control
        self._events = events
        self._config = config
        self._shared = shared

    # Ours

    def refuse_ours(self) -> None:
        """Refuse a request of ours.

        Raises:
            UsageError: ``max_requests`` of ours are under way.
        """
        self._shared.refuse("max_requests")
        what = f"{self._config.max_requests} requests to this peer are under way"
        raise UsageError(limit_words(what, self._config, "max_requests"))

    def cancel(self, number: int) -> None:
        """Give one of our requests up and tell the peer."""
        if self.give_up(number):
            self.tell_cancelled()

    def tell_cancelled(self) -> None:
        """Tell the peer of requests given up, once they have left: it would not know what is cancelled before."""
        for number in self.gone():
            self._control.add_id(FrameType.CANCEL, 0, number, b"")

    def refused(self, number: int, code: str, message: str) -> None:
        """Take note of an error answer."""
        if self.has_replied(number):
            self._events.append(RequestFailed(number, code, message))

    def expire(self, now: float) -> None:
        """Give up those of our requests whose deadline has passed."""
        while number := self.take_expired(now):
            self.cancel(number)
            self._events.append(RequestExpired(number))

    # The peer's

    def refuse(self, number: int) -> None:
        """Refuse a request of the peer's that is over the limit."""
        self._shared.refuse("max_requests")
        text = limit_words(f"{len(self.theirs)} requests are under way", self._config, "max_requests")
        self._control.add_id(FrameType.ERROR, 0, number, reason_body(Reason.LIMIT, text))

    def is_wanted(self, number: int) -> bool:
        """Whether the peer still waits for the answer to one of its requests."""
        return number in self.theirs

    def answer(self, number: int) -> bool:
        """Take note that we answer a request of the peer's; False where it does not want that any more."""
        if number in self.theirs:
            del self.theirs[number]
            return True
        return False

    def cancelled(self, number: int) -> None:
        """Take note that the peer gave a request up."""
        if number in self.theirs:
            del self.theirs[number]
            self._events.append(RequestCancelled(number))
