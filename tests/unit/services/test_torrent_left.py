"""How much of a torrent is left, as trackers are told: of all files, wanted or not (BEP 21)."""

from __future__ import annotations

import pytest
from tests.unit.bittorrent.test_selection import PIECE, layout_of

from librats.services.torrenting.choosing import Choosing

LAYOUT = layout_of(2 * PIECE, PIECE, 10)  # four pieces, the last one of ten bytes


def choosing(*files: int) -> Choosing:
    found = Choosing(files or None, None)
    found.begin(LAYOUT)
    return found


def test_of_what_is_not_known_yet_much_is_left() -> None:
    assert Choosing(None, None).bytes_left(None) > 0


def test_whoever_has_all_lacks_nothing() -> None:
    found, have = choosing(), bytearray(b"\1\1\1\1")
    found.count(have)
    assert found.bytes_left(have) == 0


@pytest.mark.parametrize(("have", "left"), [(b"\1\1\0\0", PIECE + 10), (b"\1\1\1\0", 10), (b"\1\0\0\1", 2 * PIECE)])
def test_files_that_are_not_wanted_are_left_as_well(have: bytes, left: int) -> None:
    found = choosing(0)
    found.count(bytearray(have))
    assert found.bytes_left(bytearray(have)) == left


def test_files_that_are_not_wanted_and_there_are_not_left() -> None:
    found, have = choosing(0), bytearray(b"\1\1\1\1")
    found.count(have)
    assert found.bytes_left(have) == 0


def test_zeros_that_fill_pieces_are_not_left() -> None:
    found = Choosing([0], None)
    found.begin(layout_of(10, PIECE - 10, 5, pads=(1,)))
    assert found.bytes_left(bytearray(2)) == 15
    assert found.bytes_left(bytearray(b"\1\0")) == 5


def test_while_what_is_there_is_checked_the_rest_is_left() -> None:
    found = choosing(0)
    found.check(0, is_right=True)
    assert found.bytes_left(None) == 2 * PIECE + 10
