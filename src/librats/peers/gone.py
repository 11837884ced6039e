"""What is left of peers that are gone."""

from __future__ import annotations

from msgspec import Struct

from librats.types import PeerStats

__all__ = ["Gone"]


class Gone(Struct):
    """Traffic of peers that are gone."""

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    frames_skipped: int = 0

    def add(self, stats: PeerStats) -> None:
        """Add the traffic of one more."""
        self.bytes_sent += stats.bytes_sent
        self.bytes_received += stats.bytes_received
        self.messages_sent += stats.messages_sent
        self.messages_received += stats.messages_received
        self.frames_skipped += stats.frames_skipped
