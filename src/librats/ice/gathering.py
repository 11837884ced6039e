"""Server-reflexive candidates: where STUN servers see our bases, and that it stays so. A pure machine."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from librats.ice.candidates import comparable
from librats.ice.mapping_keeper import MappingKeeper
from librats.stun.client import Answered, Returned, StunClient, StunEvent
from librats.stun.mapping_habits import MappingHabits
from librats.stun.transaction import Retransmission
from librats.types import Address, Entropy

__all__ = ["Mapped", "ReflexiveGatherer"]

MAX_SERVERS = 16


class Mapped(Struct, frozen=True, kw_only=True):
    """A server sees a base somewhere."""

    base: int
    """Number of the base."""

    address: Address
    """Where it is seen."""

    server: Address
    """Who sees it."""

    before: Address | None
    """Where that server has seen it before; None where it has not."""


class _Kept(Struct):
    """A mapping that is kept alive."""

    server: Address
    address: Address
    quiet_since: float
    waits: bool = False


class ReflexiveGatherer:
    """Asks every server from every base of its family, all at once, and then keeps the first mapping of each base.

    Args:
        entropy: For transaction ids.
        pace: When requests are sent again, and when a server is given up.
        habits: What is known of how long mappings live.
    """

    def __init__(self, entropy: Entropy, *, pace: Retransmission, habits: MappingHabits | None = None) -> None:
        self._client = StunClient(entropy, pace=pace)
        self._bases: dict[int, int] = {}
        self._servers: list[Address] = []
        self._asked: dict[bytes, int] = {}
        self._kept: dict[int, _Kept] = {}
        self._events: deque[Mapped] = deque()
        self.keeper = MappingKeeper(habits)
        """How often mappings are kept."""
        self.keeps = True
        """Whether they are."""

    @property
    def is_over(self) -> bool:
        """True when every server has answered, or was given up, for every base."""
        return not self._asked

    @property
    def is_enough(self) -> bool:
        """True when every base that has a server of its family was seen by one, or by none that lives."""
        waiting = set(self._asked.values())
        return all(number in self._kept or number not in waiting for number in self._bases)

    def add_base(self, number: int, family: int, *, now: float) -> None:
        """Take another base.

        Args:
            number: What it is known by.
            family: 4 or 6.
            now: Monotonic seconds.
        """
        self._bases[number] = family
        for server in self._servers:
            self._ask(number, server, now)

    def remove_base(self, number: int) -> None:
        """Ask no more from a base."""
        self._bases.pop(number, None)
        self._kept.pop(number, None)
        for transaction_id in [key for key, base in self._asked.items() if base == number]:
            self._client.cancel(transaction_id)
            del self._asked[transaction_id]

    def add_server(self, server: Address, *, now: float) -> None:
        """Take another server, by IP address and port; more than a stated number are left out."""
        if server in self._servers or len(self._servers) >= MAX_SERVERS:
            return
        self._servers.append(server)
        for number in self._bases:
            self._ask(number, server, now)

    def ask_again(self, *, now: float) -> None:
        """Ask every server anew from every base, after a change of network."""
        for number in self._bases:
            self._kept.pop(number, None)
            for server in self._servers:
                self._ask(number, server, now)

    def _ask(self, number: int, server: Address, now: float) -> None:
        if self._bases[number] == (6 if ":" in server.host else 4):
            self._asked[self._client.ask(server, now=now, socket=number)] = number

    def sent_from(self, number: int, *, now: float) -> None:
        """Note that something else was sent from a base, which keeps its mapping as well."""
        kept = self._kept.get(number)
        if kept is not None and not kept.waits:
            kept.quiet_since = now

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, base: int) -> bool:
        """Take what came to a base; False where it is no answer to anything that was asked."""
        before = self._client.ignored
        self._client.receive_datagram(data, addr, now=now, socket=base)
        self._go_on(now)
        return self._client.ignored == before

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._client.handle_timer(now=now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        while (event := self._client.next_event()) is not None:
            self._hear(event, now)
        for number, kept in self._kept.items():
            if self.keeps and not kept.waits and now >= kept.quiet_since + self.keeper.interval:
                kept.waits = True
                self._client.ask(kept.server, now=now, socket=number)

    def _hear(self, event: StunEvent, now: float) -> None:
        if isinstance(event, Returned):
            return  # one of our own, turned around by a NAT
        number = self._asked.pop(event.transaction_id, None)
        if not isinstance(event, Answered):
            if number is None:
                self._try_later(event.server, now)
            return
        base, kept = event.socket, self._kept.get(event.socket)
        if base not in self._bases:
            return
        if kept is None:
            self._kept[base] = _Kept(event.server, event.mapped, now)
        elif number is None and kept.waits:
            self._judge(kept, event, now)
            return
        self._events.append(Mapped(base=base, address=event.mapped, server=event.server, before=None))

    def _judge(self, kept: _Kept, event: Answered, now: float) -> None:
        """Learn from the answer to a keep-alive whether the mapping has outlived the silence before it."""
        silence = now - kept.quiet_since
        before, kept.address = kept.address, event.mapped
        kept.waits, kept.quiet_since = False, now
        if comparable(before) == comparable(event.mapped):
            self.keeper.outlived(silence)
        else:
            self.keeper.lost(silence)
            self._events.append(Mapped(base=event.socket, address=event.mapped, server=event.server, before=before))

    def _try_later(self, server: Address, now: float) -> None:
        """Go on with a server that does not answer a keep-alive: the network may be away for a while."""
        for kept in self._kept.values():
            if kept.waits and kept.server == server:
                kept.waits, kept.quiet_since = False, now

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None where nothing waits."""
        times = [
            kept.quiet_since + self.keeper.interval for kept in self._kept.values() if self.keeps and not kept.waits
        ]
        asked = self._client.next_timer()
        return min(times if asked is None else [*times, asked], default=None)

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent, in order: number of the base, datagram, address."""
        return self._client.datagrams_to_send()

    def next_event(self) -> Mapped | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None
