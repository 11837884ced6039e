"""Which host the running code runs on: a context variable, which tasks and callbacks take over from their maker."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from librats.errors import UsageError

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost

__all__ = ["current_host", "enter_host", "leave_host"]


class _Place(NamedTuple):
    host: SimHost
    before: _Place | None


_place: ContextVar[_Place | None] = ContextVar("librats simulated host", default=None)


def current_host() -> SimHost:
    """Return the host on which the running code runs.

    Raises:
        UsageError: It runs on none.
    """
    place = _place.get()
    if place is None:
        raise UsageError("this runs on no host of the simulation: use `with host:`, or `await host.run(...)`")
    return place.host


def enter_host(host: SimHost) -> None:
    """Run on that host from here on."""
    _place.set(_Place(host, _place.get()))


def leave_host() -> None:
    """Run where it was before."""
    place = _place.get()
    _place.set(place.before if place is not None else None)
