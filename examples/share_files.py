"""Share the files of a folder, and fetch them from whoever shares some, from several at once where they have the same.

python examples/share_files.py share FOLDER                              # prints what to give to others
python examples/share_files.py list PEER-ID@HOST:PORT...                 # in another terminal
python examples/share_files.py get NAME FOLDER PEER-ID@HOST:PORT...
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from librats import Identity, Peer, RatsClient, RatsError

Text = Annotated[str, msgspec.Meta(max_length=255)]


class Entry(msgspec.Struct):
    """One shared file or folder, as others are told of it."""

    name: Text
    size: int
    content_id: Text


Offers = dict[str, list[tuple[Peer, Entry]]]


def printable(text: str) -> str:
    """Leave out what could play tricks on a terminal: the text comes from somebody else."""
    return "".join(character for character in text if character.isprintable())


async def share(folder: Path) -> None:
    """Share what is in a folder until the program is ended."""
    paths = await asyncio.to_thread(lambda: sorted(folder.iterdir()))
    async with RatsClient(identity=Identity.generate()) as client:
        shared = [await client.files.share(path) for path in paths]

        @client.on("list")
        def entries(_peer: Peer, _data: object) -> list[Entry]:
            return [Entry(one.path.name, one.size, one.content_id) for one in shared]

        print(f"{len(shared)} shared", flush=True)
        for address in client.addresses:
            print(f"{client.peer_id}@{address}", flush=True)
        await asyncio.Event().wait()


async def offers(client: RatsClient, targets: list[str]) -> Offers:
    """Ask everybody what there is; return who has it, by its name."""
    found: Offers = {}
    for target in targets:
        peer = await client.connect(target)
        for entry in await peer.request("list", model=list[Entry]):
            found.setdefault(entry.name, []).append((peer, entry))
    return found


async def show(targets: list[str]) -> None:
    """Print what others share."""
    async with RatsClient(identity=Identity.generate()) as client:
        for name, givers in (await offers(client, targets)).items():
            print(f"{printable(name)}: {givers[0][1].size} bytes, from {len(givers)}")


async def get(name: str, folder: Path, targets: list[str]) -> None:
    """Fetch one of the files, from all that have the same one."""
    async with RatsClient(identity=Identity.generate()) as client:
        givers = (await offers(client, targets)).get(name, [])
        if not givers:
            raise RatsError(f"nobody shares {name}")
        wanted = givers[0][1].content_id
        sources = [peer for peer, entry in givers if entry.content_id == wanted]
        transfer = await client.files.fetch(sources, wanted, folder)
        async for progress in transfer.progress():
            print(f"{progress.bytes} of {progress.total} bytes", file=sys.stderr)
        print((await transfer.wait()).path)


def main() -> int:
    """Do what is asked for."""
    match sys.argv[1:]:
        case ["share", folder]:
            work = share(Path(folder))
        case ["list", *targets] if targets:
            work = show(targets)
        case ["get", name, folder, *targets] if targets:
            work = get(name, Path(folder), targets)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(work)
    except (RatsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
