"""The ports of a relay: each is given out once, in an order of its own, and given back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from librats._core.relay import pack_address
from librats.runtime import relay_ports as module
from librats.runtime.entropy import SystemEntropy
from librats.runtime.relay_ports import RelayPortPool, open_listeners
from librats.turn.serving.allocation import IPV4, IPV6, TCP, Relay
from librats.types import Address

FIRST, LAST = 20000, 20031


class Opened:
    """A pool, and what was opened of it."""

    def __init__(self, *hosts: str, outside: dict[str, str] | None = None) -> None:
        self.pool = RelayPortPool(hosts, (FIRST, LAST), outside=outside, entropy=SystemEntropy())
        self.relays: list[Relay] = []

    def open(self, family: int = IPV4, *, near: bytes = b"", **more: int) -> Relay | None:
        relay = self.pool.open(family, near=near, **more)  # type: ignore[arg-type]
        if relay is not None:
            self.relays.append(relay)
        return relay


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened("127.0.0.1")
    yield made
    for relay in made.relays:
        made.pool.close(relay)


def test_every_port_is_given_out_once_and_again_when_it_is_back(opened: Opened) -> None:
    while opened.open():
        pass
    ports = [relay.port for relay in opened.relays]
    assert len(set(ports)) == len(ports) > LAST - FIRST - 8  # but for those of other programs
    assert ports != sorted(ports)
    back = opened.relays.pop()
    opened.pool.close(back)
    again = opened.open()
    assert again is not None
    assert again.port == back.port


def test_a_port_of_another_program_is_passed_over(opened: Opened) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", FIRST + 3))
        while opened.open():
            pass
    assert FIRST + 3 not in {relay.port for relay in opened.relays}


def test_even_ports_and_pairs(opened: Opened) -> None:
    for _ in range(3):
        relay = opened.open(even=True)
        assert relay is not None
        assert relay.port % 2 == 0
        pair = opened.pool.open_pair(IPV4, near=b"")
        assert pair is not None
        opened.relays += pair
        assert (pair[0].port % 2, pair[1].port) == (0, pair[0].port + 1)


def test_families_that_are_not_there(opened: Opened) -> None:
    assert opened.pool.has(IPV4)
    assert not opened.pool.has(IPV6)
    assert opened.open(IPV6) is None


def test_the_address_that_the_client_sent_to_is_preferred() -> None:
    opened = Opened("127.0.0.1", "127.0.0.2", outside={"127.0.0.2": "192.0.2.1"})
    for host, told in (("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "192.0.2.1")):
        relay = opened.open(near=pack_address(host, 3478))
        assert relay is not None
        assert (relay.bound_host, relay.host) == (host, told)
    hosts = set()
    for _ in range(4):
        relay = opened.open()
        assert relay is not None
        hosts.add(relay.bound_host)
    assert hosts == {"127.0.0.1", "127.0.0.2"}
    assert set(opened.pool.hosts) == {"127.0.0.1", "127.0.0.2", "192.0.2.1"}
    for relay in opened.relays:
        opened.pool.close(relay)


def test_a_tcp_relay_listens(opened: Opened) -> None:
    relay = opened.open(transport=TCP)
    assert relay is not None
    with socket.create_connection((relay.host, relay.port), 5):
        pass


def test_a_port_that_is_picked_is_free_for_tcp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Address] = []

    def is_free(address: Address) -> bool:
        looked_at.append(address)
        return len(looked_at) > 1

    monkeypatch.setattr(module, "_is_free_for_tcp", is_free)
    [[(fd, address)]] = open_listeners([Address("127.0.0.1", 0)], threads=1, tcp=True)
    os.close(fd)
    assert looked_at[-1] == address
    assert len(looked_at) == 2


def test_a_port_that_tcp_has_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not module._is_free_for_tcp(Address("127.0.0.1", server.getsockname()[1]))
    assert module._is_free_for_tcp(Address("127.0.0.1", 0))
