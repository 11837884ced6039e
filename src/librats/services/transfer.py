"""The handle ``client.files``: sending, sharing and fetching files, and deciding about offers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from librats.errors import PeerNotConnected, TransferError, UsageError
from librats.files_config import OfferPolicy
from librats.runtime.tasks import end_all
from librats.services.disk.reading import Source
from librats.services.transferring.codes import CodeVerbs
from librats.services.transferring.filechunk import NodeFiles
from librats.services.transferring.giving import Giving
from librats.services.transferring.handle import Progress, Transfer
from librats.services.transferring.hashing_progress import HashingReport
from librats.services.transferring.host import FilesHost, TransferPlace
from librats.services.transferring.offer import Offer, OfferWire, Shared
from librats.services.transferring.serving import idle_place
from librats.services.transferring.taking import Taking
from librats.services.transferring.wire import LostError, Wire
from librats.transfer.frames import Frame, FrameType, Offering, read_fetch, read_offer
from librats.transfer.manifest import ManifestHead, read_head

__all__ = ["FilesHandle"]

logger = logging.getLogger("librats.files")

F = TypeVar("F", bound=Callable[..., Any])

ID_SIZE = 32
NUMBER_SIZE = 16
FIRST_FRAME_TIMEOUT = 30.0
MAX_ACCEPTED = 256
"""Transfers that one peer has offered, that were accepted and are not over: as many as it may have streams."""

KEPT = 256
"""Transfers that have ended and are still listed."""


class FilesHandle(CodeVerbs):
    """Files between peers: each chunk verified, resumed after losses, from several sources at once.

    Comes from :attr:`RatsClient.files`. Whoever wants offers sets a handler with :meth:`on_offer`.

    Args:
        host: The client.

    Example:
        .. code-block:: python

            @client.files.on_offer
            async def offered(offer):
                print(offer.peer_id[:8], "offers", offer.name, offer.size)
                await offer.accept("Downloads")

            transfer = await client.files.send(peer, "photo.jpg")
            result = await transfer.wait()
    """

    def __init__(self, host: FilesHost) -> None:
        self._host = host
        self._handler: Callable[[Offer], Any] | None = None
        self._place: TransferPlace | None = None
        self._transfers: dict[str, Transfer] = {}
        self._shared: dict[bytes, list[Shared]] = {}
        self._offers: dict[str, list[Offer]] = {}
        self._hashing: set[asyncio.Task[Any]] = set()
        self._nodes = NodeFiles(_AboutNodes(self))

    def __repr__(self) -> str:
        """Show how many transfers there are."""
        running = sum(not transfer.is_over for transfer in self._transfers.values())
        return f"<FilesHandle {running} transfers>"

    @property
    def nodes(self) -> NodeFiles:
        """What goes to and comes from librats 2 nodes, which have no streams."""
        return self._nodes

    @property
    def transfers(self) -> Mapping[str, Transfer]:
        """The transfers by their ids: a view. Of those that have ended, the last 256 are in it."""
        return MappingProxyType(self._transfers)

    def statistics(self) -> dict[str, Any]:
        """Return counters, as values that have a JSON form."""
        counters = {} if self._place is None else self._place.counters
        names = (
            *("bytes_sent", "bytes_received", "completed", "failed"),
            *("offers_received", "offers_refused", "fetches_refused", "sources_dropped"),
        )
        return {
            "running": sum(not transfer.is_over for transfer in self._transfers.values()),
            "shared": sum(map(len, self._shared.values())),
            **{name: counters.get(name, 0) for name in names},
        }

    # Verbs

    def on_offer(self, handler: F) -> F:
        """Call a function with every :class:`Offer` of a peer; it decides by ``await offer.accept(...)`` or ``refuse``.

        It may also keep the offer, and decide later, within the configured ``offer_timeout``.

        Args:
            handler: ``(offer)``, sync or async. There is one; a later one takes its place.

        Returns:
            The function.

        Raises:
            UsageError: It is no function.
        """
        if not callable(handler):
            raise UsageError(f"a handler is a function, not {type(handler).__name__}")
        self._handler = handler
        return handler

    async def send(self, peer: Any, path: str | Path, *, name: str | None = None, message: str = "") -> Transfer:
        """Offer a file or a folder to a peer. It is hashed, offered, and sent where the peer takes it.

        A librats 2 node gets it by its own messages: without times, empty folders and words, and not resumed.

        Args:
            peer: The peer or its id; it is connected.
            path: The file or folder.
            name: What it is called at the other side; the last part of the path where it is None.
            message: Words for the peer, at most 1,024 bytes of UTF-8.

        Returns:
            The transfer, which begins to hash now: what goes wrong from here on, :meth:`Transfer.wait` raises.

        Raises:
            PeerNotConnected: There is no session with it.
            UsageError: The client is not running.
        """
        place = self._running()
        peer_id = _id_of(peer)
        if not self._host.is_connected(peer_id):
            raise PeerNotConnected(f"peer {peer_id[:8]} is not connected")
        giving: Giving
        if self._host.speaks_librats2(peer_id):
            giving = self._nodes.giving(place, peer_id, Path(path))
        else:
            giving = Giving(place, peer_id, self._host.entropy(NUMBER_SIZE), Path(path), message)
        giving.hashing()
        self._add(giving)
        self._spawn(self._hash_and_give(place, giving, Path(path), name))
        return giving

    async def _hash_and_give(self, place: TransferPlace, giving: Giving, path: Path, name: str | None) -> None:
        try:
            source = await Source.open(path, name=name, limits=place.limits, on_hashed=giving.hashed)
        except TransferError as error:
            giving.ended(error)
            return
        except asyncio.CancelledError:
            giving.ended(TransferError("closed", "the client was stopped"))
            raise
        try:
            if not giving.is_over:
                await asyncio.wait([giving.give(source)])
        finally:
            await source.close()

    async def share(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Shared:
        """Give a file or folder to every peer that asks for its content id, until it is closed.

        Args:
            path: The file or folder. All of it is read and hashed before this returns.
            name: What it is called at the other side; the last part of the path where it is None.
            on_progress: Called with how far the hashing is, twenty times a second at most, and once at the end.

        Raises:
            TransferError: It cannot be offered; see :meth:`Transfer.wait`.
            UsageError: The client is not running.

        Example:
            .. code-block:: python

                shared = await client.files.share("holiday")
                print(shared.content_id)
        """
        place = self._running()
        path = Path(path)
        report = None if on_progress is None else HashingReport(on_progress, asyncio.get_running_loop().time)
        source = await Source.open(path, name=name, limits=place.limits, on_hashed=report)
        shared = Shared(path, source, self._unshare)
        self._shared.setdefault(source.content_id, []).append(shared)
        return shared

    async def _unshare(self, shared: Shared) -> None:
        of_it = self._shared.get(shared.source.content_id, [])
        if shared in of_it:
            of_it.remove(shared)
            if not of_it:
                del self._shared[shared.source.content_id]
            error = TransferError("not_found", "it is not shared any more")
            users = [t for t in self._transfers.values() if isinstance(t, Giving) and t.source is shared.source]
            await asyncio.gather(*(transfer.end(error) for transfer in users if not transfer.is_over))
            await shared.source.close()

    async def fetch(
        self,
        peers: Any,
        content_id: str | bytes,
        folder: str | Path | None = None,
        *,
        overwrite: bool = False,
    ) -> Transfer:
        """Get what peers share, or offer, from one or from several of them at once.

        What an earlier transfer of it into the same folder has got is not fetched again.

        Args:
            peers: A peer or its id, or several of them.
            content_id: What :attr:`Shared.content_id` is: 64 hex digits, or 32 bytes.
            folder: Where it is put; the configured one where it is None.
            overwrite: Whether files that are there with other content are replaced.

        Returns:
            The transfer, which has begun.

        Raises:
            UsageError: No peer or folder is named, it is no content id, or the client is not running.
        """
        place = self._running()
        if isinstance(peers, str) or not isinstance(peers, Sequence):
            peers = [peers]
        peer_ids = list(dict.fromkeys(map(_id_of, peers)))
        if not peer_ids:
            raise UsageError("name a peer that has it")
        try:
            wanted = content_id if isinstance(content_id, bytes) else bytes.fromhex(content_id)
        except ValueError:
            wanted = b""
        if len(wanted) != ID_SIZE:
            raise UsageError("a content id has 64 hex digits")
        number = self._host.entropy(NUMBER_SIZE)
        taking = self._taking(place, peer_ids, number, wanted, self._folder(place, folder), overwrite=overwrite)
        taking.take()
        return taking

    def _taking(
        self, place: TransferPlace, peer_ids: list[str], number: bytes, wanted: bytes, folder: Path, *, overwrite: bool
    ) -> Taking:
        from librats.services.disk.writing import Destination  # noqa: PLC0415 - loaded for what is received alone

        taking = Taking(
            place,
            peer_ids,
            number,
            wanted,
            folder=folder,
            overwrite=overwrite,
            open_destination=Destination.open,
        )
        self._add(taking)
        return taking

    def _folder(self, place: TransferPlace, folder: str | Path | None) -> Path:
        chosen = folder if folder is not None else place.config.folder
        if chosen is None:
            raise UsageError("name a folder, or configure one: FilesConfig(folder=...)")
        return Path(chosen)

    # What peers want

    def serve(self, stream: Any) -> None:
        """Take a stream that a peer has opened."""
        place = self._running()
        self._spawn(self._meet(place, Wire(stream)))

    async def _meet(self, place: TransferPlace, wire: Wire) -> None:
        """Find out what a stream is for, and hand it on."""
        try:
            frame = await wire.next_frame(FIRST_FRAME_TIMEOUT)
            if frame.type == FrameType.OFFER:
                await self._offered(place, wire, read_offer(frame.body))
            elif frame.type == FrameType.FETCH:
                self._fetched(place, wire, frame)
            else:
                raise TransferError("protocol", "a stream begins with an offer or a fetch")
        except LostError:
            return
        except TransferError as error:
            logger.debug("a stream of %s is refused: %s", wire.peer_id[:8], error)
            await wire.refuse(error)

    def _fetched(self, place: TransferPlace, wire: Wire, frame: Frame) -> None:
        number, wanted = read_fetch(frame.body)
        waiting = [
            giving
            for giving in self._transfers.values()
            if isinstance(giving, Giving) and giving.peer_id == wire.peer_id and giving.takes_wire
        ]
        for giving in waiting:
            if giving.content_id == wanted.hex() and (not any(number) or giving.id == number.hex()):
                giving.adopt(wire)
                return
        shared = self._shared.get(wanted)
        if not shared:
            place.counters["fetches_refused"] += 1
            raise TransferError("not_found", "nobody here gives that")
        serving = [t for t in self._transfers.values() if isinstance(t, Giving) and not t.is_over]
        if len(serving) >= place.config.max_serving:
            since = asyncio.get_running_loop().time() - place.config.stall_timeout
            idle = idle_place(serving, wire.peer_id, since)
            if idle is None:
                place.counters["fetches_refused"] += 1
                raise TransferError("busy", f"{place.config.max_serving} transfers are given already (max_serving)")
            self._spawn(idle.end(TransferError("busy", "nothing of it was taken for long, and others want its place")))
        giving = Giving(place, wire.peer_id, self._host.entropy(NUMBER_SIZE), shared[0].path)
        self._add(giving)
        giving.give(shared[0].source, wire)

    async def _offered(self, place: TransferPlace, wire: Wire, offering: Offering) -> None:
        for taking in self._transfers.values():
            is_same = isinstance(taking, Taking) and taking.content_id == offering.content_id.hex()
            if is_same and isinstance(taking, Taking) and taking.takes_wire(wire.peer_id):
                taking.adopt(wire, offering)  # the giver has come back by itself
                return
        try:
            head = read_head(offering.head, limits=place.limits)
        except TransferError:
            place.counters.update(("offers_received", "offers_refused"))
            raise
        await self._ask(place, wire, offering, head, partial(self._accept, wire, offering))

    async def _ask(
        self,
        place: TransferPlace,
        wire: OfferWire,
        offering: Offering,
        head: ManifestHead,
        accept: Callable[[str | Path | None, bool], Transfer],
    ) -> None:
        """Ask the application about an offer, and wait for its answer.

        Raises:
            TransferError: It is not taken.
        """
        place.counters["offers_received"] += 1
        pending = self._offers.setdefault(wire.peer_id, [])
        try:
            if place.config.accept is OfferPolicy.NEVER or self._handler is None:
                raise TransferError("refused", "no files are taken here")
            place.check_name(head.name)
            running = [transfer for transfer in self._transfers.values() if not transfer.is_over]
            if sum(one.was_offered and one.peer_id == wire.peer_id for one in running) >= MAX_ACCEPTED:
                raise TransferError("limit", f"{MAX_ACCEPTED} transfers from one peer are not over yet")
            if len(pending) >= place.config.max_offers_per_peer:
                limit = place.config.max_offers_per_peer
                raise TransferError("limit", f"{limit} offers wait for an answer already (max_offers_per_peer)")
            offer = Offer(wire, offering, head, accept)
            pending.append(offer)
            self._call_handler(self._handler, offer)
            await offer.decided(place.config.offer_timeout)
        except TransferError:
            place.counters["offers_refused"] += 1
            raise
        finally:
            pending[:] = [waiting for waiting in pending if not waiting.is_decided]
            if not pending:
                self._offers.pop(wire.peer_id, None)

    def _call_handler(self, handler: Callable[[Offer], Any], offer: Offer) -> None:
        async def run() -> None:
            try:
                result = handler(offer)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logger.exception("the handler of offers failed")
                await offer.refuse("the application failed")

        self._spawn(run())

    def _accept(self, wire: Wire, offering: Offering, folder: str | Path | None, overwrite: bool) -> Transfer:
        place = self._running()
        chosen = self._folder(place, folder)
        number = offering.transfer
        if number.hex() in self._transfers:
            number = self._host.entropy(NUMBER_SIZE)
        taking = self._taking(place, [wire.peer_id], number, offering.content_id, chosen, overwrite=overwrite)
        taking.was_offered = True
        taking.take(wire, offering)
        return taking

    # Life

    def _running(self) -> TransferPlace:
        self._host.check_running()
        if self._place is None:
            self._place = TransferPlace(self._host)
        return self._place

    def _spawn(self, coroutine: Any) -> None:
        task = self._host.tasks.create(coroutine, name="librats files")
        self._hashing.add(task)
        task.add_done_callback(self._hashing.discard)

    def _add(self, transfer: Transfer) -> None:
        over = [number for number, old in self._transfers.items() if old.is_over]
        for number in over[: max(len(over) - KEPT + 1, 0)]:
            del self._transfers[number]
        self._transfers[transfer.id] = transfer
        transfer.on_end = self._ended

    def _ended(self, error: TransferError | None) -> None:
        if self._place is not None:
            self._place.counters["completed" if error is None else "failed"] += 1

    def connected(self, peer_id: str) -> None:
        """Take note that there is a session with a peer."""
        if self._place is not None:
            self._place.connected(peer_id)

    async def stop(self) -> None:
        """End everything: the client stops. What has come of transfers is kept on the disk."""
        error = TransferError("closed", "the client was stopped")
        running = [transfer for transfer in self._transfers.values() if not transfer.is_over]
        await asyncio.gather(*(transfer.end(error) for transfer in running))
        shared = [one for of_it in self._shared.values() for one in of_it]
        self._shared.clear()
        await asyncio.gather(*(one.source.close() for one in shared))
        await end_all(self._hashing)
        self._offers.clear()
        self._place = None


class _AboutNodes:
    """The handle as what comes from librats 2 nodes sees it."""

    def __init__(self, handle: FilesHandle) -> None:
        self._handle = handle

    def running(self) -> TransferPlace:
        return self._handle._running()

    def spawn(self, coroutine: Awaitable[None]) -> None:
        self._handle._spawn(coroutine)

    def add(self, transfer: Transfer) -> None:
        self._handle._add(transfer)

    def folder(self, folder: str | Path | None) -> Path:
        return self._handle._folder(self.running(), folder)

    async def ask(
        self,
        wire: OfferWire,
        offering: Offering,
        head: ManifestHead,
        accept: Callable[[str | Path | None, bool], Transfer],
    ) -> None:
        await self._handle._ask(self.running(), wire, offering, head, accept)


def _id_of(peer: Any) -> str:
    peer_id = getattr(peer, "id", peer)
    if not isinstance(peer_id, str):
        raise UsageError(f"a peer or its id is wanted, not {peer!r}")
    return peer_id
