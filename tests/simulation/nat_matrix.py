"""The matrix of NATs in the simulated network: unmodified clients and a relay, a cell as often as is wanted.

    python -m tests.simulation.nat_matrix --seeds 1000 --append simulated.jsonl --jobs 2    goes on where it was ended
    python -m tests.simulation.nat_matrix --cells symmetric:port_restricted --mode direct --seeds 4711..4712
    python -m tests.simulation.nat_matrix --seeds 0 --append simulated.jsonl --kernel matrix.json

The last one compares what is there with what `make nat-matrix ARGS='--json matrix.json'` has kept. Times are virtual:
what computing takes is not in them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from tests.netns.matrix.cells import FURTHER, KINDS, Cell, cells_named, pairs
from tests.netns.matrix.compared import joined, print_comparison, write_comparison
from tests.netns.matrix.results import Results, Summary, Try
from tests.netns.matrix.scene import CARRIED, MODES
from tests.netns.matrix.table import print_table
from tests.simulation.conftest import start_client, until
from tests.simulation.kept import Kept, seeds_named

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
AT_ONCE = 20
"""Seeds of a cell that are run, and kept, together."""

GIVEN_UP = 2


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
    introduced, technique = (0.0, "") if won is None else (won.duration, str(won.technique or ""))
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


Piece = tuple[str, Cell, list[int]]
"""Seeds of a cell in a mode."""


def missing_pieces(cells: Sequence[Cell], modes: Sequence[str], seeds: range, kept: Kept) -> Iterator[Piece]:
    """Yield what is not there yet, some of each cell before more of any, so that all have as many whenever it ends."""
    there: dict[tuple[str, str], set[int]] = {}
    for piece in kept.pieces:
        there.setdefault((piece["mode"], piece["cell"]), set()).update(piece["seeds"])
    for first in range(0, len(seeds), AT_ONCE):
        for mode in modes:
            for cell in cells:
                known = there.get((mode, cell.name), set())
                left = [seed for seed in seeds[first : first + AT_ONCE] if seed not in known]
                if left:
                    yield mode, cell, left


def measure(piece: Piece, *, loss: float) -> dict[str, Any]:
    """Return what has come of some seeds, as it is kept."""
    mode, cell, seeds = piece
    tries = [astuple(try_once(cell, seed, mode=mode, loss=loss)) for seed in seeds]
    return {"mode": mode, "cell": cell.name, "seeds": seeds, "tries": tries}


def results_of(kept: Kept, settings: dict[str, Any]) -> Results:
    """Return the tries of all seeds that are there."""
    results = Results(settings)
    for piece in kept.pieces:
        results.of(piece["mode"], piece["cell"]).extend(Try(*each) for each in piece["tries"])
    return results


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", metavar="LEFT:RIGHT,...", help='these alone; "further", "chance" and "all" are some')
    parser.add_argument("--types", metavar="A,B,...", help="each of these with each")
    parser.add_argument("--mode", choices=[*MODES, "both", CARRIED], default="both", help="relaying granted or not")
    parser.add_argument(
        "--seeds", type=seeds_named, default=range(10), metavar="N|A..B", help="the first N, or from A to below B"
    )
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="of each access link, each way")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--append", type=Path, metavar="FILE", help="keep every try there, and go on where it ends")
    parser.add_argument(
        "--kernel",
        type=Path,
        metavar="FILE",
        nargs="+",
        default=[],
        help="say where it differs from what is kept there",
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the comparison into that page")
    return parser


def main() -> int:
    args = options().parse_args()
    cells = cells_named(args.cells.split(",")) if args.cells else []
    cells += pairs(args.types.split(",")) if args.types else []
    cells = cells or [*pairs(KINDS), *FURTHER]
    modes = MODES if args.mode == "both" else (args.mode,)
    settings = {"delay": 0.02, "loss": args.loss / 100}
    try:
        kept = Kept(args.append, settings)
        real = joined([Results.read(path) for path in args.kernel])
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return GIVEN_UP
    work = list(missing_pieces(cells, modes, args.seeds, kept))
    gc.collect()
    gc.freeze()  # what is there for good need not be looked at again
    with ProcessPoolExecutor(args.jobs) as processes:
        for done, piece in enumerate(processes.map(partial(measure, loss=args.loss / 100), work), start=1):
            kept.add(piece)
            found = Summary.of([Try(*each) for each in piece["tries"]])
            words = f"{piece['mode']} {piece['cell']}: {found.connected} of {found.tries}, {found.ways}"
            sys.stderr.write(f"{done}/{len(work)} {words}\n")
    results = results_of(kept, settings)
    print_table(results, sys.stdout)
    if args.kernel:
        print_comparison(real, results, sys.stdout)
    if args.page:
        write_comparison(real, results, args.page)
    print(f"Pieces of each tree: {dict(kept.trees)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
