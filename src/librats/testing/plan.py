"""Which addresses machines get that ask for none."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from librats.errors import UsageError
from librats.testing.behaviors import Ipv6
from librats.testing.interfaces import Segment

__all__ = ["AddressPlan"]

MAX_HOSTS = 65_000
PUBLIC = ("203.0.113", "198.51.100", "192.0.2", *(f"11.{high}.{low}" for high in range(256) for low in range(256)))
"""Networks of public addresses: those of documentation first, where a relay lets peers be."""

FIRST_PUBLIC = 101


class AddressPlan:
    """Chooses free addresses, the same ones in every run."""

    def __init__(self) -> None:
        self._public = _public_hosts()
        self._used: dict[tuple[Segment, str], int] = {}
        self._numbers: dict[Segment, int] = {}

    def for_host(self, segment: Segment, *, besides: Container[str] = ()) -> Sequence[str]:
        """Return an address of each family that a host can have in a segment.

        Args:
            segment: Where.
            besides: Addresses that it must not be, as the host has them elsewhere.
        """
        router = segment.router
        if router is None:
            # An IPv6 network of its own for each, as each home has one: limits count whole networks of that kind.
            return self._next(segment, "both", lambda n: (f"10.0.{n // 256}.{n % 256}", f"fd00:0:0:{n:x}::1"))
        behavior = router.behavior
        found: list[str] = []
        if behavior.ipv4 and behavior.translates:
            found += self._next(segment, "host", lambda n: (f"192.168.{1 + n // 200}.{10 + n % 200}",), besides)
        elif behavior.ipv4:
            found.append(self._next_public(segment))
        if behavior.ipv6 is not Ipv6.NONE:
            found += self._ipv6(segment)
        return found

    def for_router(self, segment: Segment, *, ipv4: bool) -> Sequence[str]:
        """Return the addresses that the outer side of a router can have in a segment."""
        router = segment.router
        found: list[str] = []
        if ipv4 and router is not None and router.behavior.translates:
            found += self._next(segment, "router", lambda n: (f"100.64.{n // 200}.{1 + n % 200}",))
        elif ipv4:
            found.append(self._next_public(segment))
        return [*found, *self._ipv6(segment)]

    def _ipv6(self, segment: Segment) -> Sequence[str]:
        number = self._numbers.setdefault(segment, len(self._numbers) + 1)
        return self._next(segment, "ipv6", lambda n: (f"2001:db8:{number:x}::{n:x}",))

    def _next(
        self, segment: Segment, kind: str, names: Callable[[int], Sequence[str]], besides: Container[str] = ()
    ) -> Sequence[str]:
        for number in range(self._used.get((segment, kind), 0) + 1, MAX_HOSTS):
            found = names(number)
            if segment.members.keys().isdisjoint(found) and not any(each in besides for each in found):
                self._used[segment, kind] = number
                return found
        raise UsageError(f"a network has at most {MAX_HOSTS} hosts with addresses of its own choice")

    def _next_public(self, segment: Segment) -> str:
        top = segment
        while top.router is not None:
            top = top.router.outside.segment
        return next(host for host in self._public if host not in top.members and host not in segment.members)


def _public_hosts() -> Iterator[str]:
    for network in PUBLIC:
        for number in range(FIRST_PUBLIC, 255):
            yield f"{network}.{number}"
