"""The way in by itself: sealed bytes to handler, in one process and without a socket."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from librats import RatsClient, SessionConfig
from librats.cli.measuring.end import LOOPBACK, client_of
from librats.cli.measuring.messages import MESSAGE
from librats.cli.measuring.sample import Sample
from librats.runtime.network import SystemNetwork
from librats.runtime.tcp import ProtocolFactory, TcpListener
from librats.runtime.tls import ClientTls
from librats.runtime.tunnels import Asks
from librats.types import Address

__all__ = ["pipeline_rate"]

BATCH = 10_000
"""Messages that are sealed, and then fed, at a time: fewer than a message window holds."""

TURNS = 8
"""Turns of the loop in which everything that was sent is written."""


def pipeline_rate(count: int, *, singly: bool) -> Sample:
    """Measure messages for each second of CPU time, from sealed bytes to a plain handler.

    Args:
        count: How many messages; at least as many as are sealed at a time.
        singly: Whether each is sealed in a block of its own, rather than together with those sent in the same turn.
    """
    return asyncio.run(_measure(max(1, count // BATCH), singly=singly))


async def _measure(batches: int, *, singly: bool) -> Sample:
    network = _MemoryNetwork()
    asyncio.get_running_loop().librats_network = network  # type: ignore[attr-defined]
    seen = 0
    async with client_of() as receiver, client_of() as sender:

        @receiver.on("message")
        def message(peer: object, data: object) -> None:
            nonlocal seen
            seen += 1

        peer = await sender.connect((LOOPBACK, receiver.listen_port))
        way_there, way_back = network.ways
        while receiver.statistics()["limits"]["max_memory"]["current"] < SessionConfig().message_window:
            await _seal(sender, peer, BATCH, singly=False)  # a message window grows to its full size with use
        way_there.hold()
        seconds = 0.0
        for batch in range(batches + 1):
            before_it = seen
            await _seal(sender, peer, BATCH, singly=singly)
            way_back.hold()
            started = time.process_time()
            way_there.feed_held()
            while seen - before_it < BATCH:  # noqa: ASYNC110 - an event would be one more thing to be measured
                await asyncio.sleep(0)
            if batch:  # the first one warms up
                seconds += time.process_time() - started
            way_back.release()
        way_there.release()
    return Sample(batches * BATCH / seconds)


async def _seal(sender: RatsClient, peer: Any, count: int, *, singly: bool) -> None:
    for _ in range(count):
        await sender.send("message", MESSAGE, to=peer)
        if singly:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    for _ in range(TURNS):
        await asyncio.sleep(0)


class _Way(asyncio.Transport):
    """One direction: what is written here goes to the protocol at the other side, at once or when it is asked for."""

    def __init__(
        self, name: tuple[str, int], source: asyncio.BufferedProtocol, target: asyncio.BufferedProtocol
    ) -> None:
        super().__init__({"peername": name, "sockname": name})
        self._source = source
        self._target = target
        self.back: _Way | None = None
        """The other direction."""
        self._loop = asyncio.get_running_loop()
        self._holding = False
        self._held: list[bytes] = []
        self._closing = False

    def hold(self) -> None:
        """Keep what is written from now on."""
        self._holding = True

    def feed_held(self) -> None:
        """Give the other side what was kept."""
        held, self._held = self._held, []
        for data in held:
            self._feed(data)

    def release(self) -> None:
        """Give the other side what was kept and everything that comes, as soon as it is written."""
        self._holding = False
        held, self._held = self._held, []
        for data in held:  # behind what was written before it was held, and may be under way yet
            self._loop.call_soon(self._feed, data)

    def _feed(self, data: bytes) -> None:
        target = self._target
        rest = memoryview(data)
        while rest:
            room = memoryview(target.get_buffer(-1))
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            target.buffer_updated(size)
            rest = rest[size:]

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Take bytes."""
        if self._holding:
            self._held.append(bytes(data))
        else:
            self._loop.call_soon(self._feed, bytes(data))

    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing

    def close(self) -> None:
        """End, for both sides."""
        if not self._closing and self.back is not None:
            self._closing = True
            self._loop.call_soon(self._source.connection_lost, None)
            self._loop.call_soon(self.back.close)

    abort = close

    def write_eof(self) -> None:
        """Say that nothing more will come."""
        self._loop.call_soon(self._target.eof_received)

    def can_write_eof(self) -> bool:
        """Whether it can be said."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        """Nothing is buffered."""
        return 0

    def pause_reading(self) -> None:
        """Whoever reads is never overrun here."""

    def resume_reading(self) -> None:
        """Whoever reads is never overrun here."""


class _MemoryNetwork(SystemNetwork):
    """A network of two, without sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._factories: dict[int, ProtocolFactory] = {}
        self.ways: tuple[_Way, _Way]

    async def listen_tcp(
        self, factory: ProtocolFactory, host: str, port: int, *, reuse_port: bool = False
    ) -> TcpListener:
        """Remember who listens."""
        number = len(self._factories) + 1
        self._factories[number] = factory
        return TcpListener([], [Address(LOOPBACK, number)])

    async def dial_tcp(
        self,
        factory: ProtocolFactory,
        address: Address,
        *,
        tls: ClientTls | None = None,
        local: Address | None = None,
        timeout: float | None = None,
        tunnel: Asks | None = None,
        tunnel_tls: ClientTls | None = None,
    ) -> None:
        """Join the two."""
        dialling = cast("asyncio.BufferedProtocol", factory())
        listening = cast("asyncio.BufferedProtocol", self._factories[address.port]())
        there = _Way((LOOPBACK, address.port), dialling, listening)
        back = _Way((LOOPBACK, 1), listening, dialling)
        there.back, back.back = back, there
        self.ways = there, back
        dialling.connection_made(there)
        listening.connection_made(back)

    async def interface_addresses(self) -> list[str]:
        """There is none."""
        return []
