"""What is sent when: the schedules of the techniques."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from librats.types import Address, Entropy

__all__ = ["FIRST_PORT", "LAST_PORT", "Shot", "at_each", "at_random_ports", "from_each", "in_turn"]

FIRST_PORT, LAST_PORT = 1024, 65535
VOLLEY = 5


class Shot(NamedTuple):
    """A datagram to be sent."""

    after: float
    """Seconds after the start."""

    base: int
    """Number of the socket."""

    target: Address

    hops: int = 0
    """How many routers pass it on at most; 0 for the usual number."""


def at_each(targets: Sequence[Address], *, interval: float, until: float) -> Iterator[Shot]:
    """Send to every target over and over, from the first socket."""
    count = 0
    while (after := count * interval) < until:
        for target in targets:
            yield Shot(after, 0, target)
        count += 1


def in_turn(host: str, ports: Sequence[int], *, interval: float, until: float) -> Iterator[Shot]:
    """Send to foretold ports, the likelier ones first, and over and over."""
    return at_each([Address(host, port) for port in ports], interval=interval, until=until)


def from_each(bases: Sequence[int], target: Address, *, hops: int, rate: float, after: float = 0.0) -> Iterator[Shot]:
    """Send to one target from every socket, so that each has a public port for it."""
    for count, base in enumerate(bases):
        yield Shot(after + count // VOLLEY * VOLLEY / rate, base, target, hops)


def at_random_ports(host: str, count: int, *, rate: float, entropy: Entropy) -> Iterator[Shot]:
    """Send to ports drawn at random, none twice before half of them are spent: then they are drawn anew.

    The other side opens its ports for a second time by then, through whatever stood in the way of the first time.
    """
    for half, size in enumerate((count - count // 2, count // 2)):
        drawn: set[int] = set()
        while len(drawn) < min(size, LAST_PORT - FIRST_PORT + 1):
            port = FIRST_PORT + entropy.randbelow(LAST_PORT - FIRST_PORT + 1)
            if port in drawn:
                continue
            number = half * (count - count // 2) + len(drawn)
            drawn.add(port)
            yield Shot(number // VOLLEY * VOLLEY / rate, 0, Address(host, port))
