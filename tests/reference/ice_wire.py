"""Two ICE machines and what lies between them: a network that loses, delays and reorders, NATs, and virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

from librats.ice.addresses import AddressPolicy
from librats.ice.agent import IceMachine
from librats.ice.candidates import IceCandidate, comparable
from librats.ice.events import IceEvent, IceRole, LocalFound, Restarted, StateChanged
from librats.ice.pairs import PairStatistics
from librats.ice.settings import IceSettings
from librats.testing.entropy import SeededEntropy
from librats.types import Address

__all__ = ["ONE", "OTHER", "IceNet", "Side", "assert_same_pair", "both_completed", "joined", "two"]

ONE, OTHER = "198.51.100.2:5000", "198.51.100.3:5000"


class Nat:
    """A NAT in front of a base: its mapping, and whom it lets in."""

    def __init__(self, public: str, kind: str) -> None:
        self.public, self.kind = public, kind
        self.mappings: dict[Any, int] = {}
        self.let_in: set[tuple[int, Any]] = set()
        self._ports = itertools.count(40000)

    def out(self, source: Address, to: Address) -> Address:
        key: Any = (source, to) if self.kind == "symmetric" else source
        port = self.mappings.get(key)
        if port is None:
            port = self.mappings[key] = next(self._ports)
        self.let_in.add((port, {"full": None, "restricted": to.host}.get(self.kind, to)))
        return Address(self.public, port)

    def into(self, source: Address, port: int) -> Address | None:
        wanted = {"full": None, "restricted": source.host}.get(self.kind, source)
        if (port, wanted) not in self.let_in:
            return None
        found = next(key for key, mapped in self.mappings.items() if mapped == port)
        inner: Address = found[0] if self.kind == "symmetric" else found
        return inner


class Side:
    """One machine, its bases, and what has become of it."""

    def __init__(self, net: IceNet, name: str, role: IceRole, **options: Any) -> None:
        self.net, self.name = net, name
        self.machine = IceMachine(role, SeededEntropy(net.seed, name), **options)
        self.addresses: dict[int, Address] = {}
        self.nats: dict[int, Nat] = {}
        self.events: list[IceEvent] = []
        self.found: list[IceCandidate] = []
        self.sent: list[tuple[float, int, bytes, Address]] = []

    def host(self, address: str, *, nat: str = "", public: str = "") -> int:
        """Add an interface; behind a NAT, with the address where a STUN server sees it."""
        local = Address.parse(address)
        base = self.machine.add_hosts([local], now=self.net.now)
        self.addresses[base] = local
        if nat:
            self.nats[base] = Nat(public, nat)
            mapped = self.nats[base].out(local, Address("192.0.2.99", 3478))
            self.machine.add_mapped(base, mapped, server="192.0.2.99", now=self.net.now)
        return base

    def relay(self, address: str) -> int:
        """Add a relayed address: nothing stands in front of it, as if every peer had a permission."""
        relayed = Address.parse(address)
        base = self.machine.add_relayed(relayed, server="192.0.2.99", mapped=None, now=self.net.now)
        self.addresses[base] = relayed
        return base

    def restart(self) -> None:
        self.machine.restart(now=self.net.now)

    @property
    def states(self) -> list[str]:
        return [str(event.state) for event in self.events if isinstance(event, StateChanged)]

    @property
    def was_restarted(self) -> bool:
        return any(isinstance(event, Restarted) for event in self.events)

    @property
    def nominated(self) -> PairStatistics | None:
        found = self.machine.statistics().selected
        return found if found is not None and found.nominated else None

    @property
    def ends(self) -> tuple[Address, Address] | None:
        """Where the pair in use ends, as the network sees it: here, there."""
        path = self.machine.path
        if path is None:
            return None
        here = self.addresses[path.base]
        nat = self.nats.get(path.base)
        to = comparable(path.address)
        return (here if nat is None else nat.out(here, to)), to


class IceNet:
    """What two sides are joined by.

    Args:
        seed: Decides what is lost and how long the rest takes.
        loss: Which part of the datagrams is lost.
        delay: Seconds that a datagram takes at the least, one way.
        jitter: Up to that many more.
    """

    def __init__(self, seed: int = 0, *, loss: float = 0.0, delay: float = 0.01, jitter: float = 0.0) -> None:
        self.seed, self.loss, self.delay, self.jitter = seed, loss, delay, jitter
        self.now = 100.0
        self.chance = random.Random(seed)  # noqa: S311 - a network, no secret
        self.blocked: Callable[[Address, Address], bool] = lambda _from, _to: False
        self.sides: list[Side] = []
        self._flying: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def side(self, role: str, *, strangers: bool = False, **settings: Any) -> Side:
        """Add a machine."""
        side = Side(
            self,
            f"side{len(self.sides)}",
            IceRole(role),
            settings=IceSettings(**settings),
            policy=AddressPolicy(strangers=strangers),
        )
        self.sides.append(side)
        return side

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._flying, (when, next(self._count), do))

    def tell(self, to: Side, value: Any) -> None:
        """Give a side a description or a candidate of the other one's."""
        if isinstance(value, IceCandidate) or value is None:
            to.machine.add_remote(value, now=self.now)
        else:
            to.machine.set_remote(value, now=self.now)

    def introduce(self) -> None:
        """Tell both sides everything that there is, and let them begin."""
        one, other = self.sides
        for side in self.sides:
            side.machine.end_gathering(now=self.now)
        for here, there in ((one, other), (other, one)):
            self.tell(there, here.machine.description)
        for side in self.sides:
            side.machine.start(now=self.now)

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> float:
        """Let time go by, and return how much has: less than that where something has become so."""
        began, end = self.now, self.now + seconds
        while not until():
            self._carry()
            timers = [at for side in self.sides if (at := side.machine.next_timer()) is not None]
            due = min([*timers, *([self._flying[0][0]] if self._flying else [])], default=end)
            if due >= end:
                self.now = end
                break
            self.now = max(self.now, due)
            while self._flying and self._flying[0][0] <= self.now:
                heapq.heappop(self._flying)[2]()
            for side in self.sides:
                at = side.machine.next_timer()
                if at is not None and at <= self.now:
                    side.machine.handle_timer(now=self.now)
        self._carry()
        return self.now - began

    def _carry(self) -> None:
        for side in self.sides:
            for base, data, to in side.machine.datagrams_to_send():
                side.sent.append((self.now, base, data, to))
                self._fly(side, base, data, comparable(to))
            while (event := side.machine.next_event()) is not None:
                side.events.append(event)
                if isinstance(event, LocalFound):
                    side.found.append(event.candidate)

    def _fly(self, side: Side, base: int, data: bytes, to: Address) -> None:
        source = side.addresses.get(base)
        if source is None:
            return
        nat = side.nats.get(base)
        seen = source if nat is None else nat.out(source, to)
        if self.chance.random() < self.loss or self.blocked(seen, to):
            return
        arrival = self.now + self.delay + self.chance.random() * self.jitter
        self.at(arrival, lambda: self._arrive(data, seen, to))

    def _arrive(self, data: bytes, source: Address, to: Address) -> None:
        for side in self.sides:
            for base, address in side.addresses.items():
                nat = side.nats.get(base)
                if nat is None:
                    inner: Address | None = to if address == to else None
                else:
                    inner = nat.into(source, to.port) if nat.public == to.host else None
                if inner == address:
                    side.machine.receive_datagram(data, source, now=self.now, base=base)
                    return


def two(net: IceNet, roles: tuple[str, str] = ("controlling", "controlled"), **settings: Any) -> tuple[Side, Side]:
    one, other = (net.side(role, **settings) for role in roles)
    one.host(ONE)
    other.host(OTHER)
    return one, other


def both_completed(net: IceNet) -> bool:
    return all(side.nominated is not None for side in net.sides)


def joined(net: IceNet, **settings: Any) -> tuple[Side, Side]:
    one, other = two(net, **settings)
    net.introduce()
    net.run(5, until=lambda: both_completed(net))
    assert both_completed(net)
    return one, other


def assert_same_pair(one: Side, other: Side) -> None:
    assert one.ends is not None
    assert other.ends is not None
    assert one.ends == other.ends[::-1]
