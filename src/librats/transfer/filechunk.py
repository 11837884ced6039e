"""The FileChunk messages of librats 2, by which files go to and from nodes that have no streams.

LIBRATS2 wire, section 8.3. A message is ``op:u8 | number:u64`` and what the op has; all integers are big-endian:

offer      1 | number | flags:u8 | total:u64 | length:u16 | name | count:u32 | count times a file
file       length:u16 | path | size:u64
response   2 | number | accepted:u8
chunk      3 | number | file:u32 | offset:u64 | data
file end   4 | number | file:u32 | SHA-256 of the file
progress   5 | number | bytes that have come:u64
complete   6 | number | well:u8
cancel     7 | number
pause      8 | number
resume     9 | number
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias

from librats.errors import DecodeError, TransferError
from librats.transfer.manifest import ManifestHead, ManifestLimits
from librats.transfer.names import NameSet, Parts, read_path, write_path

__all__ = [
    "DIGEST_SIZE",
    "NodeChunk",
    "NodeComplete",
    "NodeFile",
    "NodeFileEnd",
    "NodeOffer",
    "NodeOffering",
    "NodeOp",
    "NodePlain",
    "NodeProgress",
    "NodeResponse",
    "NodeWord",
    "decode_word",
    "encode_chunk",
    "encode_complete",
    "encode_file_end",
    "encode_offer",
    "encode_plain",
    "encode_progress",
    "encode_response",
    "read_offering",
]

DIGEST_SIZE: Final = 32
"""Bytes of a SHA-256."""

ENTRY_LEAST = 10

HEAD = Struct(">BQ")
OFFER = Struct(">BQH")  # flags, total, length of the name
COUNT = Struct(">I")
LENGTH = Struct(">H")
SIZE = Struct(">Q")
CHUNK = Struct(">BQIQ")
FILE_END = Struct(">BQI")
FLAG = Struct(">BQB")
PROGRESS = Struct(">BQQ")

Buffer = bytes | bytearray | memoryview


class NodeOp(IntEnum):
    """The first byte of a message."""

    OFFER = 1
    """Sender: this is there to be taken."""
    RESPONSE = 2
    """Receiver: yes, or no."""
    CHUNK = 3
    """Sender: the next bytes of a file."""
    FILE_END = 4
    """Sender: the hash of a file that was sent."""
    PROGRESS = 5
    """Receiver: so many bytes have come."""
    COMPLETE = 6
    """Receiver: all is there, or it has failed; also the sender, where it has failed."""
    CANCEL = 7
    """Either: it ends."""
    PAUSE = 8
    """Either: the sender is to stop for a while."""
    RESUME = 9
    """Either: the sender is to go on."""


PLAIN = frozenset({NodeOp.CANCEL, NodeOp.PAUSE, NodeOp.RESUME})


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """An offer whose files are not read yet; see :func:`read_offering`."""

    number: int
    """What its sender calls it."""

    is_folder: bool
    """Whether it is a folder."""

    total: int
    """Bytes of all files, as it says."""

    name: bytes
    """What it is called."""

    count: int
    """How many files it says that there are."""

    entries: memoryview
    """Where they stand."""


@dataclass(frozen=True, slots=True)
class NodeResponse:
    """The answer to an offer."""

    number: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class NodeChunk:
    """The next bytes of a file."""

    number: int
    file: int
    offset: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class NodeFileEnd:
    """The hash of a file that was sent."""

    number: int
    file: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How many bytes of all files together have come."""

    number: int
    received: int


@dataclass(frozen=True, slots=True)
class NodeComplete:
    """The end."""

    number: int
    succeeded: bool


@dataclass(frozen=True, slots=True)
class NodePlain:
    """A message of nothing but its op."""

    op: NodeOp
    number: int


NodeWord: TypeAlias = NodeOffer | NodeResponse | NodeChunk | NodeFileEnd | NodeProgress | NodeComplete | NodePlain
"""What one message says."""


@dataclass(frozen=True, slots=True)
class NodeFile:
    """A file of an offer."""

    path: Parts
    """Its path below the folder that is offered; its name, where it is offered alone."""

    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffering:
    """What is offered, checked: safe names of which no two are the same file, within limits."""

    name: str
    """Name of the file or the folder."""

    is_folder: bool
    """Whether it is a folder."""

    files: tuple[NodeFile, ...]
    """The files, in the order in which they come."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def head(self) -> ManifestHead:
        """The same as others tell it who have manifests."""
        return ManifestHead(
            name=self.name, is_folder=self.is_folder, files=len(self.files), empty_folders=0, size=self.size
        )


# Writing


def encode_offer(number: int, offering: NodeOffering) -> bytes:
    """Write an offer.

    Args:
        number: A number that is drawn by chance: nodes of version 2.1.4 take words about one transfer for words about
            any other that has the same number.
        offering: What is offered.

    Raises:
        TransferError: A name is not safe everywhere (``"bad_name"``).

    Example:
        >>> from librats.transfer.filechunk import NodeFile, NodeOffering, decode_word, encode_offer, read_offering
        >>> offering = NodeOffering(name="a.txt", is_folder=False, files=(NodeFile(("a.txt",), 5),))
        >>> read_offering(decode_word(encode_offer(7, offering))) == offering
        True
    """
    name = write_path((offering.name,))
    parts = [
        HEAD.pack(NodeOp.OFFER, number),
        OFFER.pack(offering.is_folder, offering.size, len(name)),
        name,
        COUNT.pack(len(offering.files)),
    ]
    for file in offering.files:
        path = write_path(file.path)
        parts += [LENGTH.pack(len(path)), path, SIZE.pack(file.size)]
    return b"".join(parts)


def encode_response(number: int, *, accepted: bool) -> bytes:
    """Write the answer to an offer."""
    return FLAG.pack(NodeOp.RESPONSE, number, accepted)


def encode_chunk(number: int, file: int, offset: int, data: Buffer) -> bytes:
    """Write the next bytes of a file."""
    return b"".join((CHUNK.pack(NodeOp.CHUNK, number, file, offset), data))


def encode_file_end(number: int, file: int, digest: bytes) -> bytes:
    """Write the hash of a file that was sent."""
    return FILE_END.pack(NodeOp.FILE_END, number, file) + digest


def encode_progress(number: int, received: int) -> bytes:
    """Write how many bytes of all files together have come."""
    return PROGRESS.pack(NodeOp.PROGRESS, number, received)


def encode_complete(number: int, *, succeeded: bool) -> bytes:
    """Write that all is there, or that it has failed."""
    return FLAG.pack(NodeOp.COMPLETE, number, succeeded)


def encode_plain(op: NodeOp, number: int) -> bytes:
    """Write a message of nothing but its op."""
    return HEAD.pack(op, number)


# Reading


def decode_word(payload: bytes) -> NodeWord:
    """Read a message. Bytes behind it are for later versions.

    Raises:
        DecodeError: It breaks off, or has an unknown op; a librats 2 node ignores it then.

    Example:
        >>> from librats.transfer.filechunk import decode_word
        >>> decode_word(bytes.fromhex("02 0000000000000005 01"))
        NodeResponse(number=5, accepted=True)
    """
    if len(payload) < HEAD.size:
        raise DecodeError("a message about files that breaks off")
    op, number = HEAD.unpack_from(payload)
    if op in PLAIN:
        return NodePlain(NodeOp(op), number)
    read = _READERS.get(op)
    if read is None:
        raise DecodeError(f"a message about files with the op {op}")
    least, function = read
    if len(payload) < least:
        raise DecodeError("a message about files that breaks off", len(payload))
    return function(payload, number)


def _read_offer(payload: bytes, number: int) -> NodeWord:
    flags, total, length = OFFER.unpack_from(payload, HEAD.size)
    at = HEAD.size + OFFER.size
    if len(payload) < at + length + COUNT.size:
        raise DecodeError("an offer that breaks off", len(payload))
    name = payload[at : at + length]
    at += length
    count = COUNT.unpack_from(payload, at)[0]
    entries = memoryview(payload)[at + COUNT.size :]
    if count * ENTRY_LEAST > len(entries):
        raise DecodeError("an offer of more files than it tells of", at)
    return NodeOffer(number, flags != 0, total, name, count, entries)


def _read_response(payload: bytes, number: int) -> NodeWord:
    return NodeResponse(number, payload[HEAD.size] != 0)


def _read_chunk(payload: bytes, number: int) -> NodeWord:
    _, _, file, offset = CHUNK.unpack_from(payload)
    return NodeChunk(number, file, offset, memoryview(payload)[CHUNK.size :])


def _read_file_end(payload: bytes, number: int) -> NodeWord:
    file = FILE_END.unpack_from(payload)[2]
    return NodeFileEnd(number, file, payload[FILE_END.size : FILE_END.size + DIGEST_SIZE])


def _read_progress(payload: bytes, number: int) -> NodeWord:
    return NodeProgress(number, PROGRESS.unpack_from(payload)[2])


def _read_complete(payload: bytes, number: int) -> NodeWord:
    return NodeComplete(number, payload[HEAD.size] != 0)


_READERS = {
    int(NodeOp.OFFER): (HEAD.size + OFFER.size + COUNT.size, _read_offer),
    int(NodeOp.RESPONSE): (FLAG.size, _read_response),
    int(NodeOp.CHUNK): (CHUNK.size, _read_chunk),
    int(NodeOp.FILE_END): (FILE_END.size + DIGEST_SIZE, _read_file_end),
    int(NodeOp.PROGRESS): (PROGRESS.size, _read_progress),
    int(NodeOp.COMPLETE): (FLAG.size, _read_complete),
}


def read_offering(offer: NodeOffer, *, limits: ManifestLimits | None = None) -> NodeOffering:
    """Read the files of an offer. What is returned can be written below any folder.

    Args:
        offer: As it came.
        limits: What is taken.

    Raises:
        TransferError: A name is unsafe, or two are one file somewhere (``"bad_name"``), it claims more than a limit
            (``"limit"``), or it does not agree with itself (``"bad_offer"``). The answer to its sender is no.
    """
    limits = limits or ManifestLimits()
    for what, claimed, limit in (("files", offer.count, limits.files), ("bytes", offer.total, limits.size)):
        if claimed > limit:
            raise TransferError("limit", f"an offer of more than {limit} {what}")
    name = read_path(offer.name)
    if len(name) != 1:
        raise TransferError("bad_name", "the name of an offer is a path")
    files = tuple(NodeFile(read_path(path), size) for path, size in _entries(offer))
    if sum(file.size for file in files) != offer.total:
        raise TransferError("bad_offer", "an offer has another size than it says")
    if not offer.is_folder and [file.path for file in files] != [name]:
        raise TransferError("bad_offer", "an offer of one file has another number of them, or two names")
    _check_names(files, limits)
    return NodeOffering(name=name[0], is_folder=offer.is_folder, files=files)


def _check_names(files: Sequence[NodeFile], limits: ManifestLimits) -> None:
    names = NameSet(max_folders=limits.folders)
    for file in files:
        names.add_file(file.path)


def _entries(offer: NodeOffer) -> Iterator[tuple[bytes, int]]:
    at, entries = 0, offer.entries
    for _ in range(offer.count):
        if len(entries) < at + LENGTH.size:
            raise TransferError("bad_offer", "an offer that breaks off")
        length = LENGTH.unpack_from(entries, at)[0]
        end = at + LENGTH.size + length
        if len(entries) < end + SIZE.size:
            raise TransferError("bad_offer", "an offer that breaks off")
        yield bytes(entries[at + LENGTH.size : end]), SIZE.unpack_from(entries, end)[0]
        at = end + SIZE.size
