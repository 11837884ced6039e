"""What a transfer writes to, as its taker sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from librats.errors import TransferError
    from librats.services.disk.part import Chunk
    from librats.transfer.file_verifiers import FileVerifiers
    from librats.transfer.layout import Layout, Range
    from librats.transfer.manifest import Manifest, ManifestLimits
    from librats.transfer.reusing import LeafIndex

__all__ = ["DestinationFiles", "OpenDestination"]


class DestinationFiles(Protocol):
    """What is written to: :class:`~librats.services.disk.writing.Destination`."""

    manifest: Manifest
    verifiers: FileVerifiers

    @property
    def old_files(self) -> Sequence[int]:
        """Numbers of the files of which something older is there."""

    async def reuse(self, layout: Layout, wanted: Range, index: LeafIndex) -> Sequence[Range]:
        """Read what is older in the place of some leaves, write what of it is looked for, and return which that is."""

    async def take(self, check: Callable[[], Sequence[Chunk]], size: int) -> TransferError | None:
        """Have a chunk checked on a thread, and written where it is right; return what the check has raised."""

    async def finish(self) -> Path:
        """Give it its name."""

    async def suspend(self) -> None:
        """Close it, and keep what has come."""

    async def discard(self) -> None:
        """Close it, and remove what has come."""


class OpenDestination(Protocol):
    """Opens where a transfer is written to."""

    async def __call__(
        self,
        folder: str | Path,
        raw_manifest: bytes,
        *,
        content_id: bytes,
        max_disk: int | None,
        overwrite: bool,
        limits: ManifestLimits,
        on_checked: Callable[[int, int], object] | None = None,
    ) -> DestinationFiles:
        """See :meth:`librats.services.disk.writing.Destination.open`."""
