"""What is asked of whom: rare pieces first, pieces that are begun before others, and the last blocks of everybody."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Protocol

from librats.bittorrent.layout import Layout
from librats.bittorrent.merkle import BLOCK_SIZE
from librats.types import Entropy

__all__ = ["Block", "PiecePicker", "Source", "StartedPiece"]

MAX_SPARE = 16 << 20

Block = tuple[int, int, int]
"""Number of the piece, where the block begins in it, and its bytes."""


class Source(Protocol):
    """A peer, as the picker sees it."""

    @property
    def key(self) -> Hashable:
        """What tells it from the others."""

    def has_piece(self, piece: int) -> bool:
        """Whether it has a piece."""


class StartedPiece:
    """A piece of which blocks are asked for or have come.

    Args:
        piece: Its number.
        size: Its bytes.
        needed: Bytes that are to come; only zeros follow.
        even: Whether the last block ends where the piece does rather than where the file does.
        buffer: What to put it in, as long as the piece; zeros where nothing is to come.
    """

    __slots__ = (
        "_end",
        "buffer",
        "copies",
        "exclusive",
        "givers",
        "left",
        "needed",
        "piece",
        "requested",
        "size",
        "unrequested",
    )

    def __init__(self, piece: int, size: int, needed: int, *, even: bool, buffer: bytearray) -> None:
        self.piece = piece
        """Its number."""
        self.size = size
        """Its bytes."""
        self.needed = needed
        """Bytes that are to come."""
        self.buffer = buffer
        """What has come, at its place."""
        blocks = -(-needed // BLOCK_SIZE)
        self.left = blocks
        """Blocks that have not come."""
        self.unrequested = [number * BLOCK_SIZE for number in range(blocks - 1, -1, -1)]
        """Where blocks begin that nobody is asked for, the first one last."""
        self.requested: dict[int, Any] = {}
        """Who is asked, by where the block begins."""
        self.copies: dict[int, Any] = {}
        """Who is asked, too, towards the end."""
        self.givers: set[Any] = set()
        """Who has given blocks."""
        self.exclusive: Any = None
        """Who alone may give it, after it has come wrong from several; None for everybody."""
        self._end = size if even else needed

    @property
    def asked_size(self) -> int:
        """Bytes of all its blocks: without those at its end that are filled in and not asked for."""
        return min(-(-self.needed // BLOCK_SIZE) * BLOCK_SIZE, self._end)

    def length_of(self, begin: int) -> int:
        """Return how many bytes a block has."""
        return min(BLOCK_SIZE, self._end - begin)


class PiecePicker:
    """Which blocks to ask a peer for, and which pieces are there.

    Args:
        layout: The torrent's.
        entropy: For the order among pieces that are as rare as each other.
        have: A byte for each piece: 1 where it is there already.
        wanted: A byte for each piece: 1 where it is wanted; None for all of them.
        even: Whether blocks may be asked for beyond the end of a file, where zeros fill the piece (version 1).
    """

    def __init__(
        self,
        layout: Layout,
        entropy: Entropy,
        *,
        have: bytearray | None = None,
        wanted: bytearray | None = None,
        even: bool = True,
    ) -> None:
        count = layout.piece_count
        self._layout = layout
        self._even = even
        self.have = have if have is not None else bytearray(count)
        """A byte for each piece: 1 where it is there."""
        self.wanted = wanted if wanted is not None else bytearray(b"\1" * count)
        """A byte for each piece: 1 where it is wanted."""
        self._holders = [0] * count  # peers that have it, those that have all not counted
        self._levels: dict[int, dict[int, None]] = {}
        order = [piece for piece in range(count) if self.wanted[piece] and not self.have[piece]]
        _shuffle(order, entropy)
        self._levels[0] = dict.fromkeys(order)
        self._open: dict[int, StartedPiece] = {}  # there are blocks that nobody is asked for
        self._full: dict[int, StartedPiece] = {}  # all others are asked for
        self._checking: dict[int, StartedPiece] = {}
        self._suspects: set[int] = set()  # have come wrong from several
        self._spare: list[bytearray] = []  # of whole pieces that are stored: new memory costs more than to fill it
        self.missing = len(order)
        """Pieces that are wanted and not there."""

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted is there."""
        return not self.missing

    @property
    def is_end_game(self) -> bool:
        """Whether every block that is missing is asked for."""
        return not self._open and not any(self._levels.values()) and bool(self._full)

    @property
    def checking_size(self) -> int:
        """Bytes of pieces that have come and are not checked yet."""
        return sum(started.size for started in self._checking.values())

    def started(self) -> Iterator[StartedPiece]:
        """Yield the pieces that are begun."""
        yield from self._open.values()
        yield from self._full.values()

    def is_needed(self, piece: int) -> bool:
        """Whether a piece is wanted and not there."""
        return bool(self.wanted[piece]) and not self.have[piece]

    # Who has what

    def add_holder(self, piece: int, by: int = 1) -> None:
        """Take note that one peer more (or one less) has a piece; one that has all of them is not to be counted."""
        before = self._holders[piece]
        self._holders[piece] = after = before + by
        level = self._levels.get(before)
        if level is not None and piece in level:
            del level[piece]
            self._levels.setdefault(after, {})[piece] = None

    def want(self, wanted: bytearray) -> None:
        """Want other pieces from now on. What is begun goes on."""
        for piece in range(len(wanted)):
            if wanted[piece] == self.wanted[piece]:
                continue
            self.wanted[piece] = wanted[piece]
            if self.have[piece]:
                continue
            self.missing += 1 if wanted[piece] else -1
            if not wanted[piece]:
                self._levels.get(self._holders[piece], {}).pop(piece, None)
            elif not any(piece in begun for begun in (self._open, self._full, self._checking)):
                self._await(piece)

    # What to ask for

    def pick(self, source: Source, count: int) -> list[Block]:
        """Return blocks to ask a peer for. They count as asked for from now on.

        Args:
            source: The peer.
            count: How many at most.
        """
        picked: list[Block] = []
        key = source.key
        for started in list(self._open.values()):
            if len(picked) >= count:
                return picked
            if source.has_piece(started.piece) and started.exclusive in (None, key):
                self._take(started, key, count, picked)
        while len(picked) < count:
            piece = self._rarest(source)
            if piece is None:
                break
            self._take(self._start(piece, key), key, count, picked)
        if not picked and count and self.is_end_game:
            self._take_again(source, count, picked)
        return picked

    def pick_of(self, source: Source, piece: int, count: int) -> list[Block]:
        """Return blocks of one piece to ask a peer for, as :meth:`pick` does."""
        picked: list[Block] = []
        if self.is_needed(piece) and piece not in self._full and piece not in self._checking:
            started = self._open.get(piece)
            if started is None:
                self._levels[self._holders[piece]].pop(piece)
                started = self._start(piece, source.key)
            if started.exclusive in (None, source.key):
                self._take(started, source.key, count, picked)
        return picked

    def _rarest(self, source: Source) -> int | None:
        has_piece = source.has_piece
        for level in sorted(self._levels):
            pieces = self._levels[level]
            for piece in pieces:
                if has_piece(piece):
                    del pieces[piece]
                    return piece
        return None

    def _start(self, piece: int, key: Hashable) -> StartedPiece:
        size, needed = self._layout.piece_size(piece), self._layout.data_size(piece)
        is_full = size == needed == self._layout.piece_length
        buffer = self._spare.pop() if is_full and self._spare else bytearray(size)
        started = StartedPiece(piece, size, needed, even=self._even, buffer=buffer)
        if piece in self._suspects:
            started.exclusive = key
        self._open[piece] = started
        return started

    def _take(self, started: StartedPiece, key: Hashable, count: int, picked: list[Block]) -> None:
        unrequested, requested, piece, length_of = (
            *(started.unrequested, started.requested, started.piece, started.length_of),
        )
        while unrequested and len(picked) < count:
            begin = unrequested.pop()
            requested[begin] = key
            picked.append((piece, begin, length_of(begin)))
        if not unrequested:
            self._open.pop(started.piece, None)
            self._full[started.piece] = started

    def _take_again(self, source: Source, count: int, picked: list[Block]) -> None:
        key = source.key
        for started in self._full.values():
            if not source.has_piece(started.piece) or started.exclusive is not None:
                continue
            copies = started.copies
            for begin, asked in started.requested.items():
                if asked != key and begin not in copies:
                    if len(picked) >= count:
                        return
                    copies[begin] = key
                    picked.append((started.piece, begin, started.length_of(begin)))

    # What comes of it

    def release(self, piece: int, begin: int, key: Hashable) -> None:
        """Take note that a peer will not give a block that it was asked for."""
        started = self._full.get(piece) or self._open.get(piece)
        if started is None:
            return
        asked, copy = started.requested.get(begin), started.copies.get(begin)
        if key not in (asked, copy):
            return
        if started.exclusive is not None:
            # What others would add could not be told from what this one has given.
            self._open.pop(piece, None)
            self._full.pop(piece, None)
            self._await(piece)
            return
        if copy is not None:
            started.requested[begin] = asked if copy == key else copy
            del started.copies[begin]
            return
        del started.requested[begin]
        started.unrequested.append(begin)
        self._full.pop(piece, None)
        self._open[piece] = started

    def receive(
        self, piece: int, begin: int, data: bytes | bytearray | memoryview, key: Hashable
    ) -> tuple[bool, tuple[Any, ...]]:
        """Take a block that a peer was asked for, and copy it to its place.

        Returns:
            Whether it was still missing, and whom else to tell that it is not wanted any more.
        """
        started = self._full.get(piece) or self._open.get(piece)
        asked = started.requested.pop(begin, None) if started is not None else None
        if started is None or asked is None:
            return False, ()
        started.buffer[begin : begin + len(data)] = data
        started.givers.add(key)
        started.left -= 1
        return True, (asked, started.copies.pop(begin)) if begin in started.copies else ()

    def take_whole(self, piece: int) -> StartedPiece | None:
        """Return a piece all of whose blocks have come, once; it is to be checked then."""
        started = self._full.get(piece)
        if started is None or started.left:
            return None
        self._checking[piece] = self._full.pop(piece)
        return started

    def end_check(self, piece: int, *, is_right: bool) -> set[Any]:
        """Take note of what the check of a piece has come to.

        Returns:
            Who has given a wrong piece alone, and so lies.
        """
        started = self._checking.pop(piece, None)
        if started is None:
            return set()
        self._keep_spare(started)
        if is_right:
            self._suspects.discard(piece)
            if not self.have[piece]:
                self.have[piece] = 1
                self.missing -= self.wanted[piece]
            if not self.missing:
                self._spare.clear()
            return set()
        self._await(piece)
        if len(started.givers) == 1:
            return set(started.givers)
        self._suspects.add(piece)
        return set()

    def _keep_spare(self, started: StartedPiece) -> None:
        length = self._layout.piece_length
        if started.needed == length and (len(self._spare) + 1) * length <= MAX_SPARE:
            self._spare.append(started.buffer)

    def put_back(self, piece: int) -> None:
        """Take note that a piece that was to be checked was not: it is missing again."""
        if self._checking.pop(piece, None) is not None:
            self._await(piece)

    def _await(self, piece: int) -> None:
        """Put a piece among those that nobody is asked for, where it is wanted."""
        if self.wanted[piece] and not self.have[piece]:
            self._levels.setdefault(self._holders[piece], {})[piece] = None


def _shuffle(items: list[int], entropy: Entropy) -> None:
    for at in range(len(items) - 1, 0, -1):
        other = entropy.randbelow(at + 1)
        items[at], items[other] = items[other], items[at]
