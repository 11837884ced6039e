"""The addresses of this machine, from a made-up list of interfaces and from the real one."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import threading
from collections.abc import Callable

import ifaddr
import pytest

from librats.runtime.interfaces import interface_addresses

Addresses = list[str | tuple[str, int, int]]
Setter = Callable[..., None]

EVERYTHING: dict[str, Addresses] = {
    "lo": ["127.0.0.1", ("::1", 0, 0)],
    "eth0": [
        ("fe80::1", 0, 4),
        ("fd00::2", 0, 0),
        "169.254.7.7",
        "192.0.2.2",
        ("2001:db8::2", 0, 0),
        "10.0.0.1",
    ],
}


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """Return a function that replaces the machine's interfaces: adapter name to addresses."""

    def replace(adapters: dict[str, Addresses]) -> None:
        found = [
            ifaddr.Adapter(name, name, [ifaddr.IP(ip, 24, name) for ip in ips], index=index)
            for index, (name, ips) in enumerate(adapters.items(), 1)
        ]
        monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)

    monkeypatch.setattr(socket, "if_indextoname", {4: "eth0", 5: "eth1"}.__getitem__)
    return replace


async def test_addresses_come_in_the_order_of_their_use(interfaces: Setter) -> None:
    interfaces(EVERYTHING)
    assert await interface_addresses() == [
        *("192.0.2.2", "10.0.0.1"),
        *("fd00::2", "2001:db8::2"),
        *("169.254.7.7", "fe80::1%eth0"),
        *("127.0.0.1", "::1"),
    ]


async def test_loopback_is_left_out_on_demand(interfaces: Setter) -> None:
    interfaces(EVERYTHING)
    addresses = await interface_addresses(include_loopback=False)
    assert addresses[0] == "192.0.2.2"
    assert not any(ipaddress.ip_address(address).is_loopback for address in addresses)
    assert len(addresses) == 6


async def test_an_address_on_two_interfaces_comes_once_but_link_local_ones_differ(interfaces: Setter) -> None:
    interfaces({"a": ["192.0.2.2", ("fe80::1", 0, 4)], "b": ["192.0.2.2", ("fe80::1", 0, 5)]})
    assert await interface_addresses() == ["192.0.2.2", "fe80::1%eth0", "fe80::1%eth1"]


async def test_addresses_that_nobody_can_be_reached_at_are_left_out(interfaces: Setter) -> None:
    interfaces({"a": ["0.0.0.0", "224.0.0.1", ("::", 0, 0), ("ff02::1", 0, 4), "192.0.2.2"]})  # noqa: S104
    assert await interface_addresses() == ["192.0.2.2"]


async def test_an_interface_that_is_gone_leaves_its_index_as_zone(
    interfaces: Setter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(index: int) -> str:
        raise OSError(f"no interface {index}")

    interfaces({"a": [("fe80::1", 0, 9)]})
    monkeypatch.setattr(socket, "if_indextoname", gone)
    assert await interface_addresses() == ["fe80::1%9"]


async def test_an_address_that_cannot_be_read_costs_only_itself(
    interfaces: Setter, caplog: pytest.LogCaptureFixture
) -> None:
    interfaces({"strange": ["192.0.2.300", "192.0.2.3"]})
    assert await interface_addresses() == ["192.0.2.3"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "strange" in record.getMessage()


@pytest.mark.parametrize("error", [OSError("no such call"), AssertionError("netmask"), RuntimeError("unknown")])
async def test_a_system_that_does_not_tell_costs_one_warning(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> list[ifaddr.Adapter]:
        raise error

    monkeypatch.setattr(ifaddr, "get_adapters", fail)
    assert await interface_addresses() == []
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("librats.runtime", logging.WARNING)
    assert str(error) in record.getMessage()


async def test_without_ifaddr_there_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ifaddr", None)
    assert await interface_addresses() == []
    assert len(caplog.records) == 1


async def test_the_system_is_not_asked_on_the_loops_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def look() -> list[ifaddr.Adapter]:
        threads.append(threading.get_ident())
        return []

    monkeypatch.setattr(ifaddr, "get_adapters", look)
    assert await interface_addresses() == []
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_this_machine_has_loopback_last(caplog: pytest.LogCaptureFixture) -> None:
    addresses = [ipaddress.ip_address(text) for text in await interface_addresses()]
    loopback = [address for address in addresses if address.is_loopback]
    assert loopback
    assert addresses[-len(loopback) :] == loopback
    assert caplog.records == []
