"""Older versions of files: where they are looked for, and where not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from librats.services.disk.folders import Folder, open_folder
from librats.services.disk.old_files import MAX_TRIES, OldFiles
from librats.services.disk.part import CONTENT
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.tree import LEAF_SIZE

SIZE = 3 * LEAF_SIZE
OWN = ".librats-0000000000000000.part"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    opened = open_folder(tmp_path)
    yield opened
    opened.close()


def manifest(*sizes: int) -> Manifest:
    files = [OfferedFile((f"{number}.img",), size, bytes(32)) for number, size in enumerate(sizes)]
    return Manifest(name="disks", is_folder=True, files=tuple(files))


def put(tmp_path: Path, name: str, size: int = SIZE, number: int = 0) -> None:
    above = tmp_path / name / CONTENT if name.endswith(".part") else tmp_path
    (above / "disks").mkdir(parents=True, exist_ok=True)
    (above / "disks" / f"{number}.img").write_bytes(name[-6:-5].encode() * size)


def found(folder: Folder, offer: Manifest, *, overwrite: bool = True) -> tuple[list[int], list[bytes]]:
    old = OldFiles(folder, offer, OWN, range(len(offer.files)), overwrite=overwrite)
    try:
        return old.numbers, [data[:1] for number in old.numbers for data in old.read(number, 0, SIZE)]
    finally:
        old.close()


def test_what_gives_way_is_older(tmp_path: Path, folder: Folder) -> None:
    put(tmp_path, "zzzzzzzz", number=1)
    assert found(folder, manifest(SIZE, SIZE)) == ([1], [b"z"])


def test_what_does_not_give_way_is_not_read(tmp_path: Path, folder: Folder) -> None:
    put(tmp_path, "zzzzzzzz")
    assert found(folder, manifest(SIZE), overwrite=False) == ([], [])


def test_of_other_tries_some_are_read_and_never_our_own(tmp_path: Path, folder: Folder) -> None:
    put(tmp_path, OWN)
    letters = "abcdef"
    for letter in letters:
        put(tmp_path, f".librats-000000000000000{letter}.part")
    assert found(folder, manifest(SIZE), overwrite=False) == ([0], [x.encode() for x in letters[:MAX_TRIES]])


@pytest.mark.parametrize(
    ("old", "new", "is_found"), [(LEAF_SIZE - 1, SIZE, 0), (LEAF_SIZE, SIZE, 1), (SIZE, LEAF_SIZE, 0)]
)
def test_what_has_not_a_leaf_or_is_to_have_one_alone_is_left_out(
    tmp_path: Path, folder: Folder, old: int, new: int, is_found: int
) -> None:
    put(tmp_path, "zzzzzzzz", old)
    assert len(found(folder, manifest(new))[0]) == is_found


def test_what_cannot_be_entered_is_not_there(tmp_path: Path, folder: Folder) -> None:
    (tmp_path / ".librats-000000000000000a.part").write_bytes(bytes(SIZE))
    (tmp_path / ".librats-000000000000000b.part").mkdir()
    (tmp_path / ".librats-000000000000000c.part" / CONTENT / "disks" / "0.img").mkdir(parents=True)
    (tmp_path / "disks").write_bytes(bytes(SIZE))
    assert found(folder, manifest(SIZE)) == ([], [])


def test_what_is_removed_meanwhile_yields_nothing(tmp_path: Path, folder: Folder) -> None:
    put(tmp_path, "zzzzzzzz")
    old = OldFiles(folder, manifest(SIZE), OWN, [0], overwrite=True)
    (tmp_path / "disks" / "0.img").unlink()
    assert (old.numbers, list(old.read(0, 0, SIZE))) == ([0], [])
    old.close()


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_nothing_stays_open(tmp_path: Path, folder: Folder) -> None:
    put(tmp_path, "zzzzzzzz")
    put(tmp_path, ".librats-000000000000000a.part")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    old = OldFiles(folder, manifest(SIZE), OWN, [0], overwrite=True)
    assert len(list(old.read(0, 0, SIZE))) == 2
    next(old.read(0, 0, SIZE))  # and what is left unread
    old.close()
    old.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
