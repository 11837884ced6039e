"""The handle ``client.files`` of the blocking client: sending, sharing and fetching files, and offers of peers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from librats.blocking.bridge import Bridge
from librats.services.transferring.codes import CODE_PATIENCE

if TYPE_CHECKING:
    from librats.blocking.peer import Peers
    from librats.services.introduction.code_meetings import CodeOutcome
    from librats.services.introduction.code_meetings import GivenCode as AsyncCode
    from librats.services.transfer import FilesHandle as AsyncHandle
    from librats.services.transferring.handle import Progress, TransferDirection, TransferResult, TransferState
    from librats.services.transferring.handle import Transfer as AsyncTransfer
    from librats.services.transferring.offer import Offer as AsyncOffer
    from librats.services.transferring.offer import Shared as AsyncShared
    from librats.tickets import Ticket

__all__ = ["FilesHandle", "GivenCode", "Offer", "Shared", "Transfer"]

logger = logging.getLogger("librats.files")

F = TypeVar("F", bound=Callable[..., Any])


class FilesHandle:
    """Files between peers; see :class:`librats.services.transfer.FilesHandle`. Comes from the client."""

    def __init__(self, handle: AsyncHandle, bridge: Bridge, peers: Peers) -> None:
        self._handle = handle
        self._bridge = bridge
        self._peers = peers

    def __repr__(self) -> str:
        """Show how many transfers there are."""
        return self._bridge.call(lambda: repr(self._handle))

    @property
    def transfers(self) -> Mapping[str, Transfer]:
        """The transfers by their ids: a copy. Of those that have ended, the last 256 are in it."""
        found = self._bridge.call(lambda: dict(self._handle.transfers))
        return {number: Transfer(transfer, self._bridge) for number, transfer in found.items()}

    def statistics(self) -> dict[str, Any]:
        """Return counters, as values that have a JSON form."""
        return self._bridge.call(self._handle.statistics)

    def on_offer(self, handler: F) -> F:
        """Call a function with every :class:`Offer` of a peer, on a thread of its own.

        See :meth:`librats.services.transfer.FilesHandle.on_offer`.
        """

        async def offered(offer: AsyncOffer) -> None:
            job = self._bridge.workers.submit(handler, Offer(offer, self._bridge), alone=True)
            await asyncio.wrap_future(job)

        self._bridge.call(self._handle.on_offer, offered if callable(handler) else handler)
        return handler

    def send(self, peer: Any, path: str | Path, *, name: str | None = None, message: str = "") -> Transfer:
        """Offer a file or a folder to a peer; see :meth:`librats.services.transfer.FilesHandle.send`."""
        target = self._peers.async_form(peer)
        return Transfer(self._bridge.wait(self._handle.send, target, path, name=name, message=message), self._bridge)

    def share(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Shared:
        """Give a file or folder to every peer that asks; see :meth:`librats.services.transfer.FilesHandle.share`.

        The function is called on a thread of its own, one call after the other, and not any more once this returns.
        """
        if on_progress is None:
            return Shared(self._bridge.wait(self._handle.share, path, name=name), self._bridge)
        told: SimpleQueue[Progress | None] = SimpleQueue()
        telling = self._bridge.workers.submit(_tell, on_progress, told, alone=True)
        try:
            shared = self._bridge.wait(self._handle.share, path, name=name, on_progress=told.put)
        finally:
            told.put(None)
            wait([telling])
        return Shared(shared, self._bridge)

    def ticket(self, shared: Shared) -> Ticket:
        """Return the ticket of what is shared; see :meth:`librats.services.transfer.FilesHandle.ticket`."""
        return self._bridge.call(self._handle.ticket, shared._shared)

    def give_code(self, shared: Shared) -> GivenCode:
        """Make a code for what is shared; see :meth:`librats.services.transfer.FilesHandle.give_code`."""
        return GivenCode(self._bridge.wait(self._handle.give_code, shared._shared), self._bridge)

    def take_code(self, code: str, *, patience: float = CODE_PATIENCE) -> Ticket:
        """Return the ticket behind a code; see :meth:`librats.services.transfer.FilesHandle.take_code`."""
        return self._bridge.wait(self._handle.take_code, code, patience=patience)

    def receive(
        self,
        what: Ticket | str,
        folder: str | Path | None = None,
        *,
        overwrite: bool = False,
        patience: float = CODE_PATIENCE,
    ) -> Transfer:
        """Get what a ticket or code stands for; see :meth:`librats.services.transfer.FilesHandle.receive`."""
        transfer = self._bridge.wait(self._handle.receive, what, folder, overwrite=overwrite, patience=patience)
        return Transfer(transfer, self._bridge)

    def fetch(
        self,
        peers: Any,
        content_id: str | bytes,
        folder: str | Path | None = None,
        *,
        overwrite: bool = False,
    ) -> Transfer:
        """Get what peers share or offer; see :meth:`librats.services.transfer.FilesHandle.fetch`."""
        several = isinstance(peers, Sequence) and not isinstance(peers, str)
        sources = [self._peers.async_form(peer) for peer in (peers if several else [peers])]
        transfer = self._bridge.wait(self._handle.fetch, sources, content_id, folder, overwrite=overwrite)
        return Transfer(transfer, self._bridge)


def _tell(handler: Callable[[Progress], object], told: SimpleQueue[Progress | None]) -> None:
    while (progress := told.get()) is not None:
        try:
            handler(progress)
        except Exception:
            logger.exception("the handler of progress failed, and is not called again")
            return


class Transfer:
    """One transfer, in either direction; see :class:`librats.services.transferring.handle.Transfer`."""

    def __init__(self, transfer: AsyncTransfer, bridge: Bridge) -> None:
        self._transfer = transfer
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show direction, state and peer."""
        return repr(self._transfer)

    @property
    def id(self) -> str:
        """Its number, 32 hex digits; the same at both ends where the other one has offered it."""
        return self._transfer.id

    @property
    def peer_id(self) -> str:
        """Id of the peer at the other end; of the first one where there are several sources."""
        return self._transfer.peer_id

    @property
    def peer_ids(self) -> tuple[str, ...]:
        """Ids of all peers at the other end."""
        return self._transfer.peer_ids

    @property
    def direction(self) -> TransferDirection:
        """Whether it sends or receives."""
        return self._transfer.direction

    @property
    def state(self) -> TransferState:
        """What it does now."""
        return self._transfer.state

    @property
    def name(self) -> str:
        """Name of the file or folder; empty while that is not known."""
        return self._transfer.name

    @property
    def size(self) -> int:
        """Bytes of all files; 0 while that is not known."""
        return self._transfer.size

    @property
    def content_id(self) -> str:
        """Id of the content, 64 hex digits; empty while that is not known."""
        return self._transfer.content_id

    @property
    def is_over(self) -> bool:
        """True where it has ended, well or not."""
        return self._transfer.is_over

    def snapshot(self) -> Progress:
        """Return how far it is now."""
        return self._bridge.call(self._transfer.snapshot)

    def progress(self, interval: float = 0.25) -> Iterator[Progress]:
        """Iterate over how far it is; see :meth:`librats.services.transferring.handle.Transfer.progress`."""
        steps = self._transfer.progress(interval)

        async def step() -> Progress | None:
            return await anext(steps, None)

        while (progress := self._bridge.wait(step)) is not None:
            yield progress

    def wait(self) -> TransferResult:
        """Wait for the end; see :meth:`librats.services.transferring.handle.Transfer.wait`."""
        return self._bridge.wait(self._transfer.wait)

    def pause(self) -> None:
        """Stop asking, or giving, until :meth:`resume`. The other side is told. Harmless where it has ended."""
        self._bridge.call(self._transfer.pause)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._bridge.call(self._transfer.resume)

    def cancel(self, reason: str = "") -> None:
        """End it for good; see :meth:`librats.services.transferring.handle.Transfer.cancel`."""
        self._bridge.wait(self._transfer.cancel, reason)


class Offer:
    """What a peer offers; see :class:`librats.services.transferring.offer.Offer`."""

    def __init__(self, offer: AsyncOffer, bridge: Bridge) -> None:
        self._offer = offer
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show the peer, and how much it is."""
        return repr(self._offer)

    @property
    def peer_id(self) -> str:
        """Who offers."""
        return self._offer.peer_id

    @property
    def name(self) -> str:
        """Name of the file or folder; safe on every system."""
        return self._offer.name

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self._offer.is_folder

    @property
    def files(self) -> int:
        """How many files."""
        return self._offer.files

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._offer.size

    @property
    def message(self) -> str:
        """Words of the peer, not to be trusted."""
        return self._offer.message

    @property
    def content_id(self) -> str:
        """Id of the content, 64 hex digits."""
        return self._offer.content_id

    @property
    def is_decided(self) -> bool:
        """True where it was accepted or refused, or is gone."""
        return self._offer.is_decided

    def accept(self, folder: str | Path | None = None, *, overwrite: bool = False) -> Transfer:
        """Take it; see :meth:`librats.services.transferring.offer.Offer.accept`."""
        return Transfer(self._bridge.wait(self._offer.accept, folder, overwrite=overwrite), self._bridge)

    def refuse(self, reason: str = "") -> None:
        """Refuse it; see :meth:`librats.services.transferring.offer.Offer.refuse`."""
        self._bridge.wait(self._offer.refuse, reason)


class Shared:
    """What is given to every peer that asks for it; see :class:`librats.services.transferring.offer.Shared`."""

    def __init__(self, shared: AsyncShared, bridge: Bridge) -> None:
        self._shared = shared
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show path and content id."""
        return repr(self._shared)

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self._shared.path

    @property
    def content_id(self) -> str:
        """What peers ask for: 64 hex digits."""
        return self._shared.content_id

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._shared.size

    def close(self) -> None:
        """Give it to nobody any more; transfers of it end. Idempotent."""
        self._bridge.wait(self._shared.close)


class GivenCode:
    """A code that waits for somebody; see :class:`librats.services.introduction.code_meetings.GivenCode`."""

    def __init__(self, code: AsyncCode, bridge: Bridge) -> None:
        self._code = code
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show what became of it, and not the code, which is a secret."""
        return repr(self._code)

    def __str__(self) -> str:
        """Return the code, as it is shown."""
        return str(self._code)

    @property
    def text(self) -> str:
        """The code, as it is shown: a number and two words."""
        return self._code.text

    def wait(self) -> CodeOutcome:
        """Wait until somebody comes, or the code is of no use any more for another reason."""
        return self._bridge.wait(self._code.wait)

    def close(self) -> None:
        """Wait no more: the code is of no use from here on. Idempotent."""
        self._bridge.call(self._code.close)
