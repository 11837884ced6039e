"""The receiver's side of one transfer from a librats 2 node: order, sizes and hashes are checked, progress is told."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate
from typing import Final

from librats.errors import TransferError
from librats.transfer.filechunk import (
    Buffer,
    NodeChunk,
    NodeComplete,
    NodeFileEnd,
    NodeOffering,
    NodeOp,
    NodePlain,
    NodeWord,
    encode_progress,
)
from librats.transfer.filechunk_sending import IDLE_TIME

__all__ = ["PROGRESS_EVERY", "NodeReceiving"]

PROGRESS_EVERY: Final = 256 << 10
"""Bytes after which the sender is told at the latest that they have come."""

NEVER = float("inf")


class NodeReceiving:
    """Receives one offer from one node. Nothing is written here: :meth:`take` returns what is to be.

    Args:
        number: What the sender calls it.
        offering: What is offered, as it was accepted.
        now: The time.

    Example:
        >>> from hashlib import sha256
        >>> from librats.transfer.filechunk import NodeChunk, NodeFile, NodeFileEnd, NodeOffering
        >>> from librats.transfer.filechunk_receiving import NodeReceiving
        >>> offering = NodeOffering(name="a", is_folder=False, files=(NodeFile(("a",), 5),))
        >>> receiving = NodeReceiving(7, offering, now=0.0)
        >>> receiving.take(NodeChunk(7, 0, 0, b"hello"), now=0.1)
        b'hello'
        >>> receiving.take(NodeFileEnd(7, 0, sha256(b"hello").digest()), now=0.1)
        >>> receiving.is_whole, receiving.written(5).hex()
        (True, '0500000000000000070000000000000005')
    """

    def __init__(self, number: int, offering: NodeOffering, *, now: float) -> None:
        self._number = number
        self._files = offering.files
        self._ends = list(accumulate(file.size for file in offering.files))
        self._file = 0
        self._offset = 0
        self._hash = sha256()
        self._heard = now
        self._told = 0
        self._next_end = 0
        self.received = 0
        """Bytes that are with whoever writes them."""
        self.peer_paused = False
        """True where the sender has paused."""
        self.is_paused = False
        """True where this side has paused."""

    @property
    def is_whole(self) -> bool:
        """True where all files have come, with the hashes that they must have."""
        return self._file == len(self._files)

    @property
    def file(self) -> int:
        """Number of the file that comes now: those before it are whole."""
        return self._file

    def take(self, word: NodeWord, *, now: float) -> Buffer | None:
        """Take a word of the sender about this transfer. What a receiver does not hear is ignored.

        Returns:
            The next bytes of the file that comes now; None where the word has none.

        Raises:
            TransferError: They are not the next bytes, or a file ends too early (``"protocol"``), it has not the hash
                that it must have (``"bad_chunk"``), or the sender has cancelled (``"cancelled"``) or failed
                (``"peer_failed"``).
        """
        self._heard = now
        match word:
            case NodeChunk():
                return self._take_chunk(word)
            case NodeFileEnd():
                self._take_end(word)
            case NodeComplete():
                if not word.succeeded:
                    raise TransferError("peer_failed", "the peer could not go on")
            case NodePlain():
                if word.op is NodeOp.CANCEL:
                    raise TransferError("cancelled", "the peer has cancelled it")
                self.peer_paused = word.op is NodeOp.PAUSE
        return None

    def _take_chunk(self, chunk: NodeChunk) -> Buffer:
        if self.is_whole or (chunk.file, chunk.offset) != (self._file, self._offset):
            raise TransferError("protocol", "a chunk that is not the next one")
        if self._offset + len(chunk.data) > self._files[self._file].size:
            raise TransferError("protocol", "a chunk beyond the size of its file")
        self._hash.update(chunk.data)
        self._offset += len(chunk.data)
        return chunk.data

    def _take_end(self, end: NodeFileEnd) -> None:
        if self.is_whole or end.file != self._file or self._offset != self._files[self._file].size:
            raise TransferError("protocol", "a file that ends before all of it has come")
        if end.digest != self._hash.digest():
            raise TransferError("bad_chunk", "a file that has not the hash that the peer says")
        self._file, self._offset, self._hash = self._file + 1, 0, sha256()

    def written(self, size: int) -> bytes | None:
        """Take note that bytes are where they belong, and return the message for the sender where one is due.

        It is due every 256 KiB, and at the end of a file.

        Args:
            size: How many more.
        """
        self.received += size
        ended = False
        while self._next_end < len(self._ends) and self._ends[self._next_end] <= self.received:
            self._next_end += 1
            ended = True
        if self.received == self._told or not (ended or self.received - self._told >= PROGRESS_EVERY):
            return None
        self._told = self.received
        return encode_progress(self._number, self.received)

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        return NEVER if self.is_paused or self.peer_paused or self.is_whole else self._heard + IDLE_TIME

    def resumed(self, now: float) -> None:
        """Take note that a pause is over: the time of silence begins anew."""
        self._heard = now

    def handle_timer(self, *, now: float) -> None:
        """Give up a sender that has been silent for too long.

        Raises:
            TransferError: It has (``"stalled"``).
        """
        if now >= self.next_timer():
            raise TransferError("stalled", "the peer has sent nothing for too long")
