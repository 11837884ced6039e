"""One source of a transfer that is taken: the stream that it gives over, and the one with which it has come back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from librats.transfer.frames import FrameType, encode_accept, encode_plain

if TYPE_CHECKING:
    from librats.errors import TransferError
    from librats.services.transferring.wire import Wire
    from librats.transfer.frames import Offering

__all__ = ["SourceStreams"]


class SourceStreams:
    """The streams of one source.

    Args:
        peer_id: Who gives.
    """

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        """Who gives."""
        self.wire: Wire | None = None
        """What it gives over now."""
        self.came: asyncio.Future[tuple[Wire, Offering]] | None = None
        """Done where it has come (back) with an offer by itself, and nobody has gone on with that."""
        self.has_paused = False
        """Whether it has paused."""
        self.lost_at: float | None = None
        """Since when there is no session with it; None while there is one."""

    def bring(self, wire: Wire, offering: Offering) -> Wire | None:
        """Take note of a stream with which it has come; return the one that it takes the place of."""
        before = self.take_waiting()
        if self.came is None or self.came.done():
            self.came = asyncio.get_running_loop().create_future()
        self.came.set_result((wire, offering))
        return before

    def take_waiting(self) -> Wire | None:
        """Return the stream with which it has come, and that nobody has gone on with; it is forgotten here."""
        if self.came is None or not self.came.done() or self.came.cancelled():
            return None
        wire, self.came = self.came.result()[0], None
        return wire

    def ended(self, error: TransferError | None, total: int) -> list[Coroutine[Any, Any, None]]:
        """Tell it that the transfer has ended; return what ends its streams.

        Args:
            error: Why; None where all is there.
            total: Bytes of all of it.
        """
        wires, self.wire = [self.wire], None
        waiting = self.take_waiting()
        if waiting is not None and error is None:
            waiting.say(encode_accept(total))  # what it offers over that one is there as well
        endings = []
        for wire in filter(None, [*wires, waiting]):
            if error is None:
                wire.say(encode_plain(FrameType.DONE))
            endings.append(wire.close() if error is None else wire.refuse(error, FrameType.CANCEL))
        return endings
