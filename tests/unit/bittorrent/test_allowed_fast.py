"""The pieces that newcomers may ask for at any time (BEP 6)."""

from __future__ import annotations

import pytest
from tests.unit.bittorrent.joined_swarms import Room, Wire, torrent_of

from librats.bittorrent.allowed_fast import FAST_PIECES, FastPieces, allowed_fast_set
from librats.bittorrent.messages import AllowedFast, Bitfield, Message, Piece, RejectRequest, Request
from librats.errors import UsageError

VECTOR = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]


@pytest.mark.parametrize("size", [7, 9])
@pytest.mark.parametrize("host", ["80.4.4.200", "80.4.4.1", "::ffff:80.4.4.200"])
def test_the_set_is_that_of_the_standards_example_for_all_of_its_network(size: int, host: str) -> None:
    assert allowed_fast_set(host, b"\xaa" * 20, 1313, size) == VECTOR[:size]


def test_peers_of_other_networks_have_other_sets() -> None:
    hosts = ["80.4.4.200", "80.4.5.200", "2001:db8::1", "2001:db8:0:1::1"]
    sets = [tuple(allowed_fast_set(host, b"\xaa" * 20, 1313)) for host in hosts]
    assert len(set(sets)) == len(hosts)
    assert allowed_fast_set("2001:db8::1", b"\xaa" * 20, 1313) == allowed_fast_set("2001:db8::2", b"\xaa" * 20, 1313)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_torrent_of_few_pieces_has_them_all_in_the_set(count: int) -> None:
    assert sorted(allowed_fast_set("192.0.2.1", b"i" * 20, count)) == list(range(count))


def test_a_name_is_no_address() -> None:
    with pytest.raises(UsageError):
        allowed_fast_set("example.org", b"i" * 20, 10)
    assert FastPieces().give("example.org", b"i" * 20, torrent_of(1000).layout) == []


def test_pieces_beyond_a_limit_are_not_remembered() -> None:
    fast = FastPieces()
    for piece in range(1000):
        fast.take(piece)
    assert len(fast.taken) == 64


class Watched:
    """A seed that serves nobody by itself, and a newcomer; what the seed says is kept."""

    def __init__(self, pieces: int = 40, *, fast: bool = True) -> None:
        self.torrent = torrent_of(32_768 * pieces)
        self.room = Room(self.torrent)
        self.seed, self.leecher = self.room.seed(), self.room.leecher()
        self.seed.swarm._choker.has_room = lambda served: served < 0  # type: ignore[method-assign]
        self.ends = self.room.connect(self.seed, self.leecher, fast=fast)
        self.said: list[Message] = []
        take = self.ends[1].reader.feed

        def feed(data: bytes | bytearray | memoryview) -> list[Message]:
            messages = take(data)
            self.said += messages
            return messages

        self.ends[1].reader.feed = feed  # type: ignore[method-assign]

    @property
    def seed_end(self) -> Wire:
        return self.ends[0]

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.said if isinstance(message, kind)]


def test_a_newcomer_has_the_pieces_of_the_set_though_nobody_serves_it() -> None:
    watched = Watched()
    watched.room.carry()
    link = watched.seed_end.link
    assert link is not None
    assert link.am_choking
    allowed = {message.piece for message in watched.of(AllowedFast) if isinstance(message, AllowedFast)}
    assert allowed == set(allowed_fast_set(link.address.host, watched.torrent.info_hash, 40))
    picker = watched.leecher.swarm.picker
    assert picker is not None
    assert {piece for piece in range(40) if picker.have[piece]} == allowed
    assert len(allowed) == FAST_PIECES


def test_a_peer_without_the_fast_extension_is_told_and_given_nothing() -> None:
    watched = Watched(fast=False)
    watched.room.carry()
    assert not watched.of(AllowedFast)
    assert not watched.of(Piece)


def test_a_peer_that_has_many_pieces_is_no_newcomer() -> None:
    watched = Watched()
    link = watched.seed_end.link
    assert link is not None
    link.receive([Bitfield(b"\xff\xff\0\0\0")], 0.0)
    watched.seed.settle()
    assert b"\x11" not in {data[4:5] for data in map(bytes, link.data_to_send(0.0))}


def test_pieces_outside_of_the_set_are_rejected_and_those_in_it_are_given_twice_at_most() -> None:
    watched = Watched()
    watched.room.carry()
    link = watched.seed_end.link
    assert link is not None
    allowed = allowed_fast_set(link.address.host, watched.torrent.info_hash, 40)
    outside = next(piece for piece in range(40) if piece not in allowed)
    link.receive([Request(outside, 0, 16_384)], 0.0)
    assert not link.queue
    for _ in range(10):
        for piece in allowed:
            link.receive([Request(piece, begin, 16_384) for begin in (0, 16_384)], 0.0)
    assert len(link.queue) == FAST_PIECES * 2  # once they were given already
    watched.room.carry()
    assert len(watched.of(RejectRequest)) == 1 + FAST_PIECES * 2 * 9


def test_requests_for_the_set_outlive_a_choke_and_others_are_rejected() -> None:
    watched = Watched()
    watched.room.carry()
    link = watched.seed_end.link
    assert link is not None
    allowed = allowed_fast_set(link.address.host, watched.torrent.info_hash, 40)
    outside = next(piece for piece in range(40) if piece not in allowed)
    link.set_choking(False)
    link.receive([Request(allowed[0], 0, 16_384), Request(outside, 0, 16_384)], 0.0)
    link.set_choking(True)
    assert list(link.queue) == [(allowed[0], 0, 16_384)]


def test_a_pause_ends_what_newcomers_may_ask_for_as_well() -> None:
    watched = Watched()
    watched.room.carry()
    link = watched.seed_end.link
    assert link is not None
    allowed = allowed_fast_set(link.address.host, watched.torrent.info_hash, 40)
    link.set_choking(False)
    link.receive([Request(allowed[0], 0, 16_384)], 0.0)
    watched.seed.swarm.pause()
    assert not link.queue
