"""The sender's side of one transfer to a librats 2 node: what may go next, and what the node says to it."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from librats.errors import TransferError
from librats.transfer.filechunk import (
    NodeComplete,
    NodeOffering,
    NodeOp,
    NodePlain,
    NodeProgress,
    NodeResponse,
    NodeWord,
    encode_chunk,
    encode_file_end,
    encode_offer,
)
from librats.transfer.pacing import RateLimit

__all__ = ["CHUNK_SIZE", "IDLE_TIME", "WINDOW", "NodeSending"]

WINDOW: Final = 4 << 20
"""Bytes that may be on their way: sent, and not in a progress message of the receiver yet."""

CHUNK_SIZE: Final = 64 << 10
"""Bytes of a file that one message carries."""

IDLE_TIME: Final = 60.0
"""Seconds without a word after which a transfer is given up."""

READ_SIZE = 8 * CHUNK_SIZE
NEVER = float("inf")


class NodeSending:
    """Sends one offer to one node, in order. No file is read here: :meth:`next_read` says what, :meth:`wrap` wraps it.

    Args:
        number: What both sides call it; to be drawn by chance.
        offering: What is offered.
        limit: Bytes per second, which other transfers may share.
        answer_timeout: Seconds within which the offer has to be answered.
        now: The time.

    Example:
        >>> from librats.transfer.filechunk import NodeComplete, NodeFile, NodeOffering, NodeProgress, NodeResponse
        >>> from librats.transfer.filechunk_sending import NodeSending
        >>> offering = NodeOffering(name="a", is_folder=False, files=(NodeFile(("a",), 5),))
        >>> sending = NodeSending(7, offering, now=0.0)
        >>> sending.next_read(0.0) is None
        True
        >>> sending.take(NodeResponse(7, True), now=0.1)
        >>> sending.next_read(0.1)
        (0, 0, 5)
        >>> [word[0] for word in sending.wrap(b"hello", now=0.1)]
        [3, 4]
        >>> sending.take(NodeComplete(7, True), now=0.2)
        >>> sending.is_done
        True
    """

    def __init__(
        self,
        number: int,
        offering: NodeOffering,
        *,
        limit: RateLimit | None = None,
        answer_timeout: float = IDLE_TIME,
        now: float,
    ) -> None:
        self._number = number
        self._offering = offering
        self._limit = limit or RateLimit(None)
        self._answer_timeout = answer_timeout
        self._total = offering.size
        self._file = 0
        self._offset = 0
        self._hash = sha256()
        self._heard = now
        self.sent = 0
        """Bytes that were sent."""
        self.received = 0
        """Bytes that the receiver has, as it says."""
        self.is_accepted = False
        """True where the receiver takes it."""
        self.is_done = False
        """True where the receiver says that it has all of it."""
        self.peer_paused = False
        """True where the receiver wants nothing for a while."""
        self.is_paused = False
        """True where this side has paused."""

    def offer(self) -> bytes:
        """Return the message to begin with.

        Raises:
            TransferError: A name is not safe everywhere (``"bad_name"``).
        """
        return encode_offer(self._number, self._offering)

    # What the receiver says

    def take(self, word: NodeWord, *, now: float) -> None:
        """Take a word of the receiver about this transfer. What a sender does not hear is ignored.

        Raises:
            TransferError: It is refused (``"refused"``), has failed there (``"peer_failed"``), was cancelled
                (``"cancelled"``), or it claims to be done before it can be (``"protocol"``).
        """
        self._heard = now
        match word:
            case NodeResponse():
                if not word.accepted:
                    raise TransferError("refused", "the peer refuses it")
                self.is_accepted = True
            case NodeProgress():
                # No more than was sent: the window is for what is under way.
                self.received = max(self.received, min(word.received, self.sent))
            case NodeComplete():
                if not word.succeeded:
                    raise TransferError("peer_failed", "the peer could not take it")
                if not self.is_accepted or not self._is_all_sent:
                    raise TransferError("protocol", "a receiver that is done before it can be")
                self.received = self._total
                self.is_done = True
            case NodePlain():
                if word.op is NodeOp.CANCEL:
                    raise TransferError("cancelled", "the peer has cancelled it")
                self.peer_paused = word.op is NodeOp.PAUSE

    # What goes next

    @property
    def _is_all_sent(self) -> bool:
        return self._file == len(self._offering.files)

    def ready_at(self, now: float) -> float:
        """Return when :meth:`next_read` has something: now, later, or never until the receiver says more."""
        if not self.is_accepted or self.is_paused or self.peer_paused or self._is_all_sent:
            return NEVER
        if self.sent - self.received >= WINDOW:
            return NEVER
        return self._limit.ready_at(now)

    def next_read(self, now: float) -> tuple[int, int, int] | None:
        """Return what is to be read and given to :meth:`wrap`: number of the file, offset and size, which may be 0."""
        if self.ready_at(now) > now:
            return None
        left = self._offering.files[self._file].size - self._offset
        return self._file, self._offset, min(left, READ_SIZE, WINDOW - (self.sent - self.received))

    def wrap(self, data: bytes, *, now: float) -> list[bytes]:
        """Return the messages for what :meth:`next_read` has asked for.

        Args:
            data: What was read, all of it.
            now: The time.
        """
        self._heard = now
        self._limit.take(len(data), now)
        self._hash.update(data)
        view, words = memoryview(data), []
        for at in range(0, len(data), CHUNK_SIZE):
            piece = view[at : at + CHUNK_SIZE]
            words.append(encode_chunk(self._number, self._file, self._offset + at, piece))
        self._offset += len(data)
        self.sent += len(data)
        if self._offset == self._offering.files[self._file].size:
            words.append(encode_file_end(self._number, self._file, self._hash.digest()))
            self._file, self._offset, self._hash = self._file + 1, 0, sha256()
        return words

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        if self.is_done or (self.is_accepted and (self.is_paused or self.peer_paused)):
            return NEVER
        return self._heard + (IDLE_TIME if self.is_accepted else self._answer_timeout)

    def resumed(self, now: float) -> None:
        """Take note that a pause is over: the time of silence begins anew."""
        self._heard = now

    def handle_timer(self, *, now: float) -> None:
        """Give up a receiver that has been silent for too long.

        Raises:
            TransferError: It has (``"stalled"``).
        """
        if now >= self.next_timer():
            raise TransferError("stalled", "the peer has said nothing for too long")
