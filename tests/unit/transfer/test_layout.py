"""Leaves through all files: what a range consists of, and how the row is cut into chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.transfer.layout import MAX_LEAVES, Layout
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.tree import LEAF_SIZE, hash_file, leaf_count

MIB = 1 << 20


def layout_of(sizes: list[int]) -> Layout:
    files = []
    for number, size in enumerate(sizes):
        tree = hash_file([bytes([number % 251]) * size])
        files.append(OfferedFile(path=(f"{number:06}",), size=size, root=tree.root))
    return Layout(Manifest(name="x", is_folder=True, files=tuple(files)))


sizes_of_files = st.lists(st.sampled_from([0, 1, LEAF_SIZE, LEAF_SIZE + 1, 3 * LEAF_SIZE + 5]), max_size=8)


@given(sizes=sizes_of_files, data=st.data())
def test_a_range_has_every_byte_of_its_leaves_once(sizes: list[int], data: st.DataObject) -> None:
    layout = layout_of(sizes)
    assert layout.leaves == sum(map(leaf_count, sizes))
    if not layout.leaves:
        return
    first = data.draw(st.integers(0, layout.leaves - 1))
    count = data.draw(st.integers(1, layout.leaves - first))
    owners = [(f, leaf) for f, size in enumerate(sizes) for leaf in range(leaf_count(size))]
    parts = layout.parts((first, count))
    assert [(p.file, leaf) for p in parts for leaf in range(p.leaf, p.leaf + p.leaves)] == owners[first : first + count]
    for part in parts:
        assert (part.offset, part.size) == (
            part.leaf * LEAF_SIZE,
            min(sizes[part.file], (part.leaf + part.leaves) * LEAF_SIZE) - part.leaf * LEAF_SIZE,
        )
    assert layout.size((first, count)) == sum(part.size for part in parts)
    assert layout.body_size((first, count)) == sum(part.size + part.proof_size for part in parts)


@given(sizes=sizes_of_files, gaps=st.sets(st.integers(0, 30)), most=st.sampled_from([1, LEAF_SIZE, 2 * LEAF_SIZE, MIB]))
def test_runs_are_cut_into_chunks_that_have_every_leaf_once(sizes: list[int], gaps: set[int], most: int) -> None:
    layout = layout_of(sizes)
    leaves = [leaf for leaf in range(layout.leaves) if leaf not in gaps]
    ranges = list(layout.cut(iter([(leaf, 1) for leaf in leaves]), most))
    assert [leaf for first, count in ranges for leaf in range(first, first + count)] == leaves
    assert all(layout.has(wanted) for wanted in ranges)
    assert all(layout.size(wanted) <= max(most, LEAF_SIZE) for wanted in ranges)
    for one, other in pairwise(ranges):  # none could have been longer
        if sum(one) == other[0]:
            assert layout.size(one) + layout.size((other[0], 1)) > most


def test_no_chunk_has_more_leaves_than_one_may() -> None:
    layout = layout_of([1] * (MAX_LEAVES + 10))
    assert list(layout.cut([(0, layout.leaves)], MIB)) == [(0, MAX_LEAVES), (MAX_LEAVES, 10)]


def test_files_with_the_content_of_an_earlier_one_are_known() -> None:
    tree, other, empty = hash_file([b"same"]), hash_file([b"other"]), hash_file([])
    trees = [other, tree, empty, tree, empty, tree]
    files = tuple(OfferedFile(path=(f"{n}",), size=t.length, root=t.root) for n, t in enumerate(trees))
    assert Layout(Manifest(name="x", is_folder=True, files=files)).copies == {3: 1, 5: 1}


@pytest.mark.parametrize("wanted", [(0, 0), (0, 8), (7, 1), (3, 1 << 31), (1 << 31, 1), (-1, 2)])
def test_a_range_that_is_not_there_is_refused(wanted: tuple[int, int]) -> None:
    layout = layout_of([LEAF_SIZE] * 7)
    with pytest.raises(TransferError) as refused:
        layout.body_size(wanted)
    assert refused.value.code == "protocol"


def test_a_range_of_more_bytes_than_a_chunk_may_have_is_refused() -> None:
    layout = layout_of([5 * MIB])
    assert layout.body_size((0, 64)) > 4 * MIB
    with pytest.raises(TransferError, match="a chunk of more than") as refused:
        layout.body_size((0, 65))
    assert refused.value.code == "protocol"


def test_a_chunk_passes_with_its_proofs_alone() -> None:
    contents = [b"a" * (2 * LEAF_SIZE + 1), b"b" * 10, b"c" * (3 * LEAF_SIZE)]
    trees = [hash_file([content]) for content in contents]
    files = tuple(OfferedFile(path=(f"{n}",), size=t.length, root=t.root) for n, t in enumerate(trees))
    layout = Layout(Manifest(name="x", is_folder=True, files=files))
    wanted = (1, 4)  # two leaves of the first file, the second one, one leaf of the third
    proofs = trees[0].proof(1, 2) + trees[2].proof(0, 1)
    data = contents[0][LEAF_SIZE:] + contents[1] + contents[2][:LEAF_SIZE]
    assert layout.body_size(wanted) == len(proofs + data)
    parts = layout.check(wanted, [proofs + data])
    assert [(checked.part.file, b"".join(checked.data)) for checked in parts] == [
        (0, contents[0][LEAF_SIZE:]),
        (1, contents[1]),
        (2, contents[2][:LEAF_SIZE]),
    ]
    for at in (0, len(proofs), len(proofs) + LEAF_SIZE + 5, len(proofs + data) - 1):
        broken = bytearray(proofs + data)
        broken[at] ^= 1
        with pytest.raises(TransferError) as refused:
            layout.check(wanted, [bytes(broken)])
        assert refused.value.code == "bad_chunk"
    with pytest.raises(TransferError) as refused:
        layout.check(wanted, [proofs + data + b"x"])
    assert refused.value.code == "protocol"
