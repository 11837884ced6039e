"""Verifiers that are made when they are asked for, beside one for each file: they tell the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from librats.transfer import file_verifiers
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.tree import LEAF_SIZE, hash_file, leaf_count
from librats.transfer.verifying import FileVerifier

EMPTY = hash_file([]).root
sizes = st.lists(
    st.sampled_from([0, 1, LEAF_SIZE, LEAF_SIZE + 1, 9 * LEAF_SIZE, 100 * LEAF_SIZE]), min_size=1, max_size=9
)
steps = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 99), st.integers(1, 100)), max_size=30)


def table_of(lengths: list[int]) -> FileTable:
    return FileTable(
        OfferedFile(path=(f"{number}",), size=size, root=bytes(31) + b"x" if size else EMPTY)
        for number, size in enumerate(lengths)
    )


def begun_before(table: FileTable, there: list[tuple[int, int, int]]) -> list[FileVerifier]:
    plain = [FileVerifier(file.root, file.size) for file in table]
    for step in there:
        count_in(plain, table, step)
    return plain


def count_in(plain: list[FileVerifier], table: FileTable, step: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Count what a step says, as far as there is such a file; return that, and how much was fresh."""
    number = step[0] % len(table)
    leaves = leaf_count(table.size(number))
    first = step[1] % leaves if leaves else 0
    count = min(step[2], leaves - first)
    return number, first, count, plain[number].count(first, count)


@given(sizes, steps, steps, st.booleans())
def test_they_tell_what_one_for_each_file_tells(
    lengths: list[int], there: list[tuple[int, int, int]], coming: list[tuple[int, int, int]], one_is_kept: bool
) -> None:
    table = table_of(lengths)
    plain = begun_before(table, there)
    whole = bytearray(verifier.is_complete for verifier in plain)
    begun = {
        number: verifier.have for number, verifier in enumerate(plain) if verifier.leaves > 0 and not whole[number]
    }
    verifiers = FileVerifiers(table, copies={}, whole=whole, begun=begun)
    if one_is_kept:
        verifiers._room = 1
    for step in coming:
        number, first, count, fresh = count_in(plain, table, step)
        assert verifiers.count_leaves(number, first, count) == fresh
        assert [verifiers.leaves(each) for each in range(len(table))] == [verifier.leaves for verifier in plain]
        assert verifiers[number].have == plain[number].have
    assert [list(verifiers.missing(each)) for each in range(len(table))] == [list(one.missing()) for one in plain]
    assert [(one.leaves, one.size_there) for one in verifiers] == [(one.leaves, one.size_there) for one in plain]
    assert verifiers.is_complete == all(verifier.is_complete for verifier in plain)


def test_copies_share_what_is_there_of_the_first() -> None:
    table = table_of([100 * LEAF_SIZE, 5, 100 * LEAF_SIZE])
    verifiers = FileVerifiers(table, copies={2: 0}, whole=bytearray(3))
    verifiers.count_leaves(0, 3, 4)
    assert verifiers[2] is verifiers[0]
    assert verifiers.leaves(2) == 4
    verifiers.count_leaves(1, 0, 1)
    assert not verifiers.is_complete
    verifiers.count_leaves(2, 0, 100)
    assert verifiers.is_complete


def test_no_more_are_kept_than_begun_files_need() -> None:
    table = table_of([5] * (4 * file_verifiers.KEPT))
    verifiers = FileVerifiers(table, copies={}, whole=bytearray(len(table)))
    for verifier in verifiers:
        verifier.count(0, 1)
    assert len(verifiers._begun) <= file_verifiers.KEPT
    assert verifiers.is_complete
