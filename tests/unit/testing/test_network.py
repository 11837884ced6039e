"""The simulation as a whole: time, hosts, names, ends of runs, and what it refuses."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from librats.errors import ConfigError, UsageError
from librats.runtime.network import Network, SystemNetwork, current_network
from librats.runtime.offload import run_in_thread
from librats.testing import DeadlockError, SimNetwork
from librats.types import Address


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network


def test_time_passes_only_in_the_simulation(net: SimNetwork) -> None:
    async def main() -> float:
        began = time.monotonic()
        await asyncio.sleep(1_000_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        assert time.monotonic() - began < 5
        return asyncio.get_running_loop().time()

    assert net.run(main()) == net.time == pytest.approx(1_000_005)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_run_has_some_time(net: SimNetwork, timeout: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        net.run(asyncio.sleep(0), timeout=timeout)


def test_things_happen_at_their_time(net: SimNetwork) -> None:
    told: list[tuple[str, float]] = []

    async def tell(name: str, after: float) -> None:
        await asyncio.sleep(after)
        told.append((name, net.time))

    async def main() -> None:
        net.at(2.5, lambda: told.append(("agenda", net.time)))
        net.at(2.6, told.append, ("never", 0.0)).cancel()
        await asyncio.gather(tell("late", 3), tell("early", 1), tell("middle", 2))

    net.run(main())
    assert told == [("early", 1), ("middle", 2), ("agenda", 2.5), ("late", 3)]


def test_a_second_run_goes_on_where_the_first_one_ended(net: SimNetwork) -> None:
    net.run(asyncio.sleep(3))
    net.run(asyncio.sleep(4))
    assert net.time == 7


def test_a_deadlock_names_who_waits_and_where(net: SimNetwork) -> None:
    async def waits_for_the_moon() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_the_moon(), name="moon")

    with pytest.raises(DeadlockError) as caught:
        net.run(main())
    assert "moon in Event.wait (locks.py:" in str(caught.value)
    assert "TaskGroup.__aexit__" in str(caught.value) or "main (test_network.py" in str(caught.value)
    assert caught.value.__notes__ == ["in a simulation with seed 1, after 0.000000 virtual seconds"]


def test_a_run_that_takes_too_long_is_ended(net: SimNetwork) -> None:
    async def tick() -> None:
        while True:  # noqa: ASYNC110 - that is what is to be found out
            await asyncio.sleep(1)

    with pytest.raises(DeadlockError, match=r"(?s)time is up.*at 60\.0.*sleep"):
        net.run(tick(), timeout=60)
    net.run(asyncio.sleep(60))


def test_a_loop_that_spins_is_ended(net: SimNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librats.testing.selecting.MAX_TURNS", 1000)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - that is what is to be found out
            await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match="time stands still"):
        net.run(spin())


def test_hosts_have_addresses_of_both_families(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")
    c = net.host("c", addresses=["192.0.2.1", "2001:DB8::0:1"])
    assert (a.addresses, b.addresses) == (("10.0.0.1", "fd00:0:0:1::1"), ("10.0.0.2", "fd00:0:0:2::1"))
    assert c.addresses == ("192.0.2.1", "2001:db8::1")
    assert net.hosts == [a, b, c]


def test_hosts_and_homes_have_ipv6_networks_of_their_own(net: SimNetwork) -> None:
    hosts = [net.host(f"host {number}") for number in range(300)]
    homes = [net.router(f"router {number}", "port_restricted") for number in range(3)]
    guests = [net.host(f"guest {number}", behind=home) for number, home in enumerate(homes)]
    networks = {ipaddress.ip_network((one.addresses[1], 64), strict=False) for one in (*hosts, *guests)}
    assert len(networks) == len(hosts) + len(guests)
    assert {str(ipaddress.ip_address(one.addresses[1])) for one in hosts} == {one.addresses[1] for one in hosts}
    together = net.host("another guest", behind=homes[0])
    assert ipaddress.ip_network((together.addresses[1], 64), strict=False) in networks


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        *(("a", None), ("", None), ("localhost", None)),
        *(("x", ["10.0.0.1"]), ("x", ["127.0.0.1"]), ("x", ["::"]), ("x", ["224.0.0.1"]), ("x", ["b"])),
    ],
)
def test_hosts_that_cannot_be_are_refused(net: SimNetwork, name: str, addresses: list[str] | None) -> None:
    net.host("a")
    with pytest.raises(UsageError):
        net.host(name, addresses=addresses)


def test_a_host_is_the_network_of_the_code_on_it(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")

    async def where() -> Network:
        await asyncio.sleep(1)
        return current_network()

    async def main() -> None:
        with pytest.raises(UsageError, match="no host"):
            current_network()
        assert await a.run(where()) is a
        task = b.spawn(where())
        with a:
            inner = asyncio.create_task(where())
            with b:
                assert current_network() is b
            assert current_network() is a
        assert (await task, await inner, task.get_name()) == (b, a, "b")
        with pytest.raises(UsageError, match="no host"):
            current_network()

    net.run(main())
    assert isinstance(current_network(), SystemNetwork)


def test_names_resolve_inside_the_simulation(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b", addresses=["192.0.2.7", "2001:db8::7"])
    only4 = net.host("only4", addresses=["192.0.2.8"])

    async def main() -> None:
        expected = [Address("192.0.2.7", 80), Address("2001:db8::7", 80)]
        assert await a.resolve(Address("b", 80)) == expected
        assert await a.resolve(Address("203.0.113.5", 80)) == [Address("203.0.113.5", 80)]
        assert await b.resolve(Address("localhost", 1)) == [Address("127.0.0.1", 1), Address("::1", 1)]
        assert await only4.resolve(Address("b", 80)) == expected
        assert await only4.interface_addresses() == ["192.0.2.8", "127.0.0.1", "::1"]
        with pytest.raises(socket.gaierror, match="not known"):
            await a.resolve(Address("nobody.example", 80))

    net.run(main())


def test_blocking_calls_are_made_at_once_and_in_no_thread(net: SimNetwork) -> None:
    here = threading.get_ident()

    async def main() -> None:
        assert await run_in_thread(threading.get_ident) == here
        assert await asyncio.to_thread(threading.get_ident) == here
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(divmod, 1, 0)

    net.run(main())


def test_real_sockets_are_refused(net: SimNetwork) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            with pytest.raises(UsageError, match="real sockets"):
                await loop.sock_recv(ours, 10)

    net.run(main())


def test_keys_come_from_the_seed_and_the_name_of_the_host() -> None:
    def ids(seed: int, *names: str) -> list[str]:
        with SimNetwork(seed) as net:
            return [host.new_identity().peer_id for host in map(net.host, names) for _ in range(2)]

    assert ids(1, "a", "b") == ids(1, "a", "b")
    assert ids(1, "b", "a")[2:] == ids(1, "a")
    assert len({*ids(1, "a", "b"), *ids(2, "a", "b")}) == 8


def test_links_can_be_changed(net: SimNetwork) -> None:
    a, b = net.host("a"), net.host("b")
    net.set_link(a, b, delay=1.5)
    net.set_link(b, a, delay=0.5, one_way=True)

    async def main() -> float:
        with b:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, port=80)
        with a:
            _, writer = await asyncio.open_connection("b", 80)
        writer.close()
        server.close()
        return net.time

    assert net.run(main()) == 2.0
    with pytest.raises(ConfigError, match="speed"):
        net.set_link(a, b, speed=3)
    with pytest.raises(ConfigError, match="loss"):
        SimNetwork(loss=2)


def test_the_trace_tells_what_happened_to_packets() -> None:
    with SimNetwork(3, trace=True) as net:
        a, b = net.host("a"), net.host("b")

        async def main() -> None:
            with a, pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("10.0.0.2", 80)
            net.cut(a, b)
            net.note("and now in vain")
            with a, pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await asyncio.open_connection("b", 80)

        net.run(main())
        lines = str(net.trace).splitlines()
        assert [line.split(" ", 3)[:3] for line in lines[:5]] == [
            ["0.0", "a", "sent"],
            ["0.01", "b", "received"],
            ["0.01", "b", "sent"],
            ["0.02", "a", "received"],
            ["0.02", "", "note"],
        ]
        assert lines[0].endswith("syn 10.0.0.1:49152 10.0.0.2:80 0 262144 0 -")
        assert [event.what for event in net.trace.events[4:]] == ["note", "note", "lost", "lost"]
