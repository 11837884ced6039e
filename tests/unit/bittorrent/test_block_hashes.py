"""Hashes of blocks for peers (BEP 52), compared with a tree that is built whole."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bittorrent.joined_swarms import Room, content_of, torrent_of

from librats.bittorrent import block_hashes as block_hashes_module
from librats.bittorrent.block_hashes import BlockServer
from librats.bittorrent.events import HashesAsked
from librats.bittorrent.hash_exchange import LayerServer
from librats.bittorrent.merkle import BLOCK_SIZE, block_hashes, climb, root_above
from librats.bittorrent.messages import Hashes, HashReject, HashRequest
from librats.bittorrent.metainfo import Torrent


def whole_tree(content: bytes) -> list[list[bytes]]:
    """Return all levels, the leaves first."""
    leaves = [sha256(content[at : at + BLOCK_SIZE]).digest() for at in range(0, len(content), BLOCK_SIZE)]
    while len(leaves) & (len(leaves) - 1):
        leaves.append(bytes(32))
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([sha256(below[at] + below[at + 1]).digest() for at in range(0, len(below), 2)])
    return levels


def server_of(torrent: Torrent) -> BlockServer:
    return BlockServer(torrent, LayerServer(torrent))


def leaves_of(torrent: Torrent, content: bytes, pieces: range) -> bytes:
    length = torrent.layout.piece_length
    return block_hashes(content[pieces.start * length : pieces.stop * length])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 400_000),
    st.sampled_from([16_384, 32_768, 65_536]),
    st.integers(0, 40),
    st.integers(0, 6),
    st.integers(0, 7),
    st.sampled_from(["v2", "hybrid"]),
)
def test_answers_are_those_of_the_whole_tree_and_prove_themselves(
    size: int, piece_length: int, at: int, power: int, proofs: int, version: str
) -> None:
    torrent, content = torrent_of(size, version=version, piece_length=piece_length), content_of(size)
    file, levels, length = torrent.layout.files[0], whole_tree(content_of(size)), 1 << power
    request = HashRequest(file.root, 0, at * length, length, proofs)
    there = (at + 1) * length <= len(levels[0]) and length > 1 and proofs < len(levels) - 1
    server = server_of(torrent)
    pieces = server.pieces_for(request, bytearray(b"\1" * torrent.layout.piece_count))
    if pieces is None:
        has_layer_of_blocks = piece_length == BLOCK_SIZE and size > piece_length
        assert not there or has_layer_of_blocks or at * length * BLOCK_SIZE >= size
        return
    assert there
    answer = server.answer(request, leaves_of(torrent, content, pieces))
    assert isinstance(answer, Hashes)
    hashes = levels[0][at * length : (at + 1) * length]
    uncles = [levels[level][(at * length >> level) ^ 1] for level in range(power, proofs + 1)]
    assert answer.hashes == b"".join(hashes + uncles)
    if proofs == len(levels) - 2:
        assert climb(root_above(b"".join(hashes), length), at, b"".join(uncles)) == file.root


def two_piece_torrent() -> Torrent:
    return torrent_of(131_072, version="v2", piece_length=65_536)


@pytest.mark.parametrize(
    "changed",
    [
        {"root": b"x" * 32},
        {"base_layer": 1},
        {"base_layer": 3},
        {"first": 2},
        {"first": 8},
        {"length": 3},
        {"length": 0},
        {"length": 1},
        {"length": 16},
        {"length": 1 << 31},
        {"first": (1 << 32) - 4},
        {"proof_layers": 3},
        {"proof_layers": 1 << 31},
    ],
)
def test_requests_for_what_there_is_not_are_for_no_blocks(changed: dict[str, int]) -> None:
    torrent = two_piece_torrent()
    request = HashRequest(torrent.layout.files[0].root, 0, 0, 4, 2)
    have = bytearray(b"\1\1")
    assert server_of(torrent).pieces_for(request, have) == range(1)
    assert server_of(torrent).pieces_for(request._replace(**changed), have) is None  # type: ignore[arg-type]


def test_pieces_that_are_not_there_are_not_hashed() -> None:
    torrent = two_piece_torrent()
    root = torrent.layout.files[0].root
    assert server_of(torrent).pieces_for(HashRequest(root, 0, 4, 4, 2), bytearray(b"\1\0")) is None
    assert server_of(torrent).pieces_for(HashRequest(root, 0, 0, 8, 0), bytearray(b"\1\0")) is None


def test_more_than_a_limit_is_not_read_for_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_hashes_module, "MAX_HASHED", 1 << 19)
    torrent = torrent_of(1 << 20, version="v2", piece_length=1 << 16)
    root, have = torrent.layout.files[0].root, bytearray(b"\1" * torrent.layout.piece_count)
    assert server_of(torrent).pieces_for(HashRequest(root, 0, 0, 32, 0), have) == range(8)
    assert server_of(torrent).pieces_for(HashRequest(root, 0, 0, 64, 0), have) is None
    monkeypatch.setattr(block_hashes_module, "MAX_HASHED", 1)
    assert server_of(torrent).pieces_for(HashRequest(root, 0, 0, 4, 0), have) == range(1)  # of one piece, always


def test_a_file_that_has_changed_is_not_told_of() -> None:
    torrent = two_piece_torrent()
    request = HashRequest(torrent.layout.files[0].root, 0, 0, 4, 2)
    assert isinstance(server_of(torrent).answer(request, block_hashes(bytes(65_536))), HashReject)
    assert isinstance(server_of(torrent).answer(request, None), HashReject)


def test_a_peer_has_its_answer_when_the_pieces_are_hashed_and_few_requests_wait() -> None:
    torrent = two_piece_torrent()
    room = Room(torrent)
    seed, other = room.seed(), room.leecher()
    end, _ = room.connect(seed, other)
    link = end.link
    assert link is not None
    link.data_to_send(0.0)
    request = HashRequest(torrent.layout.files[0].root, 0, 0, 4, 2)
    link.receive([request] * 10, 0.0)
    asked = [event for event in seed.swarm.events() if isinstance(event, HashesAsked)]
    assert [(event.link, event.request, event.pieces) for event in asked] == [(link, request, range(1))] * 4
    assert len(b"".join(map(bytes, link.data_to_send(0.0)))) == 6 * (4 + 1 + 48)  # the others are refused at once
    for event in asked:
        seed.swarm.give_hashes(link, event.request, leaves_of(torrent, content_of(131_072), event.pieces))
    assert len(b"".join(map(bytes, link.data_to_send(0.0)))) == 4 * (4 + 1 + 48 + 32 * 5)
    link.receive([request], 0.0)
    (again,) = seed.swarm.events()
    assert isinstance(again, HashesAsked)
    seed.swarm.remove_peer(link, 0.0)
    seed.swarm.give_hashes(link, request, None)  # it has gone meanwhile
    assert link.data_to_send(0.0) == []


def test_a_torrent_of_version_1_has_none() -> None:
    room = Room(torrent_of(131_072, version="v1"))
    seed, other = room.seed(), room.leecher()
    end, _ = room.connect(seed, other)
    assert end.link is not None
    end.link.data_to_send(0.0)
    end.link.receive([HashRequest(b"r" * 32, 0, 0, 4, 0)], 0.0)
    assert b"".join(map(bytes, end.link.data_to_send(0.0)))[4] == 23
