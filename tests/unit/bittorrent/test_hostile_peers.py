"""Peers that mean no good: what they make a swarm do, keep and send stays within limits, and honest ones stay."""

from __future__ import annotations

import pytest
from tests.unit.bittorrent.joined_swarms import Room, Wire, torrent_of

from librats.bittorrent.events import PeerDropped
from librats.bittorrent.extensions import ExtendedHandshake, MetadataKind, MetadataMessage
from librats.bittorrent.messages import (
    Bitfield,
    Extended,
    HashRequest,
    Have,
    HaveAll,
    HaveNone,
    Message,
    Piece,
    Request,
    Unchoke,
)
from librats.bittorrent.metadata import MAX_METADATA, MetadataFetch
from librats.bittorrent.patience import MAX_SUMMARIES
from librats.bittorrent.peer import PeerLink
from librats.errors import RemoteProtocolError

SIZE = 500_000
MEBI = 1 << 20


def link_of(wire: Wire) -> PeerLink:
    assert wire.link is not None
    return wire.link


def size_of(link: PeerLink) -> int:
    return sum(len(part) for part in link.data_to_send(0.0))


def tell(link: PeerLink, *messages: Message) -> None:
    link.receive(messages, 0.0)


def introduction() -> Extended:
    return Extended(0, ExtendedHandshake(extensions={"ut_metadata": 7}).encode())


# What is not read


def test_requests_for_metadata_by_the_thousand_fill_no_memory() -> None:
    room = Room(torrent_of(SIZE * 40, piece_length=16_384))
    wire, _ = room.connect(room.seed(), room.leecher())
    link = link_of(wire)
    tell(link, introduction())
    request = Extended(1, MetadataMessage(kind=MetadataKind.REQUEST, piece=0).encode())
    tell(link, *[request] * 5000)
    assert size_of(link) < 2 * MEBI


def test_all_metadata_is_given_to_who_asks_for_all_of_it_at_once() -> None:
    room = Room(torrent_of(SIZE * 40, piece_length=16_384))
    seed = room.seed()
    wire, _ = room.connect(seed, room.leecher())
    link = link_of(wire)
    tell(link, introduction())
    link.data_to_send(0.0)
    torrent = seed.swarm.torrent
    assert torrent is not None
    pieces = range(-(-len(torrent.info) // 16_384))
    tell(link, *[Extended(1, MetadataMessage(kind=MetadataKind.REQUEST, piece=piece).encode()) for piece in pieces])
    assert size_of(link) > len(torrent.info)


def test_requests_for_hashes_by_the_thousand_fill_no_memory() -> None:
    torrent = torrent_of(SIZE * 20, version="v2", piece_length=16_384)
    room = Room(torrent)
    wire, _ = room.connect(room.seed(), room.leecher())
    link = link_of(wire)
    root = torrent.layout.files[0].root
    tell(link, *[HashRequest(root, 0, 0, 512, 1)] * 2000)
    assert size_of(link) < 2 * MEBI


def test_who_has_things_refused_without_end_and_reads_nothing_is_let_go() -> None:
    room = Room(torrent_of(SIZE))
    wire, _ = room.connect(room.seed(), room.leecher())
    link = link_of(wire)

    def flood() -> None:
        for _ in range(100):
            tell(link, *[Request(0, 0, 16_384)] * 20_000)

    with pytest.raises(RemoteProtocolError, match="reads nothing"):
        flood()
    assert size_of(link) < 8 * MEBI


# What it has


@pytest.mark.parametrize("message", [HaveAll(), HaveNone(), Bitfield(b"\x80\0")])
def test_what_a_peer_has_is_summed_up_a_few_times_at_most(message: Message) -> None:
    room = Room(torrent_of(SIZE))
    wire, _ = room.connect(room.leecher(), room.leecher())
    link = link_of(wire)
    tell(link, *[message] * MAX_SUMMARIES)
    with pytest.raises(RemoteProtocolError, match="too often"):
        tell(link, message)


def test_bitfields_before_the_torrent_is_known_are_few() -> None:
    torrent = torrent_of(SIZE)
    room = Room(torrent)
    wire, _ = room.connect(room.newcomer(torrent.magnet()), room.leecher())
    link = link_of(wire)
    tell(link, *[Bitfield(bytes(100_000))] * MAX_SUMMARIES)
    with pytest.raises(RemoteProtocolError, match="too often"):
        tell(link, Bitfield(bytes(100_000)))


@pytest.mark.parametrize("message", [Bitfield(b"\1"), Have(1 << 30)])
def test_who_has_told_what_cannot_be_before_the_torrent_was_known_is_dropped_alone(message: Message) -> None:
    torrent = torrent_of(SIZE)
    room = Room(torrent)
    seed, newcomer = room.seed(), room.newcomer(torrent.magnet())
    wire, _ = room.connect(newcomer, room.leecher())
    liar = link_of(wire)
    tell(liar, message)
    room.connect(newcomer, seed)
    room.carry()
    assert newcomer.is_complete
    assert liar in [event.link for event in newcomer.of(PeerDropped) if isinstance(event, PeerDropped)]


# Who it was


def test_a_liar_that_leaves_before_the_check_is_known_the_next_time() -> None:
    room = Room(torrent_of(SIZE))
    leecher = room.leecher()
    wire, _ = room.connect(leecher, room.leecher())
    liar = link_of(wire)
    tell(liar, HaveAll(), Unchoke())
    wanted = [(piece, begin, size) for (piece, begin), size in liar.asked.items() if piece == next(iter(liar.asked))[0]]
    tell(liar, *[Piece(piece, begin, memoryview(bytes(size))) for piece, begin, size in wanted])
    leecher.swarm.remove_peer(liar, 0.0)
    room.carry()
    leecher.settle()
    (dropped,) = [event for event in leecher.of(PeerDropped) if isinstance(event, PeerDropped)]
    assert (dropped.link, dropped.is_lying) == (liar, True)


def test_no_peer_is_taken_for_another_one_that_is_gone() -> None:
    room = Room(torrent_of(SIZE))
    leecher = room.leecher()
    keys = set()
    for _ in range(20):
        wire, _ = room.connect(leecher, room.leecher())
        keys.add(link_of(wire).key)
        wire.cut()
    assert len(keys) == 20


def test_blocks_that_come_after_a_pause_are_not_held_against_a_peer() -> None:
    room = Room(torrent_of(SIZE * 10))
    leecher = room.leecher()
    wire, _ = room.connect(leecher, room.leecher())
    link = link_of(wire)
    tell(link, HaveAll(), Unchoke())
    for _ in range(30):
        asked = [(piece, begin, size) for (piece, begin), size in link.asked.items()]
        assert asked
        leecher.swarm.pause()
        tell(link, *[Piece(piece, begin, memoryview(bytes(size))) for piece, begin, size in asked])
        leecher.swarm.go_on(0.0)
    assert link.key in leecher.swarm.links


def test_blocks_that_were_never_asked_for_are_held_against_a_peer() -> None:
    room = Room(torrent_of(SIZE))
    wire, _ = room.connect(room.leecher(), room.leecher())
    with pytest.raises(RemoteProtocolError, match="nobody has asked"):
        tell(link_of(wire), *[Piece(0, 0, memoryview(b"x"))] * 1001)


# Metadata and introductions


def test_names_of_extensions_that_never_end_are_not_kept() -> None:
    room = Room(torrent_of(SIZE))
    wire, _ = room.connect(room.seed(), room.leecher())
    link = link_of(wire)
    for number in range(50):
        told = {f"{number}-{name}": 1 for name in range(60)} | {"ut_pex": number + 1}
        tell(link, Extended(0, ExtendedHandshake(extensions=told).encode()))
    assert link.remote.extensions == {"ut_pex": 50}


def test_introductions_without_end_are_not_taken() -> None:
    room = Room(torrent_of(SIZE))
    wire, _ = room.connect(room.leecher(), room.leecher())
    link = link_of(wire)
    for _ in range(5):
        tell(link, *[introduction()] * 90)
        room.wait(1)
    with pytest.raises(RemoteProtocolError, match="no use"):
        tell(link, *[introduction()] * 200)


def test_ever_other_sizes_of_the_metadata_leave_nothing_behind() -> None:
    fetch = MetadataFetch(torrent_of(SIZE).magnet())
    for size in range(20_000, 30_000):
        fetch.add_peer("liar", size)
        for message in fetch.next_requests("liar", 0.0):
            data = bytes(min(16_384, size - 16_384 * message.piece)) if message.piece == 0 else b""
            fetch.receive("liar", MetadataMessage(kind=MetadataKind.DATA, piece=message.piece, data=data))
    assert fetch.kept == 1


def test_what_many_liars_give_of_the_metadata_is_bounded() -> None:
    fetch = MetadataFetch(torrent_of(SIZE).magnet())
    for number in range(6):
        fetch.add_peer(number, MAX_METADATA - number)
        for _ in range(1023):
            for message in fetch.next_requests(number, 0.0):
                data = memoryview(bytes(16_384))
                fetch.receive(number, MetadataMessage(kind=MetadataKind.DATA, piece=message.piece, data=bytes(data)))
    assert fetch.kept <= 4096


def test_a_peer_is_not_refused_for_what_one_before_it_has_refused() -> None:
    fetch = MetadataFetch(torrent_of(SIZE).magnet())
    for _ in range(3):
        fetch.add_peer("peer", 20_000)
        for message in fetch.next_requests("peer", 0.0):
            fetch.receive("peer", MetadataMessage(kind=MetadataKind.REJECT, piece=message.piece))
    fetch.remove_peer("peer")
    fetch.add_peer("peer", 20_000)
    assert fetch.next_requests("peer", 0.0)
