"""Leaves that are written along with others, and how much is looked for at once."""

from __future__ import annotations

import pytest

from librats.errors import TransferError
from librats.transfer import reusing as module
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.layout import Layout
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.reusing import LeafIndex, Reusing
from librats.transfer.tree import LEAF_SIZE, hash_file
from librats.transfer.twins import MAX_TWINS, Twins


def test_no_leaf_has_more_twins_than_may_be() -> None:
    twins = Twins()
    leaves = list(range(3 * (MAX_TWINS + 1) + 1))
    twins.add(leaves)
    assert [len(twins.of(leaf)) for leaf in leaves if twins.of(leaf)] == [MAX_TWINS] * 3
    assert list(twins.without([(0, len(leaves))])) == [(at * (MAX_TWINS + 1), 1) for at in range(4)]
    assert len(twins) == 3 * MAX_TWINS


def test_no_more_leaves_are_found_at_once_than_one_has_twins() -> None:
    index = LeafIndex()
    for leaf in range(2 * MAX_TWINS):
        index.add(b"h" * 32, leaf)
    found = [index.take(b"h" * 32) for _ in range(3)]
    assert [len(leaves) for leaves in found] == [MAX_TWINS + 1, MAX_TWINS - 1, 0]
    assert [leaf for leaves in found for leaf in leaves] == list(range(2 * MAX_TWINS))


def machine(sizes: list[int], old: list[int], *, alike: bool = False) -> Reusing:
    roots = [bytes(32) if alike else n.to_bytes(32) for n in range(len(sizes))]
    files = [OfferedFile(path=(f"{n:03}",), size=size, root=roots[n]) for n, size in enumerate(sizes)]
    layout = Layout(Manifest(name="x", is_folder=True, files=tuple(files)))
    verifiers = FileVerifiers(FileTable(files), copies={}, whole=bytearray(len(files)))
    return Reusing(layout, verifiers, old)


def asked(reusing: Reusing) -> int:
    return sum(count for _, count in reusing.wants()) if reusing.next_window() else 0


@pytest.mark.parametrize(
    ("leaves", "old", "wanted"),
    [
        ([1], [0], 0),  # one leaf is all of its file
        ([2], [0], 2),
        ([2], [], 0),
        ([16], [], 0),  # nothing to have something in common with
        ([16, 15], [], 0),
        ([16, 16], [], 32),
        ([16, 16, 3], [2], 35),
        ([16, 3], [1], 3),
        ([20_000, 12_768], [], 32_768),
        ([20_000, 12_769], [], 0),  # too much to ask for in vain
    ],
)
def test_hashes_are_asked_for_where_they_may_be_of_use(leaves: list[int], old: list[int], wanted: int) -> None:
    assert asked(machine([count * LEAF_SIZE for count in leaves], old)) == wanted


def test_big_files_are_looked_through_one_window_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AHEAD", 1000)
    reusing = machine([100_000 * LEAF_SIZE], [0])
    windows = []
    while reusing.next_window():
        windows.append(sum(count for _, count in reusing.wants()))
        reusing._asked.clear()  # as if they had come
        assert reusing.is_window_whole
        reusing.end_window()
    assert sum(windows) == 100_000
    assert max(windows) <= module.MAX_KNOWN


def test_nothing_more_is_asked_for_where_a_gibibyte_was_read_in_vain() -> None:
    reusing = machine([100_000 * LEAF_SIZE], [0])
    assert reusing.next_window()
    reusing.found([], module.MAX_VAIN - 1)
    assert list(reusing.to_read())
    reusing.found([(0, 1)], 2)
    assert not list(reusing.to_read())
    reusing.end_window()
    assert not reusing.next_window()


def test_what_is_found_makes_up_for_what_is_read() -> None:
    reusing = machine([200_000 * LEAF_SIZE], [0])
    first = 0
    while reusing.next_window():
        for at, count in list(reusing.to_read()):
            assert at == first
            reusing.found([(at, count)], count)
            first += count
        reusing.end_window()
    assert first == 200_000


def test_hashes_of_files_with_one_content_are_asked_for_once() -> None:
    assert asked(machine([20 * LEAF_SIZE] * 3, [0, 1, 2], alike=True)) == 20
    assert asked(machine([20 * LEAF_SIZE] * 3, [], alike=True)) == 0  # the second one is a copy of the first


def test_some_are_asked_for_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HASHES", 1)
    reusing = machine([100 * LEAF_SIZE], [0])
    assert reusing.next_window()
    assert (len(reusing.wants()), len(reusing.wants())) == (module.AHEAD, 0)


def test_hashes_that_are_right_and_not_due_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HASHES", 2)
    tree = hash_file([bytes(4 * LEAF_SIZE)])
    file = OfferedFile(path=("x",), size=tree.length, root=tree.root)
    layout = Layout(Manifest(name="x", is_folder=False, files=(file,)))
    reusing = Reusing(layout, FileVerifiers(FileTable([file]), copies={}, whole=bytearray(1)), [0])
    assert reusing.next_window()
    assert reusing.wants() == [(0, 2), (2, 2)]
    later = tree.proof(2, 2) + tree.leaves(2, 2)
    with pytest.raises(TransferError, match="protocol"):
        reusing.take((2, 2), later)
    reusing.take((0, 2), tree.proof(0, 2) + tree.leaves(0, 2))
    reusing.take((2, 2), later)
    assert reusing.is_window_whole
