"""The ends for requests one at a time: librats, and a bare asyncio Protocol that sends JSON both ways."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.messages import MESSAGE
from librats.cli.measuring.processes import end_command, run_both
from librats.cli.measuring.sample import Sample
from librats.cli.measuring.stopwatch import Stopwatch

__all__ = ["request_time"]

WARM_UP = 300


def request_time(ends: str, count: int, *, loop: str = "asyncio", transport: str = "tcp") -> Sample:
    """Measure the median microseconds of a request and its reply, and CPU microseconds at both ends.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        count: How many requests, one after the other, after a warm-up.
        loop: Name of the event loop at both ends.
        transport: What a session goes over, ``"tcp"`` or ``"udp"``.
    """
    options = {"count": count, "warm_up": WARM_UP, "loop": loop, "transport": transport}
    both = run_both(end_command(f"{ends}_receiver", options), end_command(f"{ends}_sender", options))
    return Sample(both.sender["p50"] * 1e6, both.cpu_seconds / count * 1e6)


async def librats_receiver(end: End) -> None:
    """Answer each request with what it brought."""
    gone = asyncio.Event()
    async with client_of(**end.way) as client:

        @client.on("echo")
        def echo(peer: object, data: object) -> object:
            return data

        @client.on("start")
        def start(peer: object, data: object) -> None:
            end.start()

        @client.on("finish")
        def finish(peer: object, data: object) -> None:
            end.finish()

        client.on_disconnect(lambda peer, reason: gone.set())
        end.announce(client.listen_port)
        await gone.wait()


async def librats_sender(end: End) -> None:
    """Ask one after the other."""
    stopwatch = Stopwatch(end)
    async with client_of(**end.way) as client:
        peer = await client.connect((LOOPBACK, end.port))
        for _ in range(end.number("warm_up")):
            await client.request(peer, "echo", MESSAGE)
        await client.request(peer, "start")
        stopwatch.start()
        for _ in range(end.number("count")):
            await client.request(peer, "echo", MESSAGE)
            stopwatch.lap()
        stopwatch.stop()
        await client.request(peer, "finish")


class Answering(asyncio.Protocol):
    """Sends every line back, read and written anew as JSON."""

    def __init__(self, end: End, gone: asyncio.Event) -> None:
        self._end = end
        self._gone = gone
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each whole line."""
        *lines, self._waiting = (self._waiting + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if asked == "start":
                self._end.start()
            elif asked == "finish":
                self._end.finish()
            self._transport.write(json.dumps(asked).encode() + b"\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the other end is gone."""
        self._gone.set()


class Asking(asyncio.Protocol):
    """Sends a line and waits for the one that comes back."""

    def __init__(self) -> None:
        self._waiting = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        self.transport = cast("asyncio.Transport", transport)

    async def ask(self, question: object) -> Any:
        """Return the answer."""
        self._answer = self._loop.create_future()
        self.transport.write(json.dumps(question).encode() + b"\n")
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Hand a whole line to who asked."""
        self._waiting += data
        if self._waiting.endswith(b"\n"):
            line, self._waiting = self._waiting, b""
            self._answer.set_result(json.loads(line))


async def protocol_receiver(end: End) -> None:
    """Answer with a bare Protocol."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(end, gone), LOOPBACK, 0)
    end.announce(server.sockets[0].getsockname()[1])
    await gone.wait()
    server.close()


async def protocol_sender(end: End) -> None:
    """Ask with a bare Protocol, one after the other."""
    stopwatch = Stopwatch(end)
    _, asking = await asyncio.get_running_loop().create_connection(Asking, LOOPBACK, end.port)
    for _ in range(end.number("warm_up")):
        await asking.ask(MESSAGE)
    await asking.ask("start")
    stopwatch.start()
    for _ in range(end.number("count")):
        await asking.ask(MESSAGE)
        stopwatch.lap()
    stopwatch.stop()
    await asking.ask("finish")
    asking.transport.close()
