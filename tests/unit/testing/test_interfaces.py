"""Hosts with several interfaces, hosts that move, and networks that fall apart, at times that a test chooses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.unit.testing.test_datagrams import Ear, ear_on
from tests.unit.testing.test_routers import greeted, served

from librats.errors import ConfigError, UsageError
from librats.testing import SimNetwork
from librats.types import Address

PORT = 9000


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network
        assert network.left_behind() == []


def close(*ears: Ear) -> None:
    for ear in ears:
        ear.endpoint.close()


def test_a_phone_goes_from_one_network_to_the_other(net: SimNetwork) -> None:
    async def main() -> None:
        home, carrier = net.router("home"), net.router("carrier", "cgnat")
        assert carrier.outer is not None
        phone = net.host("phone", behind=home)
        cell = phone.add_interface("cell", behind=carrier)
        wifi = phone.interfaces["eth0"]
        server = await ear_on(net.host("server"))
        ear = await ear_on(phone)
        there = Address("10.0.0.1", PORT)
        seen = []
        changes: list[Callable[[], object]] = [lambda: None, wifi.down, cell.down, wifi.up]
        for change in changes:
            change()
            assert ear.endpoint.send(b"where am I?", there)
            await asyncio.sleep(1)
            seen.append(server.origins[-1].host if server.data else "nowhere")
            server.batches.clear()
        assert seen == [home.address, carrier.outer.address, "nowhere", home.address]
        assert ear.endpoint.counters.refused == 1
        close(server, ear)

    net.run(main())


def test_the_interface_that_is_nearest_is_used(net: SimNetwork) -> None:
    async def main() -> None:
        lan = net.router("lan")
        host = net.host("host")
        host.add_interface("eth1", behind=lan, addresses=["192.168.1.77"])
        near = await ear_on(net.host("near", behind=lan))
        ear = await ear_on(host)
        ear.endpoint.send(b"x", Address("192.168.1.11", PORT))
        await asyncio.sleep(1)
        assert near.origins == [("192.168.1.77", PORT)]
        assert await host.interface_addresses() == ["10.0.0.1", "fd00:0:0:1::1", "192.168.1.77", "127.0.0.1", "::1"]
        for wrong in ("eth1", "eth0"):
            with pytest.raises(UsageError, match="has an interface"):
                host.add_interface(wrong)
        with pytest.raises(UsageError, match="near has"):
            host.add_interface("eth2", behind=lan, addresses=["192.168.1.11"])
        close(near, ear)

    net.run(main())


def test_what_is_bound_to_an_address_that_is_gone_reaches_nobody(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = net.host("a"), net.host("b")
        server, _ = await served(b)
        with a:
            reader, writer = await asyncio.open_connection("10.0.0.2", PORT)
        bound, free = await ear_on(a, "10.0.0.1"), await ear_on(a, port=PORT + 1)
        at_b = await ear_on(b)
        await asyncio.sleep(0)
        at_b.endpoint.send(b"on its way", Address("10.0.0.1", PORT + 1))
        await asyncio.sleep(0.005)
        a.interfaces["eth0"].readdress("10.9.9.9")
        assert a.addresses == ("10.9.9.9",)
        for ear in (bound, free):
            ear.endpoint.send(b"x", Address("10.0.0.2", PORT))
        at_b.endpoint.send(b"old", Address("10.0.0.1", PORT + 1))
        at_b.endpoint.send(b"new", Address("10.9.9.9", PORT + 1))
        await asyncio.sleep(1)
        assert at_b.origins == [("10.9.9.9", PORT + 1)]
        assert (free.data, bound.endpoint.counters.refused) == ([b"new"], 1)
        with pytest.raises(TimeoutError):  # its address is gone, so nothing comes and nobody says so
            async with asyncio.timeout(30):
                await reader.read()
        writer.close()
        assert await greeted(a, "10.0.0.2", PORT) == "hello"
        server.close()
        close(bound, free, at_b)
        await asyncio.sleep(10_000)
        assert (a.connections, b.connections) == (0, 0)

    net.run(main())


def test_an_interface_moves_with_an_address_of_the_new_place(net: SimNetwork) -> None:
    cafe, office = net.router("cafe"), net.router("office", "firewall")
    laptop = net.host("laptop")
    [interface] = laptop.interfaces.values()
    interface.move(cafe)
    assert [*laptop.addresses] == ["192.168.1.11", "2001:db8:2::1"]
    interface.move(office)
    assert [*laptop.addresses] == ["203.0.113.103", "2001:db8:3::1"]
    assert "203.0.113.103" in net.internet.members
    interface.move(office, addresses=["203.0.113.9"])
    assert "203.0.113.103" not in net.internet.members
    net.host("other", addresses=["203.0.113.8"])
    with pytest.raises(UsageError, match="other has"):
        interface.readdress("203.0.113.8")
    with pytest.raises(UsageError, match="cannot be"):
        interface.readdress("127.0.0.1")
    assert [*laptop.addresses] == ["203.0.113.9"]
    interface.move()
    assert [*laptop.addresses] == ["10.0.0.2", "fd00:0:0:2::1"]


def test_what_is_behind_a_router_moves_with_it(net: SimNetwork) -> None:
    async def main() -> None:
        wall = net.router("wall", "open")
        host = await ear_on(net.host("host", behind=wall))
        other = await ear_on(net.host("other"))
        where = Address(net.hosts[0].addresses[1], PORT)
        other.endpoint.send(b"1", where)
        await asyncio.sleep(1)
        carrier = net.router("carrier", "open")
        wall.outside.move(carrier)
        other.endpoint.send(b"2", where)
        await asyncio.sleep(1)
        wall.outside.move(net.router("dark", "port_restricted"))
        other.endpoint.send(b"3", where)
        await asyncio.sleep(1)
        assert host.data == [b"1", b"2"]
        close(host, other)

    net.run(main())


def test_an_access_line_is_shared_by_all_that_goes_over_it(net: SimNetwork) -> None:
    async def main() -> None:
        home = net.router("home")
        home.outside.set_access(one_way="up", bandwidth=1000 + 28, queue=10**6)
        inside = [await ear_on(net.host(f"h{n}", behind=home)) for n in range(2)]
        outside = [await ear_on(net.host(f"o{n}")) for n in range(2)]
        for a, host in zip(inside, ("10.0.0.1", "10.0.0.2"), strict=True):
            a.endpoint.send(bytes(1000), Address(host, PORT))
        await asyncio.sleep(1.1)
        assert [len(ear.data) for ear in outside] == [1, 0]
        await asyncio.sleep(1)
        assert [len(ear.data) for ear in outside] == [1, 1]
        home.outside.set_access(one_way="down", delay=3, mtu=1000)
        for a in outside:
            a.endpoint.set_dont_fragment(True)
            a.endpoint.send(b"x", a.origins[0])
            a.endpoint.send(bytes(1000), a.origins[0])
        await asyncio.sleep(2.9)
        assert [ear.data for ear in inside] == [[], []]
        await asyncio.sleep(0.2)
        assert [ear.data for ear in inside] == [[b"x"], [b"x"]]
        assert [ear.endpoint.counters.errors for ear in outside] == [1, 1]
        with pytest.raises(UsageError, match="up, down"):
            home.outside.set_access(one_way="sideways")
        with pytest.raises(ConfigError, match="loss"):
            home.outside.set_access(loss=2)
        with pytest.raises(ConfigError, match="speed"):
            home.outside.set_access(speed=2)
        close(*inside, *outside)

    net.run(main())


def test_the_mtu_of_its_own_access_is_known_to_a_host(net: SimNetwork) -> None:
    async def main() -> None:
        a, b = net.host("a"), await ear_on(net.host("b"))
        a.interfaces["eth0"].set_access(mtu=1280)
        ear = await ear_on(a)
        if not ear.endpoint.set_dont_fragment(True):
            pytest.skip("this system has no such option")
        for size in (1280 - 28, 1280 - 27):
            ear.endpoint.send(bytes(size), Address("10.0.0.2", PORT))
        await asyncio.sleep(1)
        assert [len(data) for data in b.data] == [1280 - 28]
        assert ear.endpoint.counters.refused == 1
        close(ear, b)

    net.run(main())


def test_hosts_are_cut_off_whatever_lies_between_them(net: SimNetwork) -> None:
    async def main() -> None:
        a = await ear_on(net.host("a", behind=net.router("home")))
        b, c = await ear_on(net.host("b")), await ear_on(net.host("c"))
        alice, bob, carol = net.hosts

        async def heard() -> list[bool]:
            for host in (bob, carol):
                a.endpoint.send(b"x", Address(host.addresses[0], PORT))
            await asyncio.sleep(1)
            found = [bool(ear.data) for ear in (b, c)]
            b.batches.clear()
            c.batches.clear()
            return found

        assert await heard() == [True, True]
        net.partition([alice], [bob])
        assert await heard() == [False, True]
        net.heal()
        assert await heard() == [True, True]
        net.cut(bob, alice, one_way=True)
        assert await heard() == [True, True]
        net.cut(alice, bob)
        assert await heard() == [False, True]
        net.mend(alice, bob)
        assert await heard() == [True, True]
        net.cut(net.routers[0], carol)
        assert await heard() == [True, False]
        net.at(net.time + 0.5, net.heal)
        await asyncio.sleep(1)
        assert await heard() == [True, True]
        close(a, b, c)

    net.run(main())


def test_the_links_of_those_that_a_router_parts_are_those_to_it(net: SimNetwork) -> None:
    async def main() -> None:
        home = net.router("home")
        alice, bob = net.host("alice", behind=home), net.host("bob")
        with pytest.raises(UsageError, match="a router stands between alice and bob"):
            net.set_link(alice, bob, delay=1)
        net.set_link(alice, home, delay=0.25, one_way=True)
        net.set_link(home, bob, delay=0.5, one_way=True)
        a, b = await ear_on(alice), await ear_on(bob)
        a.endpoint.send(b"x", Address("10.0.0.1", PORT))
        await asyncio.sleep(0.749)
        assert not b.data
        await asyncio.sleep(0.002)
        b.endpoint.send(b"x", b.origins[0])
        await asyncio.sleep(0.010)
        assert not a.data
        await asyncio.sleep(0.001)
        assert a.data
        close(a, b)

    net.run(main())


def test_datagrams_may_come_twice_and_out_of_order() -> None:
    async def main(net: SimNetwork) -> list[int]:
        a, b = await ear_on(net.host("a")), await ear_on(net.host("b"))
        for number in range(1000):
            a.endpoint.send(number.to_bytes(2), Address("10.0.0.2", PORT))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        close(a, b)
        return [int.from_bytes(data) for data in b.data]

    with SimNetwork(seed=1, duplication=0.1, reordering=0.1, held_back=0.0055) as net:
        heard = net.run(main(net))
    assert set(heard) == set(range(1000))
    assert 1070 < len(heard) < 1130
    first = list(dict.fromkeys(heard))
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(first))
    assert 60 < overtaken < 130


def test_neighbours_in_two_networks_have_a_link_in_each(net: SimNetwork) -> None:
    async def main() -> None:
        lan = net.router("lan")
        ears = []
        for name in ("a", "b"):
            net.host(name).add_interface("eth1", behind=lan)
            ears.append(await ear_on(net.hosts[-1]))
        for host, slow in (("10.0.0.2", True), ("192.168.1.12", False)):
            ears[0].endpoint.send(b"x", Address(host, PORT))
            await asyncio.sleep(0.001)
            assert bool(ears[1].data) is not slow
            await asyncio.sleep(1)
            ears[1].batches.clear()
        net.set_link(net.hosts[0], net.hosts[0], delay=5)
        ears[0].endpoint.send(b"to myself", Address("127.0.0.1", PORT))
        await asyncio.sleep(4.9)
        assert ears[0].data == []
        await asyncio.sleep(0.2)
        assert ears[0].data == [b"to myself"]
        close(*ears)

    net.run(main())
