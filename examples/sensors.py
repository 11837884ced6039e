"""Sensors that publish readings to a collector, which checks them, and tells each sensor how often it wants some.

python examples/sensors.py collect                                  # prints what to give to the sensors
sensor-program | python examples/sensors.py sense NAME PEER-ID@HOST:PORT    # one number a line, as they come

A sensor that loses its collector dials it again by itself, and what it reads meanwhile is sent then, the newest only.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from typing import Annotated

import msgspec

from librats import Identity, MessageRefused, Peer, PeerNotConnected, RatsClient, RatsError

INTERVAL = 0.2
KEPT = 1000


class Reading(msgspec.Struct):
    """What a sensor has measured."""

    sensor: Annotated[str, msgspec.Meta(pattern=r"^[\w-]{1,32}$")]
    value: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
    at: float


class Wish(msgspec.Struct):
    """How often the collector wants readings."""

    interval: Annotated[float, msgspec.Meta(gt=0, le=3600)]


async def collect() -> None:
    """Print every reading until the program is ended."""
    async with RatsClient(identity=Identity.generate()) as client:

        @client.on("reading")
        def reading(_peer: Peer, data: Reading) -> None:
            print(f"{data.sensor} {data.value:g}", flush=True)

        @client.on_event(MessageRefused)
        def refused(event: MessageRefused) -> None:
            print(f"refused: {event.error}", flush=True)

        @client.on("how often")
        def how_often(_peer: Peer, _data: object) -> Wish:
            return Wish(INTERVAL)

        for address in client.addresses:
            print(f"{client.peer_id}@{address}", flush=True)
        await asyncio.Event().wait()


async def sense(name: str, target: str) -> None:
    """Send what is read from standard input, until that ends and everything has been sent."""
    loop = asyncio.get_running_loop()
    waiting: deque[Reading] = deque(maxlen=KEPT)
    ended = asyncio.Event()

    async def read() -> None:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            waiting.append(Reading(name, float(line), time.time()))
        ended.set()

    async with RatsClient(identity=Identity.generate()) as client, asyncio.TaskGroup() as tasks:
        collector = await client.connect(target)
        wish = await collector.request("how often", model=Wish)
        tasks.create_task(read())
        while waiting or not ended.is_set():
            try:
                while waiting:
                    await client.send("reading", waiting[0], to=collector.id)
                    waiting.popleft()
            except PeerNotConnected:
                pass  # it is dialled again meanwhile
            await asyncio.sleep(wish.interval)


def main() -> int:
    """Run one of the two sides."""
    match sys.argv[1:]:
        case ["collect"]:
            work = collect()
        case ["sense", name, target]:
            work = sense(name, target)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    status = 0
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(work)
    except* (RatsError, OSError, ValueError) as errors:
        print(*errors.exceptions, file=sys.stderr, sep="\n")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
