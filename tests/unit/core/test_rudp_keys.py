"""Streams between two of ours whose packets carry tags: what is forged changes nothing, and the peer may move."""

from __future__ import annotations

import pytest
from tests.simulation.joined_tables import FILLER, MOVED, End
from tests.unit.core.test_rudp_streams import KEY, OTHER_KEY, Pair

from librats._core.aead import Cipher
from librats._core.rudp_packets import parse, serialise
from librats.errors import UsageError
from librats.rudp.constants import Body, CloseCause, PacketKind
from librats.types import Address


def sent_by(end: End) -> list[dict[str, object]]:
    return [parse(data) for _, data in end.sent]


def test_once_agreed_every_packet_carries_its_tag() -> None:
    pair = Pair()
    pair.agree()
    pair.a.keeps_sent = pair.b.keeps_sent = True
    pair.near.write(FILLER[:100_000])
    pair.near.send_datagram(b"x")
    pair.run()
    assert pair.far.take() == FILLER[:100_000]
    for end in (pair.a, pair.b):
        assert end.sent
        assert all(packet["tag"] is not None for packet in sent_by(end))
    for _, data in pair.a.sent:
        number = int.from_bytes(data[8:12])  # its upper half is 0 yet
        assert data[-8:] == Cipher(KEY, number).seal(b"", data[:-8])[:8]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_what_is_not_tagged_or_changed_on_the_way_changes_nothing() -> None:
    pair = Pair()
    pair.agree()
    pair.a.keeps_sent = True
    pair.near.write(b"tagged")
    pair.run(0.001)
    (tagged,) = [data for _, data in pair.a.sent]
    fields = parse(tagged)
    number, conn_id = fields["number"], fields["conn_id"]
    bare = bytes([tagged[0], tagged[1] & ~4]) + tagged[2:-8]
    forged = [
        *(flipped(tagged, at) for at in range(len(tagged)) if at not in (0, 4, 5, 6, 7)),
        bare,
        *(
            serialise(kind, conn_id=conn_id, number=number, ack=number, window=0)
            for kind in (PacketKind.ACK, PacketKind.FIN, PacketKind.DATA, PacketKind.SYN, PacketKind.RETRY)
        ),
        bytes([0x16, 0, 0, Body.RESET]) + tagged[4:12] + b"\0",
    ]
    before = pair.far.statistics()
    for data in forged:
        pair.world.deliver(data, pair.a.address, pair.b.address)
    pair.b.round()
    after = pair.far.statistics()
    assert {name: after[name] for name in ("bytes_received", "bytes_sent")} == {
        name: before[name] for name in ("bytes_received", "bytes_sent")
    }
    assert pair.far.is_open
    assert pair.far.take() == b""
    assert not pair.far.has_ended
    pair.run(1)
    assert pair.far.take() == b"tagged"
    assert pair.far.statistics()["packets_forged"] > 20


def test_a_packet_is_taken_once_however_often_it_comes() -> None:
    pair = Pair()
    pair.agree()
    pair.a.keeps_sent = True
    pair.near.send_datagram(b"once")
    pair.run(0.1)
    for _, data in pair.a.sent:
        for _ in range(3):
            pair.world.deliver(data, pair.a.address, pair.b.address)
    pair.run(0.1)
    assert pair.far.take_datagrams() == [b"once"]


def test_a_forged_reset_makes_us_ask_and_only_silence_ends_the_stream() -> None:
    pair = Pair()
    pair.agree()
    reset = serialise(PacketKind.RESET, conn_id=pair.far.number, number=0)
    for _ in range(5):
        pair.world.deliver(reset, pair.a.address, pair.b.address)
        pair.run(1)
    assert pair.far.is_open
    pair.a.is_up = False
    pair.world.deliver(reset, pair.a.address, pair.b.address)
    pair.run(4)
    assert pair.far.cause == CloseCause.RESET


def test_an_end_that_started_again_is_noticed_within_seconds() -> None:
    pair = Pair()
    pair.agree()
    fresh = End(pair.world, pair.b.address)
    fresh.links = pair.b.links
    pair.world.ends[pair.b.address] = fresh
    pair.near.write(b"anybody?")
    pair.run(4)
    assert pair.near.cause == CloseCause.RESET


@pytest.mark.parametrize("seed", range(12))
def test_the_keys_are_agreed_whatever_is_lost(seed: int) -> None:
    """A handshake of three messages; the second side gets its key late, and packets under it come before."""
    pair = Pair(seed=seed, delay=0.02)
    for link in (pair.a.links[pair.b.address], pair.b.links[pair.a.address]):
        link.loss, link.jitter, link.reordered = 0.25, 0.03, 0.3
    pair.near.write(b"1" * 40)
    got = b""
    for _ in range(200):
        pair.run(0.05)
        got += pair.far.take()
        if len(got) == 40:
            break
    pair.far.write(b"2" * 90)
    got = b""
    for _ in range(200):
        pair.run(0.05)
        got += pair.near.take()
        if len(got) == 90:
            break
    pair.near.write(b"3" * 60)
    pair.near.set_key(KEY, OTHER_KEY)
    pair.near.write(b"4" * 50_000)
    got = b""
    for _ in range(400):
        pair.run(0.05)
        got += pair.far.take()
        if len(got) >= 60:
            break
    assert got == b"3" * 60
    pair.far.set_key(OTHER_KEY, KEY)
    pair.far.write(b"5" * 50_000)
    there, back = b"", b""
    for _ in range(600):
        pair.run(0.05)
        there += pair.far.take()
        back += pair.near.take()
        if len(there) == len(back) == 50_000:
            break
    assert there == b"4" * 50_000
    assert back == b"5" * 50_000
    assert pair.near.is_agreed
    assert pair.far.is_agreed


def test_packets_that_come_before_the_key_are_kept() -> None:
    pair = Pair()
    pair.near.write(b"last of the handshake")
    pair.near.set_key(KEY, OTHER_KEY)
    pair.near.write(b"first of the session")
    pair.run(0.015)
    assert pair.far.take() == b"last of the handshake"
    pair.far.set_key(OTHER_KEY, KEY)
    assert pair.far.take() == b"first of the session"
    assert pair.far.is_agreed


def test_a_round_trip_ends_when_the_packet_came_and_not_when_the_key_did() -> None:
    pair = Pair()
    pair.near.write(b"first of the handshake")
    pair.run()
    before = pair.far.rtt
    pair.far.write(b"second of the handshake")
    pair.run(0.015)
    assert pair.near.take() == b"second of the handshake"
    pair.near.set_key(KEY, OTHER_KEY)
    pair.near.write(b"first of the session")
    pair.run(3.0)
    pair.far.set_key(OTHER_KEY, KEY)
    assert pair.far.take() == b"first of the handshakefirst of the session"
    assert pair.far.rtt == pytest.approx(before, abs=0.005) == pytest.approx(0.02, abs=0.005)


def test_a_key_is_given_once_and_has_thirty_two_bytes() -> None:
    pair = Pair()
    with pytest.raises(UsageError):
        pair.near.set_key(KEY[:31], OTHER_KEY)
    pair.near.set_key(KEY, OTHER_KEY)
    with pytest.raises(UsageError):
        pair.near.set_key(KEY, OTHER_KEY)
    with pytest.raises(UsageError):
        pair.near.ask_way(Address("192.0.2.1", 1), 0.0)


def test_tags_go_on_where_numbers_pass_their_end() -> None:
    pair = Pair()
    pair.agree()
    pair.run(1)
    edge = (1 << 32) - 20
    pair.near.renumber(edge, edge - 5, edge - 60_000, 1000)
    pair.far.renumber(edge - 5, edge, 1000, edge - 60_000)
    pair.near.write(FILLER[:200_000])
    pair.run(2)
    assert pair.far.take() == FILLER[:200_000]
    assert pair.far.statistics()["packets_forged"] == 0


# Moving.


def moved_world(*, agreed: bool) -> tuple[Pair, Address]:
    """The peer's packets come from another address from now on, as behind a NAT that began anew."""
    pair = Pair()
    if agreed:
        pair.agree()
    else:
        pair.near.write(b"hello")
        pair.run(0.1)
        pair.far.take()
    other = Address("10.9.9.9", 999)
    link = pair.a.links[pair.b.address]
    deliver = pair.world.deliver

    def translated(data: bytes, source: Address, target: Address) -> None:
        deliver(data, other if source == pair.a.address else source, pair.a.address if target == other else target)

    pair.world.deliver = translated  # type: ignore[method-assign]
    pair.b.links[other] = pair.world.link(delay=link.delay)
    pair.b.links.pop(pair.a.address)
    return pair, other


def test_a_peer_behind_a_new_address_is_followed_once_it_answers_there() -> None:
    pair, other = moved_world(agreed=True)
    pair.near.write(FILLER[:100_000])
    pair.far.write(FILLER[:50_000])
    pair.run(3)
    assert pair.far.address == other
    assert pair.events[pair.far] & MOVED
    assert pair.far.take() == FILLER[:100_000]
    assert pair.near.take() == FILLER[:50_000]


def test_without_a_key_a_stream_stays_where_it_is() -> None:
    pair, _ = moved_world(agreed=False)
    pair.near.write(b"from elsewhere")
    pair.run(2)
    assert pair.far.address == pair.a.address
    assert pair.far.take() == b""


def test_who_repeats_a_packet_from_elsewhere_moves_nothing() -> None:
    pair = Pair()
    pair.agree()
    pair.a.keeps_sent = True
    pair.a.links[pair.b.address].loss = 1.0
    pair.near.write(b"caught on the way")
    pair.run(0.05)
    thief = Address("10.6.6.6", 6)
    pair.b.keeps_sent = True
    for _, data in pair.a.sent:
        pair.world.deliver(data, thief, pair.b.address)
    pair.run(0.001)
    assert pair.far.address == pair.a.address
    questions = [data for _, data in pair.b.sent if parse(data)["body"] == Body.CHALLENGE]
    assert len(questions) <= 1
    assert all(len(data) <= 1.25 * len(pair.a.sent[0][1]) for data in questions)
    pair.a.links[pair.b.address].loss = 0.0
    pair.run(2)
    assert pair.far.address == pair.a.address


def test_a_better_way_is_asked_for_and_taken() -> None:
    pair = Pair()
    world = pair.world
    pair.agree()
    second = Address("10.0.0.22", 4000)
    deliver = world.deliver

    def translated(data: bytes, source: Address, target: Address) -> None:
        # The peer goes on sending from its first address.
        deliver(data, source, pair.b.address if target == second else target)

    world.deliver = translated  # type: ignore[method-assign]
    pair.a.links[second] = world.link(delay=0.001, loss=0.4)
    pair.near.ask_way(second, world.now)
    pair.run(3)
    assert pair.near.address == second
    pair.far.write(b"from where it was")
    pair.run(1)
    assert pair.near.take() == b"from where it was"
    assert pair.near.address == second
    pair.a.links.pop(pair.b.address)
    pair.near.write(FILLER[:20_000])
    pair.run(3)
    assert pair.far.take() == FILLER[:20_000]
