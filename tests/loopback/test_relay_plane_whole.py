"""Packets that must not be fragmented (DONT-FRAGMENT), on a link that is narrower than they are long."""

from __future__ import annotations

import sys

import pytest
from tests.reference.namespaces import in_namespace, why_no_namespace

SCRIPT = """
import socket, sys, time
from librats._core.relay import Plane, pack_address
from librats._core.stun import serialise

host, nobody, family, level, option = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
relay = socket.socket(family, socket.SOCK_DGRAM)
relay.bind((host, 0))
before = relay.getsockopt(level, option)
plane = Plane(max_allocations=1)
forever = time.monotonic() + 100
plane.add_allocation(1, -1, b"", relay.fileno(), forever)
plane.set_permission(1, pack_address(nobody, 9), forever)

def outcome(size, *whole):
    data = serialise(6, 1, bytes(12), [(0x12, (nobody, 9)), (0x13, bytes(size)), *whole])
    counted = plane.statistics()
    assert plane.forward(1, data) == 1
    assert relay.getsockopt(level, option) == before
    return [plane.statistics()[name] - counted[name] for name in ("sent", "dropped_send_error")]

whole = (0x1A, True)
assert plane.can_keep_whole
assert outcome(1400) == [1, 0]
assert outcome(1400, whole) == [1, 0]
assert outcome(2000, whole) == [0, 1]
assert outcome(2000) == [1, 0]
"""

PLACES = {
    "ipv4": ("10.99.0.1", "10.99.0.2", "2", "0", "10"),  # AF_INET, IPPROTO_IP, IP_MTU_DISCOVER
    "ipv6": ("fd01::1", "fd01::2", "10", "41", "23"),  # AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER
}


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Skip where no namespace can be had."""
    if why_not := why_no_namespace():
        pytest.skip(why_not)


@pytest.mark.parametrize("portable", ["0", "1"])
@pytest.mark.parametrize("place", PLACES)
def test_they_leave_in_one_piece_or_not_at_all(place: str, portable: str) -> None:
    run = in_namespace(sys.executable, "-c", SCRIPT, *PLACES[place], LIBRATS_PORTABLE=portable)
    assert run.returncode == 0, run.stderr
