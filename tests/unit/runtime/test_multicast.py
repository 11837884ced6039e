"""Multicast on the loopback: who hears what, how much of it, and which networks there are."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, cast

import pytest
from ifaddr import IP, Adapter

from librats.runtime import multicast
from librats.runtime.multicast import MAX_RATE, MulticastLink, MulticastSocket, multicast_links
from librats.types import Address


def loopback() -> MulticastLink:
    return MulticastLink("lo", socket.if_nametoindex("lo"), ("127.0.0.1",), (ipaddress.ip_network("127.0.0.0/8"),))


def loopback6() -> MulticastLink:
    return MulticastLink("lo", socket.if_nametoindex("lo"), ("::1",), (ipaddress.ip_network("::1/128"),))


@pytest.fixture
def group() -> Address:
    """Return a group whose port nobody has now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        return Address("239.255.71.7", sock.getsockname()[1])


@contextmanager
def sender() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield sock


class Heard:
    """Datagrams that have come, and a way to wait for one."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.origins: list[Address] = []
        self._came = asyncio.Event()

    def __call__(self, data: bytes, origin: Address) -> None:
        self.data.append(data)
        self.origins.append(origin)
        self._came.set()

    async def until(self, data: bytes) -> None:
        async with asyncio.timeout(30):
            while data not in self.data:
                self._came.clear()
                await self._came.wait()


async def test_several_on_one_machine_hear_what_one_of_them_sends(group: Address) -> None:
    heard = [Heard(), Heard()]
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(MulticastSocket(loopback(), group, one))) for one in heard]
        sockets[0].send(b"all of you")
        for one in heard:
            await one.until(b"all of you")
    assert heard[0].origins == heard[1].origins == [Address("127.0.0.1", group.port)]


async def test_it_goes_no_further_than_the_network(group: Address) -> None:
    with closing(MulticastSocket(loopback(), group, Heard())) as own:
        assert own._socket.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
    with closing(MulticastSocket(loopback6(), Address("ff11::7171", group.port), Heard())) as own:
        assert own._socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 1


async def test_what_is_sent_to_this_host_alone_is_not_heard(group: Address) -> None:
    heard = Heard()
    with closing(MulticastSocket(loopback(), group, heard)) as own, sender() as other:
        other.sendto(b"to you alone", ("127.0.0.1", group.port))
        own.send(b"to all")
        await heard.until(b"to all")
    assert heard.data == [b"to all"]


async def test_of_a_flood_so_much_is_taken_and_more_a_second_later(group: Address) -> None:
    now = 100.0
    loop = asyncio.get_running_loop()
    heard = Heard()
    with closing(MulticastSocket(loopback(), group, heard)) as own, sender() as other:
        clock = Clock(loop)
        own._loop = cast("asyncio.AbstractEventLoop", clock)
        own._since = clock.now = now
        for _ in range(20):
            for _ in range(30):
                other.sendto(b"flood", tuple(group))
            for _ in range(4):
                await asyncio.sleep(0)
        assert len(heard.data) == MAX_RATE
        assert clock.due == now + 1
        clock.now = clock.due
        while heard.data.count(b"flood") == MAX_RATE:
            clock.run()
            await asyncio.sleep(0)
        assert MAX_RATE < len(heard.data) <= 2 * MAX_RATE


class Clock:
    """A loop whose time stands still, and whose timer is run by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: Any = None
        self.now = self.due = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Any) -> Any:
        self.due, self._call = when, call
        return self._loop.call_later(3600, call)

    def run(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


async def test_it_can_be_closed_by_whoever_hears_and_in_a_pause(group: Address) -> None:
    heard = Heard()

    def hear(data: bytes, origin: Address) -> None:
        heard(data, origin)
        own.close()

    own = MulticastSocket(loopback(), group, hear)
    own.send(b"one")
    own.send(b"two")
    await heard.until(b"one")
    own.close()
    assert own.is_closed
    assert heard.data == [b"one"]

    other = MulticastSocket(loopback(), group, heard)
    other._left = 0
    other.send(b"three")
    while other._pause is None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    other.close()
    assert heard.data == [b"one"]


async def test_a_loop_that_does_not_tell_when_a_socket_is_readable_hears_too(
    group: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def refuse(*_args: object) -> None:
        raise NotImplementedError

    heard = Heard()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "add_reader", refuse)
        own = MulticastSocket(loopback(), group, heard)
    own.send(b"hello")
    await heard.until(b"hello")
    own.close()
    while own._socket.fileno() != -1:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


async def test_a_network_that_is_not_there_is_told(group: Address) -> None:
    gone = MulticastLink("gone", 4_000_000, ("192.0.2.1",), (ipaddress.ip_network("192.0.2.0/24"),))
    with pytest.raises(OSError, match=r"."):
        MulticastSocket(gone, group, Heard())


# Networks


def test_what_is_of_a_network_has_no_router_in_between() -> None:
    ipv4 = MulticastLink("eth0", 2, ("192.0.2.7",), (ipaddress.ip_network("192.0.2.0/24"),))
    ipv6 = MulticastLink("eth0", 2, ("2001:db8::7",), (ipaddress.ip_network("2001:db8::/64"),))
    assert [ipv4.holds(host) for host in ("192.0.2.9", "192.0.3.9", "2001:db8::9", "fe80::9%eth0")] == [True] + [
        False
    ] * 3
    assert [ipv6.holds(host) for host in ("2001:db8::9", "fe80::9%2", "2001:db8:1::9", "192.0.2.9")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_network_is_the_same_with_another_address_of_ours() -> None:
    near = (ipaddress.ip_network("192.0.2.0/24"),)
    assert MulticastLink("eth0", 2, ("192.0.2.7",), near) == MulticastLink("eth0", 2, ("192.0.2.8",), near)
    assert MulticastLink("eth0", 2, ("192.0.2.7",), near) != MulticastLink("eth1", 3, ("192.0.2.7",), near)


async def test_networks_are_those_of_the_interfaces_without_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [
        Adapter("lo", "lo", [IP("127.0.0.1", 8, "lo"), IP(("::1", 0, 0), 128, "lo")], index=1),
        Adapter(
            "eth0",
            "eth0",
            [
                IP("192.0.2.7", 24, "eth0"),
                IP("192.0.2.8", 24, "eth0"),
                IP(("2001:db8::7", 0, 0), 64, "eth0"),
                IP(("fe80::7", 0, 2), 64, "eth0"),
            ],
            index=2,
        ),
        Adapter("wlan", "wlan", [IP(("fe80::8%wlan", 0, 5), 64, "wlan")], index=None),
        Adapter("down", "down", [], index=4),
    ]
    monkeypatch.setattr(multicast, "system_adapters", lambda **_options: adapters)
    assert [(link.interface, link.index, link.hosts) for link in await multicast_links()] == [
        ("eth0", 2, ("192.0.2.7", "192.0.2.8")),
        ("eth0", 2, ("2001:db8::7", "fe80::7")),
        ("wlan", 5, ("fe80::8",)),
    ]
