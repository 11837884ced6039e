"""The taker's side: which source is asked for what, how much ahead, and what becomes of what a lost one was asked for.

Ranges are asked for in order. Those of a source that is lost, lies or stalls go to the others; at the end, what is
still under way is asked for a second time at sources that have nothing else to do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Final

from librats.errors import TransferError
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.layout import Layout, Part, Range
from librats.transfer.pacing import RateLimit, RateMeter, Window
from librats.transfer.twins import Twins

__all__ = ["Receiving"]

FIRST_WINDOW: Final = 4 << 20
"""Bytes that a source is asked for ahead at first, what waits to be stored among them."""

MAX_ASKED: Final = 1024
"""Ranges that one source is asked for ahead at most."""

DOUBLES: Final = 4
"""Ranges that a source without other work is asked for though another one has been."""

NEVER = float("inf")


class _Source:
    """What is known of one source."""

    def __init__(self, window: Window, now: float) -> None:
        self.window = window
        self.asked: dict[Range, int] = {}
        """Ranges and their bytes, in the order in which they were asked for."""
        self.ahead = 0
        """Bytes that are asked for and not there."""
        self.unwanted: set[Range] = set()
        self.heard = now
        self.is_paused = False
        self.received = 0


class Receiving:
    """What is there of an offer, and who is asked for the rest.

    Args:
        layout: Of the manifest.
        verifiers: What is there of each file, in the manifest's order; they are kept up to date.
        limit: Bytes per second, which other transfers may share.
        now: The time, in seconds.
        chunk: Bytes of a range at most.
        window: Bytes that all sources together are asked for ahead at most, what waits to be written among them.
        stall: Seconds without a byte after which a source that was asked counts as stalled.
        twins: Leaves that are stored along with others, and not asked for.

    Example:
        >>> from librats.transfer.file_table import FileTable
        >>> from librats.transfer.file_verifiers import FileVerifiers
        >>> from librats.transfer.layout import Layout
        >>> from librats.transfer.manifest import Manifest, OfferedFile
        >>> from librats.transfer.pacing import RateLimit
        >>> from librats.transfer.receiving import Receiving
        >>> from librats.transfer.tree import hash_file
        >>> tree = hash_file([bytes(3_000_000)])
        >>> file = OfferedFile(path=("zeros",), size=tree.length, root=tree.root)
        >>> layout = Layout(Manifest(name="zeros", is_folder=False, files=(file,)))
        >>> verifiers = FileVerifiers(FileTable([file]), copies={}, whole=bytearray(1))
        >>> receiving = Receiving(layout, verifiers, RateLimit(None), 0.0)
        >>> receiving.add_source("ann", 0.0)
        >>> receiving.next_wants("ann", 0.0)
        [(0, 16), (16, 16), (32, 14)]
        >>> receiving.arrived("ann", (0, 16), 0.1), receiving.stored((0, 16), 0.1), receiving.done
        (True, [], 1048576)
    """

    def __init__(
        self,
        layout: Layout,
        verifiers: FileVerifiers,
        limit: RateLimit,
        now: float,
        *,
        chunk: int = 1 << 20,
        window: int = 16 << 20,
        stall: float = 30.0,
        twins: Twins | None = None,
    ) -> None:
        self._layout = layout
        self._verifiers = verifiers
        self._limit = limit
        self._window = max(window, chunk)
        self._stall = stall
        self._chunk = chunk
        self._sources: dict[Hashable, _Source] = {}
        self._holders: dict[Range, list[Hashable]] = {}
        self._arrived: dict[Range, tuple[Hashable, int]] = {}
        self.backlog = 0
        """Bytes that have come and are not stored."""
        self._twins = Twins() if twins is None else twins
        self._came = 0
        self._back: deque[Range] = deque()
        self._uses = [1] * len(verifiers)  # how many files have the content
        for first in layout.copies.values():
            self._uses[first] += 1
        self._fresh = layout.cut(self._missing_runs(), chunk)
        self._meter = RateMeter(now)
        self.is_paused = False
        """True where this side has paused: nothing is asked for."""
        self.wasted = 0
        """Bytes that came twice."""
        self.done = 0
        """Bytes that are there, of all files."""
        self.files_done = 0
        """Files that are there."""
        self._left = 0
        self._count_what_is_there()

    def _count_what_is_there(self) -> None:
        layout, verifiers = self._layout, self._verifiers
        for number in range(len(verifiers)):
            if number in layout.copies:
                continue
            there, leaves = verifiers.leaves(number), layout.start(number + 1) - layout.start(number)
            self._left += leaves - there
            if there:
                self.done += self._uses[number] * verifiers[number].size_there
            self.files_done += self._uses[number] if there == leaves else 0

    def _missing_runs(self) -> Iterator[Range]:
        for number in range(len(self._verifiers)):
            if number not in self._layout.copies:
                start = self._layout.start(number)
                runs = ((start + first, count) for first, count in self._verifiers.missing(number))
                yield from self._twins.without(runs) if self._twins else runs

    # Sources

    @property
    def sources(self) -> list[Hashable]:
        """Names of the sources that are asked."""
        return list(self._sources)

    def add_source(self, name: Hashable, now: float) -> None:
        """Begin to ask somebody who has all of it."""
        self._sources[name] = _Source(Window(FIRST_WINDOW, self._window), now)

    def remove_source(self, name: Hashable) -> None:
        """Ask somebody no more; what it was asked for goes to the others. Harmless where it is gone already."""
        source = self._sources.pop(name, None)
        if source is None:
            return
        for wanted in reversed(source.asked):
            holders = self._holders[wanted]
            holders.remove(name)
            if not holders:
                del self._holders[wanted]
                if wanted not in self._arrived:
                    self._back.appendleft(wanted)

    def received_from(self, name: Hashable) -> int:
        """Return how many bytes have come from a source."""
        source = self._sources.get(name)
        return 0 if source is None else source.received

    def peer_paused(self, name: Hashable, now: float, *, is_paused: bool) -> None:
        """Take note that a source has paused, or goes on."""
        if source := self._sources.get(name):
            source.is_paused = is_paused
            source.heard = now

    def pause(self, now: float, *, is_paused: bool) -> None:
        """Ask for nothing, or go on. What is under way may come all the same."""
        self.is_paused = is_paused
        for source in self._sources.values():
            source.heard = now

    def heard(self, name: Hashable, now: float) -> None:
        """Take note that bytes have come from a source, of a chunk that may not be whole yet."""
        if source := self._sources.get(name):
            source.heard = now

    def stalled(self, now: float) -> list[Hashable]:
        """Return the sources that were asked and have sent nothing for too long."""
        return [name for name, source in self._sources.items() if self._stalls_at(source) <= now]

    def _stalls_at(self, source: _Source) -> float:
        return NEVER if self.is_paused or source.is_paused or not source.asked else source.heard + self._stall

    def next_timer(self, now: float) -> float:
        """Return when :meth:`stalled` or :meth:`next_wants` is to be looked at again, though nothing has come."""
        times = [self._stalls_at(source) for source in self._sources.values()]
        ready = self._limit.ready_at(now)
        if ready > now and not (self.is_paused or self.is_complete):
            times.append(ready)
        return min(times, default=NEVER)

    # Asking

    @property
    def ahead(self) -> int:
        """Bytes that are asked for, or have come and are not stored."""
        return self.backlog + sum(source.ahead for source in self._sources.values())

    def next_wants(self, name: Hashable, now: float) -> list[Range]:
        """Return what to ask a source for now, which counts as asked from here on."""
        source = self._sources.get(name)
        wants: list[Range] = []
        if source is None or self.is_paused or source.is_paused:
            return wants
        # What waits to be stored counts: where the disk is the slower one, more would only lie in memory.
        room = min(source.window.size - source.ahead - self.backlog, self._window - self.ahead)
        while len(source.asked) < MAX_ASKED and self._limit.ready_at(now) <= now:
            wanted = self._next_range(source, room)
            if wanted is None:
                break
            size = self._layout.size(wanted)
            if not source.asked:
                source.heard = max(source.heard, now)
            source.asked[wanted] = size
            source.ahead += size
            source.unwanted.discard(wanted)
            self._holders.setdefault(wanted, []).append(name)
            self._limit.take(size, now)
            room -= size
            wants.append(wanted)
        return wants

    def _next_range(self, source: _Source, room: int) -> Range | None:
        if room <= 0 and (source.asked or self._arrived):
            return None
        if self._back:
            return self._back.popleft()
        wanted = next(self._fresh, None)
        return self._double(source) if wanted is None else wanted

    def _double(self, source: _Source) -> Range | None:
        """Return what another source is slow with: the last of what the one with most to do was asked for."""
        if len(source.asked) >= DOUBLES:
            return None
        others = [other for other in self._sources.values() if other is not source and other.asked]
        for other in sorted(others, key=lambda other: other.ahead, reverse=True):
            for wanted in reversed(other.asked):
                if len(self._holders[wanted]) == 1 and wanted not in self._arrived:
                    return wanted
        return None

    # What comes

    def arrived(self, name: Hashable, wanted: Range, now: float) -> bool:
        """Take note of a chunk; it is not checked yet.

        Returns:
            Whether it is to be checked and stored: what another source was quicker with is not.

        Raises:
            TransferError: The source was not asked for it (``"protocol"``).
        """
        source = self._sources.get(name)
        if source is None:
            return False
        if wanted not in source.asked:
            if wanted in source.unwanted:
                source.unwanted.discard(wanted)
                self.wasted += self._layout.size(wanted)
                return False
            raise TransferError("protocol", "a chunk that was not asked for")
        # Where chunks wait for us, asking for more would not make the source faster.
        was_full = source.ahead + self.backlog >= source.window.size and self.backlog <= self._chunk
        size = self._no_more_asked(name, source, wanted)
        source.heard = now
        source.received += size
        source.window.arrived(size, now, was_full=was_full)
        if wanted in self._arrived:
            self.wasted += size
            return False
        self._arrived[wanted] = (name, size)
        self.backlog += size
        return True

    def _no_more_asked(self, name: Hashable, source: _Source, wanted: Range) -> int:
        size = source.asked.pop(wanted)
        source.ahead -= size
        holders = self._holders[wanted]
        holders.remove(name)
        if not holders:
            del self._holders[wanted]
        return size

    def refused(self, wanted: Range) -> Hashable | None:
        """Take note that a chunk was not what it should be; return who sent it. It is to be asked for again.

        The source is to be removed: nothing else that it sends can be believed.
        """
        name, size = self._arrived.pop(wanted)
        self.backlog -= size
        if wanted not in self._holders:
            self._back.appendleft(wanted)
        return name

    def stored(self, wanted: Range, now: float) -> list[tuple[Hashable, Range]]:
        """Take note that a chunk was checked and is stored.

        Returns:
            Which sources need not send it any more.
        """
        _, size = self._arrived.pop(wanted)
        self.backlog -= size
        self._came += size
        self._count(self._layout.parts(wanted))
        if self._twins:
            for twin in self._twins.of_range(wanted):
                self._count(self._layout.parts((twin, 1)))
        self._meter.add(size, now)
        unwanted = []
        for name in list(self._holders.get(wanted, ())):
            source = self._sources[name]
            self._no_more_asked(name, source, wanted)
            source.unwanted.add(wanted)
            unwanted.append((name, wanted))
        return unwanted

    def _count(self, parts: Iterable[Part]) -> None:
        layout = self._layout
        for part in parts:
            file = part.file
            self._left -= self._verifiers.count_leaves(file, part.leaf, part.leaves)
            self.done += part.size * self._uses[file]
            if self._verifiers.leaves(file) == layout.start(file + 1) - layout.start(file):
                self.files_done += self._uses[file]

    @property
    def reused(self) -> int:
        """Bytes that are there and did not come: they were there before, or are in the offer more than once."""
        return self.done - self._came

    @property
    def is_complete(self) -> bool:
        """True where all of it is there."""
        return not self._left

    def rate(self, now: float) -> float:
        """Return bytes per second over the last seconds."""
        return self._meter.rate(now)
