"""How far a torrent is, as ``librats torrent`` shows it: while what is there is checked, and while it comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.cli.progress import CHECKING, Bar, LateBar

if TYPE_CHECKING:
    from librats.cli.output import Output
    from librats.services.torrenting.progress import TorrentProgress
    from librats.torrents import Download

__all__ = ["CheckShown", "follow", "follow_check", "stay"]

TELL_INTERVAL = 1.0
BEFORE = frozenset({"metadata", "checking"})


class CheckShown:
    """Shows how far the check of what is there already is, where it takes longer than a moment.

    Args:
        output: Where that is told.
        clock: Returns the time in seconds.
    """

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._bar: LateBar | None = None

    def __enter__(self) -> CheckShown:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.end()

    def update(self, progress: TorrentProgress) -> None:
        """Take how far it is; once the check is over, the bar is left as it is."""
        if progress.status != "checking":
            self.__exit__()
            return
        if self._bar is None:
            self._bar = LateBar(self._output, self._clock, CHECKING, draws=not self._output.as_json)
        self._bar.update(progress.bytes_checked, progress.bytes_total)


async def follow_check(download: Download, output: Output) -> None:
    """Show how far the check of what is there is, and return once it is known what that is."""
    told = -TELL_INTERVAL
    with CheckShown(output) as checking:
        async for progress in download.updates():
            if progress.status not in BEFORE:
                return
            checking.update(progress)
            if progress.status == "checking" and time.monotonic() - told >= TELL_INTERVAL:
                told = time.monotonic()
                _emit_progress(download, output)


async def follow(download: Download, output: Output) -> None:
    """Show how far it is until all is there.

    Raises:
        RatsError: It has failed.
    """
    bar, told = Bar(), -TELL_INTERVAL
    with contextlib.ExitStack() as shown:
        checking = shown.enter_context(CheckShown(output))
        shown.callback(bar.end)
        async for progress in download.updates():
            now = time.monotonic()
            if now - told >= TELL_INTERVAL:
                told = now
                _emit_progress(download, output)
            checking.update(progress)
            if not output.as_json and progress.status not in BEFORE:
                bar.update(progress.bytes_done, progress.bytes_total)
    await download.wait()


async def stay(download: Download, output: Output) -> None:
    """Tell of what is given until the command is stopped."""
    while True:
        _emit_progress(download, output)
        await asyncio.sleep(TELL_INTERVAL)


def _emit_progress(download: Download, output: Output) -> None:
    progress = download.progress
    output.emit(
        event="progress",
        status=progress.status,
        bytes=progress.bytes_done,
        total=progress.bytes_total,
        checked=progress.bytes_checked,
        download_rate=round(progress.download_rate),
        upload_rate=round(progress.upload_rate),
        uploaded=progress.uploaded,
        peers=progress.peers,
        encrypted=progress.encrypted,
        eta=None if progress.eta is None else round(progress.eta, 1),
    )
