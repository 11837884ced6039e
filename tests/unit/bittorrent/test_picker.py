"""What is asked of whom: rare pieces first, begun ones before others, the last blocks of two."""

from __future__ import annotations

from dataclasses import dataclass

from tests.unit.bittorrent.joined_swarms import Dice

from librats.bittorrent.layout import Layout, TorrentFile
from librats.bittorrent.picker import PiecePicker

LENGTH = 65_536
COUNT = 10


@dataclass
class Peer:
    key: str
    pieces: frozenset[int] = frozenset(range(COUNT))

    def has_piece(self, piece: int) -> bool:
        return piece in self.pieces


def picker_of(size: int = LENGTH * COUNT, *, even: bool = True, have: bytearray | None = None) -> PiecePicker:
    layout = Layout((TorrentFile(path=("f",), size=size, offset=0),), LENGTH)
    return PiecePicker(layout, Dice(), have=have, even=even)


def give(picker: PiecePicker, blocks: list[tuple[int, int, int]], key: str) -> None:
    for piece, begin, length in blocks:
        picker.receive(piece, begin, bytes(length), key)
        picker.take_whole(piece)


def test_the_rarest_piece_is_asked_for_first() -> None:
    picker = picker_of()
    for piece in range(COUNT):
        for _ in range(1 if piece == 7 else 3):
            picker.add_holder(piece)
    assert {piece for piece, _, _ in picker.pick(Peer("a"), 4)} == {7}


def test_a_piece_that_is_begun_is_gone_on_with_before_another_one_is_begun() -> None:
    picker = picker_of()
    first = picker.pick(Peer("a"), 2)
    second = picker.pick(Peer("b"), 2)
    assert {block[0] for block in first} == {block[0] for block in second}
    assert not set(first) & set(second)
    assert picker.pick(Peer("c"), 1)[0][0] != first[0][0]


def test_a_peer_is_asked_only_for_what_it_has() -> None:
    picker = picker_of()
    assert {block[0] for block in picker.pick(Peer("a", frozenset({3, 4})), 100)} == {3, 4}
    assert picker.pick(Peer("a", frozenset({3, 4})), 100) == []


def test_the_last_blocks_are_asked_of_two_and_the_second_is_told_that_it_came() -> None:
    picker = picker_of(LENGTH)
    asked = picker.pick(Peer("a"), 100)
    assert picker.is_end_game
    again = picker.pick(Peer("b"), 100)
    assert sorted(again) == sorted(asked)
    assert picker.pick(Peer("c"), 100) == []
    piece, begin, length = asked[0]
    assert picker.receive(piece, begin, bytes(length), "a") == (True, ("a", "b"))
    assert picker.receive(piece, begin, bytes(length), "b") == (False, ())


def test_a_block_that_is_given_back_is_asked_of_another_peer() -> None:
    picker = picker_of(LENGTH)
    (first, *_) = picker.pick(Peer("a"), 100)
    picker.release(first[0], first[1], "b")
    assert picker.is_end_game
    picker.release(first[0], first[1], "a")
    assert picker.pick(Peer("b"), 1) == [first]


def test_a_whole_piece_is_taken_once_and_missing_again_where_it_is_wrong() -> None:
    picker = picker_of(LENGTH)
    blocks = picker.pick(Peer("a"), 100)
    for piece, begin, length in blocks[:-1]:
        picker.receive(piece, begin, b"x" * length, "a")
    assert picker.take_whole(0) is None
    picker.receive(*blocks[-1][:2], b"x" * blocks[-1][2], "a")
    started = picker.take_whole(0)
    assert started is not None
    assert started.buffer == b"x" * LENGTH
    assert picker.take_whole(0) is None
    assert picker.checking_size == LENGTH
    assert picker.end_check(0, is_right=False) == {"a"}
    assert (picker.missing, picker.checking_size) == (1, 0)
    assert len(picker.pick(Peer("a"), 100)) == 4


def test_what_came_wrong_from_several_comes_from_one_alone_the_next_time() -> None:
    picker = picker_of(LENGTH)
    give(picker, picker.pick(Peer("a"), 2), "a")
    give(picker, picker.pick(Peer("b"), 2), "b")
    assert picker.end_check(0, is_right=False) == set()
    blocks = picker.pick(Peer("a"), 2)
    assert picker.pick(Peer("b"), 4) == []
    give(picker, blocks, "a")
    picker.release(0, picker.pick(Peer("a"), 1)[0][1], "a")  # it goes: another one begins anew
    blocks = picker.pick(Peer("b"), 4)
    assert len(blocks) == 4
    give(picker, blocks, "b")
    assert picker.end_check(0, is_right=True) == set()
    assert picker.is_complete


def test_pieces_that_are_there_are_not_asked_for() -> None:
    picker = picker_of(have=bytearray([1, 0] * 5))
    assert picker.missing == 5
    assert {block[0] for block in picker.pick(Peer("a"), 1000)} == {1, 3, 5, 7, 9}


def test_the_last_block_ends_with_the_file_or_with_the_piece() -> None:
    layout = Layout(
        (
            TorrentFile(path=("a",), size=20_000, offset=0),
            TorrentFile(path=("p",), size=LENGTH - 20_000, offset=20_000, is_pad=True),
        ),
        LENGTH,
    )
    for even, wanted in ((False, 20_000 - 16_384), (True, 16_384)):
        picker = PiecePicker(layout, Dice(), even=even)
        assert picker.pick(Peer("a"), 100) == [(0, 0, 16_384), (0, 16_384, wanted)]
        assert [started.asked_size for started in picker.started()] == [16_384 + wanted]


def test_one_piece_can_be_asked_for_out_of_its_turn() -> None:
    picker = picker_of()
    assert {block[0] for block in picker.pick_of(Peer("a"), 6, 2)} == {6}
    assert len(picker.pick_of(Peer("b"), 6, 9)) == 2
    assert picker.pick_of(Peer("b"), 6, 9) == []


def test_the_memory_of_a_stored_piece_is_used_for_the_next_one() -> None:
    picker, peer = picker_of(), Peer("a")
    buffers = []
    for _ in range(2):
        blocks = picker.pick(peer, LENGTH // 16_384)
        for piece, begin, length in blocks:
            picker.receive(piece, begin, bytes([7]) * length, "a")
        started = picker.take_whole(blocks[0][0])
        assert started is not None
        assert started.buffer == bytes([7]) * LENGTH
        buffers.append(started.buffer)
        picker.end_check(started.piece, is_right=True)
    assert buffers[0] is buffers[1]


def test_a_piece_that_zeros_fill_gets_memory_of_its_own() -> None:
    files = (
        TorrentFile(path=("a",), size=LENGTH, offset=0),
        TorrentFile(path=("b",), size=10, offset=LENGTH),
        TorrentFile(path=("pad",), size=LENGTH - 10, offset=LENGTH + 10, is_pad=True),
    )
    picker, peer = PiecePicker(Layout(files, LENGTH), Dice(), even=False), Peer("a", frozenset(range(2)))
    wholes = []
    for _ in range(2):
        blocks = picker.pick_of(peer, 1 if picker.have[0] else 0, 100)
        for piece, begin, length in blocks:
            picker.receive(piece, begin, b"x" * length, "a")
        started = picker.take_whole(blocks[0][0])
        assert started is not None
        wholes.append(started.buffer)
        picker.end_check(started.piece, is_right=True)
    assert wholes[1] == b"x" * 10 + bytes(LENGTH - 10)
