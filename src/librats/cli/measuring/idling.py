"""What a further idle peer takes of memory: the end that takes connections, and those that fill it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.memory import resident_kib
from librats.cli.measuring.processes import MeasuringFailed, end_command, started, told_by
from librats.cli.measuring.sample import Sample

__all__ = ["IdlePeers", "idle_peers"]

FIRST_SHARE = 10
"""Memory is looked at when one in so many has connected, and when all have."""

DIALLING_PROCESSES = 4
SETTLING = 0.5


class IdlePeers:
    """What the end that took the connections has told.

    Args:
        told: Its line.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        if None in (told["empty_kib"], told["first_kib"], told["full_kib"]):
            raise MeasuringFailed("this system does not tell what a process holds in memory")
        self.base = Sample(told["empty_kib"] / 1024)
        """MiB of the process before anybody connected."""
        self.each = Sample((told["full_kib"] - told["first_kib"]) / (told["full"] - told["first"]))
        """KiB for each further peer."""


def idle_peers(ends: str, peers: int, *, transport: str = "tcp") -> IdlePeers:
    """Connect many, and look at the memory of the process that they are connected to.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        peers: How many; at least 20.
        transport: What sessions go over, ``"tcp"`` or ``"udp"``.

    Raises:
        MeasuringFailed: It did not come about, or the system does not tell.
    """
    share = peers // DIALLING_PROCESSES
    counts = [share] * (DIALLING_PROCESSES - 1) + [peers - share * (DIALLING_PROCESSES - 1)]
    with contextlib.ExitStack() as running:
        receiver = running.enter_context(
            started(end_command(f"{ends}_receiver", {"peers": peers, "transport": transport}))
        )
        port = told_by(receiver)["port"]
        for count in counts:
            running.enter_context(
                started([*end_command(f"{ends}_sender", {"peers": count, "transport": transport}), str(port)])
            )
        return IdlePeers(told_by(receiver))


class Crowd:
    """Counts who has come, and looks at the memory.

    Args:
        end: The end that takes them.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._count = 0
        self._first = end.number("peers") // FIRST_SHARE
        self._complete = asyncio.Event()
        end.told |= {"first": self._first, "full": end.number("peers"), "empty_kib": held_now()}

    def came(self) -> None:
        """Take note of one."""
        self._count += 1
        if self._count == self._first:
            self._end.told["first_kib"] = held_now()
        if self._count == self._end.number("peers"):
            self._complete.set()

    async def watch(self) -> None:
        """Return once all have come and their memory was looked at."""
        await self._complete.wait()
        await asyncio.sleep(SETTLING)
        self._end.told["full_kib"] = held_now()


def held_now() -> float | None:
    """Return what this process holds, in KiB, without what nobody refers to any more."""
    gc.collect()
    return resident_kib()


async def librats_receiver(end: End) -> None:
    """Take peers."""
    async with client_of(max_peers=end.number("peers"), **end.way) as client:
        crowd = Crowd(end)
        client.on_connect(lambda peer: crowd.came())
        end.announce(client.listen_port)
        await crowd.watch()
        end.tell()
        await end.dismissed()


async def librats_sender(end: End) -> None:
    """Be many, each with keys of its own."""
    async with contextlib.AsyncExitStack() as running:
        for _ in range(end.number("peers")):
            client = await running.enter_async_context(client_of(**end.way))
            await client.connect((LOOPBACK, end.port))
        await end.dismissed()


async def streams_receiver(end: End) -> None:
    """Take bare connections."""
    crowd = Crowd(end)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        crowd.came()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(take, LOOPBACK, 0, backlog=1024) as server:
        end.announce(server.sockets[0].getsockname()[1])
        await crowd.watch()
        end.tell()
        await end.dismissed()


async def streams_sender(end: End) -> None:
    """Open many bare connections."""
    connections = [await asyncio.open_connection(LOOPBACK, end.port) for _ in range(end.number("peers"))]
    await end.dismissed()
    for _, writer in connections:
        writer.close()
