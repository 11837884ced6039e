"""What peers ask for, read from the disk and given to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice

from librats.bittorrent.layout import Layout
from librats.services.torrenting.disk import PieceCache
from librats.services.torrenting.wire import PeerWire

__all__ = ["Giving"]

CHUNK = 256 * 1024
READ_AHEAD = 256  # blocks


class Giving:
    """Gives blocks of one torrent.

    Args:
        layout: Where its pieces are.
        cache: Its pieces.
        on_failure: Called with the error where one cannot be read.
    """

    def __init__(self, layout: Layout, cache: PieceCache, on_failure: Callable[[Exception], object]) -> None:
        self._layout = layout
        self._cache = cache
        self._on_failure = on_failure

    def serve(self, wire: PeerWire) -> None:
        """Give a peer what it asks for, as far as it is read and the channel takes it."""
        link = wire.link
        if link is None or wire.waits:
            return
        cache, layout = self._cache, self._layout
        for ahead in islice(link.queue, 0, READ_AHEAD, 32):  # what is asked for next is read while this is sent
            cache.fetch(ahead, layout.piece_size(ahead[0]))
        size = 0
        while link.queue and not wire.is_full:
            block = link.queue[0]
            data = cache.get(block)
            if data is None:
                wire.waits = True
                cache.fetch(block, layout.piece_size(block[0]), partial(self._serve_again, wire))
                break
            link.queue.popleft()
            link.send_block(block, data)
            size += block[2]
            if size >= CHUNK:
                wire.flush()
                size = 0
        wire.flush()

    def _serve_again(self, wire: PeerWire, error: Exception | None) -> None:
        wire.waits = False
        if error is not None:
            self._on_failure(error)
            wire.close("what it asks for cannot be read")
        elif wire.download is not None and not wire.download.is_closed:
            self.serve(wire)
