"""Which files of a torrent are chosen, and which pieces that takes."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.bittorrent.layout import Layout, TorrentFile
from librats.bittorrent.selection import Selection, find_files
from librats.errors import UsageError

PIECE = 16_384


def layout_of(*sizes: int, pads: tuple[int, ...] = (), paths: tuple[str, ...] = ()) -> Layout:
    files, offset = [], 0
    for number, size in enumerate(sizes):
        path = paths[number] if paths else f"top/{number}"
        files.append(TorrentFile(path=tuple(path.split("/")), size=size, offset=offset, is_pad=number in pads))
        offset += size
    return Layout(files, PIECE)


def test_pieces_that_no_chosen_file_touches_are_not_wanted() -> None:
    selection = Selection(layout_of(PIECE, 2 * PIECE + 1, PIECE, PIECE), [1])
    assert list(selection.pieces) == [0, 1, 1, 1, 0, 0]
    assert [selection.splits(piece) for piece in range(6)] == [True, False, False, True, True, True]
    assert [selection.size_of(piece) for piece in range(6)] == [0, PIECE, PIECE, 1, 0, 0]
    assert selection.size == 2 * PIECE + 1


def test_what_only_fills_pieces_is_neither_chosen_nor_left_out() -> None:
    selection = Selection(layout_of(10, PIECE - 10, 5, pads=(1,)), [0, 1])
    assert list(selection.pieces) == [1, 0]
    assert not selection.splits(0)
    assert selection.size == 10
    assert Selection(layout_of(10, PIECE - 10, 5, pads=(1,)), [0, 2]).is_all


@pytest.mark.parametrize("numbers", [[], [1]])
def test_to_choose_no_file_is_an_error(numbers: list[int]) -> None:
    with pytest.raises(UsageError, match="no file"):
        Selection(layout_of(10, PIECE - 10, 5, pads=(1,)), numbers)


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=8).filter(any), st.data())
def test_the_bytes_of_chosen_files_are_those_of_the_pieces_that_are_wanted(
    sizes: list[int], data: st.DataObject
) -> None:
    layout = layout_of(*sizes)
    chosen = data.draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1))
    selection = Selection(layout, chosen)
    owners = [number for number, size in enumerate(sizes) for _ in range(size)]
    for piece in range(layout.piece_count):
        inside = owners[piece * PIECE : (piece + 1) * PIECE]
        assert selection.size_of(piece) == sum(number in chosen for number in inside)
        assert bool(selection.pieces[piece]) == any(number in chosen for number in inside)
        assert selection.splits(piece) == any(number not in chosen for number in inside)
    assert selection.size == sum(sizes[number] for number in chosen)


@given(st.lists(st.tuples(st.integers(0, 40_000), st.booleans()), min_size=1, max_size=8), st.data())
def test_what_is_missing_of_all_files_is_the_content_of_the_pieces_that_are(
    files: list[tuple[int, bool]], data: st.DataObject
) -> None:
    pads = tuple(number for number, (_, is_pad) in enumerate(files) if is_pad)
    layout = layout_of(*(size for size, _ in files), pads=pads)
    have = bytearray(data.draw(st.lists(st.integers(0, 1), min_size=layout.piece_count, max_size=layout.piece_count)))
    selection = Selection(layout)
    expected = sum(layout.content_size(piece) for piece, is_there in enumerate(have) if not is_there)
    assert selection.missing(have) == expected
    assert selection.missing(bytearray(layout.piece_count)) == selection.everything


PATHS = ("top/a", "top/sub/b", "top/sub/c", "top/top/a", "top/7")


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ([0, 2], {0, 2}),
        (["a"], {0}),
        (["top/a"], {0}),
        (["top/top/a"], {3}),
        (["sub"], {1, 2}),
        (["./sub/"], {1, 2}),
        (["sub\\b"], {1}),
        (["top"], {0, 1, 2, 3, 4}),
        ([PurePosixPath("sub", "c"), 4], {2, 4}),
        (["7"], {4}),
    ],
)
def test_files_are_found_by_number_and_by_path(choices: list[int | str], found: set[int]) -> None:
    assert find_files(layout_of(1, 1, 1, 1, 1, paths=PATHS), choices) == found


@pytest.mark.parametrize("choice", [-1, 5, "nothing", "su", "", "/", "a/b", "../a", "TOP/A"])
def test_a_file_that_is_not_there_is_an_error(choice: int | str) -> None:
    with pytest.raises(UsageError, match="has no file"):
        find_files(layout_of(1, 1, 1, 1, 1, paths=PATHS), [0, choice])
