"""Servers that have a torrent's files over HTTP (BEP 19), as sources of blocks: what to ask them for, and where."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from librats._core import bencode
from librats.bittorrent.file_lists import told_in_list, told_in_tree
from librats.bittorrent.merkle import BLOCK_SIZE
from librats.bittorrent.metainfo import MAX_DEPTH, MAX_TOKENS, Torrent
from librats.bittorrent.picker import Block
from librats.bittorrent.rates import Rate

__all__ = ["WebPart", "WebRun", "WebSeed"]

FIRST_PAUSE: Final = 10.0
MAX_PAUSE = 900.0
MAX_FAILURES = 20
MAX_BLOCKS = 256
UP = frozenset({b"", b".", b".."})


class WebPart(NamedTuple):
    """A part of a file to ask for."""

    url: str
    """Where the file is."""

    file: int
    """Its number."""

    offset: int
    """Where the part begins in it."""

    size: int
    """Bytes."""

    at: int
    """Where it goes in the run."""


class WebRun(NamedTuple):
    """Blocks one behind the other, and the parts of files that they are made of."""

    blocks: tuple[Block, ...]
    """The blocks."""

    size: int
    """Bytes of all of them."""

    parts: tuple[WebPart, ...]
    """What to ask for; what only fills pieces is zeros, and not among it."""


class WebSeed:
    """One server, to the picker a peer that has everything but what it was found not to have.

    Args:
        url: Its URL in the torrent: of the file, or of the folder that the torrent's own file or folder is in.
        torrent: The torrent.
        now: Seconds on any clock that only goes on.

    Example:
        >>> from librats.bittorrent.creating import TorrentBuilder
        >>> from librats.bittorrent.metainfo import read_torrent
        >>> from librats.bittorrent.web_seeds import WebSeed
        >>> builder = TorrentBuilder("two words", [(("a",), 2), (("b",), 3)], version="v1")
        >>> builder.update(b"aabbb")
        >>> seed = WebSeed("https://example.org/files", read_torrent(builder.finish()), now=0.0)
        >>> for part in next(seed.runs([(0, 0, 5)])).parts:
        ...     print(part.url, part.offset, part.size)
        https://example.org/files/two%20words/a 0 2
        https://example.org/files/two%20words/b 0 3
    """

    def __init__(self, url: str, torrent: Torrent, *, now: float) -> None:
        self.url = url
        """Its URL in the torrent."""
        self.is_lying = False
        """Whether it has given a piece that is wrong, and so is not asked any more."""
        self.down = Rate(now)
        """What it gives."""
        self.next_time = now
        """When it may be asked again."""
        self._layout = torrent.layout
        self._urls = _file_urls(url, torrent)
        files = enumerate(self._layout.files)
        self._lacks = {number for number, file in files if self._urls[number] is None and not file.is_pad}
        self._failures = 0

    @property
    def key(self) -> Hashable:
        """What tells it from other sources."""
        return id(self)

    @property
    def gives(self) -> float:
        """Bytes a second that it gives us."""
        return self.down.value

    @property
    def is_useless(self) -> bool:
        """Whether it is not worth asking any more."""
        files = self._layout.files
        is_empty = all(number in self._lacks for number, file in enumerate(files) if file.size and not file.is_pad)
        return self.is_lying or self._failures >= MAX_FAILURES or is_empty

    @property
    def ahead(self) -> int:
        """How many blocks to ask it for at once."""
        return min(MAX_BLOCKS, max(16, self._layout.piece_length // BLOCK_SIZE))

    def has_piece(self, piece: int) -> bool:
        """Whether it has a piece, as far as it is known."""
        if not self._lacks or self.is_lying:
            return not self.is_lying
        layout = self._layout
        spans = layout.spans(piece * layout.piece_length, layout.piece_size(piece))
        return all(layout.files[span.file].is_pad or span.file not in self._lacks for span in spans)

    def runs(self, blocks: Sequence[Block]) -> Iterator[WebRun]:
        """Yield blocks that lie one behind the other together, and what to ask for to have them."""
        run: list[Block] = []
        for block in sorted(blocks):
            if run and self._begin(run[-1]) + run[-1][2] != self._begin(block):
                yield self._run(run)
                run = []
            run.append(block)
        if run:
            yield self._run(run)

    def _begin(self, block: Block) -> int:
        return block[0] * self._layout.piece_length + block[1]

    def _run(self, blocks: Sequence[Block]) -> WebRun:
        size = sum(length for _, _, length in blocks)
        parts, at = [], 0
        for span in self._layout.spans(self._begin(blocks[0]), size):
            url = self._urls[span.file]
            if url is not None:
                parts.append(WebPart(url, span.file, span.offset, span.size, at))
            at += span.size
        return WebRun(tuple(blocks), size, tuple(parts))

    def succeed(self, size: int) -> None:
        """Take note of bytes that it has given."""
        self._failures = 0
        self.down.total += size

    def fail(self, now: float, *, pause: float = 0.0) -> None:
        """Take note that it has not given what it was asked for: it is asked again ever later.

        Args:
            now: The time.
            pause: Seconds that it asks for itself.
        """
        self._failures += 1
        wanted = max(pause, FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
        self.next_time = max(self.next_time, now + min(wanted, MAX_PAUSE))

    def lose_file(self, number: int) -> None:
        """Take note that it does not have a file."""
        self._lacks.add(number)


def _file_urls(base: str, torrent: Torrent) -> list[str | None]:
    """Return the URL of each file by its number, with the names that the torrent tells, not with those made safe."""
    info = bencode.decode(torrent.info, strict=False, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
    told = told_in_list(info) if torrent.info_hash_v1 is not None else told_in_tree(info[b"file tree"])
    name = info.get(b"name.utf-8", info.get(b"name"))
    paths = iter([file.path for file in told if b"p" not in file.attributes])
    is_single = len(torrent.layout.files[0].path) == 1
    folder = base if base.endswith("/") else f"{base}/"
    urls: list[str | None] = []
    for file in torrent.layout.files:
        parts = () if file.is_pad else next(paths)
        if file.is_pad:
            urls.append(None)
        elif is_single:
            urls.append(base if not base.endswith("/") else base + quote(name, safe=""))
        elif UP.isdisjoint(parts):
            urls.append(folder + "/".join(quote(part, safe="") for part in (name, *parts)))
        else:
            urls.append(None)
    return urls
