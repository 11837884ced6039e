"""A swarm of nodes of the DHT that come and go, some silent, some hostile: what is found in it, how soon, at what cost.

    python -m tests.simulation.dht_swarm --nodes 10000

An hour of a swarm in which half of the nodes are replaced each hour; then attackers who are after some keys.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tests.simulation.kept import tree
from tests.simulation.lying_nodes import Attack, Attacker, Liar
from tests.simulation.many_nodes import ManyNodes, Member

from librats.dht.items import Item, sign_item
from librats.dht.operations import Finished

ROUTERS = 8
HOUR = 3600.0
ANNOUNCED_AGAIN = 600.0
DEAF_AFTER = 300.0
GROWN_UP = 30.0
PATIENCE = 120.0
VICTIMS = 20
PUT = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is simulated."""

    nodes: int = 10_000
    seed: int = 1
    delay: float = 0.1
    """Seconds from one node to another, in the mean."""
    loss: float = 0.01
    silent: float = 0.1
    """Part of the nodes that hear only answers from five minutes after they came, as behind a NAT."""
    hostile: float = 0.05
    replaced: float = 0.5
    """Part of the nodes that is replaced each hour."""
    growing: float = 600.0
    """Seconds in which all come."""
    settling: float = 300.0
    measured: float = HOUR
    lookups: int = 2000
    items: int = 300
    attacks: int = 4
    established: float = 900.0
    """Seconds in which the attackers come and get known."""
    attacked: float = 900.0
    """Seconds in which the keys are read after that."""
    readers: int = 100
    """How many read each key that is attacked."""


@dataclass
class Tally:
    """What has come of what was looked for."""

    found: int = 0
    missed: int = 0
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    hops: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def add(self, is_found: bool, seconds: float, outcome: Finished) -> None:
        self.found += is_found
        self.missed += not is_found
        self.seconds.append(seconds)
        self.hops.append(outcome.hops)
        self.asked.append(outcome.asked)

    @property
    def part(self) -> float:
        return self.found / max(1, self.found + self.missed)

    def figures(self) -> dict[str, float]:
        return {
            "count": self.found + self.missed,
            "found": round(self.part, 4),
            "hops": quantile(self.hops, 0.5),
            "hops_p95": quantile(self.hops, 0.95),
            "first_p50": round(quantile(self.first, 0.5), 3),
            "first_p95": round(quantile(self.first, 0.95), 3),
            "seconds_p50": round(quantile(self.seconds, 0.5), 3),
            "seconds_p95": round(quantile(self.seconds, 0.95), 3),
            "asked_p50": quantile(self.asked, 0.5),
            "asked_p95": quantile(self.asked, 0.95),
        }


def quantile(values: list[Any], part: float) -> float:
    return float(sorted(values)[int(len(values) * part)]) if values else float("nan")


class Swarm:
    """A swarm as planned.

    Args:
        plan: What is simulated.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.net = ManyNodes(plan.seed, delay=plan.delay, loss=plan.loss)
        self.chance = self.net.chance
        self.peers = Tally()
        self.items = Tally()
        self.attacked = Tally()
        self.puts: list[int] = []
        self.announced: list[int] = []
        self.routers = [self._join("honest").address for _ in range(ROUTERS)]
        self._victims = [self.chance.address() for _ in range(VICTIMS)]
        self.net.victims = {victim: [0, 0] for victim in self._victims}

    def _join(self, kind: str) -> Member:
        address = self.chance.address()
        bootstrap = [] if len(self.net.members) < ROUTERS else [self.chance.choice(self.routers) for _ in range(3)]
        if self.net.members and not bootstrap:
            bootstrap = list(self.net.members)
        manners = Liar(self.chance, self._victims) if kind == "hostile" else None
        member = self.net.add(address, kind, manners, bootstrap=bootstrap)
        if kind == "silent":
            member.deaf_from = self.net.now + DEAF_AFTER
        return member

    def _kind(self) -> str:
        drawn = self.chance.fraction()
        if drawn < self.plan.silent:
            return "silent"
        return "hostile" if drawn < self.plan.silent + self.plan.hostile else "honest"

    def grow(self) -> None:
        """Let all come, one after the other, and settle."""
        plan = self.plan
        missing = plan.nodes - ROUTERS
        for number in range(missing):
            self.net.call(plan.growing * number / missing, lambda: self._join(self._kind()))
        self.net.run(plan.growing + plan.settling)

    def churn(self, seconds: float) -> None:
        """Plan that nodes are replaced by others of their kind, for so long."""
        count = int(self.plan.nodes * self.plan.replaced * seconds / HOUR)
        for number in range(count):
            self.net.call(seconds * number / count, self._replace)

    def _replace(self) -> None:
        member = self.net.anybody()
        while member.address in self.routers or member.kind == "attacker":
            member = self.net.anybody()
        self.net.remove(member)
        self._join(member.kind)

    def honest(self, other: Member | None = None) -> Member:
        """Draw an honest node that did not come just now."""
        while True:
            member = self.net.anybody()
            if member.kind == "honest" and member is not other and self.net.now - member.joined >= GROWN_UP:
                return member

    def start(self, member: Member, number: int, then: Callable[[Finished | None], None]) -> None:
        member.watched[number] = then
        self.net.look_after(member)

    # Peers.

    def plan_lookups(self, seconds: float) -> None:
        """Plan that peers announce themselves, and that each is looked for by another one up to half an hour later."""
        for _ in range(self.plan.lookups):
            after = self._while(seconds)
            self.net.call(self.chance.fraction() * (seconds - after), partial(self._announce, after))

    def _while(self, seconds: float) -> float:
        """Draw how long it takes until somebody looks for what was announced or put."""
        return 10.0 + self.chance.fraction() * (min(HOUR, seconds) / 2 - 10.0)

    def _announce(self, after: float) -> None:
        member, info_hash = self.honest(), self.chance.token_bytes(20)
        self._announce_by(member, info_hash)
        self.net.call(after, lambda: self._look_for(member, info_hash))

    def _announce_by(self, member: Member, info_hash: bytes) -> None:
        if self.net.members.get(member.address) is not member:
            return
        number = member.node.announce(info_hash, 4000, now=self.net.now)
        self.start(member, number, lambda outcome: self.announced.append(outcome.stored) if outcome else None)
        self.net.call(ANNOUNCED_AGAIN, lambda: self._announce_by(member, info_hash))

    def _look_for(self, announcer: Member, info_hash: bytes) -> None:
        if self.net.members.get(announcer.address) is not announcer:
            return
        member = self.honest(announcer)
        began, wanted = self.net.now, announcer.address[:4] + (4000).to_bytes(2)
        number = member.node.find_peers(info_hash, now=began)
        lookup = member.node._operations[number].lookups[0]

        def glimpse() -> bool:
            if wanted in lookup._peers:
                self.peers.first.append(self.net.now - began)
                return True
            return lookup.is_done

        member.glimpses.append(glimpse)
        self.start(member, number, partial(self._found_peers, wanted, began))

    def _found_peers(self, wanted: bytes, began: float, outcome: Finished | None) -> None:
        if outcome is not None:
            self.peers.add(wanted in outcome.peers, self.net.now - began, outcome)

    # Items.

    def plan_items(self, seconds: float) -> None:
        """Plan that items are put, and that each is read by another one up to half an hour later."""
        for _ in range(self.plan.items):
            after = self._while(seconds)
            self.net.call(self.chance.fraction() * (seconds - after), partial(self._put_and_get, after))

    def _put_and_get(self, after: float) -> None:
        mutable = self.chance.fraction() < 0.5
        value = b"100:" + self.chance.token_bytes(100)
        item = self._item(self.chance.token_bytes(32), 1) if mutable else Item(value=value)
        self.put(item)
        self.net.call(after, lambda: self.read(item, self.items))

    def _item(self, seed: bytes, sequence: int) -> Item:
        return sign_item(self.chance.token_bytes(100), seed=seed, sequence=sequence)

    def put(self, item: Item) -> None:
        member = self.honest()
        number = member.node.put(item, now=self.net.now)
        self.start(member, number, lambda outcome: self.puts.append(outcome.stored) if outcome else None)

    def read(self, item: Item, tally: Tally) -> None:
        member, began = self.honest(), self.net.now

        def ended(outcome: Finished | None) -> None:
            if outcome is not None:
                tally.add(outcome.item == item, self.net.now - began, outcome)

        self.start(member, member.node.get(item.target, now=began), ended)

    # Attacks.

    def attack(self) -> None:
        """Let attackers come who are after some keys, and others read what is put there before and meanwhile."""
        seeds = [self.chance.token_bytes(32) for _ in range(self.plan.attacks)]
        old = [self._item(seed, 1) for seed in seeds]
        for item in old:
            self.put(item)
        self.churn(PUT + self.plan.established + PUT + self.plan.attacked)
        self.net.run(PUT)
        for number, item in enumerate(old):
            attack = Attack(item.target, number % 2 == 1, item, self.chance)
            for index in range(len(attack.addresses)):
                when = self.plan.established / 3 * index / len(attack.addresses)
                self.net.call(when, partial(self._attack, Attacker(attack, index)))
        self.net.run(self.plan.established)
        new = [self._item(seed, 2) for seed in seeds]
        for item in new:
            self.put(item)
        self.net.run(PUT)
        for item in new:
            for _ in range(self.plan.readers):
                self.net.call(self.chance.fraction() * self.plan.attacked, partial(self.read, item, self.attacked))
        self.net.run(self.plan.attacked + PATIENCE)

    def _attack(self, attacker: Attacker) -> None:
        bootstrap = [self.chance.choice(self.routers) for _ in range(3)]
        self.net.add(attacker.address, "attacker", attacker, saved={"id": attacker.node_id}, bootstrap=bootstrap)

    def figures(self) -> dict[str, Any]:
        """Return what there is to tell."""
        nodes = [member.node for member in self.net.members.values() if member.kind == "honest"]
        victims = list(self.net.victims.values())
        return {
            "peers": self.peers.figures(),
            "items": self.items.figures(),
            "attacked": self.attacked.figures(),
            "announced": quantile(self.announced, 0.5),
            "put": quantile(self.puts, 0.5),
            "nodes_known": quantile([len(node.tables) for node in nodes], 0.5),
            "victim_datagrams": max(each[0] for each in victims),
            "victim_bytes": max(each[1] for each in victims),
            "datagrams": self.net.sent,
            "events": self.net.events,
            "simulated_seconds": self.net.now,
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "cpu_seconds": round(time.process_time()),
        }


def run(plan: Plan, tell: Callable[[str], None] = lambda words: None) -> Swarm:
    """Simulate what is planned.

    Args:
        plan: What.
        tell: Is told how far it is.
    """
    # There is little that refers to itself, and much to look through.
    gc.disable()
    swarm = Swarm(plan)
    swarm.grow()
    tell(f"grown to {len(swarm.net.members)}: {json.dumps(swarm.figures())}")
    swarm.churn(plan.measured)
    swarm.plan_lookups(plan.measured)
    swarm.plan_items(plan.measured)
    swarm.net.run(plan.measured + PATIENCE)
    tell(f"measured: {json.dumps(swarm.figures())}")
    if plan.attacks:
        swarm.attack()
        tell(f"attacked: {json.dumps(swarm.figures())}")
    gc.enable()
    return swarm


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, metavar="N", help=f"(default: {value})")
    plan = Plan(**vars(parser.parse_args(argv)))
    swarm = run(plan, lambda words: print(words, file=sys.stderr, flush=True))  # noqa: T201
    print(json.dumps({"tree": tree(), "plan": asdict(plan), **swarm.figures()}, indent=2))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
