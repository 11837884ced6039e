"""What is offered, read from the disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from librats.errors import TransferError, UsageError
from librats.services.disk import reading as transfer_reading
from librats.services.disk.reading import MAX_OPEN, Source
from librats.services.disk.walking import Found, Hashing, find_files
from librats.transfer.manifest import ManifestLimits, content_id, read_manifest
from librats.transfer.tree import LEAF_SIZE, hash_file

DATA = bytes(range(256)) * 1024  # four leaves


def make_tree(folder: Path) -> Path:
    top = folder / "photos"
    (top / "2026" / "drafts").mkdir(parents=True)
    (top / "2026" / "beach.jpg").write_bytes(DATA)
    (top / "2026.txt").write_bytes(b"two")
    (top / "empty").write_bytes(b"")
    (top / "run.sh").write_bytes(b"#!")
    (top / "run.sh").chmod(0o755)
    os.utime(top / "2026.txt", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    return top


async def code_of(path: Path, **options: object) -> str:
    with pytest.raises(TransferError) as refused:
        await Source.open(path, **options)  # type: ignore[arg-type]
    return refused.value.code


async def test_a_file_is_offered_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "beach.jpg").write_bytes(DATA)
    source = await Source.open(tmp_path / "beach.jpg")
    assert (source.manifest.name, source.manifest.is_folder, source.manifest.size) == ("beach.jpg", False, len(DATA))
    assert source.trees[0].root == hash_file([DATA]).root == source.manifest.files[0].root
    assert read_manifest(source.raw) == source.manifest
    assert source.content_id == content_id(source.manifest)
    assert await source.read(0, LEAF_SIZE, 2 * LEAF_SIZE) == DATA[LEAF_SIZE : 3 * LEAF_SIZE]
    await source.close()


async def test_a_folder_is_offered_with_times_modes_and_empty_folders(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    paths = ["/".join(file.path) for file in source.manifest.files]
    assert paths == ["2026/beach.jpg", "2026.txt", "empty", "run.sh"]
    assert source.manifest.empty_folders == (("2026", "drafts"),)
    assert [file.executable for file in source.manifest.files] == [False, False, False, True]
    assert source.manifest.files[1].modified == 1_700_000_000_123_456_789
    assert [await source.read(n, 0, file.size) for n, file in enumerate(source.manifest.files)] == [
        DATA,
        b"two",
        b"",
        b"#!",
    ]
    await source.close()


async def test_many_pieces_are_read_at_once(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    assert await source.read_many([(1, 0, 3), (0, 5, 7), (2, 0, 0), (1, 1, 1)]) == [b"two" + DATA[5:12] + b"w"]
    with pytest.raises(UsageError):
        await source.read_many([(1, 0, 3), (1, 0, 4)])
    (tmp_path / "photos" / "run.sh").write_bytes(b"other")
    with pytest.raises(TransferError) as refused:
        await source.read_many([(1, 0, 3), (3, 0, 2)])
    assert refused.value.code == "changed"
    await source.close()


async def test_small_pieces_come_together_and_large_ones_as_they_are(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    small, large = [(0, at, 1000) for at in range(100)], [(0, 0, 65_536), (0, 65_536, 65_536)]
    read = await source.read_many([*small, *large, *small[:3]])
    assert b"".join(read) == b"".join(
        [*(DATA[at : at + 1000] for at in range(100)), DATA[:131_072], DATA[:1000], DATA[1:1001], DATA[2:1002]]
    )
    assert [len(data) for data in read] == [65_000, 35_000, 65_536, 65_536, 3000]
    await source.close()


async def test_what_is_in_memory_of_an_open_file_is_read_without_waiting(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    wanted = [(0, 0, LEAF_SIZE), (0, LEAF_SIZE, 10)]
    assert source.read_now(wanted) is None  # the file is not open
    await source.read(0, 0, 1)
    assert source.read_now(wanted) in ([DATA[:LEAF_SIZE], DATA[LEAF_SIZE : LEAF_SIZE + 10]], None)  # None on some disks
    assert source.read_now([(0, 0, 1), (1, 0, 1)]) is None  # of two files
    with pytest.raises(UsageError):
        source.read_now([(0, len(DATA), 1)])
    (tmp_path / "photos" / "2026" / "beach.jpg").write_bytes(DATA[::-1])
    assert source.read_now(wanted) is None  # read_many tells what is wrong
    with pytest.raises(TransferError) as refused:
        await source.read_many(wanted)
    assert refused.value.code == "changed"
    await source.close()


async def test_it_may_be_called_otherwise(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path) / "2026.txt", name="year.txt")
    assert (source.manifest.name, source.manifest.files[0].path) == ("year.txt", ("year.txt",))
    assert await source.read(0, 0, 3) == b"two"
    await source.close()


async def test_a_link_to_what_is_offered_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make_tree(tmp_path))
    source = await Source.open(tmp_path / "link")
    assert (source.manifest.name, len(source.manifest.files)) == ("link", 4)
    await source.close()


async def test_what_has_not_come_wholly_is_not_offered(tmp_path: Path) -> None:
    top = make_tree(tmp_path)
    (top / ".librats-0123456789abcdef.part").mkdir()
    (top / ".librats-0123456789abcdef.part" / "state").write_bytes(b"x")
    source = await Source.open(top)
    assert len(source.manifest.files) == 4
    await source.close()


async def test_hashing_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = await Source.open(make_tree(tmp_path), on_hashed=lambda done, total: told.append((done, total)))
    await asyncio.sleep(0)
    assert told[-1] == (len(DATA) + 5, len(DATA) + 5)
    await source.close()


async def test_a_piece_that_is_not_in_the_file_is_a_wrong_call(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    with pytest.raises(UsageError):
        await source.read(1, 1, 3)
    await source.close()


async def test_what_is_closed_is_read_no_more(tmp_path: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    await source.close()
    await source.close()
    with pytest.raises(TransferError) as refused:
        await source.read(1, 0, 3)
    assert refused.value.code == "cancelled"


async def test_what_is_not_there_is_not_offered(tmp_path: Path) -> None:
    assert await code_of(tmp_path / "nothing") == "not_found"
    (tmp_path / "file").write_bytes(b"")
    assert await code_of(tmp_path / "file" / "below") == "not_found"


async def test_a_link_below_a_folder_is_not_followed(tmp_path: Path) -> None:
    top = make_tree(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    (top / "link").symlink_to(tmp_path / "secret")
    assert await code_of(top) == "not_regular"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
async def test_a_fifo_is_not_offered_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert await code_of(tmp_path / "fifo") == "not_regular"


@pytest.mark.parametrize("name", ["aux.txt", "a:b", "ends.", "a\\b", "new\nline"])
async def test_names_that_not_every_system_has_are_not_offered(tmp_path: Path, name: str) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / name).write_bytes(b"")
    assert await code_of(tmp_path / "top") == "bad_name"


async def test_of_many_files_the_one_with_a_name_that_is_not_offered_is_told(tmp_path: Path) -> None:
    (make_tree(tmp_path) / "2026" / "a\nb").write_bytes(b"")
    with pytest.raises(TransferError) as refused:
        await Source.open(tmp_path / "photos")
    assert str(tmp_path / "photos/2026/a\\nb") in refused.value.reason
    assert "U+000A" in refused.value.reason
    assert refused.value.reason.isprintable()


async def test_of_two_names_that_are_one_on_some_system_the_second_is_told(tmp_path: Path) -> None:
    (make_tree(tmp_path) / "2026" / "Beach.JPG").write_bytes(b"")
    if len(list((tmp_path / "photos" / "2026").iterdir())) < 3:
        pytest.skip("they are one on this system")
    with pytest.raises(TransferError, match=r"photos/2026/beach\.jpg'?: two paths are the same"):
        await Source.open(tmp_path / "photos")


async def test_a_name_that_is_asked_for_is_refused_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(TransferError) as refused:
        await Source.open(make_tree(tmp_path), name="../x")
    assert refused.value.reason == "'../x': a name has the character /"


async def test_names_that_are_no_text_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    assert await code_of(tmp_path / "top") == "bad_name"


async def test_limits_hold_before_anything_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make_tree(tmp_path)
    monkeypatch.delattr(transfer_reading, "Hashing")
    assert await code_of(top, limits=ManifestLimits(files=3)) == "limit"
    assert await code_of(top, limits=ManifestLimits(size=len(DATA))) == "limit"
    assert await code_of(top, limits=ManifestLimits(folders=2)) == "limit"


async def test_of_several_threads_that_fail_the_one_that_failed_first_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter(["cancelled", "permission"])  # the others stop, and say so

    def fail(_hashing: Hashing) -> None:
        raise TransferError(next(codes), "made up")

    monkeypatch.setattr(Hashing, "run", fail)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / "top").mkdir()
    for name in ("a", "b"):
        (tmp_path / "top" / name).write_bytes(b"x")
    assert await code_of(tmp_path / "top") == "permission"


async def test_folders_too_deep_are_not_offered(tmp_path: Path) -> None:
    tmp_path.joinpath("top", *["d"] * 40).mkdir(parents=True)
    assert await code_of(tmp_path / "top") == "limit"


AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from librats.errors import TransferError
from librats.services.disk.reading import Source

async def say(top):
    try:
        source = await Source.open(top)
        await source.close()
        print("read")
    except TransferError as error:
        print(error.code)

top = Path(sys.argv[1])
asyncio.run(say(top))
if os.geteuid() == 0:  # who may read everything
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(say(top))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_a_file_that_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        top = make_tree(Path(folder))
        answers = []
        for mode in (0o644, 0):
            (top / "2026.txt").chmod(mode)
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, str(top)], capture_output=True, text=True, timeout=60, check=True
            )
            answers.append(done.stdout.split()[-1])
        assert answers == ["read", "permission"]


async def test_permission_denied_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    top = make_tree(tmp_path)
    monkeypatch.setattr("librats.services.disk.folders._Opened.open_file", refuse)
    assert await code_of(top) == "permission"


async def read_code(source: Source, number: int = 0) -> str:
    with pytest.raises(TransferError) as refused:
        await source.read(number, 0, source.manifest.files[number].size)
    await source.close()
    return refused.value.code


async def test_a_file_of_another_size_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    source = await Source.open(tmp_path / "file")
    with (tmp_path / "file").open("ab") as file:
        file.write(b"more")
    assert await read_code(source) == "changed"


async def test_a_file_of_another_time_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    source = await Source.open(tmp_path / "file")
    os.utime(tmp_path / "file", ns=(1, 1))
    assert await read_code(source) == "changed"


async def test_other_content_of_the_same_size_and_time_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = await Source.open(path)
    status = path.stat()
    path.write_bytes(bytes(len(DATA)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert await read_code(source) == "changed"


async def test_other_content_of_a_file_that_is_open_is_not_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    source = await Source.open(path)
    assert await source.read(0, 0, 100) == DATA[:100]
    status = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.read_now([(0, 0, 100)]) is None
    with pytest.raises(TransferError) as refused:
        await source.read(0, 0, 100)
    assert refused.value.code == "changed"
    await source.close()


async def test_another_file_of_the_same_name_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = await Source.open(path)
    status = path.stat()
    (tmp_path / "new").write_bytes(bytes(len(DATA)))
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").replace(path)
    assert await read_code(source) == "changed"


async def test_a_time_beyond_what_an_offer_can_tell_is_the_last_that_it_can(tmp_path: Path) -> None:
    path = tmp_path / "later"
    path.write_bytes(b"x")
    os.utime(path, ns=(32_503_680_000 * 10**9,) * 2)  # in the year 3000, or the last one that the file system knows
    source = await Source.open(path)
    assert source.manifest.files[0].modified == min(path.stat().st_mtime_ns, 2**63 - 1)
    assert await source.read(0, 0, 1) == b"x"
    await source.close()


async def test_links_in_a_ring_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(TransferError, match="links lead in a ring") as refused:
        await Source.open(tmp_path / "a")
    assert refused.value.code == "link"


async def test_a_change_is_known_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    source = await Source.open(path)
    await source.read(0, 0, 3)
    known = [source.change]
    path.write_bytes(b"other")
    with pytest.raises(TransferError):
        await source.read(0, 0, 3)
    known.append(source.change)
    assert [error and error.code for error in known] == [None, "changed"]
    await source.close()


async def test_a_file_that_was_removed_is_given_up(tmp_path: Path) -> None:
    top = make_tree(tmp_path)
    source = await Source.open(top)
    (top / "2026.txt").unlink()
    assert await source.read(0, 0, 8) == DATA[:8]
    assert await read_code(source, 1) == "changed"


async def test_another_mode_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    source = await Source.open(tmp_path / "file")
    (tmp_path / "file").chmod(0o600)
    assert await source.read(0, 70_000, 70_000) == DATA[70_000:140_000]
    assert await source.read(0, 0, 0) == b""
    await source.close()


async def test_a_file_that_grows_while_it_is_hashed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)

    def grow_then(where: Path, limits: ManifestLimits) -> Found:
        found = find_files(where, limits)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(transfer_reading, "find_files", grow_then)
    assert await code_of(path) == "changed"


async def test_a_disk_that_gives_less_at_once_is_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(DATA)
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 100_000)))
    source = await Source.open(tmp_path / "x")
    assert source.manifest.files[0].root == hash_file([DATA]).root
    await source.close()


async def test_more_files_than_are_kept_open_are_read(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for folder in range(30):
        (top / f"{folder}").mkdir(parents=True)
        for number in range(3):
            (top / f"{folder}" / f"{number}").write_bytes(f"{folder} {number}".encode())
    source = await Source.open(top)
    read = await asyncio.gather(*(source.read(n, 0, f.size) for n, f in enumerate(source.manifest.files)))
    assert read == [" ".join(file.path).encode() for file in source.manifest.files]
    assert len(source._reader._open) <= MAX_OPEN
    await source.close()


async def test_a_caller_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    top = make_tree(tmp_path)
    opening = asyncio.ensure_future(Source.open(top))
    for _ in range(5):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    source = await Source.open(top)
    assert await source.read(1, 0, 3) == b"two"
    await source.close()


async def test_close_that_is_cancelled_closes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    source = await Source.open(tmp_path / "a")
    closing = asyncio.ensure_future(source.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(TransferError, match="cancelled"):
        await source.read(0, 0, 1)
