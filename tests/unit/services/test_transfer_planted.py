"""An offer that brings the hidden folder of another transfer, with a journal that says that all of it is there."""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import pytest
from tests.reference.file_copying import copy, destination_for, listed

from librats.errors import TransferError
from librats.services.disk.journal import CHECK, HEAD, MAGIC, ON_DISK, RECORD, UNKNOWN_BOOT
from librats.services.disk.opened import part_name
from librats.services.disk.reading import Source
from librats.services.disk.writing import Destination
from librats.transfer.manifest import Manifest, OfferedFile, content_id, write_manifest
from librats.transfer.tree import hash_file

GOOD, EVIL = b"good" * 10, b"evil" * 10


def planted(wanted: bytes) -> list[tuple[tuple[str, ...], bytes]]:
    """Return the files of a hidden folder in which all of one file is there, on the disk for certain."""
    record = RECORD.pack(0, 0, 1 | ON_DISK, 0)
    journal = HEAD.pack(MAGIC, wanted, UNKNOWN_BOOT) + record + CHECK.pack(crc32(record))
    return [(("content", "safe.bin"), EVIL), (("state",), journal)]


def offer_of(name: str, files: list[tuple[tuple[str, ...], bytes]]) -> tuple[bytes, bytes]:
    """Return a manifest and its content id, whatever the name."""
    offered = tuple(OfferedFile(path=path, size=len(data), root=hash_file([data]).root) for path, data in files)
    harmless = write_manifest(Manifest(name="x" * len(name), is_folder=True, files=offered))
    return harmless.replace(b"x" * len(name), name.encode()), content_id(
        Manifest(name=name, is_folder=True, files=offered)
    )


@pytest.fixture
async def safe(tmp_path: Path) -> Source:
    (tmp_path / "safe.bin").write_bytes(GOOD)
    return await Source.open(tmp_path / "safe.bin")


async def test_an_offer_by_the_name_of_a_hidden_folder_is_refused(safe: Source, tmp_path: Path) -> None:
    raw, identifier = offer_of(part_name(safe.content_id), planted(safe.content_id))
    with pytest.raises(TransferError, match="not done") as refused:
        await Destination.open(tmp_path / "out", raw, content_id=identifier)
    assert refused.value.code == "bad_name"
    assert not (tmp_path / "out").exists()


async def test_a_hidden_folder_is_not_offered_by_its_name(safe: Source, tmp_path: Path) -> None:
    hidden = tmp_path / "in" / part_name(safe.content_id)
    hidden.mkdir(parents=True)
    (hidden / "state").write_bytes(planted(safe.content_id)[1][1])
    with pytest.raises(TransferError) as refused:
        await Source.open(hidden)
    assert refused.value.code == "bad_name"
    source = await Source.open(tmp_path / "in")
    assert list(source.manifest.files) == []
    await source.close()


def plant(safe: Source, out: Path) -> Path:
    for path, data in planted(safe.content_id):
        there = out.joinpath(part_name(safe.content_id), *path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(data)
    return out / part_name(safe.content_id)


async def test_such_a_folder_would_be_believed(safe: Source, tmp_path: Path) -> None:
    """What the refusals are for: who can write into the folder can make a transfer end with anything."""
    plant(safe, tmp_path / "out")
    destination = await destination_for(safe, tmp_path / "out")
    assert destination.verifiers.is_complete
    await destination.discard()
    assert listed(tmp_path / "out") == []
    assert (await copy(tmp_path / "safe.bin", tmp_path / "out")).read_bytes() == GOOD


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives folders away")
async def test_what_another_user_has_left_in_a_shared_folder_is_not_believed(safe: Source, tmp_path: Path) -> None:
    hidden = plant(safe, tmp_path / "out")
    os.chown(hidden, 65_534, 65_534)
    (hidden / "state.new").touch()
    os.chown(hidden / "state.new", 65_534, 65_534)
    with pytest.raises(TransferError, match=rf"\{hidden.name}, .* is another user's") as refused:
        await destination_for(safe, tmp_path / "out")
    assert refused.value.code == "permission"
    assert listed(hidden) == ["content", "state"]
