"""A transfer as the application sees it: what it is, how far it is, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from librats.errors import TransferError
from librats.transfer.pacing import RateMeter

__all__ = ["Progress", "Transfer", "TransferDirection", "TransferResult", "TransferState"]


class TransferDirection(StrEnum):
    """Which way a transfer goes."""

    SEND = "send"
    """To the peer."""
    RECEIVE = "receive"
    """From the peer."""


class TransferState(StrEnum):
    """What a transfer does."""

    HASHING = "hashing"
    """The files are read once, for their hashes."""
    OFFERED = "offered"
    """The peer has not answered yet."""
    QUEUED = "queued"
    """Others come first."""
    STARTING = "starting"
    """It is found out what there is, and what is there already."""
    CHECKING = "checking"
    """What is there already is read, to find out what is missing."""
    RUNNING = "running"
    """Bytes flow."""
    PAUSED = "paused"
    """This side has paused, or the other one."""
    WAITING = "waiting"
    """No peer of it is connected; it goes on when one is back."""
    FINISHING = "finishing"
    """All is there, and gets its name."""
    DONE = "done"
    """All went well."""
    FAILED = "failed"
    """It has ended otherwise."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is."""

    bytes: int
    """Bytes that are there, what was there before included; those that were read while it is hashing or checking."""
    total: int
    """Bytes in all; 0 while that is not known."""
    files: int
    """Files that are whole at this side; when sending, 0 until all are."""
    total_files: int
    """Files in all."""
    rate: float
    """Bytes per second over the last seconds."""
    eta: float | None
    """Seconds until the end at that rate; None where nothing moves."""
    state: TransferState
    """What the transfer does."""
    reused: int = 0
    """Bytes of those that are there that did not have to come: they were there before, also in older versions of the
    files, or are in the offer more than once. When sending, those that the peer has said to have."""


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What became of a transfer."""

    path: Path
    """What was sent, or where what was received is."""
    bytes: int
    """Bytes of all files."""
    seconds: float
    """Seconds from the beginning, hashing and waiting for an answer included."""
    content_id: str
    """Id of the content, 64 hex digits."""


class Transfer:
    """One transfer, in either direction. Comes from :meth:`FilesHandle.send`, :meth:`FilesHandle.fetch` or an offer.

    Args:
        number: Its number, 16 bytes.
        peer_ids: Who is at the other end.
        direction: Which way it goes.
        now: The time.
    """

    def __init__(self, number: bytes, peer_ids: tuple[str, ...], direction: TransferDirection, now: float) -> None:
        self._number = number
        self._peer_ids = peer_ids
        self._direction = direction
        self._state = TransferState.QUEUED
        self._began = now
        self._meter = RateMeter(now)
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._outcome: asyncio.Future[TransferResult] = loop.create_future()
        self._changed: asyncio.Future[None] = loop.create_future()
        self._own_pause = False
        self.on_end: Callable[[TransferError | None], None] | None = None
        """Called when it ends."""
        self.was_offered = False
        """Whether the peer has offered it to us, rather than been asked for it."""
        self._name = ""
        self._content_id = ""
        self._total = 0
        self._total_files = 0
        self._done_bytes = 0
        self._reused_bytes = 0
        self._done_files = 0

    def __repr__(self) -> str:
        """Show direction, state and peer."""
        return f"<Transfer {self.id[:8]} {self._direction} {self._state} peer={self.peer_id[:8]}>"

    @property
    def id(self) -> str:
        """Its number, 32 hex digits; the same at both ends where the other one has offered it."""
        return self._number.hex()

    @property
    def peer_id(self) -> str:
        """Id of the peer at the other end; of the first one where there are several sources."""
        return self._peer_ids[0]

    @property
    def peer_ids(self) -> tuple[str, ...]:
        """Ids of all peers at the other end."""
        return self._peer_ids

    @property
    def direction(self) -> TransferDirection:
        """Whether it sends or receives."""
        return self._direction

    @property
    def state(self) -> TransferState:
        """What it does now."""
        return self._state

    @property
    def name(self) -> str:
        """Name of the file or folder; empty while that is not known."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes of all files; 0 while that is not known."""
        return self._total

    @property
    def content_id(self) -> str:
        """Id of the content, 64 hex digits; empty while that is not known."""
        return self._content_id

    @property
    def is_over(self) -> bool:
        """True where it has ended, well or not."""
        return self._outcome.done()

    def snapshot(self) -> Progress:
        """Return how far it is now."""
        now = self._loop.time()
        rate = 0.0 if self.is_over else self._meter.rate(now)
        left = self._total - self._done_bytes
        eta = left / rate if rate > 0 and self._total and self._state == TransferState.RUNNING else None
        return Progress(
            self._done_bytes,
            self._total,
            self._done_files,
            self._total_files,
            rate,
            eta,
            self._state,
            self._reused_bytes,
        )

    async def progress(self, interval: float = 0.25) -> AsyncIterator[Progress]:
        """Iterate over how far it is: at once, whenever the state changes, and so often while it goes on.

        The last one tells the end; how it ended, :meth:`wait` says.

        Args:
            interval: Seconds between two.

        Example:
            .. code-block:: python

                async for progress in transfer.progress():
                    print(f"{progress.bytes} of {progress.total} bytes, {progress.rate / 1e6:.1f} MB/s")
        """
        while True:
            was_over = self.is_over
            yield self.snapshot()
            if was_over:
                return
            if not self.is_over:
                both: list[asyncio.Future[Any]] = [self._outcome, self._changed]
                await asyncio.wait(both, timeout=interval, return_when="FIRST_COMPLETED")

    async def wait(self) -> TransferResult:
        """Wait for the end.

        Raises:
            TransferError: It did not end well; ``code`` says why.
        """
        await asyncio.wait([self._outcome])
        error = self._outcome.exception()
        if isinstance(error, TransferError):
            raise TransferError(error.code, error.reason)
        return self._outcome.result()

    def pause(self) -> None:
        """Stop asking, or giving, until :meth:`resume`. The other side is told. Harmless where it has ended."""
        if not self._own_pause and not self.is_over:
            self._own_pause = True
            self._tell_pause(is_paused=True)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        if self._own_pause and not self.is_over:
            self._own_pause = False
            self._tell_pause(is_paused=False)

    async def cancel(self, reason: str = "") -> None:
        """End it for good. What was received is removed; the other side is told. Harmless where it has ended.

        Args:
            reason: Words for the peer.
        """
        if not self.is_over:
            await self._stop(TransferError("cancelled", reason or "cancelled here"), keep=False)

    async def end(self, error: TransferError) -> None:
        """End it with an error, and keep what has come of it."""
        if not self.is_over:
            await self._stop(error, keep=True)

    # For the parts that do the work

    def _tell_pause(self, *, is_paused: bool) -> None:
        """Hold back, or go on, and tell the other side."""
        raise NotImplementedError

    async def _stop(self, error: TransferError, *, keep: bool) -> None:
        """End with an error, and tell the other side; keep what has come, or remove it."""
        raise NotImplementedError

    def _become(self, state: TransferState) -> None:
        if state != self._state:
            self._state = state
            self._changed.set_result(None)
            self._changed = self._loop.create_future()

    def _describe(self, name: str, content_id: bytes, total: int, files: int) -> None:
        self._name, self._content_id = name, content_id.hex()
        self._total, self._total_files = total, files

    def _succeed(self, path: Path) -> None:
        if not self.is_over:
            self._done_bytes, self._done_files = self._total, self._total_files
            seconds = self._loop.time() - self._began
            self._become(TransferState.DONE)
            self._outcome.set_result(TransferResult(path, self._total, seconds, self._content_id))
            if self.on_end is not None:
                self.on_end(None)

    def _fail(self, error: TransferError) -> None:
        if not self.is_over:
            self._become(TransferState.FAILED)
            self._outcome.set_exception(error)
            self._outcome.exception()  # nobody has to wait for it
            if self.on_end is not None:
                self.on_end(error)
