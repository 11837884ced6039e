"""The ends for bulk data: a stream of librats, and asyncio streams without encryption."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Protocol

from librats import Stream
from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.memory import peak_mib
from librats.cli.measuring.processes import Both, MeasuringFailed, end_command, run_both
from librats.cli.measuring.sample import Sample

__all__ = ["BLOCK", "WARM_UP", "bulk_rate", "bulk_sample", "run_bulk"]

BLOCK = 1 << 16
READ = 1 << 20
WARM_UP = 64
"""Blocks before the measured ones."""


def bulk_rate(
    ends: str,
    blocks: int,
    *,
    loop: str = "asyncio",
    transport: str = "tcp",
    packet: int | None = None,
    environment: dict[str, str] | None = None,
) -> Sample:
    """Measure megabytes a second in writes of 64 KiB, and CPU nanoseconds a byte at both ends together.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        blocks: How many blocks of 64 KiB, after a warm-up.
        loop: Name of the event loop at both ends.
        transport: What a session goes over, ``"tcp"`` or ``"udp"``.
        packet: Longest UDP payload; what the way carries where it is None.
        environment: More variables for both.
    """
    both = run_bulk(ends, blocks, loop=loop, transport=transport, packet=packet, environment=environment)
    return bulk_sample(both, blocks)


def bulk_sample(both: Both, blocks: int) -> Sample:
    """Return the sample of two ends that have told."""
    size = blocks * BLOCK
    return Sample(size / both.seconds / 1e6, both.cpu_seconds / size * 1e9)


def run_bulk(
    ends: str,
    blocks: int,
    *,
    loop: str = "asyncio",
    transport: str = "tcp",
    packet: int | None = None,
    hashing: bool = False,
    environment: dict[str, str] | None = None,
) -> Both:
    """Run the two ends.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        blocks: How many blocks of 64 KiB, after a warm-up.
        loop: Name of the event loop at both ends.
        transport: What a session goes over, ``"tcp"`` or ``"udp"``.
        packet: Longest UDP payload; what the way carries where it is None.
        hashing: Whether both ends compute a SHA-256 of what passes.
        environment: More variables for both.
    """
    options = {"blocks": blocks, "warm_up": WARM_UP, "loop": loop, "hashing": hashing}
    options |= {"transport": transport, "packet": packet}
    commands = [end_command(f"{ends}_{side}", options) for side in ("receiver", "sender")]
    return run_both(*commands, environment=environment)


class Reading(Protocol):
    """What is read from."""

    async def read(self, n: int = -1, /) -> bytes:
        """Return some bytes; none at the end."""


class Writing(Protocol):
    """What is written to."""

    def write(self, data: bytes, /) -> None:
        """Take bytes."""

    async def drain(self) -> None:
        """Wait until there is room."""

    def write_eof(self) -> None:
        """End."""


async def take_in(end: End, reader: Reading, writer: Writing) -> None:
    """Read to the end, and say so when the warm-up and when all is there."""
    digest = hashlib.sha256()
    before = end.number("warm_up") * BLOCK
    while before:
        before -= len(await reader.read(min(before, READ)))
    end.start()
    writer.write(b"go")
    size = 0
    while data := await reader.read(READ):
        size += len(data)
        if end.options["hashing"]:
            digest.update(data)
    if size != end.number("blocks") * BLOCK:
        raise MeasuringFailed(f"{size} bytes came")
    writer.write(digest.digest())
    end.finish()
    end.told["peak_mib"] = peak_mib()


async def give_out(end: End, reader: Reading, writer: Writing) -> None:
    """Write block after block, and wait until the other end has all of them."""
    digest = hashlib.sha256()
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    for _ in range(end.number("warm_up")):
        writer.write(blocks[0])
        await writer.drain()
    await reader.read(2)
    peak = peak_mib()
    end.start()
    for number in range(end.number("blocks")):
        block = blocks[number % len(blocks)]
        if end.options["hashing"]:
            digest.update(block)
        writer.write(block)
        await writer.drain()
    writer.write_eof()
    theirs = await reader.read(32)
    end.finish()
    if theirs != digest.digest():
        raise MeasuringFailed("the hashes differ")
    if peak is not None:
        end.told["growth_mib"] = (peak_mib() or 0.0) - peak


async def librats_receiver(end: End) -> None:
    """Take a stream."""
    gone = asyncio.Event()
    async with client_of(**end.way) as client:

        @client.on_stream("bulk/1")
        async def bulk(stream: Stream) -> None:
            await take_in(end, stream, stream)

        client.on_disconnect(lambda peer, reason: gone.set())
        end.announce(client.listen_port)
        await gone.wait()


async def librats_sender(end: End) -> None:
    """Open a stream and fill it."""
    async with client_of(**end.way) as client:
        peer = await client.connect((LOOPBACK, end.port))
        stream = await client.open_stream(peer, "bulk/1")
        await give_out(end, stream, stream)


async def streams_receiver(end: End) -> None:
    """Take a bare connection."""
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_in(end, reader, writer)
        writer.close()
        await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(take, LOOPBACK, 0) as server:
        end.announce(server.sockets[0].getsockname()[1])
        await done.wait()


async def streams_sender(end: End) -> None:
    """Fill a bare connection."""
    reader, writer = await asyncio.open_connection(LOOPBACK, end.port)
    await give_out(end, reader, writer)
    writer.close()
    await writer.wait_closed()
