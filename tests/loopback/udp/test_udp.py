"""Datagrams on loopback: the same tests in batches, one at a time, and on a loop without readers, as Windows' own."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.loopback.udp.conftest import (
    HOSTS,
    LINUX,
    LOOPBACK,
    ON_UVLOOP,
    WAIT,
    Heard,
    Open,
    fill,
    needs_ipv6,
    told,
)

from librats.errors import ConfigError, UsageError
from librats.runtime.datagrams import Origin
from librats.runtime.network import current_network
from librats.runtime.udp import DatagramEndpoint
from librats.runtime.udp_sockets import udp_socket
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.conftest import Until


TOLD_BY_ICMP = LINUX and not ON_UVLOOP
IP_RECVERR = 11


@pytest.mark.parametrize("host", HOSTS)
async def test_datagrams_go_both_ways(endpoint: Open, until: Until, host: str) -> None:
    a, at_a = await endpoint(host)
    b, at_b = await endpoint(host)
    assert a.send(b"ping", b.local_address)
    await until(lambda: at_b.data)
    assert at_b.batches == [[(b"ping", a.local_address)]]
    assert b.send(b"pong", at_b.origins[0])
    await until(lambda: at_a.data)
    assert at_a.batches == [[(b"pong", b.local_address)]]
    assert (a.counters.sent, a.counters.received) == (1, 1)


@pytest.mark.parametrize("size", [0, 1, 1472, 65507])
async def test_any_size_arrives_as_it_was_sent(endpoint: Open, until: Until, size: int) -> None:
    a, _ = await endpoint()
    b, at_b = await endpoint()
    data = os.urandom(size)
    assert a.send(data, b.local_address)
    await until(lambda: at_b.batches)
    assert at_b.data == [data]


@needs_ipv6
async def test_every_interface_means_both_families_on_one_port(endpoint: Open, until: Until) -> None:
    a, at_a = await endpoint("")
    assert [address.host for address in a.local_addresses] == ["0.0.0.0", "::"]  # noqa: S104 - what it shows
    assert len({address.port for address in a.local_addresses}) == 1
    b, at_b = await endpoint("")
    port = b.local_address.port
    sent = [(b"4", Address(LOOPBACK, port)), (b"6", Address("::1", port)), (b"44", Address(LOOPBACK, port))]
    assert a.send_many(sent) == len(sent)
    await until(lambda: len(at_b.data) == len(sent))
    assert sorted(at_b.data) == [b"4", b"44", b"6"]
    assert b.send_many([(data, origin) for data, origin in zip(at_b.data, at_b.origins, strict=True)]) == len(sent)
    await until(lambda: len(at_a.data) == len(sent))


@told
@pytest.mark.skipif(not LINUX, reason="elsewhere the loopback has one address only")
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.8.7"])
async def test_the_answer_leaves_from_the_address_that_was_asked(endpoint: Open, until: Until, asked: str) -> None:
    server, heard = await endpoint("")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((asked, server.local_address.port))  # from here on it hears nobody else
        sock.send(b"who are you?")
        await until(lambda: heard.data)
        assert heard.origins[0].local == (asked, server.local_address.port)
        assert server.send(b"it is me", heard.origins[0])
        assert sock.recv(100) == b"it is me"


@told
@needs_ipv6
async def test_the_local_address_is_told_over_ipv6(endpoint: Open, until: Until) -> None:
    a, at_a = await endpoint("")
    b, at_b = await endpoint("::")
    assert a.send(b"x", Address("::1", b.local_address.port))
    await until(lambda: at_b.data)
    assert at_b.origins[0].local == ("::1", b.local_address.port)
    assert b.send(b"y", at_b.origins[0])
    await until(lambda: at_a.data)
    assert at_a.origins[0] == ("::1", b.local_address.port)


async def test_an_endpoint_of_one_address_is_that_address(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    assert a.send(b"x", a.local_address)
    await until(lambda: heard.data)
    assert heard.origins[0].local == a.local_address


@told
async def test_an_answer_leaves_even_where_the_address_that_was_asked_is_gone(endpoint: Open, until: Until) -> None:
    server, heard = await endpoint("")
    client, at_client = await endpoint()
    client.send(b"x", Address(LOOPBACK, server.local_address.port))
    await until(lambda: heard.data)
    gone = heard.origins[0]
    flow = bytearray(gone.flow)
    at = flow.index(socket.inet_aton(LOOPBACK), 0 if len(flow) == 4 else 16)
    flow[at : at + 4] = socket.inet_aton("192.0.2.1")  # RFC 5737: no host has it
    gone.flow = bytes(flow)
    assert server.send(b"y", gone)
    await until(lambda: at_client.data)
    assert at_client.data == [b"y"]
    assert server.counters.refused == 0


@told
@pytest.mark.parametrize("host", HOSTS)
async def test_the_ecn_field_is_told_and_set(endpoint: Open, until: Until, host: str) -> None:
    a, _ = await endpoint(host)
    b, heard = await endpoint(host, ecn=True)
    for mark in range(4):
        assert a.set_ecn(mark)
        assert a.send(b"x", b.local_address)
    await until(lambda: len(heard.data) == 4)
    assert [origin.ecn for origin in heard.origins] == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="mark 4"):
        a.set_ecn(4)


class Keep:
    """Makes sockets, and keeps them for a look at their options."""

    def __init__(self, *options: tuple[int, int, int]) -> None:
        self._options = options
        self.sockets: list[socket.socket] = []

    def __call__(self, family: int) -> socket.socket:
        sock = udp_socket(family)
        for option in self._options:
            sock.setsockopt(*option)
        self.sockets.append(sock)
        return sock


@needs_ipv6
async def test_fragmenting_is_forbidden_and_allowed(endpoint: Open) -> None:
    keep = Keep()
    a, _ = await endpoint("", new_socket=keep)
    for whole in (True, False):
        assert a.set_dont_fragment(whole)
        if LINUX:
            asked = [(socket.IPPROTO_IP, 10), (socket.IPPROTO_IPV6, 23)]
            assert [sock.getsockopt(*name) for sock, name in zip(keep.sockets, asked, strict=True)] == [3 * whole] * 2
    a.close()
    assert not a.set_dont_fragment(True)
    assert not a.set_ecn(1)


@pytest.mark.skipif(not LINUX, reason="asks the kernel for the time to live of what has come")
@pytest.mark.parametrize("host", HOSTS)
async def test_one_datagram_is_sent_less_far(endpoint: Open, host: str) -> None:
    is_ipv6 = ":" in host
    level, ask, told = (socket.IPPROTO_IPV6, 51, 52) if is_ipv6 else (socket.IPPROTO_IP, 12, 2)
    a, _ = await endpoint(host)
    with udp_socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET) as ear:
        ear.bind((host, 0))
        ear.settimeout(WAIT)
        ear.setsockopt(level, ask, 1)
        where = Address(host, ear.getsockname()[1])
        assert a.send_near(b"near", where, 3)
        assert a.send(b"far", where)
        found = {}
        for _ in range(2):
            data, control, *_ = ear.recvmsg(100, 100)
            found[data] = [struct.unpack("i", value)[0] for *kind, value in control if kind == [level, told]]
    assert found[b"near"] == [3]
    assert found[b"far"] > [3]
    a.close()
    assert not a.send_near(b"x", where, 3)


def closed_port() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        return Address(*sock.getsockname())


async def test_a_closed_port_does_not_silence_an_endpoint(endpoint: Open, until: Until) -> None:
    # With IP_RECVERR, Linux tells ICMP messages as Windows does: at the next call, whatever that is for. libuv would
    # stop polling the socket then, which without that option never happens.
    keep = Keep((socket.IPPROTO_IP, IP_RECVERR, 1)) if TOLD_BY_ICMP else Keep()
    a, at_a = await endpoint(new_socket=keep)
    b, at_b = await endpoint()
    nobody = closed_port()

    def arrived(times: int) -> bool:
        return (len(at_a.data), len(at_b.data)) == (times, 3 * times)

    for count in range(1, 6):
        assert a.send(b"anybody?", nobody)
        assert a.send(b"at once", b.local_address)
        assert a.send(b"anybody?", nobody)
        assert a.send_many([(b"two", b.local_address), (b"at once", b.local_address), (b"x", nobody)]) == 3
        await asyncio.sleep(0)
        assert b.send(b"back", a.local_address)
        await until(partial(arrived, count))
    assert at_b.data[:3] == [b"at once", b"two", b"at once"]
    assert a.counters.refused == 0
    assert a.counters.errors > 0 or not TOLD_BY_ICMP


async def test_what_the_network_refuses_is_counted(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    assert a.send(bytes(65508), a.local_address)
    assert a.send(b"x", Address("::1", 9))  # this one has no socket for it
    assert a.send(b"x", Address("255.255.255.255", 9))  # nor may it tell everyone
    sent = [(bytes(65508), a.local_address), (b"one", a.local_address), (bytes(65508), a.local_address)]
    assert a.send_many([*sent, (b"two", a.local_address)]) == 4
    await until(lambda: len(heard.data) == 2)
    assert heard.data == [b"one", b"two"]
    assert (a.counters.sent, a.counters.refused) == (2, 5)


@pytest.mark.parametrize("host", ["", "example.org", "127.0.0.1.2", "::1::", "127.0.0.1\0"])
async def test_a_name_is_not_sent_to(endpoint: Open, host: str) -> None:
    a, _ = await endpoint()
    with pytest.raises(UsageError, match="not an address"):
        a.send(b"x", Address(host, 9))


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_a_port_that_is_none_is_not_sent_to(endpoint: Open, port: int) -> None:
    a, _ = await endpoint()
    with pytest.raises(UsageError, match="not an address"):
        a.send_many([(b"x", Address(LOOPBACK, port))])


async def test_too_long_ones_are_dropped_and_counted(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint(max_size=100)
    b, _ = await endpoint()
    sizes = [100, 101, 99, 5000, 3]
    assert b.send_many([(bytes(size), a.local_address) for size in sizes]) == len(sizes)
    await until(lambda: len(heard.data) == 3)
    assert [len(data) for data in heard.data] == [100, 99, 3]
    assert (a.counters.truncated, a.counters.received) == (2, 3)


async def test_a_long_run_arrives_complete_and_in_order(endpoint: Open, until: Until) -> None:
    a, _ = await endpoint()
    b, heard = await endpoint(buffer_size=4 << 20)
    sizes = [100] * 130 + [40] + [100] * 3 + [1200] * 70 + [0, 0, 1] + [1200, 1200, 1300, 1200]
    items = [(number.to_bytes(4).ljust(size, b".")[:size], b.local_address) for number, size in enumerate(sizes)]
    assert a.send_many(items) == len(items)
    await until(lambda: len(heard.data) == len(items))
    assert heard.data == [data for data, _ in items]
    assert a.counters.sent == b.counters.received == len(items)


async def test_any_buffer_can_be_sent_and_is_free_afterwards(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    grown = bytearray(b"abc")
    assert a.send_many((item, a.local_address) for item in (grown, memoryview(b"defg")[1:], b"hi")) == 3
    with pytest.raises(UsageError):
        a.send_many([(grown, a.local_address), (grown, Address("nowhere", 1))])
    with pytest.raises(TypeError):
        a.send_many([(grown, a.local_address), ("text", a.local_address)])  # type: ignore[list-item]
    grown += b"d"  # would fail while anybody looks at it
    await until(lambda: len(heard.data) >= 3)
    assert heard.data[:3] == [b"abc", b"efg", b"hi"]


async def test_a_handler_that_fails_loses_its_batch_only(endpoint: Open, until: Until) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    heard = []

    def receive(batch: list[tuple[bytes, Origin]]) -> None:
        if batch[0][0] == b"bad":
            raise RuntimeError("bad")
        heard.extend(batch)

    a, _ = await endpoint(receive=receive)
    a.send(b"bad", a.local_address)
    await until(lambda: complaints)
    a.send(b"good", a.local_address)
    await until(lambda: heard)
    loop.set_exception_handler(handler)
    assert [str(context["exception"]) for context in complaints] == ["bad"]
    assert [data for data, _ in heard] == [b"good"]


async def test_a_closed_endpoint_is_silent_and_its_port_free(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    waiting = asyncio.ensure_future(a.wait_for_room())
    await asyncio.sleep(0)
    a.close()
    a.close()
    assert a.is_closed
    assert "closed" in repr(a)
    await waiting
    await a.wait_for_room()
    assert not a.send(b"x", a.local_address)
    assert a.send_many([(b"x", a.local_address)]) == 0

    async def open_again() -> DatagramEndpoint | None:
        try:
            return (await endpoint(port=a.local_address.port))[0]
        except ConfigError:
            return None

    again = None
    while again is None:
        again = await open_again()
        await asyncio.sleep(0)
    fill(again.local_address, 1)
    await until(lambda: again.counters.received == 1)
    assert not heard.data


async def test_an_endpoint_that_what_it_calls_has_closed_reads_no_more(endpoint: Open, until: Until) -> None:
    heard = []
    later: list[socket.socket] = []

    def receive(batch: list[tuple[bytes, Origin]]) -> None:
        heard.append(batch)
        a.close()
        later.append(udp_socket(socket.AF_INET))  # the system gives it the number that has just become free
        later[0].bind((LOOPBACK, 0))
        later[0].setblocking(False)
        fill(Address(*later[0].getsockname()), 3)

    a, _ = await endpoint(receive=receive)
    fill(a.local_address, 500)
    await until(lambda: heard)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(heard) == 1
    with later[0] as sock:
        assert [len(sock.recv(1000)) for _ in range(3)] == [100] * 3


async def test_there_is_room_at_once_where_nothing_was_sent(endpoint: Open) -> None:
    a, _ = await endpoint()
    await asyncio.gather(a.wait_for_room(), a.wait_for_room())
    waiting = asyncio.ensure_future(a.wait_for_room())
    await asyncio.sleep(0)
    waiting.cancel()
    await a.wait_for_room()


async def test_a_taken_port_and_a_wrong_host_are_told(endpoint: Open) -> None:
    a, _ = await endpoint()
    with pytest.raises(ConfigError, match="port: no datagrams on"):
        await endpoint(port=a.local_address.port)
    with pytest.raises(ConfigError, match=r"host: 'example\.org' is not an IP address"):
        await endpoint("example.org")
    with pytest.raises(ConfigError, match="port"):
        await endpoint(port=70000)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no port")
async def test_a_port_can_be_shared(endpoint: Open) -> None:
    a, _ = await endpoint(reuse_port=True)
    b, _ = await endpoint(port=a.local_address.port, reuse_port=True)
    assert a.local_address == b.local_address


async def test_the_network_opens_endpoints(until: Until) -> None:
    heard = Heard()
    a = await current_network().open_datagram(LOOPBACK, receive=heard, max_size=10)
    a.send(b"x", a.local_address)
    await until(lambda: heard.data)
    a.close()


async def test_an_origin_is_an_address(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    a.send_many([(b"x", a.local_address)] * 2)
    await until(lambda: len(heard.data) == 2)
    one, other = heard.origins
    assert one is other
    assert one == a.local_address
    assert {a.local_address: 1}[one] == 1
    assert a.send(b"y", one._replace(port=one.port))
    await until(lambda: len(heard.data) == 3)


@pytest.mark.skipif(not hasattr(socket, "IP_ADD_MEMBERSHIP") or not LINUX, reason="only tried on Linux")
@told
async def test_who_sends_to_a_group_is_not_answered_from_the_group(endpoint: Open, until: Until) -> None:
    keep = Keep()
    a, heard = await endpoint("0.0.0.0", new_socket=keep)  # noqa: S104 - to hear a group
    group = struct.pack("4s4s", socket.inet_aton("239.1.2.3"), socket.inet_aton(LOOPBACK))
    keep.sockets[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        sock.bind((LOOPBACK, 0))
        sock.sendto(b"all of you", ("239.1.2.3", a.local_address.port))
        await until(lambda: heard.data)
        assert heard.origins[0].local != ("239.1.2.3", a.local_address.port)
        assert a.send(b"I", heard.origins[0])
        assert sock.recv(10) == b"I"
