"""Routers in a simulation: what they hide, let through and refuse, for datagrams and for streams."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.testing.test_datagrams import Ear, ear_on, needs_sharing

from librats.errors import UsageError
from librats.testing import RouterBehavior, SimHost, SimNetwork, SimRouter
from librats.types import Address

PORT = 9000


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network
        assert network.left_behind() == []


async def served(host: SimHost, port: int = PORT) -> tuple[Any, list[Any]]:
    """Listen for connections on both families, and keep their other ends."""
    seen: list[Any] = []

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            seen.append(transport.get_extra_info("peername")[:2])
            transport.write(b"hello")
            transport.close()

    with host:
        server = await host.listen_tcp(Greeter, "", port)
    return server, seen


async def greeted(host: SimHost, *where: Any, within: float = 20.0, local: Any = None) -> str:
    """Connect, and return what comes, or what went wrong."""
    with host:
        try:
            async with asyncio.timeout(within):
                reader, writer = await asyncio.open_connection(*where, local_addr=local)
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        greeting = await reader.read()
        writer.close()
        return greeting.decode()


def test_a_nat_hides_addresses_and_lets_in_answers(net: SimNetwork) -> None:
    async def main() -> None:
        home = net.router("home", "port_restricted")
        alice, bob = net.host("alice", behind=home), net.host("bob")
        assert (alice.addresses[0], home.address) == ("192.168.1.11", "203.0.113.101")
        at_alice, at_bob = await ear_on(alice), await ear_on(bob)
        at_bob.endpoint.send(b"too early", Address(home.address, PORT))
        at_bob.endpoint.send(b"no such place", Address("192.168.1.11", PORT))
        await asyncio.sleep(1)
        at_alice.endpoint.send(b"hello", Address(bob.addresses[0], PORT))
        await asyncio.sleep(1)
        assert at_bob.origins == [(home.address, PORT)]
        at_bob.endpoint.send(b"back", at_bob.origins[0])
        await asyncio.sleep(1)
        assert at_alice.data == [b"back"]
        assert home.mappings() == 1
        for ear in (at_alice, at_bob):
            ear.endpoint.close()

    net.run(main())


def test_lans_have_addresses_of_their_own_and_neighbours_reach_each_other(net: SimNetwork) -> None:
    async def main() -> None:
        homes = [net.router(name) for name in ("one", "two")]
        hosts = [net.host(f"{home.name}{n}", behind=home) for home in homes for n in range(2)]
        assert [host.addresses[0] for host in hosts] == ["192.168.1.11", "192.168.1.12"] * 2
        ears = [await ear_on(host) for host in hosts]
        ears[0].endpoint.send(b"neighbour", Address("192.168.1.12", PORT))
        await asyncio.sleep(1)
        assert [ear.data for ear in ears] == [[], [b"neighbour"], [], []]
        assert ears[1].origins == [("192.168.1.11", PORT)]
        for ear in ears:
            ear.endpoint.close()

    net.run(main())


def test_names_lead_where_they_can_be_reached(net: SimNetwork) -> None:
    home, office, cafe = net.router("home"), net.router("office", "firewall"), net.router("cafe", "v6_only")
    alice, bob = net.host("alice", behind=home), net.host("bob", behind=home)
    carol, dave, eve = net.host("carol", behind=office), net.host("dave"), net.host("eve", behind=cafe)

    async def hosts_of(name: str, asked_by: SimHost) -> list[str]:
        return [address.host for address in await asked_by.resolve(Address(name, 1))]

    async def main() -> None:
        assert await hosts_of("alice", bob) == list(alice.addresses)
        assert await hosts_of("alice", dave) == [alice.addresses[1]]  # the other one means somebody else there
        assert await hosts_of("carol", alice) == list(carol.addresses)
        assert await hosts_of("home", dave) == list(home.outside.addresses)
        assert await hosts_of("dave", alice) == list(dave.addresses)
        assert await hosts_of("eve", dave) == list(eve.addresses)
        assert [":" in address for address in eve.addresses] == [True]
        closed = net.router("closed", RouterBehavior(ipv6="none"))
        net.host("hermit", behind=closed)
        with pytest.raises(socket.gaierror):
            await dave.resolve(Address("hermit", 1))

    net.run(main())


def test_ipv6_is_not_translated_but_filtered(net: SimNetwork) -> None:
    async def main() -> None:
        walled, free = net.host("walled", behind=net.router("a")), net.host("free", behind=net.router("b", "open"))
        ears = [await ear_on(host) for host in (walled, free)]
        six = [Address(host.addresses[1], PORT) for host in (walled, free)]
        ears[1].endpoint.send(b"unasked", six[0])
        await asyncio.sleep(1)
        assert ears[0].data == []
        ears[0].endpoint.send(b"hello", six[1])
        await asyncio.sleep(1)
        assert ears[1].origins == [six[0]]
        ears[1].endpoint.send(b"asked", six[0])
        await asyncio.sleep(1)
        assert ears[0].data == [b"asked"]
        for ear in ears:
            ear.endpoint.close()

    net.run(main())


def test_a_firewall_passes_addresses_as_they_are(net: SimNetwork) -> None:
    async def main() -> None:
        host = net.host("host", behind=net.router("wall", "firewall"))
        other = net.host("other")
        assert host.addresses[0] == "203.0.113.102"
        ears = [await ear_on(host), await ear_on(other)]
        ears[1].endpoint.send(b"unasked", Address(host.addresses[0], PORT))
        await asyncio.sleep(1)
        ears[0].endpoint.send(b"x", Address(other.addresses[0], PORT))
        await asyncio.sleep(1)
        assert ears[1].origins == [(host.addresses[0], PORT)]
        ears[1].endpoint.send(b"asked", ears[1].origins[0])
        await asyncio.sleep(1)
        assert ears[0].data == [b"asked"]
        for ear in ears:
            ear.endpoint.close()

    net.run(main())


@pytest.mark.parametrize("family", [0, 1])
def test_a_router_that_blocks_udp_does_so_both_ways(net: SimNetwork, family: int) -> None:
    async def main() -> None:
        behavior = RouterBehavior(translates=False, filtering="endpoint-independent", udp=False, ipv6="open")
        router = net.router("deaf", behavior)
        host, other = net.host("host", behind=router), net.host("other")
        ears = [await ear_on(host), await ear_on(other)]
        server, _ = await served(host)
        assert await greeted(other, host.addresses[family], PORT) == "hello"
        for ear, there in ((ears[0], other), (ears[1], host)):
            ear.endpoint.send(b"x", Address(there.addresses[family], PORT))
        await asyncio.sleep(1)
        assert [ear.data for ear in ears] == [[], []]
        server.close()
        for ear in ears:
            ear.endpoint.close()

    net.run(main())


@pytest.mark.parametrize(("kind", "through"), [("full_cone", True), ("port_restricted", False)])
def test_hairpins_are_turned_only_where_the_router_does(net: SimNetwork, kind: str, through: bool) -> None:
    async def main() -> None:
        home = net.router("home", kind)
        ears = [await ear_on(net.host(name, behind=home), port=port) for name, port in (("a", 1000), ("b", 2000))]
        server = await ear_on(net.host("server"))
        for ear in ears:
            ear.endpoint.send(b"x", Address("10.0.0.1", PORT))
        await asyncio.sleep(1)
        ears[0].endpoint.send(b"neighbour", Address(home.address, 2000))
        await asyncio.sleep(1)
        assert ears[1].data == [b"neighbour"] * through
        assert ears[0].endpoint.counters.errors == (not through)
        if through:
            assert ears[1].origins == [(home.address, 1000)]
            ears[1].endpoint.send(b"back", ears[1].origins[0])
            await asyncio.sleep(1)
            assert ears[0].data == [b"back"]
        for ear in (*ears, server):
            ear.endpoint.close()

    net.run(main())


def test_two_homes_behind_one_carrier_meet_where_that_turns_hairpins(net: SimNetwork) -> None:
    async def main() -> None:
        carrier = net.router("carrier", "full_cone")
        homes = [net.router(f"home{n}", "port_restricted", behind=carrier) for n in range(2)]
        assert [home.address for home in homes] == ["100.64.0.2", "100.64.0.3"]
        assert homes[0].outer is carrier
        assert carrier.outer is None
        ears = [await ear_on(net.host(f"host{n}", behind=home), port=1000 + n) for n, home in enumerate(homes)]
        server = await ear_on(net.host("server"))
        for ear in ears:
            ear.endpoint.send(b"x", Address("10.0.0.1", PORT))
        await asyncio.sleep(1)
        assert sorted(server.origins) == [(carrier.address, 1000), (carrier.address, 1001)]
        for _ in range(2):
            ears[0].endpoint.send(b"punch", Address(carrier.address, 1001))
            ears[1].endpoint.send(b"punch", Address(carrier.address, 1000))
            await asyncio.sleep(1)
        assert b"punch" in ears[0].data
        assert b"punch" in ears[1].data
        for ear in (*ears, server):
            ear.endpoint.close()

    net.run(main())


def test_routers_in_a_row_are_made_by_one_name(net: SimNetwork) -> None:
    home = net.router("home", "restricted+port_restricted+symmetric")
    assert home.outer is not None
    assert home.outer.outer is not None
    assert home.outer.outer.outer is None
    assert [router.name for router in net.routers] == ["home.3", "home.2", "home"]
    assert [router.address for router in net.routers] == ["203.0.113.101", "100.64.0.2", "100.64.0.2"]
    for name in ("home", "home.2", "localhost", ""):
        with pytest.raises(UsageError, match="no host of the name"):
            net.router(name)
    with pytest.raises(UsageError, match="no host of the name"):
        net.host("home")
    with pytest.raises(UsageError, match="no router is called"):
        net.router("other", "odd")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("port_restricted", "TimeoutError"), ("openwrt", "ConnectionRefusedError"), ("full_cone", "TimeoutError")],
)
def test_connections_from_outside_are_dropped_or_refused(net: SimNetwork, kind: str, outcome: str) -> None:
    async def main() -> None:
        home = net.router("home", kind)
        server, _ = await served(net.host("alice", behind=home))
        assert await greeted(net.host("bob"), home.address, PORT) == outcome
        server.close()

    net.run(main())


def test_connections_go_out_through_all_routers(net: SimNetwork) -> None:
    async def main() -> None:
        carrier = net.router("carrier", "cgnat")
        server, seen = await served(net.host("server"))
        assert await greeted(net.host("alice", behind=carrier), "10.0.0.1", PORT) == "hello"
        assert carrier.outer is not None
        assert seen[0][0] == carrier.outer.address
        assert await greeted(net.host("bob", behind=net.router("wall", "tcp443_only")), "10.0.0.1", PORT) == (
            "TimeoutError"
        )
        server.close()

    net.run(main())


def test_a_forwarded_port_leads_in(net: SimNetwork) -> None:
    async def main() -> None:
        home = net.router("home", "symmetric")
        alice, bob = net.host("alice", behind=home), net.host("bob", behind=net.router("other", "symmetric"))
        server, seen = await served(alice)
        public = home.forward(443, alice, PORT)
        assert public == (home.address, 443)
        assert await greeted(bob, "home", 443) == "hello"
        assert seen[0][0] == "203.0.113.102"
        home.restart()
        assert await greeted(bob, *public) == "hello"
        home.outside.readdress("203.0.113.77")
        assert await greeted(bob, *public) == "TimeoutError"
        assert await greeted(bob, "203.0.113.77", 443) == "hello"
        server.close()
        for wrong in ((0, alice), (443, bob)):
            with pytest.raises(UsageError):
                home.forward(*wrong)
        with pytest.raises(UsageError):
            net.router("wall", "firewall").forward(443, alice)

    net.run(main())


@pytest.mark.parametrize("delays", [(0.01, 0.01), (0.01, 0.3)])
@pytest.mark.parametrize("kinds", [("port_restricted", "port_restricted"), ("restricted", "double_nat")])
def test_connections_that_are_asked_for_on_both_sides_come_about(
    net: SimNetwork, kinds: tuple[str, str], delays: tuple[float, float]
) -> None:
    async def main() -> None:
        routers = [net.router(f"router{n}", kind) for n, kind in enumerate(kinds)]
        hosts = [net.host(f"host{n}", behind=router) for n, router in enumerate(routers)]
        tops = [router if router.outer is None else router.outer for router in routers]
        net.set_link(tops[0], tops[1], delay=delays[0])
        net.set_link(tops[0], tops[1], one_way=True, delay=delays[1])

        async def dial(number: int) -> tuple[bytes, tuple[str, int]]:
            here, there = hosts[number], tops[1 - number]
            with here:
                reader, writer = await asyncio.open_connection(
                    there.address, 5000 + 1 - number, local_addr=(here.addresses[0], 5000 + number)
                )
            writer.write(f"I am {number}".encode())
            writer.write_eof()
            said = await reader.read()
            writer.close()
            return said, writer.get_extra_info("peername")

        (first, second) = await asyncio.gather(dial(0), dial(1))
        assert first == (b"I am 1", (tops[1].address, 5001))
        assert second == (b"I am 0", (tops[0].address, 5000))
        await asyncio.sleep(100)
        assert [host.connections for host in hosts] == [0, 0]

    net.run(main(), timeout=1000)


@pytest.mark.parametrize("one_way", [True, False])
def test_they_come_about_though_the_agreement_is_lost(net: SimNetwork, one_way: bool) -> None:
    """Both questions arrive after 50 ms, and the answers to them would after 100, but for the cut."""

    async def main() -> None:
        a, b = net.host("a"), net.host("b")
        net.set_link(a, b, delay=0.05)
        net.at(0.07, lambda: net.cut(a, b, one_way=one_way))
        net.at(0.1005, net.heal)

        async def dial(here: SimHost, there: SimHost) -> bytes:
            with here:
                reader, writer = await asyncio.open_connection(
                    there.addresses[0], PORT, local_addr=(here.addresses[0], PORT)
                )
            writer.write(here.name.encode())
            await asyncio.sleep(20)
            said = await reader.read(10)
            writer.close()
            return said

        assert list(await asyncio.gather(dial(a, b), dial(b, a))) == [b"b", b"a"]
        await asyncio.sleep(100)

    net.run(main(), timeout=1000)


@pytest.mark.parametrize("seed", range(5))
def test_they_come_about_over_bad_links_too(seed: int) -> None:
    async def main(net: SimNetwork) -> None:
        a, b = net.host("a"), net.host("b")

        async def dial(here: SimHost, there: SimHost) -> bytes:
            with here:
                reader, writer = await asyncio.open_connection(
                    there.addresses[0], PORT, local_addr=(here.addresses[0], PORT)
                )
            writer.write(here.name.encode() * 10_000)
            writer.write_eof()
            said = await reader.read()
            writer.close()
            return said

        at_a, at_b = await asyncio.gather(dial(a, b), dial(b, a))
        assert (at_a, at_b) == (b"b" * 10_000, b"a" * 10_000)
        await asyncio.sleep(1000)
        assert net.left_behind() == []

    with SimNetwork(seed, delay=0.05, jitter=0.05, loss=0.3, duplication=0.1) as net:
        net.run(main(net), timeout=10_000)


@needs_sharing
def test_a_port_that_listens_can_be_dialled_from(net: SimNetwork) -> None:
    """As a punch over TCP needs it: one public address for what goes out and what comes in."""

    async def main() -> None:
        host = net.host("host")
        there, seen = await served(net.host("there"))
        with host:
            listening = host.stack.socket(socket.AF_INET)
            dialling = host.stack.socket(socket.AF_INET)
            for sock in (listening, dialling):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("0.0.0.0", 7000))  # noqa: S104 - a simulated host
            listening.listen()
            with host.stack.socket(socket.AF_INET) as other, pytest.raises(OSError, match="in use"):
                other.bind(("0.0.0.0", 7000))  # noqa: S104 - likewise
        await asyncio.get_running_loop().sock_connect(dialling, ("10.0.0.2", PORT))
        await asyncio.sleep(1)
        assert seen == [("10.0.0.1", 7000)]
        dialling.close()
        with net.hosts[1]:
            _, writer = await asyncio.open_connection("10.0.0.1", 7000)
        accepted, name = await asyncio.get_running_loop().sock_accept(listening)
        assert name == writer.get_extra_info("sockname")
        for closing in (writer, accepted, listening, there):
            closing.close()
        await asyncio.sleep(1)

    net.run(main())


def test_a_router_that_is_down_lets_nothing_through(net: SimNetwork) -> None:
    async def main() -> None:
        home: SimRouter = net.router("home")
        alice, bob = net.host("alice", behind=home), net.host("bob")
        at_bob: Ear = await ear_on(bob)
        at_alice: Ear = await ear_on(alice)
        to_bob = Address(bob.addresses[0], PORT)
        at_alice.endpoint.send(b"1", to_bob)
        await asyncio.sleep(1)
        home.down()
        at_alice.endpoint.send(b"2", to_bob)
        at_bob.endpoint.send(b"3", at_bob.origins[0])
        await asyncio.sleep(1)
        home.up()
        at_bob.endpoint.send(b"4", at_bob.origins[0])
        await asyncio.sleep(1)
        home.restart()
        at_bob.endpoint.send(b"5", at_bob.origins[0])
        await asyncio.sleep(1)
        assert (at_bob.data, at_alice.data) == ([b"1"], [b"4"])
        for ear in (at_alice, at_bob):
            ear.endpoint.close()

    net.run(main())


@pytest.mark.parametrize(("kind", "needed"), [("", 2), ("open", 3), ("port_restricted", 3), ("double_nat", 4)])
def test_a_datagram_passes_so_many_routers_as_it_may(net: SimNetwork, kind: str, needed: int) -> None:
    """The internet counts for one router, and those at either end for one each."""

    async def main() -> None:
        alice = net.host("alice", behind=net.router("home", kind) if kind else None)
        router = net.router("firewall", "open")
        bob = net.host("bob", behind=router)
        at_alice, at_bob = await ear_on(alice, alice.addresses[0]), await ear_on(bob, bob.addresses[0])
        where = Address(bob.addresses[0], PORT)
        for hops in range(1, needed + 2):
            assert at_alice.endpoint.send_near(b"%d" % hops, where, hops)
        assert at_alice.endpoint.send(b"as usual", where)
        await asyncio.sleep(1)
        assert at_bob.data == [b"%d" % (needed + 1), b"as usual"]
        assert at_alice.endpoint.counters.errors == needed
        at_bob.endpoint.send(b"back", at_bob.origins[0])
        await asyncio.sleep(1)
        assert at_alice.data == [b"back"]
        for ear in (at_alice, at_bob):
            ear.endpoint.close()

    net.run(main())


def test_a_datagram_that_dies_on_the_way_opens_the_nat_that_it_has_passed(net: SimNetwork) -> None:
    async def main() -> None:
        home, other = net.router("home", "port_restricted"), net.router("other", "bare_masquerade")
        alice, bob = net.host("alice", behind=home), net.host("bob", behind=other)
        at_alice, at_bob = await ear_on(alice), await ear_on(bob)
        at_alice.endpoint.send_near(b"opens", Address(other.address, PORT), 2)
        await asyncio.sleep(1)
        at_bob.endpoint.send(b"hello", Address(home.address, PORT))
        await asyncio.sleep(1)
        assert at_alice.origins == [(other.address, PORT)]
        assert at_bob.data == []
        for ear in (at_alice, at_bob):
            ear.endpoint.close()

    net.run(main())
