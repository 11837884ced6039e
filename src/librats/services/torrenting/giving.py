"""What peers ask for, read from the disk and given to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from librats.bittorrent.layout import Layout
from librats.services.torrenting.disk import PieceCache
from librats.services.torrenting.wire import PeerWire

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.services.torrenting.throttling import Limits

__all__ = ["Giving"]

CHUNK = 256 * 1024
READ_AHEAD = 256  # blocks


class Giving:
    """Gives blocks of one torrent.

    Args:
        layout: Where its pieces are.
        cache: Its pieces.
        on_failure: Called with the error where one cannot be read.
        limits: Of how much goes.
    """

    def __init__(
        self, layout: Layout, cache: PieceCache, on_failure: Callable[[Exception], object], limits: Limits
    ) -> None:
        self._layout = layout
        self._cache = cache
        self._on_failure = on_failure
        self._throttle, self._gate = limits.up, limits.up_gate

    def serve(self, wire: PeerWire) -> None:
        """Give a peer what it asks for, as far as it is read and the channel takes it; below a limit in turn."""
        link = wire.link
        if link is None or wire.waits:
            return
        if self._gate.is_limited:
            self._wait(wire, link)
            return
        cache, layout = self._cache, self._layout
        for ahead in islice(link.queue, 0, READ_AHEAD, 32):  # what is asked for next is read while this is sent
            cache.fetch(ahead, layout.piece_size(ahead[0]))
        self._give(wire, link)

    def _give(self, wire: PeerWire, link: PeerLink, *, one: bool = False) -> int:
        """Give what there is, or one block of it; return how many bytes those are that were not flushed before."""
        cache, layout = self._cache, self._layout
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
            if one:
                break
            if size >= CHUNK:
                wire.flush()
                size = 0
        wire.flush()
        return size

    def _wait(self, wire: PeerWire, link: PeerLink) -> None:
        if link.queue and not wire.is_full:
            self._throttle.wait(wire, self._gate, partial(self._give_in_turn, wire, link))

    def _give_in_turn(self, wire: PeerWire, link: PeerLink, _now: float) -> int:
        """Give one block, as it is a peer's turn, and have it wait again; return how long it is."""
        if wire.is_over or wire.waits:
            return 0
        if not self._gate.is_limited:
            self.serve(wire)
            return 0
        size = self._give(wire, link, one=True)
        if size:
            self._wait(wire, link)
        return size

    def _serve_again(self, wire: PeerWire, error: Exception | None) -> None:
        wire.waits = False
        if error is not None:
            self._on_failure(error)
            wire.close("what it asks for cannot be read")
        elif wire.download is not None and not wire.download.is_closed:
            self.serve(wire)
