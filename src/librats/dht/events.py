"""What applications are told of the DHT."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DhtUnreachable"]


@dataclass(frozen=True, slots=True)
class DhtUnreachable:
    """No node of the DHT answers: told once, until one has answered again. It is tried again all the time."""

    reason: str
    """Why, for people: ``"no bootstrap node is known"``, ``"no answer from 7 nodes"``, or ``"names do not resolve"``
    with what the system says of them."""
