"""Files of an offer as columns: what goes in comes out, and they take little memory."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.manifest import Manifest, content_id, read_manifest, write_manifest

FILES = (
    OfferedFile(path=("a", "b", "c"), size=0, root=bytes(32)),
    OfferedFile(path=("é", "\udcff"), size=1 << 40, root=b"r" * 32, modified=(1 << 63) - 1, executable=True),
    OfferedFile(path=("z",), size=7, root=b"s" * 32, modified=5),
)
MANY = 1000


def offered(number: int) -> OfferedFile:
    return OfferedFile(path=("folder", f"{number:06}"), size=1000, root=number.to_bytes(32), modified=number << 40)


def test_files_come_out_as_they_went_in() -> None:
    table = FileTable(FILES)
    assert tuple(table) == FILES
    assert table == FILES
    assert table == FileTable(FILES)
    assert table != FileTable(FILES[:2])
    assert table != FileTable([*FILES[:2], FILES[2]._replace(size=8)])
    assert table[-1] == FILES[-1]
    assert table[1:] == FILES[1:]
    with pytest.raises(IndexError):
        table[3]


def test_a_column_tells_what_the_file_does() -> None:
    table = FileTable(FILES)
    assert table.total == sum(file.size for file in FILES)
    for number, file in enumerate(FILES):
        told = (table.size(number), table.root(number), table.modified(number), table.is_executable(number))
        assert told == (file.size, file.root, file.modified, file.executable)
        assert table.raw_path(number).decode(errors="surrogatepass") == "/".join(file.path)


def test_a_root_is_put_in_later() -> None:
    table = FileTable(FILES)
    table.set_root(1, b"x" * 32)
    assert [file.root for file in table] == [FILES[0].root, b"x" * 32, FILES[2].root]


def test_a_table_is_not_copied_to_be_one() -> None:
    table = FileTable(FILES)
    assert FileTable.of(table) is table
    assert FileTable.of(FILES) == table


@pytest.mark.parametrize(
    "wrong",
    [
        FILES[2]._replace(size=-1),
        FILES[2]._replace(size=1 << 64),
        FILES[2]._replace(modified=-1),
        FILES[2]._replace(modified=1 << 64),
        FILES[2]._replace(root=bytes(31)),
    ],
)
def test_a_file_that_cannot_be_is_refused_and_leaves_the_table_as_it_was(wrong: OfferedFile) -> None:
    table = FileTable(FILES)
    with pytest.raises(TransferError, match="bad_offer"):
        table.append(wrong)
    assert table == FILES


ROOTS = [bytes([first]) + bytes([second]) * 31 for first in (0, 1, 255) for second in (0, 7)]


@given(
    st.lists(st.tuples(st.sampled_from(ROOTS), st.sampled_from([0, 1, 70_000]))),
    st.sets(st.integers(0, 20)),
)
def test_copies_are_what_an_earlier_or_a_kept_file_of_the_same_size_has(
    contents: list[tuple[bytes, int]], kept: set[int]
) -> None:
    table = FileTable(OfferedFile(path=("x",), size=size, root=root) for root, size in contents)
    first: dict[bytes, int] = {}
    for number in [*sorted(kept), *range(len(contents))]:
        if number < len(contents) and (contents[number][1] or number in kept):
            first.setdefault(contents[number][0], number)
    assert table.copies(kept) == {
        number: first[root]
        for number, (root, size) in enumerate(contents)
        if size and number not in kept and first[root] != number and contents[first[root]][1] == size
    }


def test_finding_copies_takes_little_memory() -> None:
    table = FileTable(offered(number)._replace(root=sha256(number.to_bytes(4)).digest()) for number in range(MANY))
    tracemalloc.start()
    try:
        assert table.copies() == {}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / MANY < 20  # 130 where all roots are kept as objects at once


def test_a_file_of_a_table_takes_less_than_a_hundred_bytes() -> None:
    tracemalloc.start()
    try:
        table = FileTable(map(offered, range(MANY)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == MANY
    assert held / MANY < 100


def test_a_manifest_takes_little_beside_itself_while_it_is_written_read_and_named() -> None:
    manifest = Manifest(name="many", is_folder=True, files=FileTable(map(offered, range(MANY))))
    tracemalloc.start()
    try:
        raw = write_manifest(manifest)
        content_id(manifest)
        content_id(read_manifest(raw))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / MANY < 400  # with an object for each file it was 650
