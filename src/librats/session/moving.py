"""How a session knows what has arrived, goes over to another path, and notices that its path is dead."""

from __future__ import annotations

import math

from librats._core.framing import BlockWriter
from librats._core.retained import Retained
from librats.errors import UsageError
from librats.session.events import PathStalled
from librats.session.path_opening import PathOpened
from librats.session.state import KEPT_AT_LEAST, SessionState

__all__ = ["MovingSession"]

ROUND_OVERHEAD = 2048
CONTROL_ROUND = 128 * 1024


class MovingSession(SessionState):
    """The part of a :class:`~librats.session.machine.Session` that lets it move; does nothing where it does not."""

    __slots__ = ()

    @property
    def blocks_received(self) -> int:
        """Blocks that have been taken over all paths."""
        return self._reader.opened

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
        return self.finish_round(begins_with_rekey=False, now=now)

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
        self._is_path_broken = False
        self._told_blocks = self._reader.opened
        self._last_received = now
        self.round_trip.smoothed = None
        self.streams.rtt = None
        self.streams.least_rtt = math.inf

    @property
    def is_stalled(self) -> bool:
        """True from :class:`~librats.session.events.PathStalled` on until something is acknowledged."""
        kept = self.retained
        return kept is not None and bool(kept.awaited) and self._stall_told >= kept.progress_at

    def _handle_paths_timer(self, now: float) -> None:
        if now >= self._ack_due:
            self.acknowledge()
        if self.retained is not None and now >= self.stalls_at():
            self._stall_told = self.retained.progress_at
            self._events.append(PathStalled())
