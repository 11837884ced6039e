"""How a link ends once another link to the same peer has taken over: drained, not cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Retirement"]

RETIRE_DELAY = 1.0
"""Seconds that a retired link waits for what the peer sent before it heard of the other one."""


class Retirement:
    """What one link knows of its own retirement.

    Args:
        loop: For the delay.
        go_on: Called when the link may say that it is done.
    """

    __slots__ = (
        "_go_on",
        "_loop",
        "_timer",
        "begun",
        "checked",
        "has_left",
        "may_leave",
        "peer_has_left",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> None:
        self._loop = loop
        self._go_on = go_on
        self._timer: asyncio.TimerHandle | None = None
        self.begun = False
        """True once another link has taken over."""
        self.checked = 0
        """How many of our messages were sent when the peer was last asked whether they have arrived."""
        self.may_leave = False
        """True once this side may say that it is done, as soon as nothing is under way."""
        self.has_left = False
        """True once this side has said that it is done."""
        self.peer_has_left = False
        """True once the peer has said that it is done."""

    def begin(self, *, peer_is_done: bool) -> None:
        """Retire; at once where the peer is done with the link, else when the peer has had time to hear of it."""
        self.begun = True
        self.peer_has_left = self.peer_has_left or peer_is_done
        if peer_is_done:
            self._leave()
        elif self._timer is None and not self.may_leave:
            self._timer = self._loop.call_later(RETIRE_DELAY, self._leave)

    def undo(self) -> None:
        """Take the link into use again, where neither side has said yet that it is done."""
        if not (self.has_left or self.peer_has_left):
            self.begun = self.may_leave = False
            self.stop()

    def stop(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self.may_leave = True
        self._go_on()
