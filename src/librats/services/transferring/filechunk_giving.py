"""The giver's side of a transfer to a librats 2 node, which has no streams: by FileChunk messages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from librats.errors import PeerNotConnected, TransferError
from librats.services.transferring.giving import Giving
from librats.services.transferring.handle import TransferState
from librats.services.transferring.host import TransferPlace
from librats.services.transferring.wire import Wire
from librats.transfer.filechunk import NodeFile, NodeOffering, NodeOp, NodeWord, encode_plain
from librats.transfer.filechunk_sending import NodeSending

__all__ = ["NODE_NUMBER_SIZE", "NodeGiving", "peer_lost"]

NODE_NUMBER_SIZE: Final = 8
"""Bytes of the number of a transfer."""

NEVER = float("inf")
A_MOMENT = 0.001


def peer_lost() -> TransferError:
    """Return why a transfer ends whose peer is gone: librats 2 knows no way to go on."""
    return TransferError("peer_lost", "the session with the peer has ended, and librats 2 does not go on where it was")


class NodeGiving(Giving):
    """A transfer that this side gives to a librats 2 node.

    Args:
        place: What all transfers share.
        peer_id: Who takes it.
        number: Its number, 8 bytes, drawn by chance.
        path: What is given.
        table: Where it is listed, while it runs, by peer and number.
    """

    def __init__(
        self,
        place: TransferPlace,
        peer_id: str,
        number: bytes,
        path: Path,
        table: dict[tuple[str, int], NodeGiving],
    ) -> None:
        super().__init__(place, peer_id, number, path)
        self._table = table
        self._node: NodeSending | None = None
        self._failure: TransferError | None = None

    @property
    def node_number(self) -> int:
        """What the node calls it."""
        return int.from_bytes(self._number)

    def hear(self, word: NodeWord) -> None:
        """Take a word of the node about this transfer."""
        node = self._node
        if node is None or self.is_over:
            return
        try:
            node.take(word, now=self._loop.time())
        except TransferError as error:
            self._failure = error
        if node.is_accepted and not self._was_accepted:
            self._was_accepted = True
            if self._own_pause:
                self._say(encode_plain(NodeOp.PAUSE, self.node_number))
        self._peer_paused = node.peer_paused
        self._show_pause()
        if node.received > self._done_bytes:
            self._meter.add(node.received - self._done_bytes, self._loop.time())
            self._done_bytes = node.received
        self._work.set()

    def lost(self) -> None:
        """Take note that the session with the node has ended."""
        self._failure = self._failure or peer_lost()
        self._work.set()

    async def _give(self, wire: Wire | None) -> None:
        error: TransferError | None = TransferError("closed", "the client was stopped")
        self._table[self.peer_id, self.node_number] = self
        try:
            await self._serve_node()
            self._succeed(self._path)
            error = None
        except TransferError as failure:
            error = failure
        except PeerNotConnected:
            error = peer_lost()
        finally:
            self._task = None
            self._table.pop((self.peer_id, self.node_number), None)
            if error is not None:
                self._fail(error)
                self._say(encode_plain(NodeOp.CANCEL, self.node_number))
            self._source = self._layout = self._node = None  # which may be large, and it stays listed

    async def _serve_node(self) -> None:
        source, place = self._source, self._place
        if source is None:
            raise TransferError("closed", "there is nothing to give")
        manifest = source.manifest
        files = tuple(NodeFile(file.path, file.size) for file in manifest.files)
        node = self._node = NodeSending(
            self.node_number,
            NodeOffering(name=manifest.name, is_folder=manifest.is_folder, files=files),
            limit=place.sending,
            answer_timeout=place.config.offer_timeout,
            now=self._loop.time(),
        )
        node.is_paused = self._own_pause
        self._become(TransferState.OFFERED)
        self._post(node.offer())
        while not node.is_done:
            if self._failure is not None:
                raise self._failure
            job = node.next_read(self._loop.time())
            if job is None:
                await self._wait_for_words(node)
                continue
            [data] = await source.read_many([job])
            for word in node.wrap(data, now=self._loop.time()):
                self._post(word)
            place.counters["bytes_sent"] += len(data)
            await place.host.wait_for_room(self.peer_id)

    async def _wait_for_words(self, node: NodeSending) -> None:
        now = self._loop.time()
        until = min(node.ready_at(now), node.next_timer())
        self._work.clear()
        try:
            async with asyncio.timeout(None if until == NEVER else max(until - now, A_MOMENT)):
                await self._work.wait()
        except TimeoutError:
            node.handle_timer(now=self._loop.time())

    def _post(self, payload: bytes) -> None:
        if not self._say(payload):
            if self._place.host.is_connected(self.peer_id):
                raise TransferError("limit", "the offer is larger than a message may be")
            raise peer_lost()

    def _say(self, payload: bytes) -> bool:
        return self._place.host.send_file_chunk(self.peer_id, payload)

    def _tell_pause(self, *, is_paused: bool) -> None:
        node = self._node
        if node is None or self.is_over:
            return
        node.is_paused = is_paused
        node.resumed(self._loop.time())
        if node.is_accepted:
            self._say(encode_plain(NodeOp.PAUSE if is_paused else NodeOp.RESUME, self.node_number))
        self._show_pause()
        self._work.set()
