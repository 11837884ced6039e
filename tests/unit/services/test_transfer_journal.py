"""What the journal of a transfer says after a crash, and how much room it takes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reference.file_copying import copy_missing, destination_for
from tests.unit.services.test_transfer_reading import DATA

from librats.services.disk.folders import Folder, open_folder
from librats.services.disk.journal import HEAD, NAME, RECORD_SIZE, Journal, Record
from librats.services.disk.opened import part_name
from librats.services.disk.part import CONTENT, PartFiles
from librats.services.disk.reading import Source
from librats.transfer.manifest import Manifest, OfferedFile

BIG = DATA * 20  # five chunks
TIB = 1 << 40
LEAVES = 16  # of a chunk


@pytest.fixture
async def big(tmp_path: Path) -> Source:
    (tmp_path / "big.bin").write_bytes(BIG)
    return await Source.open(tmp_path / "big.bin")


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "part" / CONTENT).mkdir(parents=True)
    folder = open_folder(tmp_path / "part")
    yield folder
    folder.close()


def another_boot(state: Path) -> None:
    raw = bytearray(state.read_bytes())
    raw[48:64] = bytes(range(16))
    state.write_bytes(raw)


async def test_whoever_goes_on_notes_what_is_there_as_ranges(big: Source, tmp_path: Path) -> None:
    state = tmp_path / "out" / part_name(big.content_id) / NAME
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first, most=4)
    await first.suspend()
    assert len(state.read_bytes()) == HEAD.size + 4 * RECORD_SIZE
    again = await destination_for(big, tmp_path / "out")
    assert again.verifiers[0].leaves == 4 * LEAVES
    assert len(state.read_bytes()) == HEAD.size + RECORD_SIZE
    await copy_missing(big, again)
    assert (await again.finish()).read_bytes() == BIG


def test_a_folder_in_the_place_of_the_journal_leaves_nothing_open(part: Folder, tmp_path: Path) -> None:
    (tmp_path / "part" / NAME).mkdir()
    lowest = os.dup(0)
    os.close(lowest)
    with pytest.raises(OSError, match="directory"):
        Journal(part, bytes(32)).read(10)
    after = os.dup(0)
    os.close(after)
    assert after == lowest


async def test_what_was_brought_to_the_disk_counts_after_another_boot(big: Source, tmp_path: Path) -> None:
    folder = tmp_path / "out" / part_name(big.content_id)
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first, most=3)
    await first.suspend()
    again = await destination_for(big, tmp_path / "out")
    await copy_missing(big, again, most=1)
    await again.suspend()
    another_boot(folder / NAME)
    with (folder / CONTENT / "big.bin").open("r+b") as file:  # of the last chunk, the disk has kept nothing
        file.seek(3 << 20)
        file.write(bytes(1 << 20))
    told: list[int] = []
    last = await destination_for(big, tmp_path / "out", on_checked=lambda done, _: told.append(done))
    assert list(last.verifiers[0].missing(LEAVES)) == [(48, 16), (64, 16)]
    assert told[0] == 1 << 20  # the last chunk alone had to be read: the others were on the disk for certain
    await last.discard()


def test_memory_to_go_on_with_a_large_file_does_not_grow_with_its_records(part: Folder, tmp_path: Path) -> None:
    size, chunks = 16 << 30, 16 << 10
    with (tmp_path / "part" / CONTENT / "huge").open("wb") as file:
        file.truncate(size)
    offered = OfferedFile(path=("huge",), size=size, root=bytes(32))
    manifest = Manifest(name="huge", is_folder=False, files=(offered,))
    journal, content = Journal(part, bytes(32)), part.enter(CONTENT)
    missing = {5, chunks // 2, chunks - 1}
    journal.begin(Record(0, chunk * LEAVES, LEAVES, 0) for chunk in range(chunks) if chunk not in missing)
    files = PartFiles(content, manifest, journal)
    tracemalloc.start()
    try:
        files.restore(journal.read(chunks), lambda _size: None)
        journal.begin(Record(*found, crc=None) for found in files.ranges())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000  # as objects, the records would take two million
    assert [record.first for record in journal.read(chunks).records] == [0, 6 * LEAVES, (chunks // 2 + 1) * LEAVES]
    for one in (files, journal, content):
        one.close()
