"""What the relay's data plane keeps of allocations: clients, permissions, channels, and how many there may be."""

from __future__ import annotations

import time

import pytest
from tests.reference.relay_rig import (
    FOREVER,
    Rig,
    address_of,
    channel_data,
    ready,
    received,
    send_indication,
)

from librats._core.relay import Plane
from librats.errors import UsageError


def test_numbers_and_clients_can_be_used_again(rig: Rig) -> None:
    peer = ready(rig)
    with pytest.raises(UsageError):
        rig.plane.add_allocation(1, -1, b"", rig.socket().fileno(), FOREVER)
    with pytest.raises(UsageError):
        rig.plane.add_allocation(2, rig.listener, address_of(rig.clients[1]), rig.socket().fileno(), FOREVER)
    rig.plane.remove(1)
    with pytest.raises(UsageError):
        rig.plane.traffic(1)
    assert rig.plane.statistics()["permissions"] == rig.plane.statistics()["channels"] == 0
    relay = rig.socket()
    rig.plane.add_allocation(1, rig.listener, address_of(rig.clients[1]), relay.fileno(), FOREVER)
    rig.client_sends(channel_data(0x4000, b"the old channel"))
    rig.client_sends(send_indication(address_of(peer), b"the old permission"))
    rig.peer_sends(peer, b"to the old socket")
    rig.settle()
    assert received(peer) == received(rig.clients[1]) == []
    assert (rig.dropped("no_channel"), rig.dropped("no_permission")) == (1, 1)
    rig.relays[1] = relay
    assert rig.permit(peer)
    assert rig.bind(peer, 0x4001)
    rig.client_sends(channel_data(0x4001, b"new"))
    rig.settle()
    assert received(peer) == [b"new"]


def test_expire_tells_which_allocations_are_gone(rig: Rig) -> None:
    for number in range(1, 6):
        rig.allocate(number, expires=1000.0 * number)
        rig.permit(rig.socket(), number, expires=2500.0)
        rig.bind(rig.socket(), number=number, expires=3500.0)
    assert rig.plane.expire(500.0) == []
    assert sorted(rig.plane.expire(3000.0)) == [1, 2, 3]
    assert (rig.plane.statistics()["permissions"], rig.plane.statistics()["channels"]) == (0, 2)
    rig.plane.expire(3500.0)
    assert rig.plane.statistics()["channels"] == 0
    assert sorted(rig.plane.expire(9000.0)) == [4, 5]
    assert rig.plane.statistics()["allocations"] == 0


def test_a_channel_has_one_peer_and_a_peer_one_channel(rig: Rig) -> None:
    rig.allocate()
    first, second = rig.socket(), rig.socket()
    soon = time.monotonic() + 1000
    assert rig.bind(first, 0x4000, expires=soon)
    assert rig.bind(first, 0x4000, expires=soon)
    assert not rig.bind(second, 0x4000)
    assert not rig.bind(first, 0x4001)
    assert rig.bind(second, 0x4001)
    rig.bind(first, 0x4000, expires=time.monotonic() - 1)
    assert rig.bind(first, 0x4002)
    with pytest.raises(UsageError):
        rig.bind(first, 0x8000)


def test_limits_hold_back_what_is_over_them(rig: Rig) -> None:
    peer = ready(rig)
    rig.plane.limit(1, 1000.0)
    for _ in range(80):
        rig.client_sends(channel_data(0x4000, bytes(1000)))
    rig.settle()
    assert 65 <= len(received(peer)) <= 67
    assert 13 <= rig.dropped("over_limit") <= 15
    rig.plane.limit(1, 0)
    rig.plane.limit_total(1000.0)
    for _ in range(80):
        rig.peer_sends(peer, bytes(1000))
    rig.settle()
    assert 65 <= len(received(rig.clients[1])) <= 67


def test_no_more_allocations_than_allowed(quick: Rig) -> None:
    plane = Plane(max_allocations=2)
    for number in (1, 2):
        plane.add_allocation(number, -1, b"", quick.socket().fileno(), FOREVER)
    with pytest.raises(UsageError, match="max_allocations=2"):
        plane.add_allocation(3, -1, b"", quick.socket().fileno(), FOREVER)
    plane.close()
