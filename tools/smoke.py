"""Does an installed librats work: two nodes exchange a message and a request over loopback."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from librats import Peer, RatsClient

TIMEOUT = 20.0


async def exchange(folder: Path) -> None:
    """Connect two nodes and check that what one sends arrives at the other."""
    arrived: asyncio.Queue[object] = asyncio.Queue()
    async with (
        RatsClient(0, data_dir=folder / "first") as first,
        RatsClient(0, data_dir=folder / "second") as second,
    ):

        @second.on("hello")
        async def hello(_peer: Peer, data: object) -> None:
            await arrived.put(data)

        @second.on("double")
        async def double(_peer: Peer, data: int) -> int:
            return 2 * data

        peer = await first.connect(f"127.0.0.1:{second.listen_port}", expect_id=second.peer_id)
        await peer.send("hello", {"text": "hi"})
        received = await arrived.get()
        if received != {"text": "hi"}:
            raise RuntimeError(f"sent a message, {received!r} arrived")
        reply = await peer.request("double", 21)
        if reply != 42:  # noqa: PLR2004
            raise RuntimeError(f"asked for 42, got {reply!r}")


async def main() -> int:
    """Run the exchange in folders that are removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        async with asyncio.timeout(TIMEOUT):
            await exchange(Path(folder))
    print("two nodes exchanged a message and a request")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
