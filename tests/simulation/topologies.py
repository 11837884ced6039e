"""Networks drawn by chance, and two clients that are to meet in each: they do, or the reason is the right one.

    python -m tests.simulation.topologies --seeds 10000 --append topologies.jsonl     goes on where it was interrupted
    python -m tests.simulation.topologies --seeds 4711..4712 --tell

A network is what its seed says: routers of any kind, several in a row, shared or not, with hairpin or without; hosts
with further interfaces, VPNs that lead nowhere among them, or that appear while somebody connects; STUN servers that
are dead or far away; links that lose, delay and reorder; an introducer that relays, or does not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.simulation.conftest import run_scenario, start_client, until
from tests.simulation.kept import Kept, seeds_named

from librats import Address, AttemptReason, ConnectError, Identity, NatTraversalConfig, RatsClient
from librats.relay.config import RelayConfig
from librats.testing import RouterBehavior, SimHost, SimNetwork, SimRelay, SimRouter
from librats.testing.behaviors import ROUTER_TYPES
from librats.types import MappingBehavior

IDENTITY = Identity(bytes(range(32)))
RELAY, SECOND, DEAD = "203.0.113.10", "198.51.100.10", "198.51.100.99"
IPV4 = "0.0.0.0"  # noqa: S104 - of simulated hosts
KINDS = tuple(kind for kind in ROUTER_TYPES if kind not in ("v6_only", "tcp443_only"))

PATIENCE = 60.0
"""Virtual seconds that a client has to reach the other one."""

USUAL = {
    AttemptReason.NAT_INCOMPATIBLE,
    AttemptReason.NO_PATH,
}
"""What stands in the way of two of whom both are there, and introduced."""


class Outcome(NamedTuple):
    """What has come of one network."""

    seed: int
    code: str
    """``"connected"``, or the reason why not."""
    method: str
    seconds: float
    words: str
    problem: str
    """What is wrong with that; empty where nothing is."""


@dataclass
class Side:
    """One of the two, and what it is behind, from the inside outwards."""

    host: SimHost
    routers: list[SimRouter]
    loss: float = 0.0

    @property
    def behaviors(self) -> list[RouterBehavior]:
        return [router.behavior for router in self.routers]

    @property
    def is_cone(self) -> bool:
        """Whether ICE alone is enough towards every other one of which that can be said."""
        return all(
            one.udp and one.mapping is MappingBehavior.ENDPOINT_INDEPENDENT and one.unsolicited != "own"
            for one in self.behaviors
        )


class Topology:
    """The network of one seed."""

    def __init__(self, net: SimNetwork, seed: int) -> None:
        self.net = net
        self.chance = random.Random(f"topology {seed}")  # noqa: S311 - no secret
        self.relays = self.chance.random() < 0.4
        self.has_second = self.chance.random() < 0.7
        self.harm = 0
        """How much there is that may take a good way for a bad one."""
        self._number = 0
        self.relay_host = net.host("relay", addresses=[RELAY, SECOND])
        self.carrier = self._router() if self.chance.random() < 0.2 else None
        self.home = self._router(self.carrier) if self.chance.random() < 0.1 else None
        self.sides = [self._side(name) for name in ("left", "right")]

    def _router(self, behind: SimRouter | None = None) -> SimRouter:
        chance = self.chance
        self._number += 1
        kind: str | RouterBehavior = chance.choice(KINDS)
        behaviors = ROUTER_TYPES[str(kind)]
        if len(behaviors) == 1 and chance.random() < 0.3:
            kind = replace(
                behaviors[0],
                hairpin=chance.random() < 0.5,
                udp_timeout=chance.choice((30.0, 120.0)),
                ports=chance.choice(("preserving", "sequential", "random")),
            )
        return self.net.router(f"router{self._number}", kind, behind=behind)

    def _side(self, name: str) -> Side:
        chance = self.chance
        inner = self.home if self.home is not None else self.carrier
        if self.home is None and chance.random() < 0.8:
            inner = self._router(self.carrier)
        public = [f"198.51.100.{21 + len(name)}"]
        host = self.net.host(name, behind=inner, addresses=public if inner is None else None)
        routers = []
        router = inner
        while router is not None:
            routers.append(router)
            router = router.outer
        loss = chance.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.15))
        host.interfaces["eth0"].set_access(
            delay=chance.choice((0.0, 0.002, 0.03, 0.1)),
            jitter=chance.choice((0.0, 0.0, 0.02)),
            reordering=chance.choice((0.0, 0.1)),
            loss=loss,
        )
        if chance.random() < 0.3:
            self._further(host, "vpn0")
        return Side(host, routers, loss)

    def _further(self, host: SimHost, name: str) -> None:
        """Give a host one more interface, which may lead nowhere."""
        # Where there is a relay the address may be that of the other one, too.
        self._number += 1
        addresses = () if self.relays else (f"192.168.1.{100 + self._number}",)
        interface = host.add_interface(name, behind=self._router(), addresses=addresses)
        interface.set_access(loss=self.chance.choice((0.0, 1.0)), delay=self.chance.choice((0.0, 0.2)))
        self.harm += 1

    async def serve(self) -> SimRelay:
        config = RelayConfig(
            listen=(Address(RELAY, 3478),),
            alternate=Address(SECOND, 3479) if self.has_second else None,
            relay_for_introduced=self.relays,
            users={} if self.relays else {"ann": "secret"},
        )
        with self.relay_host:
            relay = SimRelay(config, IDENTITY)
            await relay.start()
        return relay

    async def client(self, side: Side) -> RatsClient:
        stun = (f"{DEAD}:3478",) if self.chance.random() < 0.2 else ()
        nat = NatTraversalConfig(
            stun_servers=stun, introducers=(f"{IDENTITY.peer_id}@{RELAY}:3478",), enable_port_mapping=False
        )
        return await start_client(side.host, nat=nat, listen_host=IPV4, protocol_name="topology")

    def surprise(self) -> None:
        """Let an interface appear while the two look for each other."""
        if self.chance.random() < 0.1:
            side = self.chance.choice(self.sides)
            delay = self.chance.uniform(0, 1)
            self.harm += 1
            asyncio.get_running_loop().call_later(delay, self._further, side.host, "late0")

    # What is to come of it

    @property
    def must_connect(self) -> str:
        """Why the two have to meet; empty where they need not."""
        left, right = self.sides
        if self.relays:
            return "there is a relay"
        if self.harm or self.carrier is not None or self.home is not None or left.loss + right.loss > 0.05:
            return ""
        if left.is_cone and right.is_cone:
            return "both have one public port for everybody"
        return ""

    def wrong(self, error: ConnectError) -> str:
        """Tell what is wrong with why the two have not met; empty where nothing is."""
        because = self.must_connect
        if because:
            return f"not connected, although {because}"
        if error.code in USUAL:
            return ""
        is_guess = self.carrier is not None or self.home is not None or not self.has_second
        if error.code is AttemptReason.NO_ANSWER and is_guess:
            return ""  # nobody can know that a router has no hairpin, or of what kind it is
        if not any(side.loss for side in self.sides) and not self.harm:
            return f"{error.code} is not the reason"
        return "" if error.code is not AttemptReason.TIMEOUT else "it took too long"


async def meet(net: SimNetwork, seed: int) -> Outcome:
    """Let two clients meet in the network of a seed."""
    topology = Topology(net, seed)
    loop = asyncio.get_running_loop()
    left = topology.sides[0]
    async with AsyncExitStack() as stack:
        relay = await topology.serve()
        stack.push_async_callback(relay.close)
        at_relay = relay.introducer
        assert at_relay is not None
        clients = []
        for side in topology.sides:
            clients.append(await topology.client(side))
            stack.push_async_callback(clients[-1].stop)
        caller, target = clients
        target.on("echo", lambda peer, data: data)
        # The last message of a handshake may yet be on its way, or be lost.
        await until(lambda: at_relay.statistics["sessions"] == len(clients) == 2, within=120)
        await until(lambda: caller.introducers and target.introducers, within=120)
        await asyncio.sleep(topology.chance.choice((0.0, 5.0)))
        topology.surprise()
        began = loop.time()
        try:
            peer = await left.host.run(caller.connect(target.peer_id, timeout=PATIENCE))
        except ConnectError as error:
            took = loop.time() - began
            return Outcome(seed, str(error.code), "", took, str(error), topology.wrong(error))
        took = loop.time() - began
        problem = ""
        try:
            if await peer.request("echo", seed, timeout=60) != seed:
                problem = "another answer"
            await asyncio.sleep(30)
            if await peer.request("echo", -seed, timeout=60) != -seed:
                problem = "another answer later"
        except Exception as error:
            problem = f"connected by {peer.method}, but {error!r}"
        return Outcome(seed, "connected", str(peer.method), took, "", problem)


def run_seed(seed: int) -> Outcome:
    """Run one seed; what goes wrong in another way than by not meeting is told as well."""
    try:
        return run_scenario(lambda net: meet(net, seed), seed)
    except Exception:
        return Outcome(seed, "failed", "", 0.0, "", traceback.format_exc())


def run_seeds(seeds: Iterable[int], jobs: int = 1, kept: Kept | None = None) -> list[Outcome]:
    """Run seeds but those that are kept, tell what is wrong, and return what has come of all.

    Args:
        seeds: Which.
        jobs: Processes at a time.
        kept: What is there already, and where the rest goes.
    """
    kept = Kept(None, {}) if kept is None else kept
    known = {piece["seed"]: Outcome(**piece) for piece in kept.pieces}
    wanted = list(seeds)
    missing = [seed for seed in wanted if seed not in known]

    def take(outcome: Outcome) -> None:
        known[outcome.seed] = outcome
        kept.add(outcome._asdict())
        if outcome.problem:
            print(f"seed {outcome.seed}: {outcome.code} {outcome.problem} {outcome.words}", flush=True)  # noqa: T201
        if len(known) % 200 == 0:
            print(len(known), dict(Counter(one.code for one in known.values())), flush=True)  # noqa: T201

    # What is there for good need not be looked at by the many collections.
    gc.collect()
    gc.freeze()
    if jobs == 1:
        for seed in missing:
            take(run_seed(seed))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            for outcome in pool.map(run_seed, missing, chunksize=8):
                take(outcome)
    gc.unfreeze()
    return [known[seed] for seed in wanted]


def tell(outcomes: list[Outcome]) -> None:
    """Print what has come of all, and how long it took."""
    groups: dict[str, list[float]] = {}
    for one in outcomes:
        groups.setdefault(f"{one.code} {one.method}".strip(), []).append(one.seconds)
    for name, times in sorted(groups.items(), key=lambda item: -len(item[1])):
        times.sort()
        middle, late = times[len(times) // 2], times[int(len(times) * 0.95)]
        print(f"{name:28} {len(times):6}  p50 {middle:6.2f} s  p95 {late:6.2f} s  most {times[-1]:6.2f} s")  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--seeds", type=seeds_named, default=range(1000), metavar="N|A..B", help="the first N, or from A to below B"
    )
    parser.add_argument("--append", type=Path, metavar="FILE", help="keep each there, and go on where it ends")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--tell", action="store_true", help="print what librats logs")
    args: Any = parser.parse_args(argv)
    if args.tell:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
    kept = Kept(args.append, {"patience": PATIENCE})
    outcomes = run_seeds(args.seeds, args.jobs, kept)
    tell(outcomes)
    wrong = [one.seed for one in outcomes if one.problem]
    print(f"{len(outcomes)} networks, {len(wrong)} wrong: {wrong}; of trees {dict(kept.trees)}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
