"""Datagrams in a simulation: an endpoint does there what it does on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from librats.errors import ConfigError, UsageError
from librats.runtime.datagrams import Origin
from librats.runtime.network import current_network
from librats.runtime.udp import DatagramEndpoint
from librats.testing import SimHost, SimNetwork
from librats.types import Address

PORT = 9000
SIX = socket.AF_INET6

needs_sharing = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system cannot share a port")


class Ear:
    """An endpoint, and what it has heard."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, Origin]]] = []
        self.endpoint: DatagramEndpoint

    @property
    def data(self) -> list[bytes]:
        return [data for batch in self.batches for data, _ in batch]

    @property
    def origins(self) -> list[Origin]:
        return [origin for batch in self.batches for _, origin in batch]


async def ear_on(host: SimHost, address: str = "", port: int = PORT, **options: Any) -> Ear:
    ear = Ear()
    with host:
        ear.endpoint = await current_network().open_datagram(address, port, receive=ear.batches.append, **options)
    return ear


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network
        assert network.left_behind() == []


@pytest.mark.parametrize("family", [0, 1])
def test_a_datagram_arrives_after_the_delay_and_can_be_answered(net: SimNetwork, family: int) -> None:
    async def main() -> None:
        a, b = await ear_on(net.host("a")), await ear_on(net.host("b"))
        there = Address(net.hosts[1].addresses[family], PORT)
        assert a.endpoint.send(b"ping", there)
        await asyncio.sleep(0.009)
        assert b.data == []
        await asyncio.sleep(0.002)
        assert (b.data, b.origins[0]) == ([b"ping"], Address(net.hosts[0].addresses[family], PORT))
        assert b.origins[0].local == there
        assert b.endpoint.send_many([(b"pong", b.origins[0]), (b"again", b.origins[0])]) == 2
        await asyncio.sleep(1)
        assert [[data for data, _ in batch] for batch in a.batches] == [[b"pong", b"again"]]
        assert a.origins[0] is a.origins[1]
        assert (a.endpoint.counters.sent, a.endpoint.counters.received) == (1, 2)
        a.endpoint.close()
        b.endpoint.close()
        assert not a.endpoint.send(b"late", there)

    net.run(main())


def test_the_answer_leaves_from_the_address_that_was_asked(net: SimNetwork) -> None:
    async def main() -> None:
        b = await ear_on(net.host("b", addresses=["192.0.2.1", "192.0.2.2"]))
        a = await ear_on(net.host("a"), "10.0.0.1")
        a.endpoint.send(b"x", Address("192.0.2.2", PORT))
        await asyncio.sleep(1)
        assert b.origins[0].local == ("192.0.2.2", PORT)
        b.endpoint.send(b"to the origin", b.origins[0])
        b.endpoint.send(b"to anyone", Address(*b.origins[0]))
        await asyncio.sleep(1)
        assert a.origins == [("192.0.2.2", PORT), ("192.0.2.1", PORT)]
        assert a.origins[0].local == a.endpoint.local_address
        for ear in (a, b):
            ear.endpoint.close()

    net.run(main())


def test_the_local_address_is_told_only_where_it_is_asked_for(net: SimNetwork) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a"), pktinfo=False)
        a.endpoint.send(b"x", Address("127.0.0.1", PORT))
        await asyncio.sleep(1)
        assert a.origins[0].local is None
        a.endpoint.close()

    net.run(main())


def test_a_port_is_taken_once_for_each_transport(net: SimNetwork) -> None:
    async def main() -> None:
        host = net.host("a")
        a = await ear_on(host)
        with pytest.raises(ConfigError, match="no datagrams"):
            await ear_on(host)
        with pytest.raises(ConfigError, match="no datagrams"):
            await ear_on(host, "10.0.0.1")
        with pytest.raises(ConfigError, match="no datagrams"):
            await ear_on(host, "192.0.2.77", 0)
        with host:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, port=PORT)
        server.close()
        a.endpoint.close()
        b = await ear_on(host)
        b.endpoint.close()
        first, second = await ear_on(host, port=0), await ear_on(host, port=0)
        assert first.endpoint.local_address.port != second.endpoint.local_address.port
        first.endpoint.close()
        second.endpoint.close()

    net.run(main())


@needs_sharing
def test_a_shared_port_shares_what_comes(net: SimNetwork) -> None:
    async def main() -> None:
        host, other = net.host("a"), net.host("b")
        both = [await ear_on(host, "10.0.0.1", reuse_port=True) for _ in range(2)]
        senders = [await ear_on(other, "10.0.0.2", 0) for _ in range(20)]
        for sender in senders:
            sender.endpoint.send_many([(b"x", Address("10.0.0.1", PORT))] * 3)
        await asyncio.sleep(1)
        assert sum(len(ear.data) for ear in both) == 60
        assert all(len(ear.data) % 3 == 0 < len(ear.data) for ear in both)
        for ear in (*both, *senders):
            ear.endpoint.close()

    net.run(main())


def test_a_closed_port_is_told_as_an_error(net: SimNetwork) -> None:
    async def main() -> None:
        a, nobody = await ear_on(net.host("a")), net.host("b")
        a.endpoint.send(b"anybody?", Address(nobody.addresses[0], 7))
        await asyncio.sleep(0.0199)
        assert a.endpoint.counters.errors == 0
        await asyncio.sleep(0.0002)
        assert a.endpoint.counters.errors == 1
        nobody.down()
        a.endpoint.send(b"anybody?", Address(nobody.addresses[0], 7))
        await asyncio.sleep(1)
        assert (a.endpoint.counters.errors, a.endpoint.counters.sent, a.endpoint.counters.refused) == (1, 2, 0)
        a.endpoint.close()

    net.run(main())


def test_what_the_network_refuses_is_counted(net: SimNetwork) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a"), "10.0.0.1")
        here = a.endpoint.local_address
        too_long = bytes(65_508)
        assert a.endpoint.send(too_long, here)
        assert a.endpoint.send(b"x", Address("::1", 9))
        assert a.endpoint.send(b"x", Address("255.255.255.255", 9))
        assert a.endpoint.send_many([(too_long, here), (bytes(65_507), here), (b"two", here)]) == 3
        await asyncio.sleep(1)
        assert [len(data) for data in a.data] == [65_507, 3]
        assert (a.endpoint.counters.sent, a.endpoint.counters.refused) == (2, 4)
        a.endpoint.close()
        only4 = await ear_on(net.host("only4", addresses=["192.0.2.4"]))
        only4.endpoint.send(b"x", Address("fd00:0:0:1::1", PORT))
        assert only4.endpoint.counters.refused == 1
        only4.endpoint.close()

    net.run(main())


@pytest.mark.parametrize("address", [Address("name", 9), Address("", 9), Address("10.0.0.1", 0), Address("::1", 65536)])
def test_what_is_no_address_is_not_sent_to(net: SimNetwork, address: Address) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a"))
        with pytest.raises(UsageError, match="not an address"):
            a.endpoint.send(b"x", address)
        with pytest.raises(TypeError):
            a.endpoint.send("text", Address("10.0.0.1", 1))  # type: ignore[arg-type]
        a.endpoint.close()

    net.run(main())


def test_long_ones_are_dropped_and_counted_where_they_are_not_wanted(net: SimNetwork) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a"), max_size=100)
        here = Address("127.0.0.1", PORT)
        assert a.endpoint.send_many((bytes(size), here) for size in (100, 101, 99)) == 3
        await asyncio.sleep(1)
        assert [len(data) for data in a.data] == [100, 99]
        assert a.endpoint.counters.truncated == 1
        a.endpoint.close()

    net.run(main())


def test_a_full_buffer_drops_what_comes(net: SimNetwork) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a"), buffer_size=10_000)
        a.endpoint.send_many([(bytes([n]) * 1000, Address("127.0.0.1", PORT)) for n in range(15)])
        await asyncio.sleep(1)
        assert [data[0] for data in a.data] == list(range(10))
        assert a.endpoint.counters.dropped_by_kernel == 5
        a.endpoint.send(b"room again", Address("127.0.0.1", PORT))
        await asyncio.sleep(1)
        assert a.data[-1] == b"room again"
        a.endpoint.close()

    net.run(main())


def test_a_long_run_arrives_in_order_and_in_batches(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = await ear_on(net.host("a")), await ear_on(net.host("b"))
        there = Address("10.0.0.2", PORT)
        sizes = [1200] * 100 + [40] + [100] * 3 + [0, 1]
        items = [(number.to_bytes(2).ljust(size, b".")[:size], there) for number, size in enumerate(sizes)]
        assert a.endpoint.send_many(items) == len(items)
        await asyncio.sleep(1)
        assert b.data == [data for data, _ in items]
        assert [len(batch) for batch in b.batches] == [64, 42]
        for ear in (a, b):
            ear.endpoint.close()

    net.run(main())


def test_what_may_not_be_fragmented_goes_whole_or_not_at_all(net: SimNetwork) -> None:
    async def main() -> None:
        a, b, c = await ear_on(net.host("a")), await ear_on(net.host("b")), net.host("c")
        net.set_link(net.hosts[0], net.hosts[1], mtu=1300)
        there = Address("10.0.0.2", PORT)
        sizes = (1272, 1273, 1472, 1473, 5000)
        assert a.endpoint.send_many([(bytes(size), there) for size in sizes]) == 5
        await asyncio.sleep(1)
        assert [len(data) for data in b.data] == list(sizes)
        if not a.endpoint.set_dont_fragment(True):
            pytest.skip("this system has no such option")
        assert a.endpoint.send_many([(bytes(size), there) for size in sizes]) == 5
        await asyncio.sleep(1)
        counters = a.endpoint.counters
        assert [len(data) for data in b.data[5:]] == [1272]
        assert (counters.refused, counters.errors) == (2, 2)  # those beyond its own interface, and beyond the link
        assert a.endpoint.send(bytes(5000), Address("127.0.0.1", PORT))
        await asyncio.sleep(1)
        assert len(a.data[-1]) == 5000
        assert a.endpoint.set_dont_fragment(False)
        a.endpoint.send(bytes(5000), there)
        a.endpoint.send(bytes(5000), Address(c.addresses[0], PORT))
        await asyncio.sleep(1)
        assert len(b.data) == 7
        for ear in (a, b):
            ear.endpoint.close()

    net.run(main())


def test_all_pieces_of_a_long_one_have_to_arrive() -> None:
    async def main(net: SimNetwork) -> int:
        a, b = await ear_on(net.host("a")), await ear_on(net.host("b"), buffer_size=10_000_000)
        for _ in range(1000):
            a.endpoint.send(bytes(4 * 1400), Address("10.0.0.2", PORT))
        await asyncio.sleep(1)
        for ear in (a, b):
            ear.endpoint.close()
        return len(b.data)

    with SimNetwork(seed=2, loss=0.1) as net:
        assert 600 < net.run(main(net)) < 710  # 0.9 to the fourth


def test_the_ecn_field_is_told_where_it_is_asked_for(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = await ear_on(net.host("a")), await ear_on(net.host("b"), ecn=True)
        silent = await ear_on(net.host("c"))
        for mark in range(4):
            if not a.endpoint.set_ecn(mark):
                pytest.skip("this system has no such option")
            for ear in (b, silent):
                host = next(h for h in ("10.0.0.2", "10.0.0.3") if (h == "10.0.0.2") == (ear is b))
                a.endpoint.send(b"x", Address(host, PORT))
        await asyncio.sleep(1)
        assert [origin.ecn for origin in b.origins] == [0, 1, 2, 3]
        assert [origin.ecn for origin in silent.origins] == [0] * 4
        for ear in (a, b, silent):
            ear.endpoint.close()

    net.run(main())


def test_asyncio_has_datagrams_too(net: SimNetwork) -> None:
    class Recorder(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.heard: list[tuple[bytes, Any]] = []
            self.errors: list[Exception] = []

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.heard.append((data, addr))

        def error_received(self, exc: Exception) -> None:
            self.errors.append(exc)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with net.host("a"):
            server, at_server = await loop.create_datagram_endpoint(Recorder, ("::", PORT))
        with net.host("b"):
            client, at_client = await loop.create_datagram_endpoint(Recorder, remote_addr=("a", PORT), family=SIX)
            plain, at_plain = await loop.create_datagram_endpoint(Recorder, family=SIX)
        client.sendto(b"hello")
        await asyncio.sleep(1)
        [(data, source)] = at_server.heard
        assert (data, source[:2], client.get_extra_info("peername")[:2]) == (
            *(b"hello", ("fd00:0:0:2::1", client.get_extra_info("sockname")[1])),
            ("fd00:0:0:1::1", PORT),
        )
        server.sendto(b"hi", source)
        plain.sendto(b"unasked", source)
        await asyncio.sleep(1)
        assert [data for data, _ in at_client.heard] == [b"hi"]
        server.close()
        await asyncio.sleep(1)
        for transport in (client, plain):
            transport.sendto(b"still there?", None if transport is client else ("fd00:0:0:1::1", PORT))
        await asyncio.sleep(1)
        assert [type(error) for error in at_client.errors] == [ConnectionRefusedError]
        assert at_plain.errors == []
        client.close()
        plain.close()
        await asyncio.sleep(1)

    net.run(main())
