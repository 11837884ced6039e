"""The giver's side of a transfer: an offer is made or asked for, and served over one stream after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from librats.errors import TransferError
from librats.runtime.tasks import end_all
from librats.services.transferring.handle import Transfer, TransferDirection, TransferState
from librats.services.transferring.host import TransferPlace
from librats.services.transferring.wire import PROTOCOL, LostError, Wire, opened, refusal
from librats.transfer.frames import (
    Chunk,
    Features,
    Frame,
    FrameType,
    Offering,
    encode_features,
    encode_offer,
    encode_plain,
    read_accept,
    read_manifest_want,
    read_ranges,
)
from librats.transfer.layout import Layout, Part, Range
from librats.transfer.manifest import MAX_HEAD, Manifest
from librats.transfer.pacing import RateMeter
from librats.transfer.sending import Sending
from librats.transfer.tree import HashTree

__all__ = ["Giving", "SourceFiles"]

A_MOMENT = 0.001

_There = tuple[Range, list[Part], list[bytes]]
_Coming = tuple[Range, list[Part], asyncio.Future[list[bytes]]]

PIECE = 256 * 1024
"""Bytes that are read as one, and let go of as soon as they have left."""

READ_AHEAD = 2
"""Chunks that are read while the one before is on its way; none where they are in memory: they are there at once."""


class SourceFiles(Protocol):
    """What is given: :class:`~librats.services.disk.reading.Source`."""

    manifest: Manifest
    raw: bytes
    content_id: bytes
    trees: Mapping[int, HashTree]

    @property
    def change(self) -> TransferError | None:
        """Why it cannot be given any more as it was hashed; None while no reading has shown that."""

    async def read_many(self, pieces: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """Read pieces: of each the number of the file, where it begins, and its bytes; what they hold in order."""

    def read_now(self, pieces: Sequence[tuple[int, int, int]]) -> list[bytes] | None:
        """Read pieces without waiting; None where that cannot be."""

    async def close(self) -> None:
        """Close every file."""


class Giving(Transfer):
    """A transfer that this side gives.

    Args:
        place: What all transfers share.
        peer_id: Who takes it.
        number: Its number, 16 bytes.
        path: What is given.
        message: Words for the peer.
    """

    def __init__(self, place: TransferPlace, peer_id: str, number: bytes, path: Path, message: str = "") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(number, (peer_id,), TransferDirection.SEND, loop.time())
        self._place = place
        self._path = path
        self._message = message
        self._source: SourceFiles | None = None
        self._layout: Layout | None = None
        self._machine: Sending | None = None
        self._wire: Wire | None = None
        self._adopted: asyncio.Future[Wire] | None = None
        self._taker_returns = False  # by itself: where it has fetched or accepted
        self.was_fetched = False
        """Whether the taker has asked for it, rather than been offered it."""
        self.sent_at = loop.time()
        """When something of it was sent for the last time; when it began, where nothing was."""
        self._was_accepted = False  # over the stream that is there now
        self._peer_paused = False
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def source(self) -> SourceFiles | None:
        """What is given; None while it is hashed, and once it has ended."""
        return self._source

    @property
    def takes_wire(self) -> bool:
        """True while it waits for the taker to come back."""
        return self._adopted is not None and not self._adopted.done()

    def hashed(self, done: int, total: int) -> None:
        """Take note of how far the hashing is."""
        self._meter.add(max(done - self._done_bytes, 0), self._loop.time())
        self._done_bytes, self._total = done, total

    def hashing(self) -> None:
        """Take note that the files are hashed now."""
        self._become(TransferState.HASHING)

    def give(self, source: SourceFiles, wire: Wire | None = None) -> asyncio.Task[None]:
        """Begin to give, which ends with the transfer.

        Args:
            source: What. It stays open.
            wire: Where the taker has asked for it; None where it is to be offered.
        """
        self._source = source
        self._layout = Layout(source.manifest)
        self._done_bytes = 0
        self._meter = RateMeter(self._loop.time())
        self._describe(source.manifest.name, source.content_id, source.manifest.size, len(source.manifest.files))
        self._taker_returns = self.was_fetched = wire is not None
        self._task = self._place.host.tasks.create(self._give(wire), name="librats gives files")
        return self._task

    def adopt(self, wire: Wire) -> None:
        """Go on over a stream with which the taker has come back."""
        if self._adopted is not None and not self._adopted.done():
            self._adopted.set_result(wire)

    async def _give(self, wire: Wire | None) -> None:
        error: TransferError | None = None
        try:
            while True:
                try:
                    if wire is None:
                        wire = await self._offer_again()
                    self._wire = wire
                    await self._serve(wire)
                    break
                except LostError:
                    wire = self._wire = await self._wait_for_peer()
            self._succeed(self._path)
        except TransferError as failure:
            error = failure
        except asyncio.CancelledError:
            error = TransferError("closed", "the client was stopped")
            raise
        finally:
            self._task = None
            if error is not None:
                self._fail(error)
                if self._wire is not None:
                    self._wire.say(refusal(error, FrameType.CANCEL))
            if self._wire is not None:
                self._place.host.tasks.create(self._wire.close(), name="librats ends a transfer")
            self._wire = self._source = self._layout = self._machine = None  # which may be large, and it stays listed

    async def _offer_again(self) -> Wire:
        opening = self._place.host.tasks.create(
            self._place.host.open_stream(self.peer_id, PROTOCOL), name="librats opens a transfer"
        )
        return await opened(opening)

    async def _wait_for_peer(self) -> Wire | None:
        """Wait until the taker comes back by itself, or, where it has not answered yet, can be asked again."""
        self._become(TransferState.WAITING)
        self._adopted = self._loop.create_future()
        back = asyncio.ensure_future(self._place.wait_connected(self.peer_id))
        try:
            waits: list[asyncio.Future[Any]] = [self._adopted, *([] if self._taker_returns else [back])]
            await asyncio.wait(waits, timeout=self._place.config.resume_timeout, return_when="FIRST_COMPLETED")
            if self._adopted.done():
                return self._adopted.result()
            if not self._taker_returns and back.done():
                return None
            raise TransferError("peer_lost", "the session with the peer has ended, and it did not come back in time")
        finally:
            self._adopted = None
            await end_all([back])

    # One stream

    async def _serve(self, wire: Wire) -> None:
        """Serve one stream until the taker has all of it."""
        source, layout = self._source, self._layout
        if source is None or layout is None:
            raise TransferError("closed", "there is nothing to give")
        machine = self._machine = Sending(layout, source.raw, source.trees, self._place.sending)
        self._peer_paused = self._was_accepted = False
        self._hold(machine)
        self._become(TransferState.OFFERED)
        wire.send(
            encode_features(Features.HASHES),  # before the offer: who has read that knows
            encode_offer(
                Offering(
                    transfer=self._number,
                    content_id=source.content_id,
                    manifest_size=len(source.raw),
                    head=source.raw[:MAX_HEAD],
                    message=self._message,
                )
            ),
        )
        pump = asyncio.ensure_future(self._pump(wire, machine, source))
        hearing = asyncio.ensure_future(self._hear(wire, machine))
        try:
            await asyncio.wait([pump, hearing], return_when="FIRST_COMPLETED")
            if hearing.done():
                hearing.result()
            else:
                pump.result()
        finally:
            await end_all([pump, hearing])
            for task in (pump, hearing):
                if not task.cancelled():
                    task.exception()

    async def _hear(self, wire: Wire, machine: Sending) -> None:
        """Take what the taker says, until it is done."""
        while True:
            frame = await wire.next()
            if isinstance(frame, Chunk):
                raise TransferError("protocol", "a taker that gives")
            if frame.type == FrameType.DONE:
                if not self._was_accepted:
                    raise TransferError("protocol", "a taker that is done before it begins")
                return
            if frame.type == FrameType.HASHES_WANT:
                for wanted in read_ranges(frame.body):
                    wire.send(machine.hashes(wanted))
                    await wire.drain()  # who does not read what it asks for is not heard
                    self.sent_at = self._loop.time()
                continue
            self._take(wire, machine, frame)
            if frame.type == FrameType.MANIFEST_WANT:
                await wire.drain()
                self.sent_at = self._loop.time()

    def _take(self, wire: Wire, machine: Sending, frame: Frame) -> None:
        if frame.type == FrameType.ACCEPT:
            if self._was_accepted:
                raise TransferError("protocol", "a taker that accepts twice")
            machine.accepted(read_accept(frame.body))
            self._reused_bytes = machine.have
            self._was_accepted = self._taker_returns = True
            if self._own_pause:
                wire.send(encode_plain(FrameType.PAUSE))
            self._note_progress(machine)
            self._show_pause()
        elif frame.type == FrameType.MANIFEST_WANT:
            wire.send(machine.manifest_piece(*read_manifest_want(frame.body)))
        elif frame.type == FrameType.WANT:
            machine.want(read_ranges(frame.body))
            self._work.set()
        elif frame.type == FrameType.UNWANT:
            machine.unwant(read_ranges(frame.body))
        elif frame.type in {FrameType.PAUSE, FrameType.RESUME}:
            self._peer_paused = frame.type == FrameType.PAUSE
            self._hold(machine)
            self._show_pause()
        else:
            raise TransferError("protocol", "a frame that a taker does not send")

    async def _pump(self, wire: Wire, machine: Sending, source: SourceFiles) -> None:
        """Read what is wanted, and send it."""
        ahead: deque[_Coming] = deque()
        try:
            while True:
                there = self._read_on(machine, source, ahead)
                if there is None and ahead:
                    wanted, parts, coming = ahead[0]
                    there = wanted, parts, await coming
                    ahead.popleft()
                if there is None:
                    await self._wait_for_work(machine)
                    continue
                while machine.is_paused:
                    await self._wait_for_work(machine)
                wire.send(*machine.chunk(*there))
                size = sum(map(len, there[2]))
                del there  # what is queued is let go of as it leaves
                await wire.drain()
                self.sent_at = self._loop.time()
                self._place.counters["bytes_sent"] += size
                self._note_progress(machine)
        finally:
            await end_all([data for _, _, data in ahead])  # type: ignore[misc]

    def _read_on(self, machine: Sending, source: SourceFiles, ahead: deque[_Coming]) -> _There | None:
        """Return the next chunk where it is in memory; where it is not, begin to read some ahead."""
        while len(ahead) < READ_AHEAD and (job := machine.next_parts(self._loop.time())):
            wanted, parts = job
            pieces = [piece for part in parts for piece in _pieces(part)]
            data = None if ahead else source.read_now(pieces)
            if data is not None:
                return wanted, parts, data
            ahead.append((wanted, parts, asyncio.ensure_future(source.read_many(pieces))))
        return None

    async def _wait_for_work(self, machine: Sending) -> None:
        self._work.clear()
        until = machine.ready_at(self._loop.time())
        if until == float("inf"):
            await self._work.wait()
            return
        work = asyncio.ensure_future(self._work.wait())
        try:
            await asyncio.wait([work], timeout=max(until - self._loop.time(), A_MOMENT))
        finally:
            await end_all([work])

    def _note_progress(self, machine: Sending) -> None:
        done = machine.done
        if done > self._done_bytes:
            self._meter.add(done - self._done_bytes, self._loop.time())
        self._done_bytes = done

    # From the application

    def _hold(self, machine: Sending) -> None:
        machine.is_paused = self._own_pause or self._peer_paused
        self._work.set()

    def _show_pause(self) -> None:
        if self._was_accepted and not self.is_over:
            paused = self._own_pause or self._peer_paused
            self._become(TransferState.PAUSED if paused else TransferState.RUNNING)

    def _tell_pause(self, *, is_paused: bool) -> None:
        if self._machine is not None:
            self._hold(self._machine)
        if (
            self._wire is not None
            and self._was_accepted
            and self._state in {TransferState.RUNNING, TransferState.PAUSED}
        ):
            self._wire.say(encode_plain(FrameType.PAUSE if is_paused else FrameType.RESUME))
            self._show_pause()

    def ended(self, error: TransferError) -> None:
        """Take note that it ends before it could be offered."""
        self._fail(error)

    async def _stop(self, error: TransferError, *, keep: bool) -> None:
        self._fail(error)
        wire, self._wire = self._wire, None
        if self._task is not None:
            await end_all([self._task])
        if wire is not None:
            await wire.refuse(error, FrameType.CANCEL)


def _pieces(part: Part) -> Iterator[tuple[int, int, int]]:
    end = part.offset + part.size
    return ((part.file, at, min(PIECE, end - at)) for at in range(part.offset, end, PIECE))
