"""Givers and a taker in virtual time: the machines of a transfer alone, with made-up lines between them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from librats.errors import TransferError
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.frames import Chunk, Frame, FrameReader, FrameType, encode_ranges, read_ranges
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.pacing import RateLimit
from librats.transfer.receiving import Receiving
from librats.transfer.sending import Sending
from librats.transfer.tree import LEAF_SIZE, hash_file

DAY = 86_400.0


@dataclass
class Line:
    """How a giver behaves, and how far away it is."""

    rate: float = 50e6
    latency: float = 0.01
    dies_after: int | None = None
    """Chunks after which nothing comes any more, and the taker is told."""
    falls_silent_after: int | None = None
    """Chunks after which nothing comes any more, and nobody tells."""
    spoils: int | None = None
    """Number of the chunk in which one bit is another one."""
    shortens: int | None = None
    """Number of the chunk that is a byte short."""
    answers_backwards: bool = False
    """Whether it gives the last range of a request first."""


@dataclass
class Giver:
    line: Line
    machine: Sending
    reader: FrameReader = field(default_factory=FrameReader)
    given: int = 0
    free_at: float = 0.0
    is_dead: bool = False


def offer_of(contents: list[bytes]) -> tuple[Manifest, list[bytes]]:
    """Return the manifest of files with these contents, and the contents in its order."""
    named = sorted((f"f{number:05}", content) for number, content in enumerate(contents))
    files = []
    for name, content in named:
        tree = hash_file([content])
        files.append(OfferedFile(path=(name,), size=tree.length, root=tree.root))
    return Manifest(name="offer", is_folder=True, files=tuple(files)), [content for _, content in named]


class Exchange:
    """One taker and its givers.

    Args:
        contents: What is given.
        lines: One for each giver.
        have: What is there already: file and leaf.
        chunk: Bytes of a chunk at most.
        window: Bytes asked for ahead.
        limit: Bytes per second that the taker allows itself.
    """

    def __init__(
        self,
        contents: list[bytes],
        lines: list[Line],
        *,
        have: list[tuple[int, int]] = [],  # noqa: B006 - nobody changes it
        chunk: int = 1 << 20,
        window: int = 16 << 20,
        limit: float | None = None,
        stall: float = 30.0,
    ) -> None:
        self.manifest, self.contents = offer_of(contents)
        self.layout = Layout(self.manifest)
        trees = [hash_file([content]) for content in self.contents]
        self.written = [bytearray(len(content)) for content in self.contents]
        table = FileTable.of(self.manifest.files)
        verifiers = FileVerifiers(table, copies={}, whole=bytearray(len(table)))
        for number, leaf in have:
            verifiers[number].count(leaf, 1)
            at = leaf * LEAF_SIZE
            self.written[number][at : at + LEAF_SIZE] = self.contents[number][at : at + LEAF_SIZE]
        self.taker = Receiving(self.layout, verifiers, RateLimit(limit), 0.0, chunk=chunk, window=window, stall=stall)
        self.verifiers = verifiers
        self.givers = {
            number: Giver(line, Sending(self.layout, b"raw", dict(enumerate(trees)), RateLimit(None)))
            for number, line in enumerate(lines)
        }
        self.blamed: list[tuple[int, str]] = []
        self.now = 0.0
        self.most_ahead = 0
        self.served: dict[Range, int] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        for number in self.givers:
            self.taker.add_source(number, 0.0)

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def run(self, within: float = DAY) -> bool:
        """Let it go to its end; return whether all of it is there."""
        self._ask_all()
        while not self.taker.is_complete:
            timer = self.taker.next_timer(self.now)
            if self._events and self._events[0][0] <= timer:
                self.now, _, what = heapq.heappop(self._events)
                what()
            elif timer <= within:
                self.now = max(self.now, timer)
            else:
                return False
            for name in self.taker.stalled(self.now):
                self.lose(name, "stalled")  # type: ignore[arg-type]
            self._ask_all()
        return True

    def lose(self, number: int, why: str) -> None:
        if number in self.taker.sources:
            self.blamed.append((number, why))
            self.taker.remove_source(number)

    def _ask_all(self) -> None:
        for number in list(self.taker.sources):
            wants = self.taker.next_wants(number, self.now)
            self.most_ahead = max(self.most_ahead, self.taker.ahead)
            if wants:
                raw = encode_ranges(FrameType.WANT, wants)
                giver = self.givers[number]  # type: ignore[index]
                self.at(self.now + giver.line.latency, partial(self._asked, number, giver, raw))  # type: ignore[arg-type]

    def _asked(self, number: int, giver: Giver, raw: bytes) -> None:
        for frame in FrameReader().feed(raw):
            assert isinstance(frame, Frame)
            ranges = read_ranges(frame.body)
            if frame.type == FrameType.WANT:
                giver.machine.want(ranges[::-1] if giver.line.answers_backwards else ranges)
            else:
                giver.machine.unwant(ranges)
        self._give(number, giver)

    def _give(self, number: int, giver: Giver) -> None:
        if giver.is_dead or giver.free_at > self.now:
            return
        job = giver.machine.next_parts(self.now)
        if job is None:
            return
        wanted, parts = job
        data = [self.contents[part.file][part.offset : part.offset + part.size] for part in parts]
        raw = bytearray(b"".join(giver.machine.chunk(wanted, parts, data)))
        giver.given += 1
        line = giver.line
        if giver.given == line.spoils:
            raw[-1] ^= 1
        if giver.given == line.shortens:
            raw = raw[:-1]
            raw[1:5] = (len(raw) - 5).to_bytes(4)
        giver.free_at = self.now + len(raw) / line.rate
        if line.dies_after is not None and giver.given > line.dies_after:
            giver.is_dead = True
            self.at(self.now + line.latency, lambda: self.lose(number, "gone"))
            return
        if line.falls_silent_after is not None and giver.given > line.falls_silent_after:
            giver.is_dead = True
            return
        self.served[wanted] = self.served.get(wanted, 0) + 1
        self.at(giver.free_at + line.latency, lambda: self._came(number, giver, bytes(raw)))
        self.at(giver.free_at, lambda: self._give(number, giver))

    def _came(self, number: int, giver: Giver, raw: bytes) -> None:
        if number not in self.taker.sources:
            return
        try:
            for chunk in giver.reader.feed(raw):
                assert isinstance(chunk, Chunk)
                if self.taker.arrived(number, chunk.range, self.now):
                    self._store(number, chunk)
        except TransferError as error:
            self.lose(number, error.code)

    def _store(self, number: int, chunk: Chunk) -> None:
        try:
            checked = self.layout.check(chunk.range, chunk.pieces)
        except TransferError as error:
            assert self.taker.refused(chunk.range) == number
            self.lose(number, error.code)
            return
        for part, data, _ in checked:
            self.written[part.file][part.offset : part.offset + part.size] = b"".join(data)
        for name, wanted in self.taker.stored(chunk.range, self.now):
            giver = self.givers[name]  # type: ignore[index]
            raw = encode_ranges(FrameType.UNWANT, [wanted])
            self.at(self.now + giver.line.latency, partial(self._asked, name, giver, raw))  # type: ignore[arg-type]

    def check(self) -> None:
        """Check that what is there is what was given, and that everything is counted."""
        for number, content in enumerate(self.contents):
            if number not in self.layout.copies:
                assert self.written[number] == content
        assert self.taker.done == sum(map(len, self.contents))
        assert self.taker.files_done == len(self.contents)
