"""The giver's side: what it is asked for, in which order, and what it does not put up with."""

from __future__ import annotations

import pytest

from librats.errors import TransferError
from librats.transfer import sending as giving
from librats.transfer.frames import Chunk, Frame, FrameReader, Piece, read_hashes, read_piece
from librats.transfer.layout import Layout
from librats.transfer.manifest import Manifest, OfferedFile, read_manifest, write_manifest
from librats.transfer.manifest_taking import ManifestTaking
from librats.transfer.pacing import RateLimit
from librats.transfer.sending import Sending
from librats.transfer.tree import LEAF_SIZE, hash_file, leaf_hashes

CONTENT = b"".join(bytes([number]) * LEAF_SIZE for number in range(8))
TREE = hash_file([CONTENT])
MANIFEST = Manifest(name="x", is_folder=False, files=(OfferedFile(path=("x",), size=TREE.length, root=TREE.root),))
RAW = write_manifest(MANIFEST)
LAYOUT = Layout(MANIFEST)


def sending(rate: float | None = None) -> Sending:
    return Sending(LAYOUT, RAW, {0: TREE}, RateLimit(rate))


def give(machine: Sending, now: float = 0.0) -> Chunk | None:
    job = machine.next_parts(now)
    if job is None:
        return None
    wanted, parts = job
    data = [CONTENT[part.offset : part.offset + part.size] for part in parts]
    [chunk] = FrameReader().feed(b"".join(machine.chunk(wanted, parts, data)))
    assert isinstance(chunk, Chunk)
    return chunk


def test_ranges_are_given_in_the_order_in_which_they_are_wanted_and_once() -> None:
    machine = sending()
    machine.want([(4, 2), (0, 1)])
    machine.want([(0, 1), (7, 1)])
    given = []
    while chunk := give(machine):
        LAYOUT.check(chunk.range, chunk.pieces)
        given.append(chunk.range)
    assert given == [(4, 2), (0, 1), (7, 1)]
    assert machine.sent == 4 * LEAF_SIZE


def test_what_is_no_longer_wanted_is_not_given() -> None:
    machine = sending()
    machine.want([(0, 1), (1, 1), (2, 1)])
    machine.unwant([(1, 1), (5, 1)])
    assert [give(machine).range for _ in range(2)] == [(0, 1), (2, 1)]  # type: ignore[union-attr]
    assert give(machine) is None


def test_wanting_and_not_wanting_over_and_over_takes_no_memory() -> None:
    machine = sending()
    for _ in range(10_000):
        machine.want([(0, 1), (1, 1)])
        machine.unwant([(0, 1), (1, 1)])
    assert len(machine._order) < 100


def test_a_pause_holds_everything_back() -> None:
    machine = sending()
    machine.want([(0, 1)])
    machine.is_paused = True
    assert give(machine) is None
    assert machine.ready_at(0.0) == float("inf")
    machine.is_paused = False
    assert give(machine) is not None


def test_a_limit_says_when_the_next_may_go() -> None:
    machine = sending(rate=LEAF_SIZE)
    machine.want([(0, 1), (1, 1), (2, 1)])
    assert give(machine, 10.0) is not None
    assert give(machine, 10.0) is None
    ready = machine.ready_at(10.0)
    assert ready == pytest.approx(10.75)
    assert give(machine, ready) is not None
    assert machine.ready_at(ready) == pytest.approx(11.75)


def test_two_givers_share_a_limit() -> None:
    limit = RateLimit(LEAF_SIZE)
    machines = [Sending(LAYOUT, RAW, {0: TREE}, limit) for _ in range(2)]
    for machine in machines:
        machine.want([(0, 1)])
    assert give(machines[0], 10.0) is not None
    assert give(machines[1], 10.0) is None


@pytest.mark.parametrize("wanted", [(0, 0), (0, 9), (8, 1), (1 << 31, 1 << 31)])
def test_leaves_that_are_not_there_cannot_be_wanted(wanted: tuple[int, int]) -> None:
    with pytest.raises(TransferError) as refused:
        sending().want([wanted])
    assert refused.value.code == "protocol"


def test_more_ranges_than_the_limit_cannot_be_wanted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "MAX_WANTED", 7)
    machine = sending()
    machine.want([(leaf, 1) for leaf in range(7)])
    with pytest.raises(TransferError, match="more than 7 ranges are asked for at once") as refused:
        machine.want([(7, 1)])
    assert refused.value.code == "protocol"


def test_a_taker_cannot_have_more_than_there_is() -> None:
    machine = sending()
    machine.accepted(5)
    assert machine.done == 5
    with pytest.raises(TransferError):
        machine.accepted(len(CONTENT) + 1)


def test_a_manifest_is_taken_piece_by_piece() -> None:
    files = [OfferedFile(path=(f"{n:05}",), size=TREE.length, root=TREE.root) for n in range(3000)]
    raw = write_manifest(Manifest(name="x", is_folder=True, files=tuple(files)))
    machine = Sending(LAYOUT, raw, {0: TREE}, RateLimit(None))
    taking = ManifestTaking(len(raw))
    rounds = 0
    while not taking.is_whole:
        for offset, size in taking.wants():
            [frame] = FrameReader().feed(machine.manifest_piece(offset, size))
            taking.take(read_piece(frame.body))  # type: ignore[union-attr]
        rounds += 1
    assert rounds == 1
    assert read_manifest(taking.raw) == read_manifest(raw)


def test_a_manifest_cannot_be_asked_for_over_and_over() -> None:
    machine = sending()
    times = 2 + 65_536 // len(RAW)
    assert all(machine.manifest_piece(0, 65_536) for _ in range(times))
    with pytest.raises(TransferError) as refused:
        machine.manifest_piece(0, 65_536)
    assert refused.value.code == "protocol"
    with pytest.raises(TransferError):
        sending().manifest_piece(len(RAW), 10)


@pytest.mark.parametrize("piece", [Piece(1, RAW), Piece(0, RAW[:-1]), Piece(0, RAW + b"x")])
def test_a_piece_that_was_not_asked_for_is_refused(piece: Piece) -> None:
    taking = ManifestTaking(len(RAW))
    taking.wants()
    with pytest.raises(TransferError) as refused:
        taking.take(piece)
    assert refused.value.code == "protocol"


def test_a_manifest_beyond_the_limit_is_not_asked_for() -> None:
    with pytest.raises(TransferError, match="67108864 bytes") as refused:
        ManifestTaking((64 << 20) + 1)
    assert refused.value.code == "limit"


def hashes(machine: Sending, wanted: tuple[int, int]) -> bytes:
    [frame] = FrameReader().feed(machine.hashes(wanted))
    assert isinstance(frame, Frame)
    told, body = read_hashes(frame.body)
    assert told == wanted
    return body


@pytest.mark.parametrize("wanted", [(0, 8), (0, 1), (3, 2), (7, 1)])
def test_hashes_are_given_with_their_proof(wanted: tuple[int, int]) -> None:
    first, count = wanted
    leaves = LAYOUT.check_hashes(wanted, hashes(sending(), wanted))
    assert leaves == leaf_hashes([CONTENT[first * LEAF_SIZE : (first + count) * LEAF_SIZE]])


def test_hashes_that_are_not_of_their_leaves_are_refused() -> None:
    body = hashes(sending(), (3, 2))
    for at in range(len(body)):
        with pytest.raises(TransferError, match="bad_chunk"):
            LAYOUT.check_hashes((3, 2), body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    with pytest.raises(TransferError, match="bad_chunk"):
        LAYOUT.check_hashes((2, 2), hashes(sending(), (0, 2)))
    for wrong in (body[:-1], body + b"x", b""):
        with pytest.raises(TransferError, match="protocol"):
            LAYOUT.check_hashes((3, 2), wrong)


@pytest.mark.parametrize("wanted", [(0, 0), (0, 9), (8, 1), (1 << 31, 1)])
def test_hashes_of_leaves_that_are_not_there_are_not_given(wanted: tuple[int, int]) -> None:
    with pytest.raises(TransferError, match="protocol"):
        sending().hashes(wanted)


def test_hashes_are_given_of_one_file_of_several_leaves_at_a_time() -> None:
    trees = [hash_file([CONTENT]), hash_file([b"x"]), hash_file([CONTENT + b"y"])]
    files = [OfferedFile(path=(name,), size=t.length, root=t.root) for name, t in zip("abc", trees, strict=True)]
    layout = Layout(Manifest(name="x", is_folder=True, files=tuple(files)))
    machine = Sending(layout, RAW, {0: trees[0], 2: trees[2]}, RateLimit(None))
    assert layout.check_hashes((9, 9), hashes(machine, (9, 9))) == leaf_hashes([CONTENT + b"y"])
    for wanted in ((7, 2), (8, 1), (8, 2), (0, 18)):
        with pytest.raises(TransferError, match="protocol"):
            machine.hashes(wanted)


def test_all_hashes_are_given_twice_and_not_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "MAX_HASHES", 8)
    machine = sending()
    for _ in range(3):  # twice, and the room of one question
        hashes(machine, (0, 8))
    with pytest.raises(TransferError, match="protocol"):
        machine.hashes((0, 1))


def test_more_hashes_than_one_frame_takes_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "MAX_HASHES", 7)
    hashes(sending(), (0, 7))
    with pytest.raises(TransferError, match="protocol"):
        sending().hashes((0, 8))
