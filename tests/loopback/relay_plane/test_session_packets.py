"""Packets of sessions over UDP come out of the data plane as they are, and cost relayed datagrams nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from socket import IPPROTO_UDP

import pytest
from tests.reference.relay_rig import BATCHED, PORTABLE, Rig, address_of, channel_data, message

SYN = bytes.fromhex("10020400 0da93327 00000001 00000000")
OURS = bytes.fromhex("16000001 0da93327 082555be 00000000") + b"what a session says"


UDP_SEGMENT = 103


@pytest.fixture(params=[(BATCHED, 4, False), (BATCHED, 6, True), (PORTABLE, 4, False), (PORTABLE, 6, False)])
def taking(request: pytest.FixtureRequest) -> Iterator[Rig]:
    kind, family, sieve = request.param
    made = Rig(kind, family, sieve=sieve, sessions=8e6)
    yield made
    made.close()


def test_they_are_told_with_where_they_came_from(taking: Rig) -> None:
    client = taking.allocate()
    for packet in (SYN, OURS):
        taking.client_sends(packet)
        taking.settle()
    assert [event[0] for event in taking.events] == ["session", "session"]
    assert [event[1:3] for event in taking.events] == [(taking.listener, address_of(client))] * 2
    assert [event[4] for event in taking.events] == [SYN, OURS]


def test_they_are_told_with_the_listener_that_they_came_to(taking: Rig) -> None:
    other = taking.socket()
    number = taking.plane.add_listener(other.fileno())
    client = taking.socket()
    client.sendto(SYN, other.getsockname())
    taking.settle()
    assert [event[:3] for event in taking.events] == [("session", number, address_of(client))]
    assert number != taking.listener


@pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")
def test_of_several_that_the_kernel_hands_over_as_one_each_is_told(taking: Rig) -> None:
    client = taking.allocate()
    client.setsockopt(IPPROTO_UDP, UDP_SEGMENT, len(OURS))
    packets = [OURS[:4] + bytes([number]) + OURS[5:] for number in range(5)]
    taking.client_sends(b"".join(packets)[:-3])
    taking.settle()
    assert [event[4] for event in taking.events] == [*packets[:-1], packets[-1][:-3]]


def test_what_is_stun_is_not_taken_for_one(taking: Rig) -> None:
    taking.allocate()
    taking.client_sends(message(0x1001))
    taking.settle()
    assert [event[0] for event in taking.events] != ["session"]


def test_requests_and_relayed_datagrams_beside_them_are_served(taking: Rig) -> None:
    taking.allocate()
    peer = taking.socket()
    taking.permit(peer)
    taking.bind(peer)
    for packet in (SYN, channel_data(0x4000, b"hello"), OURS, message(1)):
        taking.client_sends(packet)
    taking.settle()
    assert peer.recv(100) == b"hello"
    assert sorted(event[0] for event in taking.events) == ["control", "session", "session"]


@pytest.mark.parametrize("packet", [b"\x10", SYN[:7], b"\x17" + SYN[1:], b"\x0f" + SYN[1:]])
def test_what_is_none_is_dropped(taking: Rig, packet: bytes) -> None:
    taking.allocate()
    taking.client_sends(packet)
    taking.settle()
    assert taking.events == []


@pytest.mark.parametrize("sieve", [False, True])
def test_where_nobody_takes_them_they_are_dropped(sieve: bool) -> None:
    rig = Rig(BATCHED, 4, sieve=sieve)
    rig.allocate()
    rig.client_sends(SYN)
    rig.client_sends(OURS)
    rig.settle()
    assert rig.events == []
    assert rig.dropped("by_kernel" if sieve and sys.platform == "linux" else "malformed") == 2
    rig.close()


def test_what_python_bears_in_a_second_may_come_at_once() -> None:
    rig = Rig(BATCHED, 4, sessions=100_000.0)
    rig.allocate()
    at_once = 100_000 // (256 + len(SYN))
    for _ in range(0, at_once, 20):
        for _ in range(20):
            rig.client_sends(SYN)
        rig.settle()
    assert len(rig.events) >= at_once
    rig.close()


def test_of_a_flood_no_more_is_told_than_python_bears() -> None:
    rig = Rig(BATCHED, 4, sessions=1.0)
    rig.allocate()
    at_once = 65536 // (256 + len(SYN))  # of which there is always that much
    for _ in range(0, 2 * at_once, 20):
        for _ in range(20):
            rig.client_sends(SYN)
        rig.settle()
    assert len(rig.events) == at_once
    assert rig.dropped("over_limit") > at_once - 20
    rig.close()
