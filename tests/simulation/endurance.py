"""Whole sessions on networks that get ever worse: every byte once and in order, or an end on both sides.

    python -m tests.simulation.endurance --cpu 3600
    python -m tests.simulation.endurance --first 4711 --count 1

A run is what its seed says: two clients and a relay, behind routers of any kind, over links that lose, hold back,
repeat and squeeze packets. Paths are moved by hand, cut, and left for others; hosts roam, routers and relays restart,
clients die and come back under the same identity. Both sides talk all the time: messages, requests, streams, datagrams.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.simulation.conftest import run_scenario, until
from tests.simulation.talking import PORT, RELAY, Record, Side

from librats.errors import RatsError
from librats.relay.config import RelayConfig
from librats.testing import BurstLoss, SimNetwork, SimRelay, SimRouter
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

KINDS = ("open", "firewall", "full_cone", "port_restricted", "symmetric", "openwrt", "udp_blocked", "cgnat_sym")
PATIENCE = 300.0
"""Virtual seconds after which everything has to have come, once the network works again."""


class Run(Record):
    """What happens under one seed."""

    def __init__(self, net: SimNetwork, seed: int, counts: Counter[str]) -> None:
        super().__init__(net, seed, counts)
        self._relay_host = net.host("relay", addresses=[RELAY])
        self._relay: SimRelay | None = None
        self._routers: list[SimRouter] = []
        far = self.new_router("full_cone") if self.chance.random() < 0.4 else None
        near = self.new_router() if self.chance.random() < 0.7 else None
        self.b = Side(self, "b", net.host("b", behind=far), far)
        self.a = Side(self, "a", net.host("a", behind=near), near)
        for transport in ("tcp", "udp") if far is not None else ():
            far.forward(PORT, self.b.host, transport=transport)  # type: ignore[union-attr]

    def new_router(self, kind: str = "") -> SimRouter:
        router = self.net.router(f"router{self.number()}", kind or self.chance.choice(KINDS))
        self._routers.append(router)
        return router

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.a, self.b

    # What happens to it

    def worsen(self) -> None:
        """Let the packets of one of the two fare otherwise, better perhaps."""
        chance = self.chance
        conditions: dict[str, Any] = {
            "delay": chance.choice((0.0, 0.005, 0.05, 0.15)),
            "jitter": chance.choice((0.0, 0.0, 0.01, 0.05)),
            "loss": chance.choice((0.0, 0.0, 0.01, 0.05, 0.2)),
            "reordering": chance.choice((0.0, 0.05, 0.2)),
            "duplication": chance.choice((0.0, 0.05, 0.2)),
            "burst": chance.choice((None, None, BurstLoss(enter=0.005, leave=0.2))),
            "bandwidth": chance.choice((None, None, 100_000.0, 1e6)),
            "queue": chance.choice((None, 30_000)),
            "mtu": chance.choice((1500, 1500, 1400, 1280)),
        }
        chance.choice(self.sides).host.interfaces["eth0"].set_access(
            one_way=chance.choice(("", "up", "down")), **conditions
        )

    def cut(self) -> None:
        one, other = self.chance.choice(
            ((self.a.host, self.b.host), (self.a.host, self._relay_host), (self._relay_host, self.b.host))
        )
        self.net.cut(one, other, one_way=self.chance.random() < 0.3)

    def mend(self) -> None:
        self.net.heal()

    async def move(self) -> None:
        """Move the session by hand, from either side, or from both at once."""
        methods = ("tcp", "udp", "relay")
        sides = self.sides if self.chance.random() < 0.2 else (self.chance.choice(self.sides),)
        wanted = [(side, self.chance.choice(methods)) for side in sides]

        async def one(side: Side, method: str) -> None:
            talk, client = side.talk, side.client
            if talk is None or client is None:
                return
            try:
                await client.paths.move(talk.peer, method=method)
            except RatsError:
                return
            self.counts["moves by hand"] += 1

        await asyncio.gather(*(side.host.run(one(side, method)) for side, method in wanted))

    async def change_policy(self) -> None:
        side = self.chance.choice(self.sides)
        policy = self.chance.choice(("auto", "direct_only", "relay_only"))
        for wanted in (policy, "auto"):
            if side.client is not None:
                try:
                    await side.host.run(side.client.paths.set_policy(wanted))
                except RatsError:
                    self.counts["policies refused"] += 1
                await asyncio.sleep(self.chance.uniform(0, 3))

    def roam(self) -> None:
        """Take the first one to another network."""
        router = self.new_router() if self.chance.random() < 0.7 else None
        self.a.router = router
        self.a.host.interfaces["eth0"].move(router)
        self.counts["roamings"] += 1

    def readdress(self) -> None:
        if self.b.router is None:
            self.b.host.interfaces["eth0"].readdress()

    def restart_router(self) -> None:
        for side in self.sides:
            if side.router is not None:
                side.router.restart()

    async def restart_relay(self) -> None:
        if self.chance.random() < 0.5:
            self._relay_host.down()
            await asyncio.sleep(self.chance.uniform(0, 15))
            self._relay_host.up()
        elif self._relay is not None:
            await self._relay.close()
            await self._start_relay()

    async def restart(self) -> None:
        self.counts["restarts"] += 1
        await self.chance.choice(self.sides).die(self.chance.choice((0.0, 1.0, 10.0)))

    async def _start_relay(self) -> None:
        allowed = (parse_network("10.0.0.0/8"),)
        with self._relay_host:
            self._relay = SimRelay(RelayConfig(users={"ann": "secret"}, allow_peers=allowed))
            await self._relay.start()

    # From the beginning to the end

    async def _keep_connected(self) -> None:
        while True:
            client = self.a.client
            if client is not None and self.a.talk is None:
                there = self.b.host.addresses[0] if self.b.router is None else self.b.router.address
                try:
                    await self.a.host.run(client.connect(Address(there, PORT), timeout=8))
                except RatsError:
                    self.counts["dials failed"] += 1
            await asyncio.sleep(1)

    async def go(self) -> None:
        chance = self.chance
        await self._start_relay()
        for side in self.sides:
            await side.start()
        for _ in range(2):
            self.worsen()
        keeping = asyncio.create_task(self._keep_connected())
        usual: list[Callable[[], Awaitable[None] | None]] = [
            *(self.move,) * 8,
            *(self.worsen,) * 4,
            *(self.cut,) * 3,
            *(self.mend,) * 5,
            *(self.roam,) * 2,
            self.readdress,
            self.restart_router,
            self.restart_relay,
            self.restart,
            self.change_policy,
        ]
        until = self.net.time + chance.uniform(10, 120)
        while self.net.time < until and not self.problems:
            await asyncio.sleep(chance.choice((0.0, 0.1, 1.0, 5.0, 15.0)) * chance.random())
            next_one = chance.choice(usual)
            self.note(next_one.__name__)
            done = next_one()
            if done is not None:
                await done
        await self._check()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        for side in self.sides:
            await side.stop()
        if self._relay is not None:
            await self._relay.close()
        self.counts["virtual seconds"] += round(self.net.time)
        assert not self.problems, "\n".join(self.problems)

    async def _check(self) -> None:
        """Let the network work again: one session is up then, and all that was said in it has come."""
        self.net.heal()
        for side in self.sides:
            side.host.up()
            side.host.interfaces["eth0"].set_access()
        if self.a.router is not None and not self.a.router.behavior.udp:
            self.a.router = None  # there two that have nothing but UDP would never meet again
            self.a.host.interfaces["eth0"].move()
        try:
            await until(lambda: self.problems or self._is_settled(), within=PATIENCE)
        except TimeoutError:
            self.complain(f"neither everything nor an end: {self.a.talks[-3:]} {self.b.talks[-3:]}")

    def _is_settled(self) -> bool:
        mine, theirs = self.a.talk, self.b.talk
        if mine is None or theirs is None or mine.other != theirs.name or theirs.other != mine.name:
            return False
        return mine.heard == theirs.sent and theirs.heard == mine.sent


def run_seed(seed: int, counts: Counter[str] | None = None) -> None:
    """Run one seed, and fail where bytes are lost, repeated or out of order, or anything is left behind."""
    counted = Counter[str]() if counts is None else counts

    async def scenario(net: SimNetwork) -> None:
        await Run(net, seed, counted).go()

    run_scenario(scenario, seed)


def seeds(first: int, count: int | None) -> Iterator[int]:
    number = first
    while count is None or number < first + count:
        yield number
        number += 1


def endure(first: int, *, count: int | None = None, cpu: float = float("inf"), minutes: float = float("inf")) -> int:
    """Run one seed after the other until the time is over, tell how it goes, and return how many have failed."""
    counts: Counter[str] = Counter()
    failed: list[int] = []
    told = 0.0
    done = 0
    for seed in seeds(first, count):
        spent = time.process_time()
        if spent >= cpu or counts["virtual seconds"] >= 60 * minutes:
            break
        if spent - told >= 20:
            told = spent
            print(f"{spent:.0f} s of CPU, seed {seed}, {len(failed)} failed: {dict(counts)}", flush=True)  # noqa: T201
        try:
            run_seed(seed, counts)
        except Exception:
            failed.append(seed)
            print(f"seed {seed} has failed:\n{traceback.format_exc()}", flush=True)  # noqa: T201
        done += 1
    spent = time.process_time()
    print(f"{done} seeds from {first} on, {spent:.0f} s of CPU: {dict(counts)}\nfailed: {failed}", flush=True)  # noqa: T201
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument("--count", type=int, metavar="N", help="seeds to run (default: as many as there is time for)")
    parser.add_argument("--cpu", type=float, default=3600, metavar="S", help="seconds of CPU to spend (default: 3600)")
    parser.add_argument("--tell", action="store_true", help="tell what happens, and what librats logs")
    parser.add_argument("--minutes", type=float, default=1e6, metavar="N", help="virtual minutes (default: a million)")
    args = parser.parse_args()
    if args.tell:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
    return 1 if endure(args.first, count=args.count, cpu=args.cpu, minutes=args.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
