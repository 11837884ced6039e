"""What is received, written to the disk: whole under its name, or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.reference.file_copying import copy, copy_all, copy_missing, destination_for, listed
from tests.unit.services.test_transfer_reading import DATA, make_tree

from librats.errors import TransferError, UsageError
from librats.services.disk.folder_handles import HandleFolder
from librats.services.disk.opened import part_name
from librats.services.disk.part import Chunk
from librats.services.disk.reading import Source
from librats.services.disk.writing import Destination
from librats.transfer.tree import LEAF_SIZE, leaf_hashes

BIG = DATA * 20  # five chunks


def content_of(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
async def big(tmp_path: Path) -> Source:
    (tmp_path / "big.bin").write_bytes(BIG)
    return await Source.open(tmp_path / "big.bin")


async def refusal(source: Source, folder: Path, **options: object) -> str:
    with pytest.raises(TransferError) as refused:
        await destination_for(source, folder, **options)
    return refused.value.code


async def test_a_file_arrives_under_its_name_and_nothing_is_left(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    assert await copy_missing(big, destination) == len(BIG)
    assert listed(out) == [part_name(big.content_id)]
    assert await destination.finish() == out / "big.bin"
    assert content_of(out) == {"big.bin": BIG}


async def test_a_folder_arrives_with_times_modes_and_empty_folders(tmp_path: Path, out: Path) -> None:
    top = make_tree(tmp_path)
    assert await copy(top, out) == out / "photos"
    assert content_of(out / "photos") == content_of(top)
    for path in filter(Path.is_file, top.rglob("*")):
        there = (out / "photos" / path.relative_to(top)).stat()
        assert there.st_mtime_ns == path.stat().st_mtime_ns
        assert there.st_mode & 0o100 == path.stat().st_mode & 0o100
    assert listed(out) == ["photos"]


async def test_an_empty_folder_and_an_empty_file_arrive(tmp_path: Path, out: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    await copy(tmp_path / "nothing", out)
    await copy(tmp_path / "empty", out)
    assert content_of(out) == {"nothing": None, "empty": b""}


async def test_the_folder_is_made_where_it_is_missing(big: Source, tmp_path: Path) -> None:
    destination = await destination_for(big, tmp_path / "new" / "er")
    await copy_missing(big, destination)
    assert (await destination.finish()).read_bytes() == BIG


async def test_what_a_check_returns_is_written(tmp_path: Path, out: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    destination = await destination_for(source, out)
    wanted = [number for number, file in enumerate(source.manifest.files) if file.size]
    data = [await source.read(number, 0, source.manifest.files[number].size) for number in wanted]
    for number, content in zip(wanted, data, strict=True):
        destination.verifiers[number].take(0, content, b"")
    chunks = [Chunk(number, 0, [c[:1], c[1:]], leaf_hashes([c])) for number, c in zip(wanted, data, strict=True)]
    assert await destination.take(lambda: chunks, sum(map(len, data))) is None
    await destination.finish()
    assert content_of(out / "photos") == content_of(tmp_path / "photos")


async def test_what_a_check_refuses_is_not_written_and_told(big: Source, out: Path) -> None:
    def refuse() -> list[Chunk]:
        raise TransferError("bad_chunk", "no")

    destination = await destination_for(big, out)
    told = await destination.take(refuse, 1)
    assert told is not None
    assert told.code == "bad_chunk"
    assert await copy_all(big, destination) == out / "big.bin"
    assert (out / "big.bin").read_bytes() == BIG


async def test_chunks_may_come_in_any_order(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    for first in (64, 16, 0, 48, 32):
        data = await big.read(0, first * LEAF_SIZE, 16 * LEAF_SIZE)
        destination.verifiers[0].take(first, data, big.trees[0].proof(first, 16))
        await destination.write(0, first, data)
    assert (await destination.finish()).read_bytes() == BIG


async def test_a_chunk_that_is_written_twice_does_no_harm(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    await destination.write(0, 0, BIG[:LEAF_SIZE])
    assert (await destination.finish()).read_bytes() == BIG


async def test_what_is_not_whole_is_not_finished(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination, most=2)
    with pytest.raises(UsageError):
        await destination.finish()
    await destination.suspend()
    assert not (out / "big.bin").exists()


async def test_a_suspended_transfer_goes_on(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    copied = await copy_missing(big, destination, most=2)
    await destination.suspend()
    again = await destination_for(big, out)
    assert again.verifiers[0].leaves * LEAF_SIZE == copied
    assert await copy_missing(big, again) == len(BIG) - copied
    assert (await again.finish()).read_bytes() == BIG
    assert listed(out) == ["big.bin"]


async def test_a_tree_goes_on_where_it_was(tmp_path: Path, out: Path) -> None:
    top = tmp_path / "top"
    for number in range(40):
        (top / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        (top / f"{number % 4}" / f"{number}").write_bytes(f"file {number}".encode() * 20_000)
    source = await Source.open(top)
    copied = 0
    for _ in range(4):
        destination = await destination_for(source, out)
        copied += await copy_missing(source, destination, most=15)
        await destination.suspend()
    destination = await destination_for(source, out)
    assert all(verifier.is_complete for verifier in destination.verifiers)
    assert copied == source.manifest.size
    await destination.finish()
    assert content_of(out / "top") == content_of(top)


async def test_a_discarded_transfer_leaves_nothing(tmp_path: Path, out: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    destination = await destination_for(source, out)
    await copy_missing(source, destination, most=2)
    await destination.discard()
    await destination.discard()
    assert listed(out) == []


async def test_what_the_disk_lost_when_the_machine_stopped_is_not_counted(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    await destination.suspend()
    part = out / part_name(big.content_id)
    state = bytearray((part / "state").read_bytes())
    state[48:64] = bytes(range(16))  # another boot
    (part / "state").write_bytes(state)
    with (part / "content" / "big.bin").open("r+b") as file:
        file.seek(20 * LEAF_SIZE)
        file.write(bytes(LEAF_SIZE))
    again = await destination_for(big, out)
    assert list(again.verifiers[0].missing()) == [(16, 16)]
    assert await copy_missing(big, again) == 16 * LEAF_SIZE
    assert (await again.finish()).read_bytes() == BIG


@pytest.mark.parametrize("damage", [0, 20, 70, 85, 100])
async def test_a_damaged_state_is_not_believed(big: Source, out: Path, damage: int) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    await destination.suspend()
    state = out / part_name(big.content_id) / "state"
    raw = bytearray(state.read_bytes())
    raw[damage] ^= 0x40
    state.write_bytes(raw)
    again = await destination_for(big, out)
    assert not again.verifiers[0].is_complete
    await copy_missing(big, again)
    assert (await again.finish()).read_bytes() == BIG


async def test_a_state_without_its_file_is_not_believed(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    await destination.suspend()
    (out / part_name(big.content_id) / "content" / "big.bin").unlink()
    again = await destination_for(big, out)
    assert again.verifiers[0].leaves == 0
    await again.discard()


async def test_files_that_are_there_already_are_not_fetched(tmp_path: Path, out: Path) -> None:
    top = make_tree(tmp_path)
    (out / "photos" / "2026").mkdir(parents=True)
    (out / "photos" / "2026" / "beach.jpg").write_bytes(DATA)
    (out / "photos" / "mine.txt").write_bytes(b"stays")
    source = await Source.open(top)
    destination = await destination_for(source, out)
    assert [verifier.is_complete for verifier in destination.verifiers] == [True, False, True, False]
    await copy_missing(source, destination)
    await destination.finish()
    assert content_of(out / "photos") == content_of(top) | {"mine.txt": b"stays"}


async def test_how_much_of_what_is_there_was_read_is_told(big: Source, out: Path) -> None:
    told: list[tuple[int, int]] = []
    destination = await destination_for(big, out, on_checked=lambda done, total: told.append((done, total)))
    assert told == []  # there is nothing to be read
    await copy_all(big, destination)
    again = await destination_for(big, out, on_checked=lambda done, total: told.append((done, total)))
    await again.finish()
    assert told == sorted(told)
    assert told[-1] == (len(BIG), len(BIG))


async def test_all_that_is_there_already_is_nothing_to_do(tmp_path: Path, out: Path) -> None:
    top = make_tree(tmp_path)
    await copy(top, out)
    source = await Source.open(top)
    destination = await destination_for(source, out)
    assert await copy_missing(source, destination) == 0
    assert await destination.finish() == out / "photos"
    assert listed(out) == ["photos"]


async def test_equal_files_are_fetched_once(tmp_path: Path, out: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for name in ("a", "b", "c"):
        (top / name).write_bytes(DATA)
    (top / "d").write_bytes(b"other")
    source = await Source.open(top)
    destination = await destination_for(source, out)
    assert destination.verifiers[0] is destination.verifiers[1] is destination.verifiers[2]
    assert await copy_missing(source, destination) == len(DATA) + 5
    await destination.finish()
    assert content_of(out / "top") == content_of(top)
    assert (out / "top" / "a").stat().st_ino != (out / "top" / "b").stat().st_ino


async def test_a_file_is_copied_from_one_that_is_there_already(tmp_path: Path, out: Path) -> None:
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    (top / "below" / "a").write_bytes(BIG)
    (top / "z").write_bytes(BIG)
    (out / "top").mkdir()
    (out / "top" / "z").write_bytes(BIG)
    source = await Source.open(top)
    destination = await destination_for(source, out)
    assert await copy_missing(source, destination) == 0
    await destination.finish()
    assert content_of(out / "top") == content_of(top)


async def test_another_file_of_that_name_stays(big: Source, out: Path) -> None:
    (out / "big.bin").write_bytes(b"mine")
    assert await refusal(big, out) == "exists"
    assert content_of(out) == {"big.bin": b"mine"}


async def test_another_file_of_that_name_gives_way_where_that_is_wanted(big: Source, out: Path) -> None:
    (out / "big.bin").write_bytes(b"mine")
    destination = await destination_for(big, out, overwrite=True)
    await copy_missing(big, destination)
    assert (out / "big.bin").read_bytes() == b"mine"
    await destination.finish()
    assert content_of(out) == {"big.bin": BIG}


async def test_another_file_in_a_folder_stays_or_gives_way(tmp_path: Path, out: Path) -> None:
    top = make_tree(tmp_path)
    (out / "photos").mkdir()
    (out / "photos" / "2026.txt").write_bytes(b"mine")
    assert await refusal(await Source.open(top), out) == "exists"
    await copy(top, out, overwrite=True)
    assert (out / "photos" / "2026.txt").read_bytes() == b"two"


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_folder_never_gives_way_to_a_file_nor_a_file_to_a_folder(
    big: Source, tmp_path: Path, out: Path, *, overwrite: bool
) -> None:
    (out / "big.bin").mkdir()
    (out / "photos").write_bytes(b"mine")
    assert await refusal(big, out, overwrite=overwrite) == "exists"
    assert await refusal(await Source.open(make_tree(tmp_path)), out, overwrite=overwrite) == "exists"


async def test_a_file_that_appears_meanwhile_stays(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    (out / "big.bin").write_bytes(b"mine")
    with pytest.raises(TransferError) as refused:
        await destination.finish()
    assert refused.value.code == "exists"
    assert (out / "big.bin").read_bytes() == b"mine"
    await destination.suspend()
    (out / "big.bin").unlink()
    again = await destination_for(big, out)
    assert await copy_missing(big, again) == 0
    assert (await again.finish()).read_bytes() == BIG


async def test_a_folder_that_appears_meanwhile_keeps_its_files(tmp_path: Path, out: Path) -> None:
    top = make_tree(tmp_path)
    source = await Source.open(top)
    destination = await destination_for(source, out)
    await copy_missing(source, destination)
    (out / "photos").mkdir()
    (out / "photos" / "2026.txt").write_bytes(b"mine")
    with pytest.raises(TransferError) as refused:
        await destination.finish()
    assert refused.value.code == "exists"
    assert (out / "photos" / "2026.txt").read_bytes() == b"mine"
    await destination.suspend()


async def test_two_transfers_of_the_same_into_one_folder_are_refused(big: Source, out: Path) -> None:
    destination = await destination_for(big, out)
    assert await refusal(big, out) == "busy"
    await copy_missing(big, destination)
    assert (await destination.finish()).read_bytes() == BIG


async def test_what_is_no_folder_is_told(big: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert await refusal(big, tmp_path / "file") == "not_a_folder"
    assert await refusal(big, tmp_path / "file" / "below") == "not_a_folder"


async def test_a_manifest_that_was_not_asked_for_is_refused(big: Source, out: Path) -> None:
    with pytest.raises(TransferError) as refused:
        await Destination.open(out, big.raw, content_id=bytes(32))
    assert refused.value.code == "bad_offer"


async def test_more_than_is_allowed_is_refused_before_it_is_begun(big: Source, out: Path) -> None:
    assert await refusal(big, out, max_disk=len(BIG) - 1) == "limit"
    assert listed(out) == []
    destination = await destination_for(big, out, max_disk=len(BIG))
    await destination.discard()


async def test_more_than_is_free_is_refused_before_it_is_begun(
    big: Source, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librats.services.disk.folders._Opened.free", lambda _: len(BIG) - 1)
    assert await refusal(big, out) == "no_space"
    assert listed(out) == []


async def test_room_is_needed_for_what_is_missing_alone(
    big: Source, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination, most=4)
    await destination.suspend()
    monkeypatch.setattr("librats.services.disk.folders._Opened.free", lambda _: 16 * LEAF_SIZE)
    again = await destination_for(big, out)
    await copy_missing(big, again)
    assert (await again.finish()).read_bytes() == BIG


async def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path: Path, out: Path) -> None:
    source = await Source.open(make_tree(tmp_path))
    destination = await destination_for(source, out)
    out.rename(tmp_path / "moved")  # noqa: ASYNC240 - a test waits for it
    await copy_missing(source, destination, most=1)  # it holds its folder, wherever that is
    while (tmp_path / "moved").exists():
        shutil.rmtree(tmp_path / "moved", ignore_errors=True)
    with pytest.raises(TransferError) as refused:
        await copy_all(source, destination)
    assert refused.value.code == "gone"
    await destination.suspend()


async def test_permission_denied_is_told(big: Source, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("librats.services.disk.folders._Opened.make", refuse)
    assert await refusal(big, out) == "permission"


async def test_a_failure_of_the_disk_ends_it_with_one_error(
    big: Source, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = await destination_for(big, out)
    await copy_missing(big, destination, most=1)
    await destination.suspend()
    destination = await destination_for(big, out)

    def fail(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev" if hasattr(os, "pwritev") else "write", fail)
    with pytest.raises(TransferError) as refused:
        await copy_all(big, destination)
    assert refused.value.code == "no_space"
    monkeypatch.undo()
    await destination.suspend()
    assert not (out / "big.bin").exists()
    again = await destination_for(big, out)
    assert again.verifiers[0].leaves == 16
    await copy_missing(big, again)
    assert (await again.finish()).read_bytes() == BIG


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
async def test_files_are_written_for_whom_the_umask_says(big: Source, out: Path) -> None:
    mask = os.umask(0o027)
    try:
        destination = await destination_for(big, out)
        await copy_missing(big, destination)
        path = await destination.finish()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def destination_when_free(source: Source, folder: Path) -> Destination:
    while True:
        try:
            return await destination_for(source, folder)
        except TransferError as error:
            if error.code != "busy":
                raise


async def test_a_caller_that_is_cancelled_leaves_the_folder_to_others(big: Source, out: Path) -> None:
    opening = asyncio.ensure_future(destination_for(big, out))
    for _ in range(6):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    destination = await destination_when_free(big, out)
    await destination.discard()


@pytest.mark.skipif(os.name != "posix", reason="folders are paths there")
async def test_a_folder_that_another_one_makes_at_the_same_time_is_taken(
    big: Source, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = part_name(big.content_id)
    enter = HandleFolder.enter
    looked: list[str] = []

    def enter_too_early(self: HandleFolder, wanted: str) -> HandleFolder:
        if wanted == name and not looked:
            looked.append(wanted)
            (out / name).mkdir(parents=True)
            raise FileNotFoundError(wanted)
        return enter(self, wanted)

    monkeypatch.setattr(HandleFolder, "enter", enter_too_early)
    destination = await destination_for(big, out)
    await copy_missing(big, destination)
    assert (await destination.finish()).read_bytes() == BIG
    assert looked
