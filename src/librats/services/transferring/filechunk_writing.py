"""What comes from a librats 2 node, on its way to the disk: files in order, of which no hash is known before."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

from librats.services.disk.writing import Destination
from librats.transfer.filechunk import Buffer, NodeOffering, encode_offer
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.tree import LEAF_SIZE

__all__ = ["NodeDestination"]

BATCH = 4 * LEAF_SIZE


def _identifier(peer_id: str, offering: NodeOffering) -> bytes:
    """Return what one offer of one peer has, so that what is left of an earlier try is found, and removed."""
    return sha256(b"librats 2 offer\0" + peer_id.encode() + encode_offer(0, offering)).digest()


def _manifest(identifier: bytes, offering: NodeOffering) -> Manifest:
    """Return a manifest whose roots are those of no files, and all different: nothing is there of any of them."""
    now = time.time_ns()
    files = tuple(
        OfferedFile(path=file.path, size=file.size, root=sha256(identifier + number.to_bytes(4)).digest(), modified=now)
        for number, file in enumerate(offering.files)
    )
    return Manifest(name=offering.name, is_folder=offering.is_folder, files=files)


class NodeDestination:
    """Where an offer of a librats 2 node is written to: beside, in a hidden folder, until all of it is there.

    Args:
        destination: What writes it.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._file = 0
        self._leaf = 0
        self._held: list[Buffer] = []
        self._held_size = 0

    @classmethod
    async def open(
        cls, folder: str | Path, offering: NodeOffering, *, peer_id: str, max_disk: int | None, overwrite: bool
    ) -> NodeDestination:
        """Begin to receive an offer.

        Args:
            folder: Where it is put; made where it is missing.
            offering: What is offered.
            peer_id: By whom.
            max_disk: Bytes that it may take on the disk at most; None for what is free.
            overwrite: Whether files of the same names are replaced, at the end.

        Raises:
            TransferError: As :meth:`Destination.open` does.
        """
        identifier = _identifier(peer_id, offering)
        manifest = _manifest(identifier, offering)
        return cls(
            await Destination.begin(folder, manifest, identifier=identifier, max_disk=max_disk, overwrite=overwrite)
        )

    async def write(self, data: Buffer) -> None:
        """Write the next bytes of the file that comes now. Returns before they are on the disk.

        Raises:
            TransferError: They, or earlier ones, cannot be written; see :meth:`Destination.write`.
        """
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= BATCH:
            await self._flush(self._held_size - self._held_size % LEAF_SIZE)

    async def end_file(self) -> None:
        """Take note that all of the file has come; the next bytes are of the one behind it.

        Raises:
            TransferError: As for :meth:`write`.
        """
        if self._held_size:
            await self._flush(self._held_size)
        self._file, self._leaf = self._file + 1, 0

    async def _flush(self, size: int) -> None:
        whole = memoryview(b"".join(self._held))
        first, self._leaf = self._leaf, self._leaf + size // LEAF_SIZE
        self._held = [whole[size:]] if size < len(whole) else []
        self._held_size = len(whole) - size
        await self._destination.write(self._file, first, whole[:size])

    async def finish(self) -> Path:
        """Bring everything to the disk, and give it its name; see :meth:`Destination.finish`."""
        return await self._destination.finish()

    async def discard(self) -> None:
        """Close everything, and remove what has come. Idempotent."""
        self._held.clear()
        await self._destination.discard()
