"""How long a NAT keeps a mapping without traffic: a pure machine (RFC 5780, 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from librats.errors import UsageError
from librats.stun.client import Answered, Returned, StunClient
from librats.stun.constants import Attribute
from librats.stun.transaction import Retransmission
from librats.types import Address, Entropy

__all__ = ["DEFAULT_WAITS", "LifetimeDiscovery", "check_waits"]

DEFAULT_WAITS = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0)
"""Seconds of silence that are tried; the usual timeouts of NATs are between them."""

PACE = Retransmission(rto=0.25, rc=5, rm=4)

ENOUGH_GONE = 2
"""Mappings in a row that have to be gone before the longer ones are not waited for: one answer may have been lost."""


def check_waits(waits: Sequence[float]) -> None:
    """Check times of silence.

    Raises:
        UsageError: They do not grow, or there is none.
    """
    if not waits or not all(before < after for before, after in pairwise((0.0, *waits))):
        raise UsageError(f"times of silence must be above 0 and grow, not {tuple(waits)!r}")


class LifetimeDiscovery:
    """Finds out how long a mapping lives that nothing is sent through.

    It takes as long as the longest silence that is tried, for all are tried at once: each socket beyond the first has
    a mapping of its own, is silent for one of the times, and is then sent to by the server, which the first socket asks
    for that (RESPONSE-PORT). Where a first try without silence does not work, the server does not know how.

    Args:
        server: IP address and port.
        entropy: For transaction ids.
        now: Monotonic seconds.
        waits: Seconds of silence to try, growing.

    Raises:
        UsageError: The times do not grow, or there is none.
    """

    def __init__(
        self, server: Address, *, entropy: Entropy, now: float, waits: Sequence[float] = DEFAULT_WAITS
    ) -> None:
        check_waits(waits)
        times = (0.0, *map(float, waits))
        self.duration = times[-1] + PACE.duration * 2
        """Seconds that it takes at the most."""
        self._client = StunClient(entropy, pace=PACE)
        self._server = server
        self._waits = dict(enumerate(times, start=1))
        self._opening = {self._client.ask(server, now=now, socket=number): number for number in self._waits}
        self._mapped: dict[int, tuple[Address, float]] = {}
        self._trying: dict[bytes, int] = {}
        self._alive: dict[float, bool] = {}
        self.is_over = False
        """True when there is nothing left to find out."""

    @staticmethod
    def sockets_for(waits: Sequence[float]) -> int:
        """Return how many sockets it needs for that many times of silence."""
        return 2 + len(waits)

    @property
    def lifetime(self) -> float | None:
        """The longest silence that a mapping has outlived; None where the server cannot be measured with."""
        alive = [wait for wait, lives in self._alive.items() if lives]
        return max(alive, default=None)

    @property
    def expired_after(self) -> float | None:
        """The shortest silence beyond :attr:`lifetime` after which a mapping was gone; None where none was."""
        lived = self.lifetime
        if lived is None:
            return None
        return min((wait for wait, lives in self._alive.items() if not lives and wait > lived), default=None)

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int) -> None:
        """Take what came to a socket."""
        self._client.receive_datagram(data, addr, now=now, socket=socket)
        self._go_on(now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._client.handle_timer(now=now)
        self._go_on(now)

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None where it is over."""
        if self.is_over:
            return None
        times = [since + self._waits[number] for number, (_, since) in self._mapped.items()]
        asked = self._client.next_timer()
        return min(times if asked is None else [*times, asked], default=None)

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent, in order: number of the socket, datagram, address."""
        return self._client.datagrams_to_send()

    def _go_on(self, now: float) -> None:
        while (event := self._client.next_event()) is not None:
            if isinstance(event, Returned):
                continue
            answer = event if isinstance(event, Answered) else None
            opened = self._opening.pop(event.transaction_id, None)
            if opened is not None and answer is not None:
                self._mapped[opened] = (answer.mapped, now)
            tried = self._trying.pop(event.transaction_id, None)
            if tried is not None:
                self._alive[self._waits[tried]] = answer is not None
        for number, (mapped, since) in list(self._mapped.items()):
            if now >= since + self._waits[number]:
                del self._mapped[number]
                port = [(Attribute.RESPONSE_PORT, mapped.port)]
                asked = self._client.ask(self._server, now=now, attributes=port, receiver=number)
                self._trying[asked] = number
        self.is_over = self._is_over()

    def _is_over(self) -> bool:
        if self._alive.get(0.0) is False:
            return True
        gone = sorted(wait for wait, lives in self._alive.items() if not lives)
        lived = self.lifetime or 0.0
        return len([wait for wait in gone if wait > lived]) >= ENOUGH_GONE or (
            not self._mapped and not self._opening and not self._trying
        )
