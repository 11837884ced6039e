"""What ``librats send`` and ``librats receive`` share: how far a transfer is, and how it has ended."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.cli.output import Output, plain
from librats.cli.progress import CHECKING, Bar, LateBar, readable_size
from librats.cli.reaching import start_mdns

if TYPE_CHECKING:
    from librats import RatsClient
    from librats.services.transferring.handle import Progress as Files
    from librats.services.transferring.handle import Transfer, TransferResult

__all__ = ["MOVING", "ReadingShown", "begin_finding", "follow", "tell_done"]

TELL_EVERY = 1.0
"""Seconds between two events of how far a transfer is."""

LOOK_EVERY = 0.25
MOVING = frozenset({"running", "paused", "finishing"})
READING = {"hashing": "reading {} for their hashes", "checking": CHECKING}
"""States in which files are read before anything moves, and what people are told of it."""

WORDS = {
    "offered": "waiting for the other side to accept",
    "paused": "paused",
    "waiting": "the other side is gone; waiting for it to come back",
}


async def begin_finding(client: RatsClient, args: argparse.Namespace, *, connect: bool) -> None:
    """Start what finds peers: on the local network unless that is switched off, in the DHT where that is wanted.

    Args:
        client: A running client.
        args: The sub-command's options.
        connect: Whether to connect to whoever is found on the local network.
    """
    if args.mdns is not False:
        wanted, args.mdns = args.mdns, True
        works = await start_mdns(client, args, [], connect=connect)
        args.mdns = wanted if works else False
        if wanted and not works:
            Output.hint("librats: mDNS does not work on this machine's network")
    if args.dht:
        await client.start_dht_discovery(meet=False)


class ReadingShown:
    """Shows how far files are read, for their hashes or for what is there, where it takes longer than a moment.

    Args:
        output: Where that is told.
        clock: Returns the time in seconds.
        state: What it is: ``"hashing"`` or ``"checking"``.
    """

    def __init__(self, output: Output, clock: Callable[[], float], state: str = "hashing") -> None:
        self._output = output
        self._state = state
        self._clock = clock
        self._bar = LateBar(output, clock, READING[state])
        self._due = clock() + TELL_EVERY

    def end(self) -> None:
        """Leave the bar as it is."""
        self._bar.end()

    def update(self, progress: Files) -> None:
        """Take how far it is."""
        self._bar.update(progress.bytes, progress.total)
        now = self._clock()
        if self._bar.is_shown and now >= self._due:
            self._due = now + TELL_EVERY
            _emit_progress(self._output, self._state, progress)


def _emit_progress(output: Output, event: str, progress: Files) -> None:
    output.emit(
        event=event,
        bytes=progress.bytes,
        total=progress.total,
        rate=round(progress.rate),
        eta=None if progress.eta is None else round(progress.eta, 1),
        state=str(progress.state),
    )


async def follow(transfer: Transfer, output: Output) -> TransferResult:
    """Show how far a transfer is until it has ended, and return what became of it.

    Args:
        transfer: The transfer.
        output: Where that is told.

    Raises:
        TransferError: It did not end well.
    """
    shown, told, state = Bar(), float("-inf"), ""
    loop = asyncio.get_running_loop()
    reading: ReadingShown | None = None
    try:
        async for progress in transfer.progress(LOOK_EVERY):
            if progress.state != state:
                state = progress.state
                if reading is not None:
                    reading.end()
                reading = ReadingShown(output, loop.time, state) if state in READING else None
                if state in WORDS:
                    shown.end()
                    output.hint(f"    {WORDS[state]}")
            if reading is not None:
                reading.update(progress)
            if state in MOVING:
                shown.update(progress.bytes, progress.total)
            if state in MOVING and loop.time() - told >= TELL_EVERY:
                told = loop.time()
                _emit_progress(output, "progress", progress)
        return await transfer.wait()
    finally:
        if reading is not None:
            reading.end()
        shown.end()


def tell_done(result: TransferResult, output: Output, *, words: str, reused: int) -> None:
    """Tell that a transfer has ended well.

    Args:
        result: What became of it.
        output: Where that is told.
        words: What was done, for people.
        reused: Bytes that did not have to go.
    """
    saved = f", {readable_size(reused)} of it were there already" if reused else ""
    rate = readable_size(result.bytes / result.seconds) if result.seconds > 0 else "0 bytes"
    output.tell(
        plain(f"{words}: {readable_size(result.bytes)} in {result.seconds:.1f} s ({rate}/s){saved}"),
        event="done",
        bytes=result.bytes,
        reused=reused,
        seconds=round(result.seconds, 3),
        hash=result.content_id,
        path=str(result.path),
    )
