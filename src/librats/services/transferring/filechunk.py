"""Files to and from librats 2 nodes: which transfer a FileChunk message is about, and what nodes offer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from librats.errors import DecodeError, TransferError
from librats.runtime.offload import run_in_thread
from librats.services.transferring.filechunk_giving import NODE_NUMBER_SIZE, NodeGiving
from librats.services.transferring.filechunk_taking import NodeTaking
from librats.services.transferring.handle import Transfer
from librats.services.transferring.host import TransferPlace
from librats.services.transferring.wire import LostError
from librats.transfer.filechunk import (
    NodeChunk,
    NodeComplete,
    NodeFileEnd,
    NodeOffer,
    NodeOffering,
    NodeOp,
    NodeProgress,
    NodeResponse,
    NodeWord,
    decode_word,
    encode_response,
    read_offering,
)
from librats.transfer.frames import Frame, Offering
from librats.transfer.manifest import ManifestHead

if TYPE_CHECKING:
    from librats.services.session import Link
    from librats.session.events import FileChunkReceived

__all__ = ["NodeFiles", "NodeWire", "OffersOfNodes"]

logger = logging.getLogger("librats.files")

NUMBER_SIZE = 16

Key = tuple[str, int]
"""Id of a peer, and what the transfer is called by whoever offers it."""

Accept = Callable[[str | Path | None, bool], Transfer]


class OffersOfNodes(Protocol):
    """Who asks the application about offers: the handle of files."""

    def running(self) -> TransferPlace:
        """Return what all transfers share.

        Raises:
            UsageError: The client is not running.
        """

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task that ends with the client."""

    def add(self, transfer: Transfer) -> None:
        """List a transfer."""

    def folder(self, folder: str | Path | None) -> Path:
        """Return where an offer is put.

        Raises:
            UsageError: No folder is named.
        """

    async def ask(self, wire: NodeWire, offering: Offering, head: ManifestHead, accept: Accept) -> None:
        """Ask the application about an offer.

        Raises:
            TransferError: It is not taken.
        """


class NodeWire:
    """Stands for the stream of an offer that came without one.

    Args:
        peer_id: Who offers.
    """

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        """Who offers."""
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def withdraw(self) -> None:
        """Take note that the offer stands no more."""
        if not self._gone.done():
            self._gone.set_result(None)

    async def next(self) -> Frame:
        """Wait for the end of the offer.

        Raises:
            LostError: It has ended.
        """
        await self._gone
        raise LostError("the offer is withdrawn")


class NodeFiles:
    """The transfers to and from librats 2 nodes of one client.

    Args:
        offers: Who asks the application.
    """

    def __init__(self, offers: OffersOfNodes) -> None:
        self._offers = offers
        self._giving: dict[Key, NodeGiving] = {}
        self._taking: dict[Key, NodeTaking] = {}
        self._waiting: dict[Key, NodeWire] = {}

    def giving(self, place: TransferPlace, peer_id: str, path: Path) -> NodeGiving:
        """Return a transfer to a node that has not begun."""
        return NodeGiving(place, peer_id, place.host.entropy(NODE_NUMBER_SIZE), path, self._giving)

    # What nodes say

    def received(self, link: Link, event: FileChunkReceived) -> None:
        """Hand a message on to the transfer that it is about; what is about none is ignored."""
        handled = partial(link.consumed, event.cost)
        try:
            word = decode_word(event.payload)
        except DecodeError as error:
            logger.debug("%s of %s is ignored", error, link.peer_id[:8])
            handled()
            return
        key = (link.peer_id, word.number)
        if isinstance(word, NodeOffer):
            self._offered(key, word, handled)
        elif isinstance(word, NodeResponse | NodeProgress) or (
            key in self._giving and not isinstance(word, NodeChunk | NodeFileEnd)
        ):
            if key in self._giving:
                self._giving[key].hear(word)
            handled()
        elif key in self._taking:
            self._taking[key].hear(word, handled)
        else:
            self._withdraw_if_told(key, word)
            handled()

    def _withdraw_if_told(self, key: Key, word: NodeWord) -> None:
        """Take note that an offer is withdrawn before it was answered."""
        wire = self._waiting.get(key)
        is_end = isinstance(word, NodeComplete) or getattr(word, "op", None) is NodeOp.CANCEL
        if wire is not None and is_end:
            wire.withdraw()

    def left(self, peer_id: str) -> None:
        """Take note that the session with a node has ended, and its transfers with it."""
        running: tuple[NodeGiving | NodeTaking, ...] = (*self._giving.values(), *self._taking.values())
        for transfer in running:
            if transfer.peer_id == peer_id:
                transfer.lost()
        for (waiting_id, _), wire in self._waiting.items():
            if waiting_id == peer_id:
                wire.withdraw()

    # Offers

    def _offered(self, key: Key, offer: NodeOffer, handled: Callable[[], None]) -> None:
        place = self._offers.running()
        if key in self._taking or key in self._waiting:
            handled()  # said twice
            return
        if sum(peer_id == key[0] for peer_id, _ in self._waiting) >= place.config.max_offers_per_peer:
            place.counters.update(("offers_received", "offers_refused"))
            self._refuse(place, key)
            handled()
            return
        wire = self._waiting[key] = NodeWire(key[0])
        self._offers.spawn(self._decide(place, key, offer, wire, handled))

    async def _decide(
        self, place: TransferPlace, key: Key, offer: NodeOffer, wire: NodeWire, handled: Callable[[], None]
    ) -> None:
        try:
            try:
                offering = await run_in_thread(_read, offer, place)
            except TransferError:
                place.counters.update(("offers_received", "offers_refused"))
                raise
            finally:
                handled()
            told = Offering(transfer=b"", content_id=b"", manifest_size=0, head=b"")
            await self._offers.ask(wire, told, offering.head, partial(self._accept, place, key, offering))
        except TransferError as error:
            logger.debug("an offer of %s is refused: %s", key[0][:8], error)
            self._refuse(place, key)
        finally:
            self._waiting.pop(key, None)

    def _accept(
        self, place: TransferPlace, key: Key, offering: NodeOffering, folder: str | Path | None, overwrite: bool
    ) -> Transfer:
        taking = NodeTaking(
            place,
            key[0],
            place.host.entropy(NUMBER_SIZE),
            node_number=key[1],
            offering=offering,
            folder=self._offers.folder(folder),
            overwrite=overwrite,
            table=self._taking,
        )
        taking.was_offered = True
        self._offers.add(taking)
        taking.take()
        return taking

    @staticmethod
    def _refuse(place: TransferPlace, key: Key) -> None:
        place.host.send_file_chunk(key[0], encode_response(key[1], accepted=False), ahead=True)


def _read(offer: NodeOffer, place: TransferPlace) -> NodeOffering:
    return read_offering(offer, limits=place.limits)
