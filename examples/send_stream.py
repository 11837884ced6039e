"""Send a file through a stream, and check at the other side that it arrived whole.

python examples/send_stream.py receive FOLDER                    # prints what to give to the sender
python examples/send_stream.py send FILE PEER-ID@HOST:PORT       # in another terminal
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from pathlib import Path

from librats import Identity, RatsClient, RatsError, Stream

PIECE = 256 * 1024


async def receive(folder: Path) -> str:
    """Wait for one file, write it to the folder, and return its hash."""
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with RatsClient(identity=Identity.generate()) as client:

        @client.on_stream("file/1")
        async def file(stream: Stream) -> None:
            size = int.from_bytes(await stream.readexactly(2))
            # Only the last part of the name is used: it must not lead out of the folder.
            name = Path(json.loads(await stream.readexactly(size))["name"]).name or "unnamed"
            digest = hashlib.sha256()
            with (folder / name).open("xb") as target:
                async for piece in stream:
                    digest.update(piece)
                    target.write(piece)
            stream.write(digest.digest())
            stream.write_eof()
            done.set_result(f"{name} {digest.hexdigest()}")

        for address in client.addresses:
            print(f"{client.peer_id}@{address}", flush=True)
        return await done


async def send(path: Path, target: str) -> str:
    """Send the file and return its hash, once the receiver has confirmed it."""
    async with RatsClient(identity=Identity.generate()) as client:
        peer = await client.connect(target)
        digest = hashlib.sha256()
        async with await peer.open_stream("file/1") as stream:
            head = json.dumps({"name": path.name}).encode()
            stream.write(len(head).to_bytes(2) + head)
            with path.open("rb") as source:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    stream.write(piece)
                    await stream.drain()
            stream.write_eof()
            if await stream.read() != digest.digest():
                raise RatsError("the receiver got something else")
        return f"{path.name} {digest.hexdigest()}"


def main() -> int:
    """Run one of the two sides."""
    match sys.argv[1:]:
        case ["receive", folder]:
            work = receive(Path(folder))
        case ["send", path, target]:
            work = send(Path(path), target)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    try:
        with contextlib.suppress(KeyboardInterrupt):
            print(asyncio.run(work))
    except (RatsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
