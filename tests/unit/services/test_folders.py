"""Folders that are held open: what is below them stays below, whatever others do meanwhile."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.reference.file_copying import listed

from librats.errors import TransferError
from librats.services.disk.errors import disk_error
from librats.services.disk.folder_cache import MAX_OPEN, FolderCache
from librats.services.disk.folder_handles import HandleFolder
from librats.services.disk.folder_paths import PathFolder
from librats.services.disk.folders import Folder, open_folder, remove_tree

KINDS: dict[str, Callable[[Path], Folder]] = {"paths": PathFolder.open}
if sys.platform != "win32":
    KINDS["handles"] = HandleFolder.open
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "top").mkdir()
    opened = KINDS[request.param](tmp_path / "top")
    yield opened
    opened.close()


def write(folder: Folder, name: str, data: bytes = b"data") -> None:
    descriptor = folder.open_file(name, CREATE)
    os.write(descriptor, data)
    os.close(descriptor)


def test_files_and_folders_are_made_and_listed(folder: Folder, tmp_path: Path) -> None:
    write(folder, "file")
    folder.make("below")
    below = folder.enter("below")
    write(below, "inner")
    below.close()
    assert sorted(folder.names()) == ["below", "file"]
    assert (tmp_path / "top" / "below" / "inner").read_bytes() == b"data"
    status = folder.status("file")
    assert status is not None
    assert (stat.S_ISREG(status.st_mode), status.st_size, folder.status("nothing")) == (True, 4, None)
    assert folder.free() > 0


def test_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (tmp_path / "top" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "top" / "file").symlink_to(tmp_path / "outside" / "secret")
    (tmp_path / "top" / "dangling").symlink_to(tmp_path / "outside" / "new")
    status = folder.status("file")
    assert status is not None
    assert stat.S_ISLNK(status.st_mode)
    for attempt in (
        lambda: folder.enter("folder"),
        lambda: folder.open_file("file", os.O_RDONLY),
        lambda: folder.open_file("file", os.O_WRONLY | os.O_TRUNC),
        lambda: folder.open_file("dangling", os.O_WRONLY | os.O_CREAT),
        lambda: folder.open_file("dangling", CREATE),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
            attempt()
    assert listed(tmp_path / "outside") == ["secret"]
    assert (tmp_path / "outside" / "secret").read_bytes() == b"secret"


def test_a_name_that_is_taken_is_not_taken_again(folder: Folder) -> None:
    write(folder, "file")
    write(folder, "other", b"other")
    folder.make("below")
    below = folder.enter("below")
    write(below, "file", b"new")
    with pytest.raises(FileExistsError):
        below.move("file", folder, "file", replace=False)
    with pytest.raises(FileExistsError):
        folder.move("below", folder, "other", replace=False)
    assert sorted(folder.names()) == ["below", "file", "other"]
    below.move("file", folder, "file", replace=True)
    assert below.names() == []
    below.close()
    descriptor = folder.open_file("file", os.O_RDONLY)
    assert os.read(descriptor, 10) == b"new"
    os.close(descriptor)


def test_a_folder_with_something_in_it_is_not_replaced(folder: Folder) -> None:
    for name in ("one", "two"):
        folder.make(name)
        below = folder.enter(name)
        write(below, name)
        below.close()
    with pytest.raises(OSError):  # noqa: PT011
        folder.move("one", folder, "two", replace=False)
    assert sorted(folder.names()) == ["one", "two"]


def test_files_move_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = open_folder(tmp_path)
    write(folder, "file")
    folder.move("file", folder, "new", replace=False)
    assert folder.names() == ["new"]
    write(folder, "file")
    with pytest.raises(FileExistsError):
        folder.move("file", folder, "new", replace=False)
    folder.close()


def test_a_tree_is_removed_and_what_links_point_to_is_not(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"stays")
    (tmp_path / "top" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "top" / "a" / "b" / "file").write_bytes(b"")
    (tmp_path / "top" / "a" / "link").symlink_to(tmp_path / "outside")
    remove_tree(folder, "a")
    remove_tree(folder, "a")
    assert folder.names() == []
    assert (tmp_path / "outside" / "file").read_bytes() == b"stays"


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    one, other = open_folder(tmp_path), open_folder(tmp_path)
    assert (one.lock(), other.lock()) == (True, False)
    one.close()
    assert other.lock()
    other.close()
    other.close()


def test_times_are_set_to_the_nanosecond(folder: Folder, tmp_path: Path) -> None:
    descriptor = folder.open_file("file", CREATE)
    folder.set_time(descriptor, "file", 1_700_000_000_123_456_789)
    os.close(descriptor)
    assert (tmp_path / "top" / "file").stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_what_is_no_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for kind in KINDS.values():
        with pytest.raises(NotADirectoryError):
            kind(tmp_path / "file")


def test_folders_deep_below_are_opened_and_few_stay_open(tmp_path: Path) -> None:
    root = open_folder(tmp_path)
    cache = FolderCache(root, make=True)
    for number in range(2 * MAX_OPEN):
        write(cache.at(("deep", f"{number}", "er")), "file")
    assert len(cache._open) <= MAX_OPEN
    cache.close()
    root.close()
    assert len(list(tmp_path.rglob("file"))) == 2 * MAX_OPEN


@pytest.mark.parametrize("root_moves", [False, True])
def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path, *, root_moves: bool) -> None:
    """Swap a folder for a link to another place, again and again, while files are made below."""
    (tmp_path / "top" / "below").mkdir(parents=True)
    (tmp_path / "outside" / "below").mkdir(parents=True)
    stop = threading.Event()
    place = tmp_path / "top" if root_moves else tmp_path / "top" / "below"
    goal = tmp_path / "outside" if root_moves else tmp_path / "outside" / "below"
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            place.rename(tmp_path / "aside")
            place.symlink_to(goal)
            place.unlink()
            (tmp_path / "aside").rename(place)
            swaps += 1

    root = open_folder(tmp_path / "top")
    thread = threading.Thread(target=swap)
    thread.start()
    made = refused = number = 0
    try:
        while not (swaps > 20 and made > 20 and (refused > 2 or root_moves)):
            number += 1
            try:
                below = root.enter("below")
            except OSError:
                refused += 1
                continue
            write(below, f"{number}")
            made += 1
            below.close()
    finally:
        stop.set()
        thread.join()
        root.close()
    assert [path for path in (tmp_path / "outside").rglob("*") if path.name != "below"] == []
    assert len(list((tmp_path / "top" / "below").iterdir())) == made


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (28, "no_space"),
        (27, "no_space"),
        (13, "permission"),
        (30, "permission"),
        (2, "gone"),
        (17, "exists"),
        (40, "link"),
        (36, "bad_name"),
        (5, "disk"),
    ],
)
def test_what_the_system_says_has_a_code(number: int, code: str) -> None:
    error = disk_error(OSError(number, os.strerror(number)), "it does not go")
    assert isinstance(error, TransferError)
    assert (error.code, error.reason.startswith("it does not go: ")) == (code, True)
