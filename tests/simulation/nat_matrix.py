"""The matrix of NATs in the simulated network: unmodified clients and a relay, a cell as often as is wanted.

    python -m tests.simulation.nat_matrix --seeds 1000 --jobs 2
    python -m tests.simulation.nat_matrix --cells symmetric:port_restricted --mode direct --first 4711 --seeds 1
    python -m tests.simulation.nat_matrix --kernel matrix.json      compared with what `make nat-matrix` has kept

Times are virtual: what computing takes is not in them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.netns.matrix.cells import FURTHER, KINDS, Cell, cells_named, pairs
from tests.netns.matrix.results import Results, Summary, Try
from tests.netns.matrix.table import print_table
from tests.simulation.conftest import start_client, until

from librats import Address, ConnectError, ConnectionMethod, NatTraversalConfig, Peer, RatsClient
from librats.peers.identity import Identity
from librats.relay.config import RelayConfig
from librats.testing import SimHost, SimNetwork, SimRelay, SimRouter
from librats.turn.serving.quotas import QuotaLimits

__all__ = ["connects", "try_once"]

IDENTITY = Identity(bytes(range(32)))
RELAY, RELAY6, ALTERNATE = "203.0.113.10", "2001:db8:10::10", "198.51.100.10"
PORT, OTHER_PORT, WEB_PORT = 3478, 3479, 443
IPV4 = "0.0.0.0"  # noqa: S104 - of simulated hosts
KNOWN_AS = {"dual_stack": "port_restricted"}
"""Types of the kernel's laboratory that are others here, where routers have IPv6 and hosts need not use it."""

PATIENCE = 10_000.0


class Scene:
    """Two hosts and a relay, as the kernel's laboratory has them.

    Args:
        net: The network, in which the two are twice as far from each other as from the relay.
        cell: What they are behind.
        mode: ``"relay"`` where that relays for everybody, ``"direct"`` where it does not, and ``"carried"`` where it
            also carries the beginnings of sessions.
    """

    def __init__(self, net: SimNetwork, cell: Cell, mode: str, *, delay: float, loss: float) -> None:
        self._cell, self._mode = cell, mode
        self.relay_host = net.host("relay", addresses=[RELAY, RELAY6, ALTERNATE])
        carrier = net.router("carrier", cell.shared) if cell.shared else None
        sides = []
        for name, kind in (("left", cell.left), ("right", cell.right)):
            router = carrier
            if kind != "none":
                router = net.router(f"{name} router", KNOWN_AS.get(kind, kind), behind=carrier)
            sides.append(net.host(name, behind=router))
            last = _outermost(router)
            if last is not None:
                net.set_link(last, self.relay_host, delay=delay, loss=loss)
        self.left, self.right = sides

    async def serve(self) -> SimRelay:
        is_granted = self._mode != "direct"
        with self.relay_host:
            relay = SimRelay(
                RelayConfig(
                    listen=(Address(RELAY, PORT), Address(RELAY, WEB_PORT), Address(RELAY6, PORT)),
                    alternate=Address(ALTERNATE, OTHER_PORT),
                    relay_for_introduced=is_granted,
                    users={"ann": "secret"},
                    carry=self._mode == "carried",
                    quotas=QuotaLimits(introduced_allocations=100),
                ),
                IDENTITY,
            )
            await relay.start()
        return relay

    async def client(self, host: SimHost, kind: str) -> RatsClient:
        where = Address(RELAY6 if kind == "v6_only" else RELAY, WEB_PORT if kind == "tcp443_only" else PORT)
        nat = NatTraversalConfig(
            stun_servers=(), introducers=(f"{IDENTITY.peer_id}@{where}",), enable_port_mapping=False
        )
        both = kind in ("v6_only", "dual_stack")
        return await start_client(host, nat=nat, listen_host="" if both else IPV4, protocol_name="chat")

    async def run(self, *, timeout: float) -> Try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback((await self.serve()).close)
            node = await self.client(self.right, self._cell.right)
            stack.push_async_callback(node.stop)
            node.on("echo", lambda peer, data: data)
            await until(lambda: node.introducers, within=60)
            await asyncio.sleep(1)
            client = await self.client(self.left, self._cell.left)
            stack.push_async_callback(client.stop)
            with self.left:
                return await _try(client, node.peer_id, timeout)


def _outermost(router: SimRouter | None) -> SimRouter | None:
    while router is not None and router.outer is not None:
        router = router.outer
    return router


async def _try(client: RatsClient, peer_id: str, timeout: float) -> Try:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        peer = await client.connect(peer_id, timeout=timeout)
    except ConnectError as error:
        return Try(ok=False, seconds=loop.time() - began, error=str(error))
    seconds = loop.time() - began
    way = way_of(peer)
    assert await peer.request("echo", "hello") == "hello"
    reply = loop.time() - began - seconds
    won = next((each for each in peer.attempts if not each.error), None)
    introduced, technique = (0.0, "") if won is None else (won.duration, won.technique)
    if technique and way != "relay":
        way = technique
    return Try(ok=True, seconds=seconds, introduced=introduced, reply=reply, way=way)


def way_of(peer: Peer) -> str:
    if peer.method is ConnectionMethod.CARRIED:
        return str(peer.method)
    is_relayed = peer.address.host in (RELAY, RELAY6) or peer.link.local_address.host in (RELAY, RELAY6)
    return "relay" if is_relayed else str(peer.method)


def try_once(
    cell: Cell, seed: int, *, mode: str = "relay", delay: float = 0.02, loss: float = 0.0, timeout: float = 30.0
) -> Try:
    """Connect once, in a network of its own."""
    both = 1 - (1 - loss) ** 2
    with SimNetwork(seed, delay=2 * delay, loss=both) as net:
        scene = Scene(net, cell, mode, delay=delay, loss=loss)
        return net.run(scene.run(timeout=timeout), timeout=PATIENCE)


def connects(cells: Iterable[Cell], seeds: Sequence[int], **options: Any) -> dict[str, list[Try]]:
    """Return the tries of each cell, one for each seed."""
    return {cell.name: [try_once(cell, seed, **options) for seed in seeds] for cell in cells}


def _all_tries(cell: Cell, seeds: range, **options: Any) -> tuple[str, list[Try]]:
    return cell.name, [try_once(cell, seed, **options) for seed in seeds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", metavar="LEFT:RIGHT,...", help='these alone; "further" are those beside the matrix')
    parser.add_argument("--types", metavar="A,B,...", help="each of these with each")
    parser.add_argument("--mode", choices=["relay", "direct", "carried"], default="relay")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="how many for each cell (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="say where it differs from what is kept there")
    args = parser.parse_args()
    cells = cells_named(args.cells.split(",")) if args.cells else []
    cells += pairs(args.types.split(",")) if args.types else []
    cells = cells or [*pairs(KINDS), *FURTHER]
    seeds = range(args.first, args.first + args.seeds)
    results = Results({"loss": args.loss / 100, "delay": 0.02})
    measure = partial(_all_tries, seeds=seeds, mode=args.mode, loss=args.loss / 100)
    with ProcessPoolExecutor(args.jobs) as processes:
        for done, (name, tries) in enumerate(processes.map(measure, cells), start=1):
            results.of(args.mode, name).extend(tries)
            found = Summary.of(tries)
            sys.stderr.write(f"{done}/{len(cells)} {name}: {found.connected} of {found.tries}, {found.ways}\n")
    print_table(results, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
