"""The taker's side of a transfer from a librats 2 node: what comes is checked, written, and told of."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from librats.errors import TransferError
from librats.runtime.tasks import end_all
from librats.services.transferring.filechunk_giving import peer_lost
from librats.services.transferring.filechunk_writing import NodeDestination
from librats.services.transferring.handle import Transfer, TransferDirection, TransferState
from librats.services.transferring.host import TransferPlace
from librats.transfer.filechunk import (
    Buffer,
    NodeOffering,
    NodeOp,
    NodeWord,
    encode_complete,
    encode_plain,
    encode_response,
)
from librats.transfer.filechunk_receiving import NodeReceiving

__all__ = ["NodeTaking"]

NEVER = float("inf")
A_MOMENT = 0.001


class NodeTaking(Transfer):
    """A transfer that this side takes from a librats 2 node.

    Args:
        place: What all transfers share.
        peer_id: Who gives it.
        number: Its number here, 16 bytes.
        node_number: What the node calls it.
        offering: What is offered.
        folder: Where it is put.
        overwrite: Whether files that are there are replaced.
        table: Where it is listed, while it runs, by peer and number.
    """

    def __init__(
        self,
        place: TransferPlace,
        peer_id: str,
        number: bytes,
        *,
        node_number: int,
        offering: NodeOffering,
        folder: Path,
        overwrite: bool,
        table: dict[tuple[str, int], NodeTaking],
    ) -> None:
        super().__init__(number, (peer_id,), TransferDirection.RECEIVE, asyncio.get_running_loop().time())
        self._place = place
        self.node_number = node_number
        """What the node calls it."""
        self._offering = offering
        self._folder = folder
        self._overwrite = overwrite
        self._table = table
        self._words: asyncio.Queue[tuple[NodeWord | None, Callable[[], None] | None]] = asyncio.Queue()
        self._receiving: NodeReceiving | None = None
        self._goodbye = encode_complete(node_number, succeeded=False)
        self._told_to_stop = TransferError("closed", "the client was stopped")
        self._task: asyncio.Task[None] | None = None
        self._describe(offering.name, b"", offering.size, len(offering.files))

    def take(self) -> None:
        """Begin to take it."""
        self._table[self.peer_id, self.node_number] = self
        self._task = self._place.host.tasks.create(self._take(), name="librats takes files of a node")

    def hear(self, word: NodeWord, handled: Callable[[], None]) -> None:
        """Take a word of the node about this transfer.

        Args:
            word: What it says.
            handled: Called once it counts no more as unhandled.
        """
        self._words.put_nowait((word, handled))

    def lost(self) -> None:
        """Take note that the session with the node has ended."""
        self._words.put_nowait((None, None))

    async def _take(self) -> None:
        error: TransferError | None = None
        destination: NodeDestination | None = None
        try:
            async with self._place.turns:
                self._become(TransferState.STARTING)
                destination = await NodeDestination.open(
                    self._folder,
                    self._offering,
                    peer_id=self.peer_id,
                    max_disk=self._place.config.max_disk,
                    overwrite=self._overwrite,
                )
                path = await self._take_all(destination)
            destination = None
            self._say(encode_complete(self.node_number, succeeded=True))
            self._succeed(path)
        except TransferError as failure:
            error = failure
        finally:
            self._task = None
            self._table.pop((self.peer_id, self.node_number), None)
            while not self._words.empty():
                handled = self._words.get_nowait()[1]
                if handled is not None:
                    handled()
            if not self.is_over:
                self._say(self._goodbye)
                if destination is not None:
                    with contextlib.suppress(TransferError):  # it has failed already
                        await destination.discard()
                self._fail(error or self._told_to_stop)
            # Of many files they take megabytes, and what has ended stays listed.
            self._receiving, self._offering = None, dataclasses.replace(self._offering, files=())

    async def _take_all(self, destination: NodeDestination) -> Path:
        receiving = self._receiving = NodeReceiving(self.node_number, self._offering, now=self._loop.time())
        receiving.is_paused = self._own_pause
        if not self._say(encode_response(self.node_number, accepted=True)):
            raise peer_lost()
        if self._own_pause:
            self._say(encode_plain(NodeOp.PAUSE, self.node_number))
        self._show_state()
        while not receiving.is_whole:
            word, handled = await self._next_word(receiving)
            try:
                if word is None:
                    raise peer_lost()
                await self._take_word(receiving, destination, word)
            finally:
                if handled is not None:
                    handled()
        self._become(TransferState.FINISHING)
        return await destination.finish()

    async def _next_word(self, receiving: NodeReceiving) -> tuple[NodeWord | None, Callable[[], None] | None]:
        while self._words.empty():
            until = receiving.next_timer()
            try:
                async with asyncio.timeout(None if until == NEVER else max(until - self._loop.time(), A_MOMENT)):
                    return await self._words.get()
            except TimeoutError:
                receiving.handle_timer(now=self._loop.time())
        return self._words.get_nowait()

    async def _take_word(self, receiving: NodeReceiving, destination: NodeDestination, word: NodeWord) -> None:
        file = receiving.file
        data = receiving.take(word, now=self._loop.time())
        if data is not None and len(data):
            await self._take_data(receiving, destination, data)
        if receiving.file != file:
            await destination.end_file()
            self._done_files = receiving.file
        self._show_state()

    async def _take_data(self, receiving: NodeReceiving, destination: NodeDestination, data: Buffer) -> None:
        await destination.write(data)
        now = self._loop.time()
        self._meter.add(len(data), now)
        self._done_bytes += len(data)
        self._place.counters["bytes_received"] += len(data)
        limit = self._place.receiving
        limit.take(len(data), now)
        if limit.ready_at(now) > now:  # the sender goes on when it is told that this has come
            await asyncio.sleep(limit.ready_at(now) - now)
        told = receiving.written(len(data))
        if told is not None:
            self._say(told)

    def _say(self, payload: bytes) -> bool:
        return self._place.host.send_file_chunk(self.peer_id, payload, ahead=True)

    def _show_state(self) -> None:
        if self._receiving is not None and not self.is_over:
            paused = self._own_pause or self._receiving.peer_paused
            self._become(TransferState.PAUSED if paused else TransferState.RUNNING)

    def _tell_pause(self, *, is_paused: bool) -> None:
        receiving = self._receiving
        if receiving is None or self.is_over:
            return
        receiving.is_paused = is_paused
        receiving.resumed(self._loop.time())
        self._say(encode_plain(NodeOp.PAUSE if is_paused else NodeOp.RESUME, self.node_number))
        self._show_state()

    async def _stop(self, error: TransferError, *, keep: bool) -> None:
        self._goodbye = encode_plain(NodeOp.CANCEL, self.node_number)
        self._told_to_stop = error
        if self._task is not None:
            await end_all([self._task])
