"""An offer of a peer that waits for the application's answer; and what the application shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from librats.errors import TransferError, UsageError
from librats.runtime.tasks import end_all
from librats.services.transferring.wire import LostError
from librats.transfer.frames import Chunk, Frame, FrameType, Offering
from librats.transfer.manifest import ManifestHead

if TYPE_CHECKING:
    from librats.services.transferring.giving import SourceFiles
    from librats.services.transferring.handle import Transfer

__all__ = ["Offer", "OfferWire", "Shared", "heard_withdrawal"]

Accept = Callable[[str | Path | None, bool], "Transfer"]
logger = logging.getLogger("librats.files")

AHEAD = 16
"""Frames of a giver that are put up with before its offer is answered."""


class OfferWire(Protocol):
    """Over which an offer came."""

    @property
    def peer_id(self) -> str:
        """Who offers."""

    async def next(self) -> Frame | Chunk:
        """Return the next frame.

        Raises:
            LostError: The offer stands no more.
            TransferError: The peer has withdrawn it.
        """


async def heard_withdrawal(wire: OfferWire) -> None:
    """Listen to a giver whose offer is not answered yet, until it does what ends the offer.

    Raises:
        TransferError: It has withdrawn it, or says what is not its turn.
        LostError: The session has ended.
    """
    for _ in range(AHEAD):
        frame = await wire.next()
        if not isinstance(frame, Frame) or frame.type not in {FrameType.PAUSE, FrameType.RESUME}:
            break
    raise TransferError("protocol", "a giver that goes on before its offer is answered")


class Offer:
    """What a peer offers. Comes to the handler of :meth:`FilesHandle.on_offer`. What it says is not checked yet.

    Args:
        wire: Over which it came.
        offering: What it says.
        head: How its manifest begins.
        accept: Begins the transfer, into a folder, replacing or not what is there.
    """

    def __init__(self, wire: OfferWire, offering: Offering, head: ManifestHead, accept: Accept) -> None:
        self._wire = wire
        self._offering = offering
        self._head = head
        self._accept = accept
        self._decision: asyncio.Future[TransferError | None] = asyncio.get_running_loop().create_future()
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show the peer, and how much it is."""
        return f"<Offer of {self.peer_id[:8]}: {self.files} files, {self.size} bytes>"

    @property
    def peer_id(self) -> str:
        """Who offers."""
        return self._wire.peer_id

    @property
    def name(self) -> str:
        """Name of the file or folder; safe on every system."""
        return self._head.name

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self._head.is_folder

    @property
    def files(self) -> int:
        """How many files."""
        return self._head.files

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._head.size

    @property
    def message(self) -> str:
        """Words of the peer, not to be trusted."""
        return self._offering.message

    @property
    def content_id(self) -> str:
        """Id of the content, 64 hex digits; empty where a librats 2 node offers, which tells none."""
        return self._offering.content_id.hex()

    @property
    def is_decided(self) -> bool:
        """True where it was accepted or refused, or is gone."""
        return self._decision.done()

    async def accept(self, folder: str | Path | None = None, *, overwrite: bool = False) -> Transfer:
        """Take it.

        Args:
            folder: Where it is put; the configured one where it is None. It is made where it is missing.
            overwrite: Whether files that are there with other content are replaced.

        Returns:
            The transfer, which has begun.

        Raises:
            TransferError: The peer has withdrawn it, or nobody decided in time (``"withdrawn"``).
            UsageError: It was decided already, or no folder is named.
        """
        self._check_open()
        if self._listening is not None:
            await end_all([self._listening])  # the transfer listens from here on
            self._check_open()  # meanwhile somebody else may have answered
        transfer = self._accept(folder, overwrite)
        self._decision.set_result(None)
        return transfer

    def _check_open(self) -> None:
        if self._decision.done():
            error = self._decision.result()
            if error is not None and error.code == "withdrawn":
                raise TransferError(error.code, error.reason)
            raise UsageError("the offer was answered already")

    async def refuse(self, reason: str = "") -> None:
        """Refuse it. Harmless where it was decided already.

        Args:
            reason: Words for the peer.
        """
        if not self._decision.done():
            self._decision.set_result(TransferError("refused", reason or "it is not wanted"))

    async def decided(self, seconds: float) -> None:
        """Wait for the application's answer.

        Raises:
            TransferError: It is not taken; what to tell the peer.
        """
        self._listening = listening = asyncio.get_running_loop().create_task(self._listen())
        try:
            await asyncio.wait([self._decision], timeout=seconds)
            if not self._decision.done():
                self._decision.set_result(TransferError("withdrawn", "nobody has answered the offer in time"))
        finally:
            if not listening.done():
                await end_all([listening])
        error = self._decision.result()
        if error is not None:
            raise TransferError(error.code, error.reason)

    async def _listen(self) -> None:
        """Take the offer away when the giver has gone."""
        try:
            await heard_withdrawal(self._wire)
        except (LostError, TransferError):
            logger.debug("an offer of %s is withdrawn", self.peer_id[:8])
        if not self._decision.done():
            self._decision.set_result(TransferError("withdrawn", "the peer has withdrawn its offer"))


class Shared:
    """What is given to every peer that asks for it. Comes from :meth:`FilesHandle.share`.

    Args:
        path: Where it is.
        source: What is read.
        unshare: Ends it.
    """

    def __init__(self, path: Path, source: SourceFiles, unshare: Callable[[Shared], Awaitable[None]]) -> None:
        self._path = path
        self._source = source
        self._unshare = unshare

    def __repr__(self) -> str:
        """Show path and content id."""
        return f"<Shared {str(self._path)!r} {self.content_id[:16]}>"

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self._path

    @property
    def source(self) -> SourceFiles:
        """What is read."""
        return self._source

    @property
    def content_id(self) -> str:
        """What peers ask for: 64 hex digits."""
        return self._source.content_id.hex()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._source.manifest.size

    async def close(self) -> None:
        """Give it to nobody any more; transfers of it end. Idempotent."""
        await self._unshare(self)
