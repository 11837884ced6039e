"""What is received where the system opens nothing relative to a folder: the way of Windows, as far as it runs here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.reference.file_copying import copy, copy_all, copy_missing, destination_for, listed
from tests.unit.services.test_transfer_reading import make_tree
from tests.unit.services.test_transfer_writing import content_of

from librats.errors import TransferError
from librats.services.disk.folder_paths import PathFolder
from librats.services.disk.reading import Source


@pytest.fixture(autouse=True)
def by_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librats.services.disk.folders._Opened", PathFolder)


async def test_a_folder_arrives_and_goes_on_where_it_was(tmp_path: Path) -> None:
    top, out = make_tree(tmp_path), tmp_path / "out"
    source = await Source.open(top)
    destination = await destination_for(source, out)
    copied = await copy_missing(source, destination, most=1)
    await destination.suspend()
    again = await destination_for(source, out)
    assert copied + await copy_missing(source, again) == source.manifest.size
    await again.finish()
    assert content_of(out / "photos") == content_of(top)
    assert listed(out) == ["photos"]
    assert (out / "photos" / "2026.txt").stat().st_mtime_ns == (top / "2026.txt").stat().st_mtime_ns
    await source.close()


async def test_what_is_there_stays_and_the_rest_is_added(tmp_path: Path) -> None:
    top, out = make_tree(tmp_path), tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    (out / "photos" / "mine.txt").write_bytes(b"stays")
    (out / "photos" / "2026.txt").write_bytes(b"mine")
    source = await Source.open(top)
    with pytest.raises(TransferError) as refused:
        await destination_for(source, out)
    assert refused.value.code == "exists"
    await copy_all(source, await destination_for(source, out, overwrite=True))
    assert content_of(out / "photos") == content_of(top) | {"mine.txt": b"stays"}
    await source.close()


async def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    top, out, outside = make_tree(tmp_path), tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "photos").symlink_to(outside)
    with pytest.raises(TransferError) as refused:
        await copy(top, out, overwrite=True)
    assert refused.value.code == "exists"
    assert listed(outside) == []
    (top / "link").symlink_to(outside)
    with pytest.raises(TransferError) as told:
        await Source.open(top)
    assert told.value.code == "not_regular"
