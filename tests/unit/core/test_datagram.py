"""Datagrams in batches, on descriptors of this test: what goes out as one message, and what is made of what comes."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from librats._core.datagram import BatchSocket, Inbox, batches_work
from librats.errors import UsageError
from librats.types import Address

LOOPBACK = "127.0.0.1"
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
SO_NO_CHECK = 11
IP_RECVERR = 11
MOST_SEGMENTS = 64

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls are Linux'")


class Origin(Address):
    """What the sockets of this test make of where a datagram came from."""

    told: tuple[str | None, int]
    flow: bytes


def new_origin(host: str, port: int, local: str | None, ecn: int, flow: bytes) -> Origin:
    origin = Origin(host, port)
    origin.told = (local, ecn)
    origin.flow = flow
    return origin


def udp(family: int = socket.AF_INET, host: str = LOOPBACK) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((host, 0))
    return sock


@pytest.fixture
def ours() -> Iterator[socket.socket]:
    with udp() as sock:
        yield sock


@pytest.fixture
def theirs() -> Iterator[socket.socket]:
    with udp() as sock:
        yield sock


def batch_socket(sock: socket.socket, **options: Any) -> BatchSocket:
    return BatchSocket(sock.fileno(), -1, Inbox(), Origin, new_origin, **options)


def address(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def messages(sock: socket.socket) -> list[tuple[bytes, int]]:
    """Return what has come, merged as it was sent, each with the size of the datagrams in it; 0 for a single one."""
    found: list[tuple[bytes, int]] = []
    while True:
        try:
            data, control, _, _ = sock.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return found
        sizes = [struct.unpack("=i", value)[0] for level, kind, value in control if (level, kind) == (SOL_UDP, UDP_GRO)]
        found.append((data, sizes[0] if sizes else 0))


def test_the_calls_work_here(ours: socket.socket) -> None:
    assert batches_work(ours.fileno())
    with socket.socket() as sock:
        fd = sock.fileno()
    assert not batches_work(fd)


RUNS = [
    ([100] * 5, [(500, 100)]),
    ([100] * 3 + [7], [(307, 100)]),  # the last of a run may be shorter
    ([100] * 3 + [7] + [100] * 2, [(307, 100), (200, 100)]),
    ([100, 200, 200], [(100, 0), (400, 200)]),
    ([0, 0, 5], [(0, 0), (0, 0), (5, 0)]),  # an empty one is a datagram, too
    ([5, 5, 0, 5], [(10, 5), (0, 0), (5, 0)]),
    ([1] * 130, [(64, 1), (64, 1), (2, 1)]),
    ([30000, 30000, 30000], [(60000, 30000), (30000, 0)]),
    ([40000, 40000], [(40000, 0), (40000, 0)]),
    ([1200] * 60, [(1200 * 54, 1200), (1200 * 6, 1200)]),
]


@pytest.mark.parametrize(("sizes", "expected"), RUNS, ids=range(len(RUNS)))
def test_a_run_of_one_size_goes_out_as_one_message(
    ours: socket.socket, theirs: socket.socket, sizes: list[int], expected: list[tuple[int, int]]
) -> None:
    theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
    batch = batch_socket(ours)
    data = [os.urandom(size) for size in sizes]
    assert batch.send_many([(item, address(theirs)) for item in data]) == len(sizes)
    assert batch.sent == len(sizes)
    came = messages(theirs)
    assert [(len(item), size) for item, size in came] == expected
    assert b"".join(item for item, _ in came) == b"".join(data)


def test_a_run_ends_with_its_address(ours: socket.socket, theirs: socket.socket) -> None:
    theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
    with udp() as third:
        third.setsockopt(SOL_UDP, UDP_GRO, 1)
        batch = batch_socket(ours)
        to = [address(sock) for sock in (theirs, theirs, third, theirs, third, third)]
        assert batch.send_many([(b"abc", where) for where in to]) == 6
        assert messages(theirs) == [(b"abcabc", 3), (b"abc", 0)]
        assert messages(third) == [(b"abc", 0), (b"abcabc", 3)]


def test_without_segmentation_every_datagram_goes_alone(ours: socket.socket, theirs: socket.socket) -> None:
    theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
    batch = batch_socket(ours, segments=False)
    assert not batch.segments
    assert batch.send_many([(b"abc", address(theirs))] * 200) == 200
    assert messages(theirs) == [(b"abc", 0)] * 200


def test_a_run_that_the_kernel_cannot_cut_goes_out_one_by_one(ours: socket.socket, theirs: socket.socket) -> None:
    ours.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # whoever makes no checksums cannot make them for segments
    batch = batch_socket(ours)
    assert batch.send_many([(b"abc", address(theirs))] * 3 + [(b"d", address(theirs))]) == 4
    assert messages(theirs) == [(b"abc", 0)] * 3 + [(b"d", 0)]
    assert (batch.sent, batch.refused) == (4, 0)


def test_what_comes_merged_is_handed_over_apart(ours: socket.socket, theirs: socket.socket) -> None:
    ours.setsockopt(SOL_UDP, UDP_GRO, 1)
    batch = batch_socket(ours)
    data = os.urandom(1000)
    control = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", 300))]
    theirs.sendmsg([data], control, 0, address(ours))
    theirs.sendto(b"single", address(ours))
    came = batch.receive(4)
    assert [item for item, _ in came] == [data[:300], data[300:600], data[600:900], data[900:], b"single"]
    assert {origin for _, origin in came} == {address(theirs)}
    assert came[0][1].told == (None, 0)
    assert batch.received == 5
    assert batch.drained
    assert batch.receive(4) == []


def test_merged_ones_make_a_call_take_fewer_messages(ours: socket.socket, theirs: socket.socket) -> None:
    ours.setsockopt(SOL_UDP, UDP_GRO, 1)
    sender, batch = batch_socket(theirs), batch_socket(ours)
    many = [(b"x" * 10, address(ours))] * MOST_SEGMENTS * 80
    assert sender.send_many(many) == len(many)
    sizes = [len(batch.receive(4))]
    while not batch.drained:
        sizes.append(len(batch.receive(4)))
    assert sum(sizes) == len(many)
    assert max(sizes) <= 8 * MOST_SEGMENTS
    assert max(sizes[1:]) <= 256
    for _ in range(200):
        theirs.sendto(b"x", address(ours))
    assert [len(batch.receive(4)) for _ in range(7)] == [4, 8, 16, 32, 64, 64, 12]


def test_more_than_a_call_takes_is_not_drained(ours: socket.socket, theirs: socket.socket) -> None:
    batch = batch_socket(ours)
    for number in range(70):
        theirs.sendto(bytes([number]), address(ours))
    came = [item for item, _ in batch.receive(4)]
    while not batch.drained:
        came += [item for item, _ in batch.receive(4)]
    assert came == [bytes([number]) for number in range(70)]


def test_families_are_kept_apart(ours: socket.socket) -> None:
    with udp(socket.AF_INET6, "::1") as six, udp(socket.AF_INET6, "::1") as peer:
        batch = BatchSocket(ours.fileno(), six.fileno(), Inbox(), Origin, new_origin)
        items = [(b"4", address(ours)), (b"6", address(peer)), (b"6", address(peer)), (b"44", address(ours))]
        assert batch.send_many(items) == 4
        assert [item for item, _ in batch.receive(4)] == [b"4", b"44"]
        assert batch.receive(6) == []
        assert messages(peer) == [(b"6", 0), (b"6", 0)]
        peer.sendto(b"back", address(six))
        assert [(item, str(origin)) for item, origin in batch.receive(6)] == [(b"back", str(address(peer)))]


def test_many_origins_are_told_apart(ours: socket.socket) -> None:
    batch = batch_socket(ours)
    socks = [udp() for _ in range(300)]
    try:
        for _ in range(2):
            for sock in socks:
                sock.sendto(b"x", address(ours))
            came: list[Origin] = []
            while len(came) < len(socks):
                came += [origin for _, origin in batch.receive(4)]
            assert came == [address(sock) for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def test_a_pair_that_is_none_is_refused_and_nothing_is_held(ours: socket.socket) -> None:
    batch = batch_socket(ours)
    held = bytearray(5)
    bad: list[Any] = [(held,), (held, 5), (held, ("127.0.0.1",)), (held, (5, 5)), (held, ("127.0.0.1", "5")), None]
    for item in bad:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            batch.send_many([(held, address(ours)), item])
        held.append(0)
    with pytest.raises(UsageError):
        batch.send(held, Address("127.0.0.1", 0))
    held.append(0)


def test_a_zone_is_a_number_or_the_name_of_an_interface(ours: socket.socket) -> None:
    with udp(socket.AF_INET6, "::1") as six, udp(socket.AF_INET6, "::1") as peer:
        batch = BatchSocket(-1, six.fileno(), Inbox(), Origin, new_origin)
        port = peer.getsockname()[1]
        for zone in ("1", "lo"):
            assert batch.send(b"x", Address(f"::1%{zone}", port))
        assert messages(peer) == [(b"x", 0), (b"x", 0)]
        with pytest.raises(UsageError, match="not an address"):
            batch.send(b"x", Address("fe80::1%nosuchinterface", port))


def test_an_inbox_is_not_used_twice_at_once(ours: socket.socket, theirs: socket.socket) -> None:
    inbox = Inbox()
    other = BatchSocket(theirs.fileno(), -1, inbox, Origin, new_origin)

    def meddle(host: str, port: int, local: str | None, ecn: int, flow: bytes) -> Origin:
        with pytest.raises(UsageError, match="one thread"):
            other.receive(4)
        return new_origin(host, port, local, ecn, flow)

    batch = BatchSocket(ours.fileno(), -1, inbox, Origin, meddle)
    theirs.sendto(b"x", address(ours))
    assert len(batch.receive(4)) == 1
    assert other.receive(4) == []


def test_what_icmp_told_of_an_earlier_one_is_counted_and_costs_none(ours: socket.socket, theirs: socket.socket) -> None:
    ours.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    with udp() as sock:
        nobody = address(sock)
    batch = batch_socket(ours)
    assert batch.send(b"x", nobody)
    assert batch.send_many([(b"a", address(theirs)), (b"b", address(theirs))]) == 2
    assert (batch.errors, batch.refused, batch.sent) == (1, 0, 3)
    assert batch.send(b"x", nobody)
    assert batch.receive(4) == []
    assert (batch.errors, batch.drained) == (2, False)
    assert batch.receive(4) == []
    assert batch.drained
    assert messages(theirs) == [(b"a", 0), (b"b", 0)]


def test_a_closed_descriptor_is_drained(ours: socket.socket) -> None:
    batch = batch_socket(ours)
    where = address(ours)
    ours.close()
    assert batch.receive(4) == []
    assert batch.drained
    assert batch.send(b"x", where)
    assert batch.refused == 1
