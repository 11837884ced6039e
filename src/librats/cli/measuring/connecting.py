"""The ends for connecting: librats with its handshake, and a bare TCP connection through asyncio streams."""

from __future__ import annotations

import asyncio
import contextlib

from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.processes import end_command, run_both
from librats.cli.measuring.sample import Sample
from librats.cli.measuring.stopwatch import Stopwatch

__all__ = ["connect_time"]

WARM_UP = 10


def connect_time(ends: str, count: int, *, loop: str = "asyncio") -> Sample:
    """Measure the median milliseconds until a fresh connection can be used, and CPU milliseconds at both ends.

    The CPU time is that of connecting and of closing.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        count: How many connections, one after the other, after a warm-up.
        loop: Name of the event loop at both ends.
    """
    options = {"count": count, "warm_up": WARM_UP, "loop": loop}
    both = run_both(end_command(f"{ends}_receiver", options), end_command(f"{ends}_sender", options))
    return Sample(both.sender["p50"] * 1e3, both.cpu_seconds / count * 1e3)


class Visits:
    """Counts connections that ended, at the end that takes them: starts and ends its measured part.

    Args:
        end: The end.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._left = end.number("warm_up")
        self._more = end.number("count")
        self.over = asyncio.Event()
        """Set when the last one has ended."""

    def ended(self) -> None:
        """Take note of one."""
        self._left -= 1
        if self._left:
            return
        if self._more:
            self._left, self._more = self._more, 0
            self._end.start()
        else:
            self._end.finish()
            self.over.set()


async def librats_receiver(end: End) -> None:
    """Take connections."""
    visits = Visits(end)
    async with client_of() as client:
        client.on_disconnect(lambda peer, reason: visits.ended())
        end.announce(client.listen_port)
        await visits.over.wait()


async def librats_sender(end: End) -> None:
    """Connect until both sides have let each other in, disconnect, again and again."""
    stopwatch = Stopwatch(end)
    async with client_of() as client:
        for number in range(end.number("warm_up") + end.number("count")):
            if number == end.number("warm_up"):
                stopwatch.start()
            stopwatch.begin()
            peer = await client.connect((LOOPBACK, end.port))
            stopwatch.lap()
            await client.disconnect(peer)
        stopwatch.stop()


async def streams_receiver(end: End) -> None:
    """Take connections."""
    visits = Visits(end)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        visits.ended()

    async with await asyncio.start_server(take, LOOPBACK, 0) as server:
        end.announce(server.sockets[0].getsockname()[1])
        await visits.over.wait()


async def streams_sender(end: End) -> None:
    """Connect and disconnect again and again."""
    stopwatch = Stopwatch(end)
    for number in range(end.number("warm_up") + end.number("count")):
        if number == end.number("warm_up"):
            stopwatch.start()
        stopwatch.begin()
        _, writer = await asyncio.open_connection(LOOPBACK, end.port)
        stopwatch.lap()
        writer.close()
        await writer.wait_closed()
    stopwatch.stop()
