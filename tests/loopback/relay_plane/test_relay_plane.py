"""The relay's data plane on loopback sockets: what is forwarded, what is dropped, and what Python is told."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any

import pytest
from tests.loopback.relay_plane.conftest import KINDS
from tests.reference.relay_rig import (
    BATCHED,
    FOREVER,
    PORTABLE,
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
    xor_peer,
)

from librats._core.relay import Plane, pack_address, unpack_address
from librats.errors import UsageError

# Forwarding.


@pytest.mark.parametrize("size", [0, 1, 3, 172, 1200, 9000])
def test_channel_data_reaches_the_peer(rig: Rig, size: int) -> None:
    peer = ready(rig)
    payload = (bytes(range(256)) * 40)[:size]
    rig.client_sends(channel_data(0x4000, payload))
    rig.settle()
    assert received(peer) == [payload]


def test_channel_data_may_be_padded(rig: Rig) -> None:
    peer = ready(rig)
    rig.client_sends(channel_data(0x4000, b"hello", padding=3))
    rig.settle()
    assert received(peer) == [b"hello"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 172, 1200])
def test_a_send_indication_reaches_the_peer(rig: Rig, size: int) -> None:
    peer = ready(rig, channel=False)
    rig.client_sends(send_indication(address_of(peer), b"x" * size))
    rig.settle()
    assert received(peer) == [b"x" * size]


@pytest.mark.parametrize("size", [0, 1, 172, 1200, 9000])
def test_a_peers_datagram_comes_over_its_channel(rig: Rig, size: int) -> None:
    peer = ready(rig)
    rig.peer_sends(peer, b"y" * size)
    rig.settle()
    assert received(rig.clients[1]) == [channel_data(0x4000, b"y" * size)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 172, 1200])
def test_a_peers_datagram_without_a_channel_comes_as_data_indication(rig: Rig, size: int) -> None:
    peer = ready(rig, channel=False)
    rig.peer_sends(peer, b"z" * size)
    rig.settle()
    (packet,) = received(rig.clients[1])
    assert read_data_indication(packet) == (address_of(peer), b"z" * size)


def test_a_run_of_packets_keeps_its_order_and_sizes(rig: Rig) -> None:
    peer = ready(rig)
    sizes = [172] * 30 + [60, 172, 172, 0, 0, 9, 1200, 1200, 40, 1201] * 5
    payloads = [struct.pack(">I", i)[: min(size, 4)] + bytes(max(size - 4, 0)) for i, size in enumerate(sizes)]
    for payload in payloads:
        rig.client_sends(channel_data(0x4000, payload))
        rig.peer_sends(peer, payload)
    rig.settle()
    assert received(peer) == payloads
    assert received(rig.clients[1]) == [channel_data(0x4000, payload) for payload in payloads]
    total = sum(sizes)
    assert rig.plane.traffic(1) == (len(sizes), total, len(sizes), total)


def test_interleaved_clients_get_each_their_own(rig: Rig) -> None:
    peers = {number: ready(rig, number=number) for number in range(1, 21)}
    for i in range(10):
        for number, peer in peers.items():
            rig.client_sends(channel_data(0x4000, b"c%d-%d" % (number, i)), number)
            rig.peer_sends(peer, b"p%d-%d" % (number, i), number)
    rig.settle()
    for number, peer in peers.items():
        assert received(peer) == [b"c%d-%d" % (number, i) for i in range(10)]
        wanted = [channel_data(0x4000, b"p%d-%d" % (number, i)) for i in range(10)]
        assert received(rig.clients[number]) == wanted


def test_several_channels_of_one_client_go_to_their_peers(rig: Rig) -> None:
    rig.allocate()
    peers = [rig.socket() for _ in range(5)]
    for i, peer in enumerate(peers):
        assert rig.permit(peer)
        assert rig.bind(peer, 0x4000 + i)
    for k in range(8):
        for i, peer in enumerate(peers):
            rig.client_sends(channel_data(0x4000 + i, bytes([i, k])))
            rig.peer_sends(peer, bytes([k, i]))
    rig.settle()
    assert [received(peer) for peer in peers] == [[bytes([i, k]) for k in range(8)] for i in range(5)]
    back = received(rig.clients[1])
    assert [p for p in back if p[1] == 3] == [channel_data(0x4003, bytes([k, 3])) for k in range(8)]


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="joined datagrams are Linux's")
@pytest.mark.parametrize("tail", [172, 1, 5])
@pytest.mark.parametrize("channel", [True, False], ids=["channel", "indications"])
def test_datagrams_that_the_kernel_joined_are_told_apart(quick: Rig, tail: int, channel: bool) -> None:
    peer = ready(quick, channel=channel)
    segments = [bytes([i]) * 172 for i in range(20)] + [b"t" * tail]
    try:
        peer.setsockopt(17, 103, 172)
        quick.clients[1].setsockopt(17, 103, 176)
    except OSError:
        pytest.skip("this kernel does not join datagrams")
    quick.peer_sends(peer, b"".join(segments))
    quick.client_sends(b"".join(channel_data(0x4000, segment) for segment in segments))
    quick.settle()
    back = received(quick.clients[1])
    if channel:
        assert received(peer) == segments
        assert back == [channel_data(0x4000, segment) for segment in segments]
    else:
        assert [read_data_indication(packet)[1] for packet in back] == segments
    assert quick.plane.statistics()["received"] == 42
    assert quick.plane.statistics()["received_messages"] == 2


def test_the_largest_datagrams_pass_and_what_is_too_large_is_counted(quick: Rig) -> None:
    peer = ready(quick)
    quick.peer_sends(peer, b"p" * 65503)
    quick.client_sends(channel_data(0x4000, b"c" * 65503))
    quick.settle()
    assert received(peer) == [b"c" * 65503]
    assert received(quick.clients[1]) == [channel_data(0x4000, b"p" * 65503)]
    quick.peer_sends(peer, b"p" * 65504)
    quick.settle()
    assert received(quick.clients[1]) == []
    assert quick.dropped("oversized") == 1


# What is dropped.


def test_without_a_permission_nothing_passes(rig: Rig) -> None:
    rig.allocate()
    peer = rig.socket()
    assert rig.bind(peer)
    rig.client_sends(channel_data(0x4000, b"a"))
    rig.client_sends(send_indication(address_of(peer), b"b"))
    rig.peer_sends(peer, b"c")
    rig.settle()
    assert received(peer) == received(rig.clients[1]) == []
    assert rig.dropped("no_permission") == 3
    assert rig.plane.traffic(1) == (0, 0, 0, 0)


def test_a_permission_is_for_all_ports_of_a_host(rig: Rig) -> None:
    ready(rig)
    other = rig.socket()
    rig.peer_sends(other, b"from elsewhere")
    rig.settle()
    assert read_data_indication(received(rig.clients[1])[0]) == (address_of(other), b"from elsewhere")


@pytest.mark.parametrize("what", ["permission", "channel", "allocation"])
def test_what_is_over_does_not_forward(rig: Rig, what: str) -> None:
    peer = ready(rig, channel=False)
    past = time.monotonic() - 1
    rig.bind(peer, expires=past if what == "channel" else FOREVER)
    if what == "permission":
        rig.permit(peer, expires=past)
    if what == "allocation":
        rig.plane.refresh(1, past)
    rig.client_sends(channel_data(0x4000, b"late"))
    rig.settle()
    assert received(peer) == []
    assert rig.dropped(f"no_{what}") == 1
    rig.peer_sends(peer, b"late too")
    rig.settle()
    back = received(rig.clients[1])
    assert [read_data_indication(p)[1] for p in back] == ([b"late too"] if what == "channel" else [])


BAD = {
    "empty": b"",
    "three bytes": b"\x40\0\0",
    "a channel's length past the end": b"\x40\0\0\x05abcd",
    "more than padding behind": b"\x40\0\0\x04abcdefgh",
    "neither STUN nor channel": b"\x80\0\0\x04abcd",
    "a cut message": message(0x16)[:-1],
    "a length of another size": struct.pack(">HHI", 1, 4, 0x2112A442) + bytes(12),
    "a length not of words": struct.pack(">HHI", 1, 3, 0x2112A442) + bytes(15),
}


@pytest.mark.parametrize("packet", BAD.values(), ids=BAD)
def test_malformed_datagrams_are_counted_and_dropped(rig: Rig, packet: bytes) -> None:
    peer = ready(rig)
    rig.client_sends(packet)
    rig.settle()
    assert received(peer) == received(rig.clients[1]) == rig.events == []
    assert rig.dropped("malformed") == 1


PEER = pack_address("127.0.0.1", 9)
BAD_SENDS = {
    "no peer": message(0x16, attribute(0x13, b"data")),
    "no data": message(0x16, xor_peer(PEER)),
    "nothing": message(0x16),
    "an attribute past the end": message(0x16, xor_peer(PEER), struct.pack(">HH", 0x13, 8) + b"four"),
    "a padding past the end": message(0x16, xor_peer(PEER), struct.pack(">HH", 0x13, 5) + b"four"),
    "a head past the end": message(0x16, xor_peer(PEER), b"")[:-4] + b"\0\x13\0\x04",
    "a short peer": message(0x16, attribute(0x12, b"\0\1\0\1abc"), attribute(0x13, b"")),
    "a peer of no family": message(0x16, attribute(0x12, b"\0\3\0\1abcd"), attribute(0x13, b"")),
    "a peer of a wrong size": message(0x16, attribute(0x12, b"\0\2\0\1abcd"), attribute(0x13, b"")),
    "an unknown required attribute": message(0x16, xor_peer(PEER), attribute(0x13, b""), attribute(0x7F01, b"")),
    "no cookie": b"\0\x16\0\x0c" + bytes(16) + xor_peer(PEER),
    "data behind the integrity": message(0x16, xor_peer(PEER), attribute(8, bytes(20)), attribute(0x13, b"")),
}


@pytest.mark.parametrize("packet", BAD_SENDS.values(), ids=BAD_SENDS)
def test_malformed_send_indications_are_counted_and_dropped(rig: Rig, packet: bytes) -> None:
    ready(rig)
    rig.client_sends(packet)
    rig.settle()
    assert rig.dropped("malformed") == 1
    assert rig.plane.traffic(1)[0] == 0
    assert rig.events == []


def test_optional_attributes_of_a_send_indication_are_passed_over(rig: Rig) -> None:
    peer = ready(rig)
    rig.client_sends(send_indication(address_of(peer), b"odd", attribute(0x8022, b"agent")))
    rig.settle()
    assert received(peer) == [b"odd"]


def test_what_must_not_be_fragmented_is_forwarded_in_order(rig: Rig) -> None:
    peer = ready(rig)
    for number in range(6):
        more = [attribute(0x1A, b"")] if number % 3 == 1 else []
        rig.client_sends(send_indication(address_of(peer), b"%d" % number, *more))
    rig.settle()
    assert received(peer) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert rig.plane.traffic(1)[0] == 6
    assert rig.dropped("dont_fragment") == 0


def test_a_stranger_cannot_use_an_allocation(rig: Rig) -> None:
    peer = ready(rig)
    stranger = rig.socket()
    for packet in (channel_data(0x4000, b"mine"), send_indication(address_of(peer), b"mine")):
        stranger.sendto(packet, rig.listener_sock.getsockname())
    rig.settle()
    assert received(peer) == rig.events == []
    assert rig.dropped("no_allocation") == 2


def test_indications_and_responses_of_clients_are_ignored(rig: Rig) -> None:
    for kind in (0x0011, 0x0017, 0x0101, 0x0111):
        rig.allocate(kind)
        rig.client_sends(message(kind), kind)
    rig.settle()
    assert rig.events == []
    assert rig.plane.statistics()["ignored"] == 4


def test_a_peer_of_the_other_family_is_counted_as_unreachable() -> None:
    for kind in KINDS:
        rig = Rig(kind, 4)
        rig.allocate()
        assert rig.plane.set_permission(1, pack_address("::1", 0), FOREVER)
        rig.client_sends(send_indication(pack_address("::1", 9), b"six"))
        rig.settle()
        assert rig.dropped("unreachable") == 1
        rig.close()


def test_an_exact_permission_is_for_one_port(rig: Rig) -> None:
    rig.allocate()
    peer, other = rig.socket(), rig.socket()
    assert rig.plane.set_permission(1, address_of(peer), FOREVER, exact=True)
    for sock in (peer, other):
        rig.client_sends(send_indication(address_of(sock), b"to"))
        rig.peer_sends(sock, b"from")
    rig.settle()
    assert (received(peer), received(other)) == ([b"to"], [])
    assert [read_data_indication(p) for p in received(rig.clients[1])] == [(address_of(peer), b"from")]
    rig.permit(other)
    rig.permit(other, expires=time.monotonic() - 1)
    rig.client_sends(send_indication(address_of(peer), b"still"))
    rig.settle()
    assert received(peer) == [b"still"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_allocation_of_two_families_relays_through_both_sockets(kind: str) -> None:
    rig = Rig(kind, 4)
    old = ready(rig, channel=False)
    second, new = udp(6), udp(6)
    rig.sockets += [second, new]
    rig.plane.add_relay(1, second.fileno())
    assert rig.permit(new)
    for sock in (old, new):
        rig.client_sends(send_indication(address_of(sock), b"hello"))
    rig.settle()
    assert received(old) == received(new) == [b"hello"]
    new.sendto(b"six", second.getsockname())
    rig.settle()
    assert read_data_indication(received(rig.clients[1])[0]) == (address_of(new), b"six")
    with pytest.raises(UsageError):
        rig.plane.add_relay(1, second.fileno())
    rig.plane.remove(1)
    rig.allocate(1)
    new.sendto(b"to nobody", second.getsockname())
    rig.settle()
    assert received(rig.clients[1]) == []
    rig.close()


# Requests, and answers.


def test_requests_come_to_python_and_answers_go_back(rig: Rig) -> None:
    client = rig.socket()
    request = message(0x0003, attribute(0x19, b"\x11\0\0\0"))
    client.sendto(request, rig.listener_sock.getsockname())
    rig.settle()
    ((kind, listener, source, local, data, _),) = rig.events
    assert (kind, listener, source, data) == ("control", rig.listener, address_of(client), request)
    assert unpack_address(local)[1] == rig.listener_sock.getsockname()[1]
    for i in range(200):
        rig.plane.send(listener, source, local, b"answer %d" % i)
    rig.plane.run(0)
    assert received(client) == [b"answer %d" % i for i in range(200)]


@pytest.mark.parametrize("kind", [BATCHED, PORTABLE])
@pytest.mark.parametrize(("family", "bound", "asked"), [(4, "0.0.0.0", "127.0.0.7"), (6, "::", "::1")])  # noqa: S104
def test_a_listener_for_all_addresses_answers_from_the_one_asked(
    kind: str, family: int, bound: str, asked: str
) -> None:
    plane: Any = Plane(portable=kind == PORTABLE)
    server, client, relay, peer = udp(family, bound), udp(family), udp(family), udp(family)
    listener = plane.add_listener(server.fileno())
    client.sendto(message(3), (asked, server.getsockname()[1]))
    ((_, _, source, local, _, _),) = plane.run(5)
    assert unpack_address(local) == (asked, server.getsockname()[1])
    plane.send(listener, source, local, b"answer")
    plane.run(0)
    assert client.recvfrom(100)[1][:2] == (asked, server.getsockname()[1])
    plane.add_allocation(1, listener, source, relay.fileno(), FOREVER, local)
    plane.set_permission(1, address_of(peer), FOREVER)
    for i in range(3):
        peer.sendto(b"data", relay.getsockname())
        client.sendto(send_indication(address_of(peer), b"to peer %d" % i), (asked, server.getsockname()[1]))
    plane.run(0.05)
    assert received(peer) == [b"to peer %d" % i for i in range(3)]
    assert [client.recvfrom(100)[1][:2] for _ in range(3)] == [(asked, server.getsockname()[1])] * 3
    plane.close()
    for sock in (server, client, relay, peer):
        sock.close()


def test_wake_ends_a_run_from_another_thread(rig: Rig) -> None:
    timer = threading.Timer(0.05, rig.plane.wake)
    timer.start()
    begun = time.monotonic()
    assert rig.plane.run(60) == []
    assert time.monotonic() - begun < 30
    timer.join()


def test_a_running_plane_refuses_other_threads(quick: Rig) -> None:
    refused: list[Exception] = []

    def intrude() -> None:
        while not refused:
            try:
                quick.plane.expire(0)
            except UsageError as error:
                refused.append(error)
        quick.plane.wake()

    thread = threading.Thread(target=intrude)
    thread.start()
    quick.plane.run(60)
    thread.join()
    assert "running" in str(refused[0])


# Clients on streams.


def test_stream_clients_get_framed_data_as_events(rig: Rig) -> None:
    rig.allocate(7, stream=True)
    bound, unbound = rig.socket(), rig.socket()
    rig.permit(bound, 7)
    rig.bind(bound, number=7)
    rig.peer_sends(bound, b"hello", 7)
    rig.settle()
    assert rig.events == [("stream", 7, channel_data(0x4000, b"hello", padding=3))]
    rig.peer_sends(unbound, b"hello", 7)
    rig.settle()
    assert read_data_indication(rig.events[1][2]) == (address_of(unbound), b"hello")


def test_what_came_over_a_stream_is_forwarded(rig: Rig) -> None:
    rig.allocate(7, stream=True)
    peer = rig.socket()
    rig.permit(peer, 7)
    rig.bind(peer, number=7)
    assert rig.plane.forward(7, channel_data(0x4000, b"hello", padding=3)) == 1
    assert rig.plane.forward(7, send_indication(address_of(peer), b"again")) == 1
    for bad in (b"", b"\x40", channel_data(0x4001, b"x"), message(3), b"\x80" * 30, channel_data(0x4000, b"abc")[:-1]):
        assert rig.plane.forward(7, bad) == 0
    assert received(peer) == [b"hello", b"again"]
