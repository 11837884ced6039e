"""How a session knows what has arrived, goes over to another path, and notices that its path is dead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from librats._core.framing import BlockWriter
from librats.errors import UsageError
from librats.session.events import PathStalled
from librats.session.frames import FrameType
from librats.session.path_opening import PathOpened
from librats.session.retained import Retained
from librats.session.state import KEPT_AT_LEAST, SessionState

__all__ = ["MovingSession"]

ACK_BYTES = 64 * 1024
ACK_BLOCKS = 32
ACK_ALONG = 8
"""Blocks received from which on an acknowledgement goes along with what leaves anyway."""
ACK_DELAY = 0.2
"""Seconds until what was received is acknowledged in any case."""

ACK_FRAME = 12
"""Bytes of an acknowledgement, frame header included."""

ROUND_OVERHEAD = 2048
CONTROL_ROUND = 128 * 1024

LEAST_PATIENCE = 0.8
"""Seconds without an acknowledgement after which a path counts as stalled, where the round trip is short."""


class MovingSession(SessionState):
    """The part of a :class:`~librats.session.machine.Session` that lets it move; does nothing where it does not."""

    __slots__ = ()

    if TYPE_CHECKING:

        def data_to_send(self, *, now: float) -> bytes:
            """Return the next blocks for the network."""

    @property
    def blocks_received(self) -> int:
        """Blocks that have been taken over all paths."""
        return self._reader.opened

    def _note_blocks(self, *, elicits: bool, now: float) -> None:
        """Take note of blocks that have come, and of what they acknowledge.

        Raises:
            RemoteProtocolError: It acknowledges what was never sent.
        """
        if self.retained is None:
            return
        if self._reader.acknowledged > self.retained.acknowledged:  # what is sent again tells old counts
            self.retained.acknowledge(self._reader.acknowledged, now=now)
        if self._reader.opened - self._told_blocks >= ACK_BLOCKS or self.bytes_received - self._told_at >= ACK_BYTES:
            self._acknowledge()
        elif elicits and self._ack_due == math.inf:
            self._ack_due = now + ACK_DELAY

    def _acknowledge(self) -> None:
        self._told_blocks = self._reader.opened
        self._told_at = self.bytes_received
        self._ack_due = math.inf
        self._acks_queued += ACK_FRAME
        self._control.add(FrameType.ACK, 0, self._told_blocks.to_bytes(8))

    def _acknowledge_along(self) -> None:
        """Acknowledge with what is about to leave, where that is worth it."""
        if self.retained is not None and self._reader.opened - self._told_blocks >= ACK_ALONG:
            self._acknowledge()

    def _has_room_on_the_way(self) -> bool:
        """Whether more may be sent before what was sent is acknowledged."""
        kept = self.retained
        if kept is None:
            return True
        if kept.size < self._kept_room:
            return True
        wanted = min(self._kept_room, self._config.max_unacknowledged - self._kept_room)
        grown = self._share.take_some(wanted) if wanted > 0 else 0
        self._kept_room += grown
        return grown > 0

    def _instead_of_round(self, kept: Retained, most: int, now: float) -> bytes | None:
        """Return what leaves where nothing new may yet; None where it may.

        That is what has to be sent again on another path, about as many bytes as are told; or, where as much is on its
        way as may be, only control frames: acknowledgements have to leave, else two sides would wait for each other.
        """
        if kept.is_stale:
            data = b""
            while kept.is_stale and len(data) < most:
                data += kept.resend(self._sending)
            self.bytes_sent += len(data)
            return data if kept.is_stale else data + self.data_to_send(now=now)
        if self._has_room_on_the_way():
            return None
        if not self._control:
            return b""
        self._writer.begin(min(len(self._control) + ROUND_OVERHEAD, CONTROL_ROUND))
        self._writer.put_queue(self._control)
        return self._finish_round(begins_with_rekey=False, now=now)

    def _finish_round(self, *, begins_with_rekey: bool, now: float) -> bytes:
        data = self._writer.finish()
        self.bytes_sent += len(data)
        if self.retained is not None and data:
            sealed = self._sealed_before + self._writer.sealed
            elicits = self._writer.packed > self._acks_queued
            self.retained.add(data, sealed, begins_with_rekey=begins_with_rekey, elicits=elicits, now=now)
            self._acks_queued = 0
        return data

    def _trim_retained(self) -> None:
        if self.retained is not None:
            self.retained.trim()
            if self.retained.size < KEPT_AT_LEAST < self._kept_room:
                self._share.give(self._kept_room - KEPT_AT_LEAST)
                self._kept_room = KEPT_AT_LEAST

    # Moving

    def move(self, path: PathOpened, *, now: float) -> None:
        """Go over to another path. The driver gives it nothing more from older ones.

        Args:
            path: What its opening left behind.
            now: Monotonic seconds.

        Raises:
            RemoteProtocolError: The peer tells of more blocks than it was sent, or of less than it has told before.
            UsageError: This session does not move.
        """
        if self.retained is None:
            raise UsageError("this session stays on its path")
        self.retained.acknowledge(path.received, now=now)
        self.retained.move(path.sending)
        self._sealed_before = self.retained.sealed
        self._sending = path.sending
        self._writer = BlockWriter(path.sending)
        self._rekeyed_at = now
        self._rekeyed_count = 0
        self._reader.go_on(path.receiving)
        self._told_blocks = self._reader.opened
        self._last_received = now
        self.round_trip.smoothed = None
        self.streams.rtt = None
        self.streams.least_rtt = math.inf

    def _stalls_at(self) -> float:
        """When the path counts as stalled where nothing is acknowledged until then."""
        kept = self.retained
        if kept is None or not kept.awaited or self._stall_told >= kept.progress_at:
            return math.inf
        return kept.progress_at + LEAST_PATIENCE + 3 * (self.round_trip.smoothed or 0.0)

    @property
    def is_stalled(self) -> bool:
        """True from :class:`~librats.session.events.PathStalled` on until something is acknowledged."""
        kept = self.retained
        return kept is not None and bool(kept.awaited) and self._stall_told >= kept.progress_at

    def paths_timer(self) -> float:
        """When an acknowledgement is due that nothing has carried yet, or the path counts as stalled."""
        return min(self._ack_due, self._stalls_at())

    def _handle_paths_timer(self, now: float) -> None:
        if now >= self._ack_due:
            self._acknowledge()
        if self.retained is not None and now >= self._stalls_at():
            self._stall_told = self.retained.progress_at
            self._events.append(PathStalled())
