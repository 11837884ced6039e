"""Peers that want encryption: what they say, what others are told of them (BEP 11), and how they are dialled."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.bittorrent.joined_swarms import Room, torrent_of

from librats.bittorrent.candidates import Candidates
from librats.bittorrent.events import PeersTold
from librats.bittorrent.extensions import ExtendedHandshake, read_extended_handshake
from librats.types import Address

WHERE = Address("192.0.2.1", 6881)


def test_a_handshake_says_it_and_most_do_not() -> None:
    raw = ExtendedHandshake(wants_encryption=True).encode()
    assert raw == b"d1:ei1e1:mdee"
    assert read_extended_handshake(raw).wants_encryption
    assert not read_extended_handshake(b"d1:ei0ee").wants_encryption
    assert not read_extended_handshake(b"de").wants_encryption


def test_others_are_told_which_peers_want_it() -> None:
    room = Room(torrent_of(100_000))
    hub, wants, plain, other = (room.leecher() for _ in range(4))
    wants.swarm.settings = replace(wants.swarm.settings, wants_encryption=True)
    for member in (wants, plain, other):
        room.connect(member, hub)
    room.wait(70)
    told = [event for event in other.of(PeersTold) if isinstance(event, PeersTold)]
    assert {address for event in told for address in event.addresses} == {wants.address, plain.address}
    assert {address for event in told for address in event.encrypted} == {wants.address}


def test_an_address_is_dialled_as_it_was_said_to_want_and_turned_once() -> None:
    candidates = Candidates()
    candidates.add([WHERE], 0.0, encrypted=[WHERE])
    assert candidates.is_encrypted(WHERE)
    assert candidates.take(0.0) == WHERE
    assert candidates.turn(WHERE, 0.0, encrypted=False)
    assert candidates.is_encrypted(WHERE) is False
    assert candidates.take(0.0) == WHERE
    assert not candidates.turn(WHERE, 0.0, encrypted=True)
    candidates.fail(WHERE, 0.0)
    assert candidates.take(1.0) is None
    assert candidates.is_encrypted(Address("192.0.2.9", 1)) is None
