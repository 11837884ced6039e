"""Swarms: pieces go round, liars are dropped, those who go leave nothing asked for, magnets become torrents."""

from __future__ import annotations

import pytest
from tests.unit.bittorrent.joined_swarms import Dice, Room, completions, content_of, torrent_of

from librats.bittorrent.events import DhtNodeTold, PeerDropped, PeersTold, TorrentKnown, TorrentUnusable
from librats.bittorrent.extensions import ExtendedHandshake, PexMessage
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.messages import (
    Bitfield,
    Extended,
    Handshake,
    Have,
    HaveAll,
    HaveNone,
    Piece,
    Port,
    Request,
    Unchoke,
)
from librats.bittorrent.metainfo import read_info
from librats.bittorrent.peer_telling import wants_nothing
from librats.bittorrent.reader import MessageReader
from librats.bittorrent.swarm import Swarm
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.errors import RemoteProtocolError
from librats.types import Address

SIZE = 500_000


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("fast", [True, False])
def test_a_leecher_gets_everything_of_a_seed(version: str, fast: bool) -> None:
    room = Room(torrent_of(SIZE, version=version))
    seed, leecher = room.seed(), room.leecher()
    room.connect(leecher, seed, fast=fast)
    room.carry()
    assert leecher.is_complete
    assert bytes(leecher.content[:SIZE]) == content_of(SIZE)
    assert completions(leecher) == 1
    assert (leecher.swarm.wasted, leecher.swarm.downloaded, seed.swarm.uploaded) == (0, SIZE, SIZE)


def test_two_seeds_part() -> None:
    room = Room(torrent_of(SIZE))
    one, other = room.seed(), room.seed()
    room.connect(one, other)
    room.carry()
    room.wait(1)
    assert not one.swarm.links
    assert not other.swarm.links


def test_what_one_leecher_has_goes_on_to_the_next() -> None:
    room = Room(torrent_of(SIZE))
    seed, middle, last = room.seed(), room.leecher(), room.leecher()
    room.connect(middle, seed)
    room.connect(last, middle)
    room.carry()
    room.wait(20)
    assert middle.is_complete
    assert last.is_complete
    assert last.swarm.downloaded == SIZE


def test_ten_leechers_of_one_seed_give_each_other_most_of_it() -> None:
    size = SIZE * 10
    room = Room(torrent_of(size))
    seed = room.seed()
    leechers = [room.leecher() for _ in range(10)]
    for member in room.members:
        member.blocks_a_round = 1
    for number, leecher in enumerate(leechers):
        room.connect(leecher, seed)
        for other in leechers[:number]:
            room.connect(leecher, other)
    room.wait(60)
    assert all(leecher.is_complete for leecher in leechers)
    assert all(bytes(leecher.content) == content_of(size) for leecher in leechers)
    assert seed.swarm.uploaded < 10 * size / 2


def test_a_peer_that_gives_wrong_pieces_alone_is_dropped_as_a_liar() -> None:
    room = Room(torrent_of(SIZE))
    liar, leecher = room.seed(), room.leecher()
    liar.spoil = lambda _piece: True
    room.connect(leecher, liar)
    room.carry()
    (dropped, *_) = [event for event in leecher.of(PeerDropped) if isinstance(event, PeerDropped)]
    assert dropped.is_lying
    assert not leecher.swarm.links
    seed = room.seed()
    room.connect(leecher, seed)
    room.carry()
    assert leecher.is_complete
    assert bytes(leecher.content) == content_of(SIZE)


def test_a_liar_among_honest_peers_is_found_out_and_no_honest_one_dropped() -> None:
    room = Room(torrent_of(SIZE, piece_length=262_144))
    liar, honest, leecher = room.seed(), room.seed(), room.leecher()
    liar.spoil = lambda _piece: True
    wires = [room.connect(leecher, liar), room.connect(leecher, honest)]
    for _ in range(5):
        room.carry()
        room.wait(5)
    assert leecher.is_complete
    assert bytes(leecher.content) == content_of(SIZE)
    dropped = [event.link for event in leecher.of(PeerDropped) if isinstance(event, PeerDropped) and event.is_lying]
    assert {link.address for link in dropped} == {liar.address}
    assert wires


def test_a_peer_that_gives_nothing_is_asked_for_one_block_at_a_time() -> None:
    room = Room(torrent_of(SIZE))
    silent, seed, leecher = room.seed(), room.seed(), room.leecher()
    ends = room.connect(leecher, silent)
    silent_link = ends[0].link
    assert silent_link is not None
    ends[1].bytes_to_send = lambda: b""  # type: ignore[method-assign]
    silent_link.receive([Bitfield(b"\xff" * 2), Unchoke()], room.now)
    assert len(silent_link.asked) == 31
    room.wait(32)
    assert silent_link.is_snubbing
    assert len(silent_link.asked) == 1
    room.connect(leecher, seed)
    room.carry()
    assert leecher.is_complete


def test_what_a_peer_was_asked_for_is_asked_of_others_when_it_goes() -> None:
    room = Room(torrent_of(SIZE))
    seed = room.seed()
    gone, stays = room.leecher(), room.leecher()
    first, second = room.connect(gone, seed)
    room.connect(stays, seed)
    room.carry(rounds=1)
    first.cut()
    assert second.link is None
    room.wait(20)
    assert stays.is_complete


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
def test_a_magnet_link_becomes_the_torrent_and_its_layers(version: str) -> None:
    room = Room(torrent_of(SIZE, version=version, piece_length=16_384))
    seed, newcomer = room.seed(), room.newcomer(room.torrent.magnet())
    room.connect(newcomer, seed)
    room.carry()
    assert newcomer.swarm.torrent is not None
    assert newcomer.swarm.torrent.piece_layers == room.torrent.piece_layers
    assert newcomer.is_complete
    assert bytes(newcomer.content[:SIZE]) == content_of(SIZE)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_learnt_from_a_magnet_link_can_be_asked_of_us_by_those_who_came_before(version: str) -> None:
    room = Room(torrent_of(SIZE, version=version))
    middle, last = room.newcomer(room.torrent.magnet()), room.newcomer(room.torrent.magnet())
    room.connect(middle, last)
    room.carry()
    assert not last.of(TorrentKnown)
    room.connect(middle, room.seed())
    room.carry()
    room.wait(20)
    assert last.of(TorrentKnown)
    assert last.is_complete


def test_peer_exchange_is_switched_off_once_a_torrent_is_known_to_be_private() -> None:
    room = Room(torrent_of(SIZE, private=True))
    newcomer = room.newcomer(room.torrent.magnet())
    end = room.connect(newcomer, room.seed())[1]
    assert end.link is not None
    newcomer.swarm.pause()
    assert newcomer.swarm.own_handshake(end.link).extensions["ut_pex"] == 2
    room.carry()
    assert end.link.remote.extensions["ut_pex"] == 0


def test_layers_of_more_hashes_than_are_asked_for_at_once_are_put_together() -> None:
    size = 600 * 16_384 + 5
    room = Room(torrent_of(size, version="v2", piece_length=16_384))
    seed, newcomer = room.seed(), room.newcomer(room.torrent.magnet())
    room.connect(newcomer, seed)
    room.carry()
    assert newcomer.swarm.torrent is not None
    assert newcomer.swarm.torrent.piece_layers == room.torrent.piece_layers


def test_metadata_of_the_right_hash_that_is_no_torrent_is_told() -> None:
    room = Room(torrent_of(SIZE))
    seed = room.seed()
    info = b"d4:name1:xe"
    import hashlib  # noqa: PLC0415

    assert seed.swarm.torrent is not None
    object.__setattr__(seed.swarm.torrent, "info", info)
    newcomer = room.newcomer(Magnet(info_hash_v1=hashlib.sha1(info, usedforsecurity=False).digest()))
    room.connect(newcomer, seed)
    room.carry()
    assert len(newcomer.of(TorrentUnusable)) == 1


def test_wrong_metadata_of_one_peer_gets_it_dropped() -> None:
    room = Room(torrent_of(SIZE))
    seed, newcomer = room.seed(), room.newcomer(Magnet(info_hash_v1=b"x" * 20))
    room.connect(newcomer, seed)
    room.carry()
    (dropped,) = newcomer.of(PeerDropped)
    assert isinstance(dropped, PeerDropped)
    assert dropped.is_lying


def test_peers_are_told_of_each_other_but_not_in_a_private_torrent() -> None:
    for private in (False, True):
        room = Room(torrent_of(SIZE, private=private))
        seed, one, other = room.seed(), room.leecher(), room.leecher()
        one.swarm.pause()
        other.swarm.pause()
        room.connect(one, seed)
        room.connect(other, seed)
        room.carry()
        room.wait(130)
        told = [address for event in one.of(PeersTold) if isinstance(event, PeersTold) for address in event.addresses]
        assert told == ([] if private else [other.address])


def test_peers_are_told_where_they_reach_us_and_again_when_that_has_changed() -> None:
    room = Room(torrent_of(SIZE))
    seed, leecher = room.seed(), room.leecher()
    end = room.connect(leecher, seed)[1]
    leecher.swarm.pause()
    room.carry()
    assert end.link is not None
    assert end.link.remote.port == 6881
    leecher.swarm.listen_at(40_000, 6881)
    room.carry()
    assert end.link.remote.port == 40_000
    assert end.link.remote.extensions["ut_pex"] == 2


def test_a_seed_stays_with_one_that_wants_nothing_though_it_has_not_everything_and_tells_others_so() -> None:
    room = Room(torrent_of(SIZE))
    seed, partial = room.seed(), room.leecher()
    end = room.connect(partial, seed)[1]
    partial.swarm.pause()
    room.carry()
    assert end.link is not None
    assert not wants_nothing(end.link)
    end.link.receive([Extended(0, ExtendedHandshake(upload_only=True).encode())], room.now)
    room.wait(1)
    assert wants_nothing(end.link)
    assert seed.swarm.links


def test_one_that_has_all_it_wants_tells_so_and_asks_again_once_it_wants_more() -> None:
    room = Room(torrent_of(SIZE))
    seed, giver, partial = room.seed(), room.leecher(), room.leecher()
    count = room.torrent.layout.piece_count
    for member, source in ((giver, seed), (partial, giver)):
        member.swarm.want(bytearray([1, 1]) + bytearray(count - 2), room.now)
        end = room.connect(member, source)[1]
        room.carry()
        assert completions(member) == 1
        assert member.swarm.picker is not None
        assert member.swarm.picker.have == bytearray([1, 1]) + bytearray(count - 2)
    assert end.link is not None
    assert wants_nothing(end.link)
    assert not end.link.is_seed
    partial.swarm.want(bytearray(b"\1" * count), room.now)
    room.carry()
    assert not wants_nothing(end.link)
    room.connect(partial, seed)
    room.carry()
    assert completions(partial) == 2
    assert partial.content == seed.content


@pytest.mark.parametrize(("dht", "private", "told"), [(True, False, True), (False, False, False), (True, True, False)])
def test_who_has_a_node_of_the_dht_is_told_where_ours_is_and_again_when_that_changes(
    dht: bool, private: bool, told: bool
) -> None:
    torrent = torrent_of(SIZE, private=private)
    swarm = Swarm(torrent.magnet(), SwarmSettings(peer_id=b"1" * 20), Dice(), now=0.0, torrent=torrent)
    ports: list[list[int]] = []
    for number, host in enumerate(("192.0.2.1", "192.0.2.2")):
        handshake = Handshake.of(torrent.info_hash, bytes([number]) * 20, dht=dht)
        link = swarm.add_peer(handshake, Address(host, 1), is_outgoing=False, now=0.0)
        swarm.dht_at(6881 + number)
        reader = MessageReader()
        reader.feed(handshake.encode())
        found = reader.feed(b"".join(link.data_to_send(0.0)))
        ports.append([message.port for message in found if isinstance(message, Port)])
    assert ports == ([[6881], [6881, 6882]] if told else [[], []])


def test_a_peers_node_of_the_dht_is_told_of_at_the_peers_own_address() -> None:
    for private in (False, True):
        torrent = torrent_of(SIZE, private=private)
        swarm = Swarm(torrent.magnet(), SwarmSettings(peer_id=b"1" * 20), Dice(), now=0.0, torrent=torrent)
        handshake = Handshake.of(torrent.info_hash, b"2" * 20, dht=True)
        link = swarm.add_peer(handshake, Address("192.0.2.1", 1), is_outgoing=False, now=0.0)
        swarm.events()
        link.receive([Port(0), Port(6881)], 0.0)
        assert swarm.events() == ([] if private else [DhtNodeTold(Address("192.0.2.1", 6881))])


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_found_to_be_there_after_a_connection_has_begun_is_told_piece_by_piece(fast: bool) -> None:
    torrent = torrent_of(SIZE)
    swarm = Swarm(torrent.magnet(), SwarmSettings(peer_id=b"1" * 20), Dice(), now=0.0, torrent=torrent)
    handshake = Handshake.of(torrent.info_hash, b"2" * 20)
    if not fast:
        handshake = handshake._replace(reserved=bytes(8))
    link = swarm.add_peer(handshake, Address("192.0.2.1", 1), is_outgoing=False, now=0.0)
    reader = MessageReader()
    reader.feed(handshake.encode())
    first = reader.feed(b"".join(link.data_to_send(0.0)))
    assert [message for message in first if not isinstance(message, Extended)] == ([HaveNone()] if fast else [])
    have = bytearray(torrent.layout.piece_count)
    have[1] = have[3] = 1
    swarm.begin(have, 0.0)
    assert reader.feed(b"".join(link.data_to_send(0.0))) == [Have(1), Have(3)]


def test_very_many_pieces_are_told_at_once_whenever_they_are_found() -> None:
    torrent = torrent_of(16_384 * 2001, piece_length=16_384)
    swarm = Swarm(torrent.magnet(), SwarmSettings(peer_id=b"1" * 20), Dice(), now=0.0, torrent=torrent)
    handshake = Handshake.of(torrent.info_hash, b"2" * 20)
    link = swarm.add_peer(handshake, Address("192.0.2.1", 1), is_outgoing=False, now=0.0)
    link.data_to_send(0.0)
    swarm.begin(bytearray(b"\1" * 2001), 0.0)
    reader = MessageReader()
    reader.feed(handshake.encode())
    assert reader.feed(b"".join(link.data_to_send(0.0))) == [HaveAll()]


def test_peers_of_each_address_family_are_told_their_own_port() -> None:
    room = Room(torrent_of(SIZE))
    seed = room.seed()
    seed.swarm.listen_at(40_000, 50_000)
    handshake = Handshake.of(room.torrent.info_hash, bytes(20))
    for host, port in (("192.0.2.1", 40_000), ("2001:db8::1", 50_000)):
        link = seed.swarm.add_peer(handshake, Address(host, 6881), is_outgoing=False, now=room.now)
        assert seed.swarm.own_handshake(link).port == port


def test_a_port_that_has_not_changed_is_not_told_again() -> None:
    room = Room(torrent_of(SIZE))
    seed, leecher = room.seed(), room.leecher()
    room.connect(leecher, seed)
    room.carry()
    seed.swarm.listen_at(40_000, 40_000)
    room.carry()
    seed.swarm.listen_at(40_000, 40_000)
    assert not seed.swarm.unsent


def test_peers_that_a_peer_tells_of_too_often_or_may_not_tell_of_are_passed_over() -> None:
    room = Room(torrent_of(SIZE))
    seed, leecher = room.seed(), room.leecher()
    link = room.connect(leecher, seed)[0].link
    assert link is not None
    near, away = Address("127.0.0.1", 5), Address("192.0.2.9", 5)
    flagged = tuple((address, 0) for address in (near, away))
    message = Extended(2, PexMessage(added=flagged).encode())  # type: ignore[arg-type]
    link.receive([message, message], room.now)
    leecher.settle()
    assert [event.addresses for event in leecher.of(PeersTold) if isinstance(event, PeersTold)] == [(away,)]


def test_a_pause_stops_asking_and_giving_until_it_ends() -> None:
    room = Room(torrent_of(SIZE))
    seed, leecher = room.seed(), room.leecher()
    leecher.swarm.pause()
    room.connect(leecher, seed)
    room.carry()
    room.wait(20)
    assert leecher.swarm.downloaded == 0
    leecher.swarm.go_on(room.now)
    room.carry()
    assert leecher.is_complete


def test_only_wanted_pieces_are_asked_for_and_others_once_they_are_wanted() -> None:
    room = Room(torrent_of(SIZE))
    seed, leecher = room.seed(), room.leecher()
    count = room.torrent.layout.piece_count
    leecher.swarm.want(bytearray([1, *[0] * (count - 1)]), room.now)
    room.connect(leecher, seed)
    room.carry()
    assert leecher.is_complete
    assert leecher.swarm.downloaded == 32_768
    leecher.swarm.want(bytearray([1]) * count, room.now)
    room.connect(leecher, seed)
    room.carry()
    assert leecher.is_complete
    assert leecher.swarm.downloaded == SIZE


@pytest.mark.parametrize(
    "message", [Bitfield(b"\xff"), Bitfield(b"\xff\xff\xff"), Have(99), Request(0, 0, 1 << 20), Request(99, 0, 1)]
)
def test_what_cannot_be_ends_the_connection_or_is_refused(message: Bitfield | Have | Request) -> None:
    room = Room(torrent_of(SIZE))  # 16 pieces
    seed, leecher = room.seed(), room.leecher()
    link = room.connect(seed, leecher, fast=False)[0].link
    assert link is not None
    link.set_choking(False)
    with pytest.raises(RemoteProtocolError):
        link.receive([message], room.now)


def test_blocks_that_nobody_asked_for_are_counted_and_too_many_end_the_connection() -> None:
    room = Room(torrent_of(SIZE))
    leecher = room.leecher()
    link = leecher.swarm.add_peer(
        Handshake.of(room.torrent.info_hash, b"z" * 20), Address("10.0.0.9", 1), is_outgoing=True, now=0.0
    )
    link.receive([Piece(0, 0, bytes(100))] * 1000, 0.0)
    assert leecher.swarm.wasted == 100_000
    assert leecher.swarm.downloaded == 0
    with pytest.raises(RemoteProtocolError):
        link.receive([Piece(0, 0, bytes(100))], 0.0)


def test_what_a_peer_has_before_the_torrent_is_known_is_bounded() -> None:
    room = Room(torrent_of(SIZE))
    newcomer = room.newcomer(room.torrent.magnet())
    link = newcomer.swarm.add_peer(
        Handshake.of(room.torrent.info_hash, b"z" * 20), Address("10.0.0.9", 1), is_outgoing=True, now=0.0
    )
    with pytest.raises(RemoteProtocolError):
        link.receive([Have(1)] * 10_001, 0.0)


def test_a_dead_connection_is_dropped_and_a_quiet_one_kept_alive() -> None:
    room = Room(torrent_of(SIZE))
    one, other = room.leecher(), room.leecher()
    room.connect(one, other)
    room.wait(300)
    assert one.swarm.links
    lonely = room.leecher()
    lonely.swarm.add_peer(
        Handshake.of(room.torrent.info_hash, b"z" * 20), Address("10.0.0.9", 1), is_outgoing=True, now=room.now
    )
    room.wait(250)
    assert lonely.of(PeerDropped)


def test_an_info_without_layers_says_which_it_lacks() -> None:
    torrent = torrent_of(SIZE, version="v2", piece_length=16_384)
    assert read_info(torrent.info).missing_layers == (0,)
