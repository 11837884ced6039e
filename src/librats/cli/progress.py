"""A progress bar on standard error: rich's where that is installed, text where it is not or nobody watches."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from librats.cli.output import Output

__all__ = ["CHECKING", "Bar", "LateBar", "Progress", "progress_bar", "readable_size"]

CHECKING = "checking what is there of {}"
SHOWN_AFTER = 1.0
"""Seconds that something takes before a :class:`LateBar` shows it."""

WIDTH = 30
SHARES = 4
"""Where nobody watches a terminal, progress is told this many times."""


def readable_size(count: float) -> str:
    """Return a number of bytes as people write it.

    Example:
        >>> readable_size(64_000_000), readable_size(512)
        ('64.0 MB', '512 bytes')
    """
    if count < 1000:  # noqa: PLR2004 - the step from one SI prefix to the next
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:  # noqa: PLR2004
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.2f} GB"


class Progress:
    """Shows how much is done, as text: a line that is redrawn, or a few lines where it goes into a file."""

    def __init__(self, total: int, *, redraw: bool) -> None:
        self._total = total
        self._redraw = redraw
        self._shown = 0

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the line."""
        if self._redraw and self._shown:
            print(file=sys.stderr, flush=True)

    def update(self, done: int) -> None:
        """Show that so many bytes are done."""
        steps = 100 if self._redraw else SHARES
        step = done * steps // self._total
        if step <= self._shown:
            return
        self._shown = step
        of = f"{readable_size(done)} of {readable_size(self._total)}"
        if self._redraw:
            bar = "#" * (WIDTH * step // steps)
            print(f"\r    [{bar:<{WIDTH}}] {step:3d} %  {of}", end="", file=sys.stderr, flush=True)
        else:
            print(f"    {step * 100 // steps:3d} %  {of}", file=sys.stderr, flush=True)


class _RichProgress(Progress):
    """Shows it as a bar with rate and remaining time."""

    def __init__(self, total: int) -> None:
        super().__init__(total, redraw=True)
        from rich import progress  # noqa: PLC0415 - optional, and slow to load
        from rich.console import Console  # noqa: PLC0415

        self._bar: Any = progress.Progress(
            progress.TextColumn("   "),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Progress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def update(self, done: int) -> None:
        """Show that so many bytes are done."""
        self._bar.update(self._task, completed=done)


def progress_bar(total: int) -> Progress:
    """Return a context manager that shows progress as well as standard error can.

    Args:
        total: Bytes in all, at least 1.
    """
    watched = sys.stderr is not None and sys.stderr.isatty()
    if watched and importlib.util.find_spec("rich") is not None:
        return _RichProgress(total)
    return Progress(total, redraw=watched)


class Bar:
    """A bar that is begun once it is known how much there is."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def update(self, done: int, total: int) -> None:
        """Show how much is done.

        Args:
            done: Bytes that are done.
            total: Bytes in all; 0 while that is not known.
        """
        if self._bar is None and total:
            self._bar = progress_bar(total)
            self._bar.__enter__()
        if self._bar is not None:
            self._bar.update(done)

    def end(self) -> None:
        """Leave it as it is; the next update begins another one."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


class LateBar:
    """A bar for what is mostly over in a moment: where it is not, it is begun below a line that says what is done.

    Args:
        output: Where the line is told.
        clock: Returns the time in seconds.
        words: What is done, with ``{}`` in the place of how much there is.
        draws: Whether there is a bar below the line.
    """

    def __init__(self, output: Output, clock: Callable[[], float], words: str, *, draws: bool = True) -> None:
        self._output = output
        self._clock = clock
        self._words = words
        self._draws = draws
        self._bar = Bar()
        self._due = clock() + SHOWN_AFTER
        self.is_shown = False
        """Whether it has taken that long."""

    def update(self, done: int, total: int) -> None:
        """Take how much is done; as for :meth:`Bar.update`."""
        if not self.is_shown and self._clock() >= self._due:
            self.is_shown = True
            self._output.hint("    " + self._words.format(readable_size(total)))
        if self.is_shown and self._draws:
            self._bar.update(done, total)

    def end(self) -> None:
        """Leave the bar as it is."""
        self._bar.end()
