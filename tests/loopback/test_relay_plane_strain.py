"""The relay's data plane under strain: a shared socket, floods, dead peers, full buffers, bad use."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.reference.relay_rig import (
    BATCHED,
    FOREVER,
    PORTABLE,
    SLOW,
    Rig,
    address_of,
    attribute,
    channel_data,
    message,
    read_data_indication,
    ready,
    received,
    send_indication,
    udp,
)

from librats._core.relay import Plane, pack_address, unpack_address
from librats.errors import UsageError

PEER = pack_address("127.0.0.1", 9)
FAMILIES = [4, 6]


@pytest.fixture(params=[BATCHED, PORTABLE, SLOW])
def shared(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(request.param, shared=True)
    yield made
    made.close()


@pytest.fixture
def quick() -> Iterator[Rig]:
    made = Rig(BATCHED)
    yield made
    made.close()


# One relay socket for all.


def test_a_shared_socket_finds_the_allocation_by_the_peer(shared: Rig) -> None:
    peers = {number: ready(shared, number=number) for number in range(1, 11)}
    for number, peer in peers.items():
        shared.client_sends(channel_data(0x4000, b"c%d" % number), number)
        shared.peer_sends(peer, b"p%d" % number, number)
    shared.settle()
    for number, peer in peers.items():
        assert received(peer) == [b"c%d" % number]
        assert received(shared.clients[number]) == [channel_data(0x4000, b"p%d" % number)]
    stranger = shared.socket()
    shared.peer_sends(stranger, b"hello")
    shared.client_sends(send_indication(address_of(stranger), b"hello"))
    shared.settle()
    assert received(stranger) == received(shared.clients[1]) == []
    assert shared.dropped("no_permission") == 2


def test_a_peer_on_a_shared_socket_belongs_to_one_allocation(shared: Rig) -> None:
    peer = ready(shared)
    shared.allocate(2)
    assert not shared.permit(peer, 2)
    assert shared.permit(peer, 1)
    with pytest.raises(UsageError):
        shared.plane.set_permission(2, b"\x7f\0\0\x01", FOREVER)
    shared.client_sends(send_indication(address_of(peer), b"not mine"), 2)
    shared.settle()
    assert received(peer) == []
    shared.permit(peer, 1, expires=time.monotonic() - 1)
    assert shared.permit(peer, 2)
    shared.peer_sends(peer, b"now yours")
    shared.settle()
    assert read_data_indication(received(shared.clients[2])[0])[1] == b"now yours"
    shared.plane.remove(2)
    shared.permit(peer, 1)
    shared.client_sends(channel_data(0x4000, b"mine again"))
    shared.settle()
    assert received(peer) == [b"mine again"]


# Bad use.


@pytest.mark.parametrize(
    "use",
    [
        lambda plane: plane.add_listener(10**6),
        lambda plane: plane.send(5, PEER, b"", b""),
        lambda plane: plane.send(0, b"short", b"", b""),
        lambda plane: plane.add_allocation(1, 5, PEER, 0, FOREVER),
        lambda plane: plane.add_allocation(1, -1, b"", 10**6, FOREVER),
        lambda plane: plane.forward(1, b""),
        lambda plane: plane.limit_total(-1),
        lambda plane: plane.remove_listener(3),
        lambda plane: Plane(batch=0),
        lambda plane: Plane(seed=b"short"),
        lambda plane: pack_address("localhost", 1),
        lambda plane: pack_address("127.0.0.1\0", 1),
        lambda plane: pack_address("127.0.0.1", 65536),
        lambda plane: unpack_address(bytes(24)),
    ],
)
def test_bad_use_is_a_usage_error(quick: Rig, use: Any) -> None:
    with pytest.raises(UsageError):
        use(quick.plane)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::7", "255.255.255.255"])
def test_addresses_survive_packing(host: str) -> None:
    assert unpack_address(pack_address(host, 54321)) == (host, 54321)


def test_mapped_addresses_are_packed_as_what_they_stand_for() -> None:
    assert pack_address("::ffff:192.0.2.1", 7) == pack_address("192.0.2.1", 7)


# Robustness.


def test_a_flooded_listener_does_not_starve_the_peers(quick: Rig) -> None:
    peer = ready(quick)
    flood = quick.socket()
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            flood.sendto(b"\x40\0\0\x04junk", quick.listener_sock.getsockname())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for i in range(50):
            quick.peer_sends(peer, b"%d" % i)
            quick.plane.run(0.005)
        quick.plane.run(0.05)
    finally:
        stop.set()
        thread.join()
    assert received(quick.clients[1]) == [channel_data(0x4000, b"%d" % i) for i in range(50)]


def naps_during(rig: Rig, packet: bytes, *, pause: float = 0.0) -> int:
    """How often a plane naps that runs while a client sends a packet again and again for a while."""
    client = rig.clients[1]
    running = threading.Thread(target=lambda: rig.plane.run(0.4))
    running.start()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        client.sendto(packet, rig.listener_sock.getsockname())
        time.sleep(pause)
    running.join()
    return int(rig.plane.statistics()["naps"])


def test_only_a_flood_of_what_is_dropped_is_let_gather() -> None:
    for packet, naps in ((channel_data(0x4000, b"hello"), False), (channel_data(0x4001, b"hello"), True)):
        rig = Rig(BATCHED)
        ready(rig)
        assert (naps_during(rig, packet) > 20) == naps
        rig.close()


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_packets_gather_where_that_is_asked_for_and_few_come(pause: float) -> None:
    rig = Rig(BATCHED, nap_us=1000)
    ready(rig)
    assert (naps_during(rig, channel_data(0x4000, b"hello"), pause=pause) > 20) == (not pause)
    rig.close()


def test_a_dead_peers_icmp_errors_do_not_silence_the_socket(quick: Rig) -> None:
    peer = ready(quick, channel=False)
    dead = udp()
    gone = address_of(dead)
    dead.close()
    if sys.platform == "linux":
        quick.relays[1].setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: let the kernel tell
    for i in range(20):
        quick.client_sends(send_indication(gone, b"anyone?"))
        quick.client_sends(send_indication(address_of(peer), b"%d" % i))
        quick.peer_sends(peer, b"%d" % i)
        quick.settle()
    assert received(peer) == [b"%d" % i for i in range(20)]
    assert len(received(quick.clients[1])) == 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux joins datagrams")
def test_packets_that_cannot_leave_joined_leave_apart(quick: Rig) -> None:
    peer = ready(quick)
    quick.relays[1].setsockopt(socket.SOL_SOCKET, 11, 1)  # without checksums the kernel refuses to join
    payloads = [bytes([i]) * 172 for i in range(20)] + [b"tail"]
    for payload in payloads:
        quick.client_sends(channel_data(0x4000, payload))
    quick.settle()
    assert received(peer) == payloads
    assert quick.plane.statistics()["sent_apart"] == 1
    quick.client_sends(channel_data(0x4000, payloads[0]))
    quick.client_sends(channel_data(0x4000, payloads[0]))
    quick.settle()
    assert quick.plane.statistics()["sent_apart"] == 1
    assert quick.plane.statistics()["sent"] == len(payloads) + 2


def test_a_flood_of_requests_is_told_of_in_part(quick: Rig) -> None:
    client = quick.socket()
    client.setsockopt(17, 103, 20) if sys.platform == "linux" else pytest.skip("only Linux joins datagrams")
    for _ in range(10):
        client.sendto(message(1) * 60, quick.listener_sock.getsockname())
    events = quick.plane.run(1)
    assert len(events) == 256
    assert quick.dropped("events") == 600 - 256


def test_huge_requests_are_dropped(quick: Rig) -> None:
    client = quick.socket()
    client.sendto(message(1, attribute(0x8022, bytes(9000))), quick.listener_sock.getsockname())
    client.sendto(message(1, attribute(0x8022, bytes(4000))), quick.listener_sock.getsockname())
    assert len(quick.plane.run(1)) == 1
    assert quick.dropped("oversized") == 1


@pytest.fixture(params=FAMILIES)
def sieved(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if sys.platform != "linux":
        pytest.skip("only Linux has the kernel drop datagrams")
    made = Rig(BATCHED, request.param, sieve=True)
    yield made
    made.close()


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x40\x00\x00",
        channel_data(0x4000, b"hello")[:-1],
        channel_data(0x8000, b"hello"),
        bytes([0xFF]) * 40,
        message(1)[:-4],
        message(1, attribute(0x8022, b"text"))[:-4],
        message(1)[:2] + b"\0\1" + message(1)[4:],
        message(1)[:4] + bytes(4) + message(1)[8:],
        message(0x0011),
        message(0x0101),
        message(0x0111),
        message(1, attribute(0x8022, bytes(8192 - 20))),
    ],
)
def test_the_kernel_drops_what_no_client_sends(sieved: Rig, packet: bytes) -> None:
    ready(sieved)
    sieved.client_sends(packet)
    sieved.settle()
    assert sieved.dropped("by_kernel") == 1
    assert sieved.plane.statistics()["received"] == 0
    assert sieved.events == []


def test_the_kernel_passes_on_what_clients_send(sieved: Rig) -> None:
    peer = ready(sieved)
    payloads = [bytes(size) for size in (0, 1, 172, 9000, 65000)]
    for payload in payloads:
        sieved.client_sends(channel_data(0x4000, payload))
        sieved.client_sends(channel_data(0x7FFF, payload, padding=3))
    sieved.client_sends(send_indication(address_of(peer), bytes(60000)))
    requests = [message(1), message(3, attribute(0x8022, bytes(8192 - 24))), message(0x3EEF)]
    for request in requests:
        sieved.client_sends(request)
    sieved.settle()
    assert received(peer) == [*payloads, bytes(60000)]
    assert [event[4] for event in sieved.events] == requests
    assert (sieved.dropped("by_kernel"), sieved.dropped("no_channel")) == (0, len(payloads))


def test_the_kernel_judges_joined_datagrams_by_the_first(sieved: Rig) -> None:
    peer = ready(sieved)
    sieved.clients[1].setsockopt(17, 103, 176)
    good, bad, worse = (channel_data(0x4000, bytes(size))[:176] for size in (172, 173, 1000))
    for run in (good * 3 + bad, bad * 3 + good, good + worse * 3):
        sieved.client_sends(run)
    sieved.settle()
    assert received(peer) == [bytes(172)] * 5
    assert (sieved.dropped("malformed"), sieved.dropped("by_kernel")) == (7, 0)
    sieved.client_sends(worse + good * 3)
    sieved.settle()
    assert (received(peer), sieved.dropped("by_kernel")) == ([], 1)


def test_much_for_streams_comes_in_several_turns_and_none_is_lost(quick: Rig) -> None:
    peer = quick.socket()
    for number in range(30):
        quick.allocate(number, stream=True)
        quick.permit(peer, number)
        for _ in range(3):
            quick.peer_sends(peer, bytes(60000), number)
    first = quick.plane.run(1)
    assert 0 < len(first) < 90
    quick.settle()
    assert len(first) + len(quick.events) == 90


def test_a_full_send_buffer_drops_and_counts(quick: Rig) -> None:
    peer = ready(quick)
    quick.client_sends(channel_data(0x4000, b"first"))
    quick.settle()
    assert received(peer) == [b"first"]
    quick.relays[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for _ in range(50):
        quick.client_sends(channel_data(0x4000, bytes(60000)))
    quick.settle()
    stats = quick.plane.statistics()
    assert stats["sent"] + stats["dropped_no_room"] + stats["dropped_send_error"] == stats["to_peer"]


def test_a_channel_of_another_allocation_is_not_taken_for_the_one_that_is_over(quick: Rig) -> None:
    old = ready(quick, channel=False)
    quick.allocate(2)
    other = quick.socket()
    quick.permit(other, 2)
    quick.bind(old, expires=time.monotonic() + 1000)
    quick.client_sends(channel_data(0x4000, b"mine"))
    quick.settle()
    quick.plane.expire(time.monotonic() + 2000)
    quick.bind(other, number=2)
    quick.client_sends(channel_data(0x4000, b"not mine"))
    quick.settle()
    assert (received(old), received(other)) == ([b"mine"], [])
    assert quick.dropped("no_channel") == 1


def test_tables_grow_and_shrink_without_losing_any(quick: Rig) -> None:
    plane = Plane(max_allocations=3000)
    plane.share_relay(quick.socket().fileno())
    relay = quick.sockets[-1].fileno()
    listener = plane.add_listener(quick.socket().fileno())
    numbers = [i * 2**33 + i for i in range(3000)]
    for i, number in enumerate(numbers):
        plane.add_allocation(number, listener, pack_address(f"10.0.{i // 256}.{i % 256}", 5), relay, FOREVER)
        for k in range(3):
            peer = pack_address(f"10.1.{i // 256}.{i % 256}", 1000 + k)
            assert plane.set_permission(number, peer, FOREVER)
            assert plane.bind_channel(number, 0x4000 + k, peer, FOREVER)
    for number in numbers[::2]:
        plane.remove(number)
    for number in numbers[1::2]:
        assert plane.traffic(number) == (0, 0, 0, 0)
    stats = plane.statistics()
    assert (stats["allocations"], stats["permissions"], stats["channels"]) == (1500, 4500, 4500)
    for number in numbers[1::2]:
        plane.remove(number)
    assert plane.statistics()["channels"] == 0
    plane.close()


def test_answers_leave_while_others_are_made(quick: Rig) -> None:
    client = quick.socket()
    for i in range(60):
        quick.plane.send(quick.listener, address_of(client), b"", b"%d" % i)
    first = received(client)
    quick.plane.run(0)
    assert first
    assert first + received(client) == [b"%d" % i for i in range(60)]


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_what_is_left_on_a_relay_socket_is_read_later(batch: int) -> None:
    rig = Rig(BATCHED, batch=batch)
    peers = {number: ready(rig, number=number) for number in range(1, 13)}
    for number, peer in peers.items():
        for i in range(5 * number):
            rig.peer_sends(peer, b"%d" % i, number)
    rig.settle()
    for number in peers:
        assert received(rig.clients[number]) == [channel_data(0x4000, b"%d" % i) for i in range(5 * number)]
    rig.close()


def test_relay_sockets_wait_while_python_has_much_to_do() -> None:
    rig = Rig(BATCHED)
    count, size = 200, 30_000
    peers = {number: rig.socket() for number in range(1, count + 1)}
    for number, peer in peers.items():
        rig.allocate(number, stream=True)
        rig.permit(peer, number)
        rig.bind(peer, 0x4000, number)
        rig.peer_sends(peer, b"x" * size, number)
    told: list[int] = []
    while len(told) < count:
        events = rig.plane.run(10.0)
        assert events
        told += [event[1] for event in events]
    assert sorted(told) == list(peers)
    rig.close()
