"""A tree of many small files takes little memory for each, at either side, whatever is done with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from librats.services.disk.part import check_chunk
from librats.services.disk.reading import Source
from librats.services.disk.writing import Destination
from librats.transfer.layout import Layout

MANY = 2000
SIZE = 512


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("many") / "tree"
    for number in range(MANY):
        path = top / f"folder {number // 100:03}" / f"photograph {number:06}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8) * (SIZE // 8))
    return top


@pytest.fixture
async def source(tree: Path) -> AsyncIterator[Source]:
    opened = await Source.open(tree)
    yield opened
    await opened.close()


@pytest.fixture
def traced(source: Source) -> Iterator[None]:
    """Trace what is allocated, once all is loaded that sharing a tree needs."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def pieces(source: Source) -> list[tuple[int, int, int]]:
    parts = Layout(source.manifest).parts((0, MANY))
    return [(part.file, part.offset, part.size) for part in parts]


@pytest.mark.usefixtures("traced")
async def test_a_tree_is_shared_in_some_three_hundred_bytes_a_file(tree: Path) -> None:
    shared = await Source.open(tree)
    held, peak = tracemalloc.get_traced_memory()
    await shared.close()
    assert held / MANY < 250
    assert peak / MANY < 420  # 468 where paths are kept as objects while the manifest is written


@pytest.mark.usefixtures("traced")
async def test_small_files_are_read_without_a_buffer_for_each(source: Source) -> None:
    wanted = pieces(source)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    read = await source.read_many(wanted)
    held, peak = tracemalloc.get_traced_memory()
    assert sum(map(len, read)) == MANY * SIZE
    assert (held - before) / MANY < SIZE + 16  # 550 as a buffer for each
    assert (peak - before) / MANY < SIZE + 80


@pytest.mark.usefixtures("traced")
async def test_a_tree_is_taken_in_some_hundred_bytes_a_file_beside_its_chunks(source: Source, tmp_path: Path) -> None:
    body = await source.read_many(pieces(source))
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    destination = await Destination.open(tmp_path / "out", source.raw, content_id=source.content_id)
    layout = Layout(destination.manifest)
    held, peak = tracemalloc.get_traced_memory()
    assert (held - before) / MANY < 150  # path 34, root 32, and five numbers: 106
    assert (peak - before) / MANY < 350
    tracemalloc.reset_peak()
    assert await destination.take(partial(check_chunk, layout, (0, MANY), body), MANY * SIZE) is None
    after, peak = tracemalloc.get_traced_memory()
    assert (after - held) / MANY < 150  # tuples that the interpreter keeps for later
    assert (peak - held) / MANY < 1200
    await destination.discard()
