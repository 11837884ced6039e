"""The selector of the simulation: it waits by moving virtual time on, and the network works meanwhile."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from typing import Any, Protocol

from librats.errors import UsageError
from librats.testing.agenda import Agenda

__all__ = ["SimSelector"]

FIRST_FD = 1_000_000
"""No real descriptor has such a number."""

MAX_TURNS = 1_000_000
"""Turns of the loop at one point of time; more of them mean that time will never go on."""


class Watched(Protocol):
    """A simulated socket."""

    @property
    def is_readable(self) -> bool:
        """True where reading would not block."""

    @property
    def is_writable(self) -> bool:
        """True where writing would not block."""


class SimSelector(selectors.BaseSelector):
    """Tells a loop which simulated sockets are ready.

    Args:
        agenda: The clock, which it moves, and what the network has to do.
        stuck: Makes the exception for a loop that would wait for ever, from words for what happened.
    """

    def __init__(self, agenda: Agenda, stuck: Callable[[str], Exception]) -> None:
        self._agenda = agenda
        self._stuck = stuck
        self._sockets: dict[int, Watched] = {}
        self._keys: dict[int, SelectorKey] = {}
        self._ready: dict[int, None] = {}
        self._next_fd = FIRST_FD
        self._turns = 0
        self.time_limit: float | None = None
        """Virtual time beyond which a run is given up; None for no limit."""

    # Sockets

    def open(self, sock: Watched) -> int:
        """Give a socket its number."""
        self._next_fd += 1
        self._sockets[self._next_fd] = sock
        return self._next_fd

    def close_socket(self, fd: int) -> None:
        """Forget a socket."""
        del self._sockets[fd]
        self._ready.pop(fd, None)

    def sockets(self) -> list[Watched]:
        """Return the sockets that are open."""
        return list(self._sockets.values())

    def changed(self, fd: int) -> None:
        """Look again whether a socket is ready for what is wanted of it."""
        key = self._keys.get(fd)
        if key is None:
            return
        if self._mask(key):
            self._ready[fd] = None
        else:
            self._ready.pop(fd, None)

    def _mask(self, key: SelectorKey) -> int:
        sock = self._sockets.get(key.fd)
        if sock is None:
            return 0
        mask = EVENT_READ if key.events & EVENT_READ and sock.is_readable else 0
        if key.events & EVENT_WRITE and sock.is_writable:
            mask |= EVENT_WRITE
        return mask

    # What a loop asks

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Want to know when a socket is ready.

        Raises:
            UsageError: It is a real one.
        """
        fd = _number(fileobj)
        if fd not in self._sockets:
            raise UsageError(f"descriptor {fd} is not simulated: real sockets and pipes cannot be used here")
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        self.changed(fd)
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Want to know no more."""
        fd = _number(fileobj)
        self._ready.pop(fd, None)
        return self._keys.pop(fd)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Want to know something else."""
        fd = _number(fileobj)
        key = self._keys[fd] = self._keys[fd]._replace(events=events, data=data)
        self.changed(fd)
        return key

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """Return who is registered."""
        return self._keys

    def get_key(self, fileobj: Any) -> SelectorKey:
        """Return what is wanted of a socket."""
        return self._keys[_number(fileobj)]

    def close(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._ready.clear()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Return which sockets are ready, after moving time on to when one is, or the timeout is over.

        Raises:
            Exception: Nothing would ever happen, or the time limit is reached.
        """
        agenda = self._agenda
        started = agenda.now
        deadline = None if timeout is None else started + max(0.0, timeout)
        while True:
            agenda.run_due()
            if self._ready:
                break
            soonest = agenda.next_time()
            if deadline is not None and (soonest is None or soonest > deadline):
                soonest = deadline
            if soonest is None:
                raise self._stuck("deadlock: nothing is left to happen")
            self._move_to(soonest)
            if soonest == deadline:
                agenda.run_due()
                break
        self._count_turn(started)
        keys = self._keys
        mask = self._mask
        return [(key, mask(key)) for fd in self._ready for key in (keys[fd],)]

    def _move_to(self, when: float) -> None:
        limit = self.time_limit
        if limit is not None and when > limit:
            self._agenda.now = max(self._agenda.now, limit)
            self.time_limit = None  # what is cleaned up from here on needs time, too
            raise self._stuck("time is up: this run was given no more")
        self._agenda.now = when

    def _count_turn(self, started: float) -> None:
        self._turns = self._turns + 1 if self._agenda.now == started else 0
        if self._turns > MAX_TURNS:
            self._turns = 0
            raise self._stuck(f"time stands still: the loop turned {MAX_TURNS} times without waiting for anything")


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
