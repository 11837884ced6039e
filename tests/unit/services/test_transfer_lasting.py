"""What counts as done is on the disk, and is what was offered, whatever happens between the beginning and the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.reference.file_copying import copy_missing, destination_for
from tests.unit.services.test_transfer_journal import another_boot
from tests.unit.services.test_transfer_reading import DATA
from tests.unit.services.test_transfer_writing import BIG

from librats.errors import TransferError
from librats.services.disk import existing
from librats.services.disk import journal as journals
from librats.services.disk.folder_handles import HandleFolder
from librats.services.disk.folders import open_folder
from librats.services.disk.hashing import hash_descriptor
from librats.services.disk.journal import NAME, Journal, Record
from librats.services.disk.opened import part_name
from librats.services.disk.part import CONTENT, MAX_OPEN, Chunk
from librats.services.disk.reading import Source
from librats.services.disk.writing import Destination
from librats.transfer.tree import LEAF_SIZE, HashTree, leaf_hashes

linux_alone = pytest.mark.skipif(sys.platform != "linux", reason="tells by /proc which file a descriptor is of")


@pytest.fixture
async def big(tmp_path: Path) -> Source:
    (tmp_path / "big.bin").write_bytes(BIG)
    return await Source.open(tmp_path / "big.bin")


@pytest.fixture
async def two(tmp_path: Path) -> Source:
    """Two files with one content, of which the second is there already."""
    for folder in ("top", "out/top"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "z").write_bytes(BIG)
    (tmp_path / "top" / "a").write_bytes(BIG)
    return await Source.open(tmp_path / "top")


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is brought to the disk, and moved, in order."""
    found: list[str] = []
    sync, move = os.fsync, HandleFolder.move

    def synced(descriptor: int) -> None:
        found.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def moved(folder: HandleFolder, name: str, to: HandleFolder, new_name: str, *, replace: bool) -> None:
        found.append(f"move {new_name}")
        move(folder, name, to, new_name, replace=replace)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(HandleFolder, "move", moved)
    return found


def rewrite(hidden: Path, source: Source, records: list[Record]) -> None:
    folder = open_folder(hidden)
    journal = Journal(folder, source.content_id)
    journal.begin(records)
    journal.close()
    folder.close()


@linux_alone
async def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_is_done(
    big: Source, tmp_path: Path, done: list[str]
) -> None:
    destination = await destination_for(big, tmp_path / "out")
    await copy_missing(big, destination)
    done.clear()
    await destination.finish()
    assert done == ["sync big.bin", f"sync {CONTENT}", "move big.bin", "sync out"]


@linux_alone
async def test_what_a_journal_calls_certain_is_on_the_disk_before(big: Source, tmp_path: Path, done: list[str]) -> None:
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first, most=2)
    await first.suspend()
    done.clear()
    again = await destination_for(big, tmp_path / "out")
    assert done == ["sync big.bin", "sync state.new", f"move {NAME}"]
    await again.discard()


async def test_where_no_boot_is_told_nothing_is_certain(
    big: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "BOOT_ID", tmp_path / "not there")
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first)
    await first.suspend()
    with (tmp_path / "out" / part_name(big.content_id) / CONTENT / "big.bin").open("r+b") as file:
        file.write(bytes(100))
    again = await destination_for(big, tmp_path / "out")
    assert list(again.verifiers[0].missing()) == [(0, 16)]
    await again.discard()


@pytest.mark.parametrize("record", [Record(0, 70, 20, None), Record(0, 0, 0, None), Record(7, 0, 1, None)])
async def test_a_record_of_what_the_offer_does_not_have_counts_for_nothing(
    big: Source, tmp_path: Path, record: Record
) -> None:
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first, most=1)
    await first.suspend()
    hidden = tmp_path / "out" / part_name(big.content_id)
    rewrite(hidden, big, [record])
    again = await destination_for(big, tmp_path / "out")
    assert again.verifiers[0].leaves == 0
    await again.discard()


async def test_after_another_boot_no_record_has_more_read_than_a_chunk_has(big: Source, tmp_path: Path) -> None:
    first = await destination_for(big, tmp_path / "out")
    await copy_missing(big, first)
    await first.suspend()
    hidden = tmp_path / "out" / part_name(big.content_id)
    rewrite(hidden, big, [Record(0, 0, 80, 5)])
    another_boot(hidden / NAME)
    read: list[int] = []
    again = await destination_for(big, tmp_path / "out", on_checked=lambda done, _: read.append(done))
    assert (again.verifiers[0].leaves, read) == (0, [])
    await again.discard()


async def test_what_was_in_its_place_and_is_removed_meanwhile_is_told(two: Source, tmp_path: Path) -> None:
    destination = await destination_for(two, tmp_path / "out")
    await copy_missing(two, destination)
    shutil.rmtree(tmp_path / "out" / "top")
    await refused_at_the_end(destination, "gone")


async def test_where_all_was_in_its_place_and_is_removed_meanwhile_that_is_told(big: Source, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "big.bin", tmp_path / "out")
    destination = await destination_for(big, tmp_path / "out")
    (tmp_path / "out" / "big.bin").unlink()
    await refused_at_the_end(destination, "gone")


def emptied(path: Path) -> None:
    path.write_bytes(BIG[:-1])


def changed(path: Path) -> None:
    path.write_bytes(BIG[1:] + b"x")


@pytest.mark.parametrize(("change", "code"), [(emptied, "disk"), (changed, "changed")])
async def test_what_is_copied_from_its_place_is_what_was_offered_or_nothing(
    two: Source, tmp_path: Path, change: Callable[[Path], None], code: str
) -> None:
    destination = await destination_for(two, tmp_path / "out")
    change(tmp_path / "out" / "top" / "z")
    await refused_at_the_end(destination, code)
    assert not (tmp_path / "out" / "top" / "a").exists()


async def refused_at_the_end(destination: Destination, code: str) -> None:
    with pytest.raises(TransferError) as refused:
        await destination.finish()
    assert refused.value.code == code
    await destination.suspend()


async def test_of_what_is_there_no_more_is_read_for_a_caller_that_was_cancelled(
    big: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "big.bin", tmp_path / "out")
    begun, cancelled, ended = threading.Event(), threading.Event(), threading.Event()
    read: list[int] = []

    def hashed(descriptor: int, size: int, progress: Callable[[int], object]) -> HashTree:
        def counted(count: int) -> None:
            begun.set()
            cancelled.wait(10)
            progress(count)
            read.append(count)

        try:
            return hash_descriptor(descriptor, size, counted)
        finally:
            ended.set()

    monkeypatch.setattr(existing, "hash_descriptor", hashed)
    opening = asyncio.ensure_future(destination_for(big, tmp_path / "out"))
    assert await asyncio.to_thread(begun.wait, 10)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    cancelled.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert read == []


def open_below(folder: Path) -> int:
    """Return how many files below a folder, of numbers for names, are open."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.is_relative_to(folder) and link.name.isdigit() for link in links)


@linux_alone
async def test_of_many_files_that_are_begun_few_are_open(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(2 * MAX_OPEN):
        (tmp_path / "many" / f"{number}").write_bytes(b"%d" % number + DATA)
    source = await Source.open(tmp_path / "many")
    destination = await destination_for(source, tmp_path / "out")
    for number in (*range(2 * MAX_OPEN), 0):
        data = await source.read(number, 0, LEAF_SIZE)
        chunk = Chunk(number, 0, [data], leaf_hashes([data]))
        assert await destination.take(lambda chunk=chunk: [chunk], LEAF_SIZE) is None  # type: ignore[misc]
    assert 1 <= open_below(tmp_path / "out") <= MAX_OPEN
    await destination.discard()
    await source.close()
