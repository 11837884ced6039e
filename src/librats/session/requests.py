"""Requests under way on a session: ours that wait for answers, the peer's that wait for ours."""

from __future__ import annotations

import heapq
from collections import deque

from librats._core.framing import FrameQueue
from librats.config import SessionConfig
from librats.errors import RemoteProtocolError, UsageError
from librats.session.events import Event, ReplyReceived, RequestCancelled, RequestExpired, RequestFailed
from librats.session.frames import FrameType, Kind, Reason, reason_body
from librats.session.payloads import Payload
from librats.session.shared_limits import SharedLimits, limit_words

__all__ = ["RequestTable"]

NEVER = float("inf")
LAST_NUMBER = UINT32_MAX = 0xFFFFFFFF

KINDS = {int(kind): kind for kind in Kind}

SPARE_DEADLINES = 1024
"""Deadlines of requests already answered that may be kept before they are thrown out."""


class RequestTable:
    """Numbers, deadlines and limits of requests.

    Args:
        control: Where cancellations are queued.
        messages: Where requests wait to be sent.
        events: Where answers and expiries are told.
        config: The limits.
        shared: Where refusals are counted.
    """

    __slots__ = (
        "_config",
        "_control",
        "_deadlines",
        "_events",
        "_last_number",
        "_limit",
        "_messages",
        "_ours",
        "_shared",
        "early",
        "theirs",
    )

    def __init__(
        self,
        control: FrameQueue,
        messages: FrameQueue,
        events: deque[Event],
        config: SessionConfig,
        shared: SharedLimits,
    ) -> None:
        self._control = control
        self._messages = messages
        self._events = events
        self._config = config
        self._limit = config.max_requests
        self._shared = shared
        self._last_number = 0
        self._ours: dict[int, int] = {}
        self.early: dict[int, int] = {}
        """Those of ours that were given up before they had left."""
        self.theirs: dict[int, None] = {}
        """Those of the peer's that wait for our answers."""
        self._deadlines: list[tuple[float, int]] = []

    @property
    def count(self) -> int:
        """Requests under way, ours and the peer's."""
        return len(self._ours) + len(self.theirs)

    @property
    def most(self) -> int:
        """Requests under way in the direction that has more of them."""
        return max(len(self._ours), len(self.theirs))

    # Ours

    def send(self, payload: Payload, name: bytes, timeout: float | None, now: float) -> int:
        """Queue a new request of ours, and return its number.

        Args:
            payload: Kind and content.
            name: Its type, UTF-8.
            timeout: How many seconds it has; None for no end of them.
            now: Monotonic seconds.

        Raises:
            UsageError: ``max_requests`` of ours are under way.
        """
        if len(self._ours) >= self._limit:
            self._shared.refuse("max_requests")
            what = f"{len(self._ours)} requests to this peer are under way"
            raise UsageError(limit_words(what, self._config, "max_requests"))
        number = self._last_number
        while True:
            number = 1 if number == LAST_NUMBER else number + 1
            if number not in self._ours and number not in self.early:
                break
        timeout_ms = 0 if timeout is None else round(min(max(1, timeout * 1000), UINT32_MAX))
        self._messages.add_request(payload[0], number, timeout_ms, name, payload[1])
        self._last_number = number
        self._ours[number] = self._messages.taken + len(self._messages)
        if timeout is not None:
            if len(self._deadlines) > 2 * len(self._ours) + SPARE_DEADLINES:
                self._deadlines = [entry for entry in self._deadlines if entry[1] in self._ours]
                heapq.heapify(self._deadlines)
            heapq.heappush(self._deadlines, (now + timeout, number))
        return number

    def cancel(self, number: int) -> None:
        """Give one of our requests up and tell the peer."""
        position = self._ours.pop(number, None)
        if position is not None:
            self.early[number] = position
            self.tell_cancelled()

    def tell_cancelled(self) -> None:
        """Tell the peer of requests given up, once they have left: it would not know what is cancelled before."""
        if self.early:
            for number in [n for n, position in self.early.items() if position <= self._messages.taken]:
                del self.early[number]
                self._control.add_id(FrameType.CANCEL, 0, number, b"")

    def replied(self, number: int, flags: int, payload: bytes) -> None:
        """Take note of an answer. One that nobody waits for is late, and dropped."""
        if self._ours.pop(number, None) is not None:
            kind = KINDS.get(flags & 0x03)
            if kind is None:
                raise RemoteProtocolError("a reply of unknown kind")
            self._events.append(ReplyReceived(number, kind, payload))

    def refused(self, number: int, code: str, message: str) -> None:
        """Take note of an error answer."""
        if self._ours.pop(number, None) is not None:
            self._events.append(RequestFailed(number, code, message))

    def next_deadline(self) -> float:
        """Return when the next of our requests expires; infinity where none does."""
        while self._deadlines and self._deadlines[0][1] not in self._ours:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else NEVER

    def expire(self, now: float) -> None:
        """Give up those of our requests whose deadline has passed."""
        while self.next_deadline() <= now:
            _, number = heapq.heappop(self._deadlines)
            self.cancel(number)
            self._events.append(RequestExpired(number))

    # The peer's

    def arrived(self, number: int) -> bool:
        """Take note of a request of the peer's; False where it is over the limit and was refused.

        Raises:
            RemoteProtocolError: One of that number is under way.
        """
        if number in self.theirs:
            raise RemoteProtocolError(f"request {number} was sent twice")
        if len(self.theirs) >= self._limit:
            self._shared.refuse("max_requests")
            text = limit_words(f"{len(self.theirs)} requests are under way", self._config, "max_requests")
            self._control.add_id(FrameType.ERROR, 0, number, reason_body(Reason.LIMIT, text))
            return False
        self.theirs[number] = None
        return True

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
