"""Keeping an allocation: refreshing it in time, and moving it to another local address (RFC 8656, 8; RFC 8016)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from librats._core.stun import StunMessage
from librats.errors import RatsError, StunError
from librats.stun.constants import Attribute, Method
from librats.stun.mapping_habits import MappingHabits
from librats.turn.allocation_events import TurnMoved
from librats.turn.client_answers import DEFAULT_LIFETIME, Answer
from librats.turn.client_events import Event, RequestDone, RequestFailed
from librats.turn.client_mapping import MappingLife
from librats.turn.client_relaying import is_lost
from librats.turn.client_requests import Request, Requester
from librats.turn.client_settings import ClientSettings
from librats.turn.client_vigil import Vigil

__all__ = ["Keeping"]


class Keeping:
    """One allocation after the other, each for as long as it lasts.

    Args:
        settings: What is wanted.
        events: Where events go.
        lost: Called with a reason and the time where the server knows of no allocation.
        cut_off: Called likewise where it does not answer, or knows of none that is used from here: it may be moved.
        moved: Called with what sends requests there, and the time, when the server has accepted another path.
        another_path: Called with why where the allocation is to go on over another path.
    """

    def __init__(
        self,
        settings: ClientSettings,
        events: deque[Event],
        lost: Callable[[str, float], None],
        cut_off: Callable[[str, float], None],
        moved: Callable[[Requester, float], None],
        another_path: Callable[[str], None],
    ) -> None:
        self._patience = settings.patience
        # Connections are no matter of NATs that forget datagrams.
        habits = MappingHabits() if settings.reliable or settings.habits is None else settings.habits
        self._habits = habits
        self._mappings = None if settings.reliable else MappingLife(habits)
        self._lifetime = settings.lifetime
        self._events = events
        self._lost = lost
        self._cut_off = cut_off
        self._moved = moved
        self._another_path = another_path
        self._requester: Requester | None = None
        self._resuming = False
        self._refreshes: list[int] = []
        self._moves: list[int] = []
        self.vigil = Vigil(settings.keep_alive, habits)
        """The times."""
        self.ticket = b""
        """What proves to the server that the allocation is ours, over whatever path; empty where it gave none."""
        self.moving = False
        """True from the wish to move until the server has agreed."""

    @property
    def waits_for_path(self) -> bool:
        """True where the allocation is to move, and the new path is not there yet."""
        return self.moving and not self._resuming

    def begin(self, requester: Requester, answer: Answer, now: float) -> None:
        """There is a new allocation."""
        self._requester = requester
        self.moving = self._resuming = False
        self.ticket = answer.ticket
        self.vigil.granted(answer.lifetime, now)
        for number in (*self._refreshes, *self._moves):
            self._events.append(RequestDone(number))
        self._refreshes.clear()
        self._moves.clear()

    def pause(self) -> None:
        """The allocation is gone; who waits for something waits for the next one."""
        self._requester = None
        self.ticket = b""
        self.moving = self._resuming = False

    def end(self, error: RatsError) -> None:
        """There will be none any more."""
        self.pause()
        self._events.extend(RequestFailed(number, error) for number in (*self._refreshes, *self._moves))
        self._refreshes.clear()
        self._moves.clear()

    # Moving

    def move(self, number: int | None) -> None:
        """A new path is asked for; RequestDone follows, when it is used or when there is another allocation."""
        self.moving, self._resuming = True, False
        if number is not None:
            self._moves.append(number)

    def resume(self, requester: Requester, now: float) -> None:
        """Use the allocation over a new path."""
        self._requester = requester
        self._resuming = True
        self._refresh(self._lifetime, None, now)

    def stay(self, error: RatsError) -> None:
        """There is no new path: go on over the old one."""
        self.moving = self._resuming = False
        self._events.extend(RequestFailed(number, error) for number in self._moves)
        self._moves.clear()

    # Refreshing

    def refresh(self, number: int, lifetime: int | None, now: float) -> None:
        """Ask for a lifetime, which is asked for from then on; RequestDone or RequestFailed follows."""
        if lifetime is not None:
            self._lifetime = lifetime
        self._refreshes.append(number)
        if self._requester is not None and not self.moving:
            self._refresh(self._lifetime, number, now)

    def _refresh(self, lifetime: int | None, number: int | None, now: float) -> None:
        def done(message: StunMessage, now: float) -> None:
            try:
                granted = message.get(Attribute.LIFETIME)
                ticket = message.get(Attribute.MOBILITY_TICKET)
            except StunError as error:
                failed(error, message, now)
                return
            if granted == 0:
                self._lost("the server has ended the allocation", now)
                return
            self.ticket = ticket or self.ticket
            self.vigil.granted(DEFAULT_LIFETIME if granted is None else granted, now)
            if resuming:
                self._has_moved(now)
            elif number is not None:
                self._settle(number, RequestDone(number))

        def failed(error: RatsError, _message: StunMessage | None, now: float) -> None:
            if resuming:
                self._lost(f"the server does not let the allocation move: {error}", now)
            elif is_lost(error):
                if isinstance(error, StunError):
                    self._note_end()
                self._cut_off(str(error), now)
            else:
                self.vigil.failed(now)
                if number is not None:
                    self._settle(number, RequestFailed(number, error))

        if self._requester is None:
            return
        resuming = self._resuming
        attributes: list[tuple[int, Any]] = [] if lifetime is None else [(Attribute.LIFETIME, lifetime)]
        if resuming:
            attributes.append((Attribute.MOBILITY_TICKET, self.ticket))
        self.vigil.asked(now)
        patience = self._patience if self.ticket else None  # with which a silent server may be reached otherwise
        self._requester.send(Request(Method.REFRESH, attributes, done, failed, patience), now)

    def _note_end(self) -> None:
        """Learn from a mapping that is gone what the NAT has dropped it for: silence, or its age."""
        if self._mappings is None:
            return
        silence = self.vigil.deadly_silence
        if silence is not None:
            self._habits.silence_ended(silence)
        else:
            self._mappings.ended(began=self.vigil.began, heard=self.vigil.heard)

    def _has_moved(self, now: float) -> None:
        self.moving = self._resuming = False
        self._events.append(TurnMoved())
        # A Refresh that was under way over the old path is answered by this one.
        self._events.extend(RequestDone(number) for number in (*self._moves, *self._refreshes))
        self._moves.clear()
        self._refreshes.clear()
        if self._requester is not None:
            self._moved(self._requester, now)

    def _settle(self, number: int, event: Event) -> None:
        if number in self._refreshes:
            self._refreshes.remove(number)
            self._events.append(event)

    def next_timer(self) -> float:
        """Return when :meth:`handle_timer` is due."""
        return min(self.vigil.next_timer(moving=self.moving), self._renew_at())

    def _renew_at(self) -> float:
        """When another path is wanted before the NAT drops this one; only whoever has a ticket can go on there."""
        if self._mappings is None or not self.ticket or self.moving or self._requester is None:
            return math.inf
        return self._mappings.renew_at(began=self.vigil.began)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if now >= self.vigil.expires:
            self._lost("the allocation has expired", now)
        elif self._requester is None or self.moving:
            return
        elif now >= self._renew_at():
            self.move(None)
            self._another_path("the NAT on the way drops the port soon")
        elif self.vigil.needs_refresh(now):
            self._refresh(self._lifetime, None, now)
        elif self.vigil.needs_indication(now):
            self._requester.indicate(Method.BINDING, ())
            self.vigil.said(now)
