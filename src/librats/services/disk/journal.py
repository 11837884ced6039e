"""Which chunks of a transfer are on the disk: a file that only grows, and is right whenever the process is killed.

It begins with a head of 64 bytes: ``librats part 2\\n`` and a NUL, the content id, and which boot of the machine it was
written in, 16 bytes. Behind that stand records of 20 bytes, numbers of 4 bytes, the highest first: file, first leaf,
how many leaves, CRC-32 of the hashes of these leaves, CRC-32 of the 16 bytes before. Where a record is damaged, what
follows does not count. A record is written when its data has been, so a process that is killed loses none; where the
machine has been started anew since, the data is hashed again and compared.

Whoever goes on brings what is there to the disk, and begins the journal with the ranges of it, whose highest bit of the
third number is set and whose CRC is 0. So it takes room by what is missing between them, however large the files are.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

from librats.services.disk.folders import Folder

__all__ = ["Journal", "Record", "Recorded", "this_boot"]

MAGIC = b"librats part 2\n\0"
NAME = "state"
NEW_NAME = "state.new"
HEAD = struct.Struct(">16s32s16s")
RECORD = struct.Struct(">IIII")
CHECK = struct.Struct(">I")
RECORD_SIZE = RECORD.size + CHECK.size
UNKNOWN_BOOT = bytes(16)
ON_DISK: Final = 1 << 31
"""Bit of a count that says so; no file has as many leaves."""

READ_AT_ONCE = 4096
WRITTEN_AT_ONCE = 4096
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Record:
    """A chunk that was written."""

    file: int
    """Number of its file in the manifest."""

    first: int
    """Number of its first leaf."""

    count: int
    """How many leaves."""

    crc: int | None
    """CRC-32 of the hashes of its leaves; None where it is on the disk for certain."""


class Recorded(NamedTuple):
    """What a journal says."""

    records: Iterator[Record]
    """The records, read while they are asked for."""

    is_certain: bool
    """Whether the machine has run ever since."""


def this_boot() -> bytes:
    """Return what is another one whenever the machine is started, 16 bytes; zeros where that is not known."""
    try:
        return uuid.UUID(BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return UNKNOWN_BOOT


def _packed(record: Record) -> bytes:
    count, crc = (record.count | ON_DISK, 0) if record.crc is None else (record.count, record.crc)
    body = RECORD.pack(record.file, record.first, count, crc)
    return body + CHECK.pack(crc32(body))


class Journal:
    """The journal of one transfer, in its folder. All of it blocks.

    Args:
        folder: The folder, which stays the caller's.
        content_id: What is transferred, 32 bytes.
    """

    def __init__(self, folder: Folder, content_id: bytes) -> None:
        self._folder = folder
        self._content_id = content_id
        self._descriptor = -1

    def read(self, max_records: int) -> Recorded:
        """Read what an earlier process has written.

        Args:
            max_records: Records that it has at most; what is beyond does not count.

        Raises:
            OSError: It is there and cannot be read.
        """
        try:
            descriptor = self._folder.open_file(NAME, os.O_RDONLY)
        except FileNotFoundError:
            return Recorded(iter(()), is_certain=True)
        try:
            file = os.fdopen(descriptor, "rb", buffering=READ_AT_ONCE * RECORD_SIZE)
        except OSError:  # it is a folder
            os.close(descriptor)
            raise
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or not head.startswith(MAGIC + self._content_id):
            file.close()
            return Recorded(iter(()), is_certain=True)
        boot = HEAD.unpack(head)[2]
        return Recorded(_records(file, max_records), is_certain=boot == this_boot() != UNKNOWN_BOOT)

    def begin(self, records: Iterable[Record]) -> None:
        """Write it anew, in place of the old one, and keep it open.

        Args:
            records: What is known to be there.

        Raises:
            OSError: It cannot be written.
        """
        self.close()
        descriptor = self._folder.open_file(NEW_NAME, WRITE_FLAGS, 0o600)
        try:
            _write_all(descriptor, HEAD.pack(MAGIC, self._content_id, this_boot()))
            left = iter(records)
            while text := b"".join(map(_packed, islice(left, WRITTEN_AT_ONCE))):
                _write_all(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._folder.move(NEW_NAME, self._folder, NAME, replace=True)
        self._descriptor = self._folder.open_file(NAME, os.O_WRONLY | os.O_APPEND)

    def add(self, records: Iterable[Record]) -> None:
        """Note chunks that have been written.

        Raises:
            OSError: It cannot be written.
        """
        _write_all(self._descriptor, b"".join(map(_packed, records)))

    def close(self) -> None:
        """Close it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _records(file: BinaryIO, most: int) -> Iterator[Record]:
    with file:
        for _ in range(most):
            raw = file.read(RECORD_SIZE)
            if len(raw) < RECORD_SIZE or CHECK.unpack_from(raw, RECORD.size)[0] != crc32(raw[: RECORD.size]):
                return
            number, first, count, crc = RECORD.unpack_from(raw)
            is_on_disk = bool(count & ON_DISK)
            yield Record(number, first, count & ~ON_DISK, None if is_on_disk else crc)
