"""Links that others put where a transfer writes: nothing is written through them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from tests.reference.file_copying import copy_all, destination_for, listed

from librats.errors import TransferError
from librats.services.disk.opened import part_name
from librats.services.disk.reading import Source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links, signals and limits")


@pytest.fixture
async def tree(tmp_path: Path) -> Source:
    for number in range(120):
        path = tmp_path / "tree" / f"{number % 12}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 100)
    return await Source.open(tmp_path / "tree")


async def copy_into(source: Source, folder: Path) -> None:
    await copy_all(source, await destination_for(source, folder))


@pytest.mark.parametrize("where", ["", "content", "content/tree", "content/tree/7"])
async def test_a_link_in_the_hidden_folder_is_not_followed(tree: Source, tmp_path: Path, where: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").mkdir()
    path = tmp_path / "out" / part_name(tree.content_id) / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(TransferError) as refused:
        await copy_into(tree, tmp_path / "out")
    assert refused.value.code in {"link", "exists"}
    assert listed(tmp_path / "outside") == []


async def test_a_link_of_the_name_of_the_offer_is_not_followed(tree: Source, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "out" / "tree").symlink_to(tmp_path / "outside")
    for overwrite in (False, True):
        with pytest.raises(TransferError) as refused:
            await destination_for(tree, tmp_path / "out", overwrite=overwrite)
        assert refused.value.code == "exists"
    assert listed(tmp_path / "outside") == []


async def test_folders_swapped_for_links_all_the_time_lead_nowhere(tree: Source, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    destination = await destination_for(tree, out)
    content = out / part_name(tree.content_id) / "content"
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            for name in ("3", "7", "11"):
                place = content / "tree" / name
                try:
                    place.rename(content / "aside")
                    place.symlink_to(outside)
                    swaps += 1
                    place.unlink()
                    (content / "aside").rename(place)
                except OSError:  # it is not there yet, or was made anew
                    continue

    thread = threading.Thread(target=swap)
    thread.start()
    code = ""
    try:
        await copy_all(tree, destination)
    except TransferError as error:
        code = error.code
    finally:
        stop.set()
        thread.join()
    assert code in {"", "link", "exists", "gone"}
    assert list(outside.iterdir()) == []
