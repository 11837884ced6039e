"""How files go from a source to a destination, without any network: chunk after chunk.

As a program, it copies a path into a folder, and tells on standard output how many bytes it has copied, after each
chunk; at the end it says where that is, or the code of what went wrong.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from librats.errors import TransferError
from librats.services.disk.reading import Source
from librats.services.disk.writing import Destination
from librats.transfer.tree import LEAF_SIZE

__all__ = ["LEAVES", "copy", "copy_all", "copy_missing", "destination_for", "listed"]

LEAVES = 16
"""Leaves of a chunk: 1 MiB."""


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def destination_for(source: Source, folder: Path, **options: object) -> Destination:
    return await Destination.open(folder, source.raw, content_id=source.content_id, **options)  # type: ignore[arg-type]


async def copy_missing(source: Source, destination: Destination, *, most: int = 1 << 30) -> int:
    """Copy what is missing, at most so many chunks; return how many bytes that were."""
    copied = 0
    for number, verifier in enumerate(destination.verifiers):
        for first, count in verifier.missing(LEAVES):
            if most <= 0:
                return copied
            most -= 1
            size = min(count * LEAF_SIZE, source.manifest.files[number].size - first * LEAF_SIZE)
            data = await source.read(number, first * LEAF_SIZE, size)
            if verifier.take(first, data, source.trees[number].proof(first, count) if number in source.trees else b""):
                await destination.write(number, first, data)
                copied += size
    return copied


async def copy_all(source: Source, destination: Destination) -> Path:
    await copy_missing(source, destination)
    return await destination.finish()


async def copy(path: Path, folder: Path, **options: object) -> Path:
    """Copy a file or folder into a folder, and return what has come about."""
    source = await Source.open(path)
    try:
        destination = await destination_for(source, folder, **options)
        await asyncio.wait_for(copy_missing(source, destination), 60)
        return await destination.finish()
    finally:
        await source.close()


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def _tell(path: str, folder: str) -> None:
    source = await Source.open(path)
    try:
        destination = await destination_for(source, Path(folder))
        copied = 0
        _say("begun")
        while more := await copy_missing(source, destination, most=1):
            copied += more
            _say(copied)
        _say(await destination.finish())
    except TransferError as error:
        await destination.suspend()
        _say(error.code)


if __name__ == "__main__":
    asyncio.run(_tell(*sys.argv[1:]))
