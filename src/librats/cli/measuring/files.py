"""The ends for files: one shares a file or many small ones, and one fetches them, or asks for each by itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from librats import Peer
from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.memory import peak_mib, resident_kib
from librats.cli.measuring.processes import Both, MeasuringFailed, end_command, run_both

__all__ = ["MIB", "run_files"]

MIB = 1 << 20
SMALL = 1000
"""Bytes of a small file."""


def run_files(way: str, *, mebibytes: int = 0, files: int = 0, folder: str | None = None) -> Both:
    """Move files between two processes.

    Args:
        way: ``"fetch"``, or ``"requests"`` for one request a file.
        mebibytes: Length of one large file.
        files: How many small ones.
        folder: Where the files are, for a while; the system's temporary folder where it is None.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="librats-bench-") as home:
        options = {"home": home, "mebibytes": mebibytes, "files": files, "way": way}
        # The sender of a measurement is the end that knows when all is there: here the one that fetches.
        ends = [end_command(f"{__name__}:files_{side}", options) for side in ("giver", "taker")]
        return run_both(*ends)


def _make(home: Path, mebibytes: int, files: int) -> Path:
    tree = home / "given"
    tree.mkdir()
    if mebibytes:
        block = os.urandom(MIB)
        with (tree / "large").open("wb") as file:
            for number in range(mebibytes):
                file.write(number.to_bytes(8) + block[8:])
    for number in range(files):
        (tree / f"{number:06}").write_bytes(number.to_bytes(8) + bytes(SMALL - 8))
    if hasattr(os, "sync"):
        os.sync()  # it has been there for long: nobody who saves his own waits until that is on the disk, too
    return tree


async def files_giver(end: End) -> None:
    """Share a tree."""
    home = Path(end.options["home"])
    tree = await asyncio.to_thread(_make, home, end.number("mebibytes"), end.number("files"))
    gone = asyncio.Event()
    async with client_of(**end.way) as client:
        shared = await client.files.share(tree)
        by_request = end.options["way"] == "requests"
        names = [entry.path[-1] for entry in shared.source.manifest.files] if by_request else []

        @client.on("what")
        def what(peer: Peer, data: object) -> object:
            end.start()
            return {"content_id": shared.content_id, "names": names}

        @client.on("one")
        def one(peer: Peer, data: str) -> str:
            return (tree / data).read_text("latin-1")

        client.on_disconnect(lambda peer, reason: gone.set())
        end.announce(client.listen_port)
        await gone.wait()
        end.finish()
        end.told["peak_mib"] = peak_mib()


async def files_taker(end: End) -> None:
    """Fetch it."""
    target = Path(end.options["home"]) / "taken"
    async with client_of(**end.way) as client:
        peer = await client.connect((LOOPBACK, end.port))
        if end.options["way"] == "requests":
            target.mkdir()
            what = await peer.request("what")
            end.start()
            for name in what["names"]:
                (target / name).write_text(await peer.request("one", name), "latin-1")
        else:
            client.files  # noqa: B018 - loads it
            what = await peer.request("what")
            before = (resident_kib() or 0.0) / 1024
            end.start()
            transfer = await client.files.fetch(peer, what["content_id"], target)
            result = await transfer.wait()
            if result.bytes != end.number("mebibytes") * MIB + end.number("files") * SMALL:
                raise MeasuringFailed(f"{result.bytes} bytes came")
            end.told["before_mib"] = before
        end.finish()
        end.told["peak_mib"] = peak_mib()
