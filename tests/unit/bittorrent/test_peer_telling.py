"""Who is brought together with whom (BEP 55), and whom nobody can make us dial."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from tests.unit.bittorrent.joined_swarms import Dice, torrent_of

from librats.bittorrent.events import HolepunchAsked, PeersTold
from librats.bittorrent.extensions import (
    ExtendedHandshake,
    HolepunchError,
    HolepunchKind,
    HolepunchMessage,
    PeerFlags,
    PexMessage,
    read_holepunch,
    read_pex,
)
from librats.bittorrent.messages import Extended, Handshake
from librats.bittorrent.peer import EXTENSIONS, PeerLink
from librats.bittorrent.peer_telling import PeerTelling
from librats.bittorrent.reader import MessageReader
from librats.bittorrent.swarm import Swarm
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.types import Address

TORRENT = torrent_of(100_000)
NUMBERS = {"ut_holepunch": 7}
ONE, OTHER = Address("203.0.113.5", 50_000), Address("203.0.113.6", 6882)


class Middle:
    """A swarm, and what it says to its peers about holes."""

    def __init__(self) -> None:
        self.swarm = Swarm(TORRENT.magnet(), SwarmSettings(peer_id=b"m" * 20, port=1), Dice(), now=0.0, torrent=TORRENT)
        self.swarm.begin(bytearray(TORRENT.layout.piece_count), 0.0)

    def join(
        self, address: Address, *, is_utp: bool, is_outgoing: bool = False, port: int = 0, punches: bool = True
    ) -> PeerLink:
        handshake = Handshake.of(TORRENT.info_hash, bytes(str(address), "ascii")[:20].ljust(20))
        link = self.swarm.add_peer(handshake, address, is_outgoing=is_outgoing, now=0.0, is_utp=is_utp)
        told = ExtendedHandshake(extensions=NUMBERS if punches else {}, port=port)
        link.receive([Extended(0, told.encode())], 0.0)
        self.said(link)
        return link

    def say(self, link: PeerLink, kind: HolepunchKind, address: Address) -> None:
        message = HolepunchMessage(kind=kind, address=address)
        link.receive([Extended(EXTENSIONS["ut_holepunch"], message.encode())], 0.0)

    @staticmethod
    def said(link: PeerLink) -> list[HolepunchMessage]:
        reader = MessageReader(max_message=1 << 20)
        raw = b"".join(bytes(buffer) for buffer in link.data_to_send(0.0))
        head = Handshake.of(TORRENT.info_hash, b"m" * 20).encode()
        messages = reader.read(memoryview(head + raw))
        return [
            read_holepunch(message.payload)
            for message in messages
            if isinstance(message, Extended) and message.extension == NUMBERS["ut_holepunch"]
        ]

    def dials(self) -> list[Address]:
        return [event.address for event in self.swarm.events() if isinstance(event, HolepunchAsked)]


@pytest.fixture
def middle() -> Middle:
    return Middle()


def test_two_peers_are_told_of_each_other(middle: Middle) -> None:
    one, other = middle.join(ONE, is_utp=True), middle.join(OTHER, is_utp=True)
    middle.say(one, HolepunchKind.RENDEZVOUS, OTHER)
    assert middle.said(one) == [HolepunchMessage(kind=HolepunchKind.CONNECT, address=OTHER)]
    assert middle.said(other) == [HolepunchMessage(kind=HolepunchKind.CONNECT, address=ONE)]


def test_one_that_came_over_tcp_is_told_of_by_the_port_it_listens_on(middle: Middle) -> None:
    one, other = middle.join(ONE, is_utp=False, port=6881), middle.join(OTHER, is_utp=True)
    middle.say(one, HolepunchKind.RENDEZVOUS, OTHER)
    assert middle.said(other) == [HolepunchMessage(kind=HolepunchKind.CONNECT, address=Address("203.0.113.5", 6881))]


def test_one_that_has_not_told_its_port_is_told_of_by_that_it_came_from(middle: Middle) -> None:
    one, other = middle.join(ONE, is_utp=False), middle.join(OTHER, is_utp=True)
    middle.say(one, HolepunchKind.RENDEZVOUS, OTHER)
    assert [message.address for message in middle.said(other)] == [ONE]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (Address("203.0.113.9", 6881), HolepunchError.NOT_CONNECTED),
        (ONE, HolepunchError.NO_SELF),
        (OTHER, HolepunchError.NO_SUPPORT),
    ],
)
def test_who_cannot_be_brought_together_is_told_why(middle: Middle, target: Address, error: HolepunchError) -> None:
    one, other = middle.join(ONE, is_utp=True), middle.join(OTHER, is_utp=True, punches=False)
    middle.say(one, HolepunchKind.RENDEZVOUS, target)
    assert middle.said(one) == [HolepunchMessage(kind=HolepunchKind.ERROR, address=target, error=error)]
    assert middle.said(other) == []


def test_whom_a_peer_wants_us_to_meet_is_dialled(middle: Middle) -> None:
    middle.say(middle.join(ONE, is_utp=True), HolepunchKind.CONNECT, OTHER)
    assert middle.dials() == [OTHER]


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.1", "10.0.0.7", "169.254.1.1", "224.0.0.1", "::1", "fe80::1"])
def test_a_stranger_does_not_make_us_dial_into_our_own_network(middle: Middle, host: str) -> None:
    middle.say(middle.join(ONE, is_utp=True), HolepunchKind.CONNECT, Address(host, 80))
    assert middle.dials() == []


def test_one_of_our_own_network_may_tell_of_another_one_there(middle: Middle) -> None:
    middle.say(middle.join(Address("192.168.1.5", 6881), is_utp=True), HolepunchKind.CONNECT, Address("192.168.1.6", 1))
    assert middle.dials() == [Address("192.168.1.6", 1)]


def test_port_0_is_not_dialled(middle: Middle) -> None:
    middle.say(middle.join(ONE, is_utp=True), HolepunchKind.CONNECT, Address("203.0.113.9", 0))
    assert middle.dials() == []


def test_whom_we_are_connected_with_is_not_dialled_again(middle: Middle) -> None:
    one = middle.join(ONE, is_utp=True)
    middle.join(OTHER, is_utp=True)
    middle.say(one, HolepunchKind.CONNECT, OTHER)
    assert middle.dials() == []


def test_those_that_can_be_met_and_whom_the_teller_has_not_dialled_are_told_apart(middle: Middle) -> None:
    flags = {
        Address("203.0.113.20", 1): PeerFlags(0),
        Address("203.0.113.21", 1): PeerFlags.HOLEPUNCH,
        Address("203.0.113.22", 1): PeerFlags.HOLEPUNCH | PeerFlags.UTP | PeerFlags.ENCRYPTION,
        Address("203.0.113.23", 1): PeerFlags.HOLEPUNCH | PeerFlags.REACHABLE,
        Address("203.0.113.24", 1): PeerFlags.REACHABLE,
    }
    one = middle.join(ONE, is_utp=True)
    one.receive([Extended(EXTENSIONS["ut_pex"], PexMessage(added=tuple(flags.items())).encode())], 0.0)
    (told,) = [event for event in middle.swarm.events() if isinstance(event, PeersTold)]
    assert set(told.addresses) == set(flags)
    assert told.unreached == {Address("203.0.113.21", 1), Address("203.0.113.22", 1)}


def test_those_that_want_nothing_are_told_apart(middle: Middle) -> None:
    flags = {Address("203.0.113.20", 1): PeerFlags.UTP, Address("203.0.113.21", 1): PeerFlags.SEED | PeerFlags.UTP}
    one = middle.join(ONE, is_utp=True)
    one.receive([Extended(EXTENSIONS["ut_pex"], PexMessage(added=tuple(flags.items())).encode())], 0.0)
    (told,) = [event for event in middle.swarm.events() if isinstance(event, PeersTold)]
    assert told.seeds == {Address("203.0.113.21", 1)}


class FakeLink(SimpleNamespace):
    """What is asked of a connection when peers are told of others."""

    def __init__(self, host: str) -> None:
        remote = SimpleNamespace(extensions={"ut_pex": 1}, port=0, upload_only=False, wants_encryption=False)
        address = Address(host, 6881)
        super().__init__(key=host, address=address, remote=remote, is_outgoing=True, is_utp=False, is_seed=False)
        self.pex_told: set[Address] = set()

    def send_extended(self, name: str, payload: bytes) -> bool:
        assert name == "ut_pex"
        return bool(read_pex(payload))


@pytest.mark.parametrize(
    ("told", "of"),
    [
        ("203.0.113.5", {"203.0.113.6", "2001:db8::6"}),
        ("192.168.1.9", {"192.168.1.8", "203.0.113.5", "203.0.113.6", "2001:db8::6", "fd00::6"}),
        ("127.0.0.1", {"192.168.1.8", "192.168.1.9", "203.0.113.5", "203.0.113.6", "2001:db8::6", "fd00::6"}),
    ],
)
def test_nobody_is_told_of_peers_in_networks_that_it_is_not_in(told: str, of: set[str]) -> None:
    hosts = ["127.0.0.1", "192.168.1.8", "192.168.1.9", "203.0.113.5", "203.0.113.6", "2001:db8::6", "fd00::6"]
    links = {host: FakeLink(host) for host in hosts}
    telling = PeerTelling()
    for now in (100.0, 200.0):
        telling.tell(cast("list[PeerLink]", list(links.values())), now)
    assert {address.host for address in links[told].pex_told} == of
