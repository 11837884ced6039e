"""What is kept of a torrent between runs: which pieces are there, and the torrent itself where it came from peers."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from librats._core import bencode
from librats.bittorrent.bitfields import packed_bits, unpacked_bits
from librats.bittorrent.extensions import compact_peer, compact_peers
from librats.bittorrent.metainfo import MAX_TORRENT, Torrent, read_info
from librats.errors import DecodeError, RemoteProtocolError, StoreError
from librats.types import Address

__all__ = ["Resume", "ResumeFile"]

logger = logging.getLogger("librats.torrent")

VERSION = 1
MAX_TOKENS = 4_000_000
MAX_PEERS = 100
IPV4_PEER, IPV6_PEER, PORT = 6, 18, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What a file of this kind holds."""

    torrent: Torrent
    """The torrent, with the layers that were had from peers; without its trackers."""

    have: bytearray
    """A byte for each piece: 1 where it is there."""

    sizes: list[tuple[int, int]]
    """Size and time of the last change of each file when this was written."""

    downloaded: int = 0
    """Bytes had from peers so far."""

    uploaded: int = 0
    """Bytes given to peers so far."""

    peers: tuple[Address, ...] = ()
    """Peers that were connected."""


class ResumeFile:
    """The file of one torrent. Its methods block.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, info_hash: bytes) -> Resume | None:
        """Read it; None where it is not there, or of no use.

        Args:
            info_hash: Of the torrent that it must be of.
        """
        try:
            if self._path.stat().st_size > 2 * MAX_TORRENT:
                return None
            fields = bencode.decode(self._path.read_bytes(), max_tokens=MAX_TOKENS)
            return _read(fields, info_hash)
        except FileNotFoundError:
            return None
        except (OSError, DecodeError, RemoteProtocolError, KeyError, TypeError, ValueError) as error:
            logger.warning("%s is of no use: %s", self._path, error)
            return None

    def save(self, resume: Resume) -> None:
        """Write it: wholly, or not at all.

        Raises:
            StoreError: It cannot be written.
        """
        fields: dict[bytes, Any] = {
            b"v": VERSION,
            b"info": resume.torrent.info,
            b"layers": resume.torrent.piece_layers,
            b"have": packed_bits(bytes(resume.have)),
            b"files": [list(pair) for pair in resume.sizes],
            b"down": resume.downloaded,
            b"up": resume.uploaded,
        }
        packed = [compact_peer(address) for address in resume.peers]
        for key, size in ((b"peers", IPV4_PEER), (b"peers6", IPV6_PEER)):
            fields[key] = b"".join(peer for peer in packed if len(peer) == size)
        beside = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(bencode.encode(fields))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise StoreError(self._path, error.strerror or str(error)) from error

    def remove(self) -> None:
        """Remove it, where it is there."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()  # where nothing else is in it


def _read(fields: Any, info_hash: bytes) -> Resume | None:
    if fields[b"v"] != VERSION:
        return None
    torrent = read_info(fields[b"info"])
    if torrent.info_hash != info_hash:
        return None
    if torrent.info_hash_v2 is not None:
        torrent = torrent.with_layers(fields[b"layers"])
    count, have = torrent.layout.piece_count, fields[b"have"]
    if len(have) != -(-count // 8):
        raise RemoteProtocolError("it has bits for other pieces than there are")
    sizes = [
        (size, changed) for size, changed in fields[b"files"] if isinstance(size, int) and isinstance(changed, int)
    ]
    return Resume(
        torrent=torrent,
        have=unpacked_bits(have, count),
        sizes=sizes,
        downloaded=max(int(fields[b"down"]), 0),
        uploaded=max(int(fields[b"up"]), 0),
        peers=(
            *compact_peers(fields.get(b"peers"), IPV4_PEER - PORT, MAX_PEERS),
            *compact_peers(fields.get(b"peers6"), IPV6_PEER - PORT, MAX_PEERS),
        ),
    )
