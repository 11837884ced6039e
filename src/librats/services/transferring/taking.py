"""The taker's side of a transfer: sources that come and go, chunks that are checked and written, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from librats.errors import TransferError
from librats.runtime.tasks import TaskSet, end_all
from librats.services.disk.part import check_chunk
from librats.services.transferring.destination import DestinationFiles, OpenDestination
from librats.services.transferring.handle import Transfer, TransferDirection, TransferState
from librats.services.transferring.host import TransferPlace
from librats.services.transferring.offer import heard_withdrawal
from librats.services.transferring.reusing import reuse
from librats.services.transferring.source_streams import SourceStreams
from librats.services.transferring.wire import PROTOCOL, LostError, Wire, opened
from librats.transfer.frames import (
    Chunk,
    FrameType,
    Offering,
    encode_accept,
    encode_fetch,
    encode_manifest_want,
    encode_plain,
    encode_ranges,
    read_offer,
    read_piece,
)
from librats.transfer.layout import Layout
from librats.transfer.manifest import read_head
from librats.transfer.manifest_taking import ManifestTaking
from librats.transfer.pacing import RateMeter
from librats.transfer.receiving import Receiving
from librats.transfer.reusing import Reusing
from librats.transfer.twins import Twins

__all__ = ["Taking"]

logger = logging.getLogger("librats.files")

NO_NUMBER = bytes(16)
TICK = 1.0
RETRY = 5.0
"""Seconds between two tries at a peer that is back and does not know of the transfer yet."""

MAY_COME_BACK = frozenset({"not_found", "unsupported", "busy", "ended", "closed"})
"""What a source says that is back and has not begun to give again."""

NO_WAIT = 0.01

STORED_AT_ONCE = 2
"""Chunks that are on their way to the disk: while one is checked and written, the next waits for its turn."""

MAX_BACKLOG = 2 << 20
"""Bytes that have come and are not stored, from which on no source is read from."""


class Taking(Transfer):
    """A transfer that this side takes, from one peer or from several.

    Args:
        place: What all transfers share.
        peer_ids: Who gives.
        number: Its number, 16 bytes.
        content_id: What is taken, 32 bytes.
        folder: Where it is put.
        overwrite: Whether files that are there are replaced.
        open_destination: Opens what is written to.
    """

    def __init__(
        self,
        place: TransferPlace,
        peer_ids: Sequence[str],
        number: bytes,
        content_id: bytes,
        *,
        folder: str | Path,
        overwrite: bool,
        open_destination: OpenDestination,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(number, tuple(peer_ids), TransferDirection.RECEIVE, loop.time())
        self._place = place
        self._id = content_id
        self._content_id = content_id.hex()
        self._folder = folder
        self._overwrite = overwrite
        self._open_destination = open_destination
        self._follows = {peer_id: SourceStreams(peer_id) for peer_id in peer_ids}
        self._offered = NO_NUMBER
        self._learning = asyncio.Lock()
        self._layout: Layout | None = None
        self._reusing: Reusing | None = None
        self._twins = Twins()
        self._receiving: Receiving | None = None
        self._destination: DestinationFiles | None = None
        self._chunks: asyncio.Queue[tuple[str, Chunk]] = asyncio.Queue()
        self._complete = asyncio.Event()
        self._stored = asyncio.Event()
        self._dropped: dict[str, TransferError] = {}
        self._tasks = TaskSet(expected=TransferError)
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> dict[str, TransferError]:
        """Sources that were given up, and why."""
        return dict(self._dropped)

    def takes_wire(self, peer_id: str) -> bool:
        """Tell whether a stream with which a giver has come back belongs here."""
        return not self.is_over and peer_id in self._follows and peer_id not in self._dropped

    def take(self, wire: Wire | None = None, offering: Offering | None = None) -> None:
        """Begin to take, which ends with the transfer.

        Args:
            wire: The stream over which it was offered; None where it is to be asked for.
            offering: What was offered over it.
        """
        if wire is not None and offering is not None:
            self._offered = offering.transfer
            self.adopt(wire, offering)
        self._task = self._place.host.tasks.create(self._take(), name="librats takes files")

    def adopt(self, wire: Wire, offering: Offering) -> None:
        """Go on over a stream with which a giver has come (back)."""
        replaced = self._follows[wire.peer_id].bring(wire, offering)
        if replaced is not None:
            error = TransferError("busy", "another offer of the same has taken its place")
            self._place.host.tasks.create(replaced.refuse(error), name="librats ends a transfer")

    async def _take(self) -> None:
        error: TransferError | None = None
        try:
            waiting = []
            if self._place.turns.locked():
                self._become(TransferState.QUEUED)
                waiting = [self._tasks.create(self._hear_withdrawal(), name="librats hears a giver that waits")]
            async with self._place.turns:
                await end_all(waiting)
                self._become(TransferState.STARTING)
                path = await self._take_all()
            self._succeed(path)
        except TransferError as failure:
            error = failure
        except asyncio.CancelledError:
            error = TransferError("closed", "the client was stopped")
            raise
        finally:
            self._task = None
            await self._end(error)

    async def _hear_withdrawal(self) -> None:
        """End it where the giver that has offered it withdraws it before its turn has come."""
        with contextlib.suppress(LostError):  # it may come back
            try:
                for follow in self._follows.values():
                    if follow.came is not None and follow.came.done():
                        wire, _ = follow.came.result()
                        await heard_withdrawal(wire)
            except TransferError as error:
                self._fail(error)
                if self._task is not None:
                    self._task.cancel()

    async def _end(self, error: TransferError | None) -> None:
        await self._tasks.close()
        if self.is_over:
            ended = self._outcome.exception()
            error = ended if isinstance(ended, TransferError) else error
        destination, self._destination = self._destination, None
        if error is not None:
            if destination is not None and not self.is_over:
                await destination.suspend()
            self._fail(error)
        for follow in self._follows.values():
            for closing in follow.ended(error, self._total):
                self._place.host.tasks.create(closing, name="librats ends a transfer")
        # Of many files they take megabytes, and what has ended stays listed.
        self._layout = self._reusing = self._receiving = None
        self._twins, self._chunks = Twins(), asyncio.Queue()

    async def _take_all(self) -> Path:
        work = [self._tasks.create(self._store(), name="librats stores files") for _ in range(STORED_AT_ONCE)]
        work += [self._tasks.create(self._tick(), name="librats watches a transfer")]
        sources = [
            self._tasks.create(self._follow(follow), name="librats hears a giver") for follow in self._follows.values()
        ]
        complete = self._tasks.create(self._complete.wait(), name="librats awaits the end of a transfer")
        waiting = {*work, *sources, complete}
        while not complete.done():
            done, waiting = await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
            for task in done & set(work):
                task.result()  # they do not end by themselves
            if all(task.done() for task in sources) and not complete.done():
                raise next(reversed(self._dropped.values()), TransferError("peer_lost", "no source is left"))
        await end_all(work)
        self._become(TransferState.FINISHING)
        if self._destination is None:
            raise TransferError("closed", "there is nothing to finish")
        return await self._destination.finish()

    # One source

    async def _follow(self, follow: SourceStreams) -> None:
        """Take from one source, over one stream after the other, until it is given up."""
        try:
            while not self._complete.is_set():
                try:
                    wire, offering = await self._meet(follow)
                    follow.wire = wire
                    await self._hear(follow, wire, offering)
                except LostError:
                    await self._wait_for(follow, retry=self._place.config.resume_timeout)
                except TransferError as error:
                    is_leaving = error.code == "closed"  # its client stops, and may be started anew
                    if not is_leaving and (follow.lost_at is None or error.code not in MAY_COME_BACK):
                        raise
                    await self._wait_for(follow, retry=RETRY)
        except TransferError as error:
            self._dropped[follow.peer_id] = error
            self._lose(follow)
            logger.debug("a source of %s is given up: %s", self.id[:8], error)
            wire, follow.wire = follow.wire, None  # type: ignore[assignment]
            if wire is not None:
                await wire.refuse(error, FrameType.CANCEL)

    def _lose(self, follow: SourceStreams) -> None:
        if self._receiving is not None:
            self._receiving.remove_source(follow.peer_id)
            self._ask_all()

    async def _meet(self, follow: SourceStreams) -> tuple[Wire, Offering]:
        """Return a stream over which a source offers what is wanted."""
        came, follow.came = follow.came, None
        if came is not None and came.done():
            wire, offering = came.result()
        else:
            opening = self._place.host.tasks.create(
                self._place.host.open_stream(follow.peer_id, PROTOCOL), name="librats opens a transfer"
            )
            wire = await opened(opening)
            follow.wire = wire
            wire.send(encode_fetch(self._offered, self._id))
            frame = await wire.next_frame(self._place.config.stall_timeout)
            if frame.type != FrameType.OFFER:
                raise TransferError("protocol", "the answer to a fetch is an offer")
            offering = read_offer(frame.body)
        if offering.content_id != self._id:
            raise TransferError("bad_offer", "a peer offers other content than it was asked for")
        return wire, offering

    async def _wait_for(self, follow: SourceStreams, *, retry: float) -> None:
        """Wait until a source is connected again, or has come back by itself.

        Args:
            follow: The source.
            retry: Seconds after which it is tried again though neither is so.
        """
        self._lose(follow)
        now = self._loop.time()
        follow.lost_at = now if follow.lost_at is None else follow.lost_at
        left = follow.lost_at + self._place.config.resume_timeout - now
        wire, follow.wire = follow.wire, None
        if wire is not None:
            self._tasks.create(wire.close(), name="librats ends a stream")
        if follow.came is not None and follow.came.done():
            return
        if not any(other.wire is not None for other in self._follows.values()):
            self._become(TransferState.WAITING)
        follow.came = self._loop.create_future()
        back = asyncio.ensure_future(self._back(follow, retry))
        try:
            waits: list[asyncio.Future[Any]] = [follow.came, back]
            await asyncio.wait(waits, timeout=max(left, 0.0), return_when="FIRST_COMPLETED")
            if not (follow.came.done() or back.done()):
                raise TransferError(
                    "peer_lost", "the session with the peer has ended, and it did not come back in time"
                )
        finally:
            await end_all([back])

    async def _back(self, follow: SourceStreams, retry: float) -> None:
        """Wait until a source can be asked again."""
        if retry < self._place.config.resume_timeout:
            await asyncio.sleep(retry)
        await asyncio.sleep(NO_WAIT)  # the link that has just ended may still count as there
        await self._place.wait_connected(follow.peer_id)

    async def _hear(self, follow: SourceStreams, wire: Wire, offering: Offering) -> None:
        """Take from one source over one stream."""
        async with self._learning:
            if self._destination is None:
                await self._learn(wire, offering)
            if self._receiving is None:
                await self._begin(wire)
        receiving, layout = self._receiving, self._layout
        if receiving is None or layout is None:
            raise TransferError("closed", "the transfer is over")
        name = follow.peer_id
        follow.lost_at = None
        follow.has_paused = False
        wire.send(encode_accept(receiving.done))
        if self._own_pause:
            wire.send(encode_plain(FrameType.PAUSE))
        receiving.add_source(name, self._loop.time())
        wire.on_bytes = lambda: receiving.heard(name, self._loop.time())
        self._show_state()
        if receiving.is_complete:
            self._complete.set()
        self._ask(follow)
        while True:
            while receiving.backlog > MAX_BACKLOG:  # what is not read waits at the giver, not in our memory
                self._stored.clear()
                await self._stored.wait()
            frame = await wire.next()
            if isinstance(frame, Chunk):
                self._came(follow, receiving, layout, frame)
            elif frame.type in {FrameType.PAUSE, FrameType.RESUME}:
                follow.has_paused = frame.type == FrameType.PAUSE
                receiving.peer_paused(name, self._loop.time(), is_paused=follow.has_paused)
                self._show_state()
                self._ask(follow)
            else:
                raise TransferError("protocol", "a frame that a giver does not send")

    def _came(self, follow: SourceStreams, receiving: Receiving, layout: Layout, chunk: Chunk) -> None:
        if receiving.arrived(follow.peer_id, chunk.range, self._loop.time()):
            if chunk.size != layout.body_size(chunk.range):
                receiving.refused(chunk.range)
                raise TransferError("protocol", "a chunk of another size than its leaves have")
            self._chunks.put_nowait((follow.peer_id, chunk))
        self._ask(follow)

    async def _learn(self, wire: Wire, offering: Offering) -> None:
        """Get the manifest, and open what is written to."""
        limits = self._place.limits
        self._place.check_name(read_head(offering.head, limits=limits).name)
        taking = ManifestTaking(offering.manifest_size, limits)
        while not taking.is_whole:
            for offset, size in taking.wants():
                wire.send(encode_manifest_want(offset, size))
            frame = await wire.next_frame(self._place.config.stall_timeout)
            if frame.type == FrameType.MANIFEST:
                taking.take(read_piece(frame.body))
            elif frame.type not in {FrameType.PAUSE, FrameType.RESUME}:
                raise TransferError("protocol", "a frame that was not asked for")
        raw = taking.raw
        del taking  # a manifest may have megabytes
        if not raw.startswith(offering.head):
            raise TransferError("bad_offer", "the application was told something else than the manifest says")
        self._destination = destination = await self._open_destination(
            self._folder,
            raw,
            content_id=self._id,
            max_disk=self._place.config.max_disk,
            overwrite=self._overwrite,
            limits=limits,
            on_checked=self._checked,
        )
        del raw
        manifest = destination.manifest
        self._layout = Layout(manifest)
        self._describe(manifest.name, self._id, manifest.size, len(manifest.files))
        self._reusing = Reusing(self._layout, destination.verifiers, destination.old_files)

    async def _begin(self, wire: Wire) -> None:
        """Find what need not come, and begin to ask for the rest."""
        config, destination, layout, reusing = self._place.config, self._destination, self._layout, self._reusing
        if destination is None or layout is None or reusing is None:
            raise TransferError("closed", "the transfer is over")
        await reuse(wire, reusing, layout, destination, stall_timeout=config.stall_timeout)
        self._twins, self._reusing = reusing.twins, None
        if self._state == TransferState.CHECKING:
            self._done_bytes, self._meter = 0, RateMeter(self._loop.time())
        self._receiving = Receiving(
            layout,
            destination.verifiers,
            self._place.receiving,
            self._loop.time(),
            chunk=config.chunk,
            window=config.window,
            stall=config.stall_timeout,
            twins=self._twins,
        )
        self._receiving.pause(self._loop.time(), is_paused=self._own_pause)
        self._note_progress()

    def _checked(self, done: int, total: int) -> None:
        """Take note of how much of what is there already has been read."""
        if self._receiving is None and not self.is_over:
            self._become(TransferState.CHECKING)
            self._meter.add(max(done - self._done_bytes, 0), self._loop.time())
            self._done_bytes, self._total = done, total

    # What all sources share

    def _ask(self, follow: SourceStreams) -> None:
        if self._receiving is None or follow.wire is None:
            return
        wants = self._receiving.next_wants(follow.peer_id, self._loop.time())
        if wants:
            follow.wire.say(encode_ranges(FrameType.WANT, wants))

    def _ask_all(self) -> None:
        for follow in self._follows.values():
            self._ask(follow)

    async def _store(self) -> None:
        """Check and write what has come, in order."""
        while True:
            name, chunk = await self._chunks.get()
            receiving, layout, destination = self._receiving, self._layout, self._destination
            if receiving is None or layout is None or destination is None:
                continue
            check = partial(check_chunk, layout, chunk.range, chunk.pieces, self._twins)
            refusal = await destination.take(check, chunk.size)
            if refusal is not None:
                receiving.refused(chunk.range)
                self._stored.set()
                self._drop(name, refusal)
                continue
            for other, wanted in receiving.stored(chunk.range, self._loop.time()):
                follow = self._follows[str(other)]
                if follow.wire is not None:
                    follow.wire.say(encode_ranges(FrameType.UNWANT, [wanted]))
            self._stored.set()
            self._place.counters["bytes_received"] += chunk.size
            self._note_progress()
            if receiving.is_complete:
                self._complete.set()
            self._ask_all()

    def _note_progress(self) -> None:
        if self._receiving is not None:
            if self._receiving.done > self._done_bytes:
                self._meter.add(self._receiving.done - self._done_bytes, self._loop.time())
            self._done_bytes, self._done_files = self._receiving.done, self._receiving.files_done
            self._reused_bytes = self._receiving.reused

    def _drop(self, name: str, error: TransferError) -> None:
        """Give up a source that cannot be believed, or does not send."""
        follow = self._follows[name]
        logger.info("a source of %s is dropped: %s", self.id[:8], error)
        self._place.counters["sources_dropped"] += 1
        self._dropped[name] = error
        if follow.wire is not None:
            follow.wire.failure = error
            self._place.host.tasks.create(follow.wire.refuse(error, FrameType.CANCEL), name="librats ends a transfer")
        self._lose(follow)

    async def _tick(self) -> None:
        """Look for sources that have stalled, and ask on where a limit has let nothing through."""
        while True:
            now = self._loop.time()
            pause = TICK if self._receiving is None else min(TICK, max(self._receiving.next_timer(now) - now, NO_WAIT))
            await asyncio.sleep(pause)
            if self._receiving is not None:
                if self._receiving.backlog > MAX_BACKLOG:
                    for name in self._receiving.sources:
                        self._receiving.heard(name, self._loop.time())  # it is us who do not listen
                for follow in self._follows.values():
                    if follow.wire is not None and follow.wire.has_grown():
                        self._receiving.heard(follow.peer_id, self._loop.time())
                for name in self._receiving.stalled(self._loop.time()):
                    self._drop(str(name), TransferError("stalled", "a source has sent nothing for too long"))
                self._ask_all()

    # From the application

    def _show_state(self) -> None:
        all_pause = all(follow.has_paused for follow in self._follows.values() if follow.wire is not None)
        self._become(TransferState.PAUSED if self._own_pause or all_pause else TransferState.RUNNING)

    def _tell_pause(self, *, is_paused: bool) -> None:
        if self._receiving is not None:
            self._receiving.pause(self._loop.time(), is_paused=is_paused)
            for follow in self._follows.values():
                if follow.wire is not None:
                    follow.wire.say(encode_plain(FrameType.PAUSE if is_paused else FrameType.RESUME))
            if self._state in {TransferState.RUNNING, TransferState.PAUSED}:
                self._show_state()
            self._ask_all()

    async def _stop(self, error: TransferError, *, keep: bool) -> None:
        destination = self._destination
        self._fail(error)
        if self._task is not None:
            await end_all([self._task])
        if destination is not None:
            await (destination.suspend() if keep else destination.discard())
