"""The relay's data plane against the slow one: the same packets in, the same out and the same counted."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.relay_plane import DROPS, ReferencePlane
from tests.reference.relay_rig import (
    BATCHED,
    COOKIE,
    FOREVER,
    PORTABLE,
    SLOW,
    Rig,
    address_of,
    attribute,
    channel_data,
    message,
    read_data_indication,
    received,
    send_indication,
    udp,
    xor_peer,
)

from librats._core.relay import Plane, pack_address

ALLOCATIONS = 4
PEERS = 4
COUNTED = [f"dropped_{reason}" for reason in DROPS] + ["ignored", "allocations", "permissions", "channels"]
KINDS_OF_ATTRIBUTE = [0x0001, 0x0008, 0x0012, 0x0013, 0x001A, 0x001C, 0x7FFF, 0x8022, 0x8028]


def damaged(packet: bytes, chance: random.Random) -> bytes:
    """The packet cut, lengthened or with some bits turned."""
    changed = bytearray(packet)
    for _ in range(chance.randrange(3)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        del changed[chance.randrange(len(changed) + 1) :]
    if chance.random() < 0.2:
        changed += chance.randbytes(chance.randrange(9))
    return bytes(changed)


def packet_of(rig: Rig, peers: list[socket.socket], chance: random.Random) -> bytes:
    data = chance.randbytes(chance.choice([0, 1, 4, 7, 160, 160, 160, 1200]))
    kind = chance.randrange(4)
    if kind == 0:
        packet = channel_data(chance.randrange(0x4000, 0x4006), data, padding=chance.randrange(4))
    elif kind == 1:
        packet = send_indication(address_of(chance.choice(peers)), data)
    elif kind == 2:
        parts = [attribute(chance.choice(KINDS_OF_ATTRIBUTE), chance.randbytes(chance.randrange(12))) for _ in range(3)]
        packet = message(0x16, *parts[:2], xor_peer(address_of(peers[0])), attribute(0x13, data), parts[2])
    else:
        packet = message(chance.choice([0x0001, 0x0003, 0x0011, 0x0016, 0x0101]), attribute(0x8022, data))
    return damaged(packet, chance) if chance.random() < 0.3 else packet


def has_cookie(packet: bytes) -> bool:
    return packet[4:8] == COOKIE.to_bytes(4, "big")


def play(rig: Rig, seed: int, *, told_of: Callable[[bytes], bool] = bool) -> list[Any]:
    """Do what a seed says, and tell all that came of it; of requests, those that the caller wants to be told of."""
    chance = random.Random(seed)  # noqa: S311
    peers = [rig.socket() for _ in range(PEERS)]
    for number in range(ALLOCATIONS):
        rig.allocate(number, stream=number == 0)
    told: list[Any] = []
    for _ in range(60):
        number, peer, doing = chance.randrange(ALLOCATIONS), chance.choice(peers), chance.randrange(12)
        expires = chance.choice([FOREVER, FOREVER, 0.0])
        if doing == 0:
            told.append(rig.bind(peer, chance.randrange(0x4000, 0x4004), number, expires))
        elif doing == 1:
            exact = chance.random() < 0.2
            told.append(rig.plane.set_permission(number, address_of(peer), expires, exact=exact))
        elif doing == 2:
            told.append(sorted(rig.plane.expire(1.0)))
        elif doing == 3:
            rig.plane.remove(number)
            rig.relays[number] = rig.socket()
            listener, address = (-1, b"") if number == 0 else (rig.listener, address_of(rig.clients[number]))
            rig.plane.add_allocation(number, listener, address, rig.relays[number].fileno(), FOREVER)
        elif doing < 8:
            for _ in range(chance.randrange(1, 9)):
                packet = packet_of(rig, peers, chance)
                if number:
                    rig.client_sends(packet, number)
                else:
                    told.append(rig.plane.forward(0, packet))
            rig.settle()
        else:
            size = chance.choice([0, 3, 160, 161])
            for _ in range(chance.randrange(1, 9)):
                rig.peer_sends(peer, chance.randbytes(size), number)
            rig.settle()
    told += [received(peer) for peer in peers]
    told += [[readable(peers, packet) for packet in received(client)] for client in rig.clients.values()]
    events = [event for event in rig.events if event[0] != "control" or told_of(data_of(event))]
    told += [(event[0], event[1], readable(peers, data_of(event))) for event in events]
    told += [rig.plane.traffic(number) for number in range(ALLOCATIONS)]
    rig.plane.expire(1.0)  # when else what is over is forgotten, each plane may choose
    statistics = rig.plane.statistics()
    return [*told, {name: statistics[name] for name in COUNTED}]


def data_of(event: tuple[Any, ...]) -> bytes:
    found: bytes = event[4] if event[0] == "control" else event[2]
    return found


def readable(peers: list[socket.socket], packet: bytes) -> object:
    """A packet without what differs between two planes: ports and transaction ids."""
    if packet[:2] != b"\0\x17":
        return packet
    peer, data = read_data_indication(packet)
    return [address_of(sock) for sock in peers].index(peer), data


@pytest.mark.parametrize("kind", [BATCHED, PORTABLE])
@pytest.mark.parametrize("seed", range(12))
def test_both_planes_do_the_same(kind: str, seed: int) -> None:
    outcomes = []
    for each in (kind, SLOW):
        rig = Rig(each, 4)
        try:
            outcomes.append(play(rig, seed))
        finally:
            rig.close()
    assert outcomes[0] == outcomes[1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
@pytest.mark.parametrize("seed", range(12))
def test_what_the_kernel_drops_for_a_plane_is_nothing_that_counts(seed: int) -> None:
    outcomes = []
    for kind, options in ((BATCHED, {"sieve": True}), (SLOW, {})):
        rig = Rig(kind, 4 + seed % 2 * 2, **options)
        try:
            outcomes.append(play(rig, seed, told_of=has_cookie)[:-1])
            assert kind == SLOW or rig.dropped("by_kernel")
        finally:
            rig.close()
    assert outcomes[0] == outcomes[1]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Plane, ReferencePlane]]:
    relay, sink = udp(), udp()
    planes = Plane(), ReferencePlane()
    for plane in planes:
        plane.add_allocation(1, -1, b"", relay.fileno(), FOREVER)
        plane.set_permission(1, pack_address("127.0.0.1", 0), FOREVER)
        plane.bind_channel(1, 0x4000, address_of(sink), FOREVER)
    yield planes
    for plane in planes:
        plane.close()
    relay.close()
    sink.close()


attributes = st.builds(attribute, st.sampled_from(KINDS_OF_ATTRIBUTE), st.binary(max_size=24))
sends = st.lists(
    st.one_of(
        attributes,
        st.just(xor_peer(pack_address("127.0.0.1", 9))),
        st.builds(lambda data: attribute(0x13, data), st.binary(max_size=9)),
    ),
    max_size=6,
).map(lambda parts: message(0x16, *parts))
packets = st.one_of(
    st.binary(max_size=80),
    sends,
    st.builds(lambda p, seed: damaged(p, random.Random(seed)), sends, st.integers(0, 2**32)),  # noqa: S311
    st.builds(
        lambda number, data, padding: channel_data(number, data, padding=padding),
        st.sampled_from([0x3FFF, 0x4000, 0x4001, 0x7FFF, 0x8000]),
        st.binary(max_size=9),
        st.integers(0, 5),
    ),
)


@settings(max_examples=600, deadline=None)
@given(packet=packets)
def test_both_planes_read_a_clients_packet_alike(pair: tuple[Plane, ReferencePlane], packet: bytes) -> None:
    outcomes = []
    for plane in pair:
        before = plane.statistics()
        sent = plane.forward(1, packet)
        after = plane.statistics()
        outcomes.append((sent, {name: after[name] - before[name] for name in COUNTED}))
    assert outcomes[0] == outcomes[1]
