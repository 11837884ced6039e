"""Times of many things that are done one after the other, and their median."""

from __future__ import annotations

import statistics
import time

from librats.cli.measuring.end import End

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures each of many, at one end.

    Args:
        end: The end; it tells the median as ``p50``, in seconds.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._times: list[float] = []
        self._began = 0.0

    def start(self) -> None:
        """Start the measured part; what was timed before it does not count."""
        self._times.clear()
        self._end.start()
        self.begin()

    def begin(self) -> None:
        """Let the time of the next one begin."""
        self._began = time.perf_counter()

    def lap(self) -> None:
        """Take the time of one; that of the next one begins."""
        now = time.perf_counter()
        self._times.append(now - self._began)
        self._began = now

    def stop(self) -> None:
        """End the measured part."""
        self._end.finish()
        self._end.told["p50"] = statistics.median(self._times)
