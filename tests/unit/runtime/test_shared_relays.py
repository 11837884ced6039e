"""Relay sockets that allocations share: one for each host, given to who comes to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from librats._core.relay import pack_address
from librats.errors import ConfigError
from librats.runtime.entropy import SystemEntropy
from librats.runtime.relay_ports import RelayPortPool
from librats.runtime.shared_relays import SharedRelays
from librats.turn.serving.allocation import IPV4, IPV6, TCP


def pool_of(*hosts: str) -> RelayPortPool:
    return RelayPortPool(hosts, (20000, 20031), entropy=SystemEntropy())


@pytest.fixture
def shared() -> Iterator[SharedRelays]:
    made = SharedRelays(pool_of("127.0.0.1", "127.0.0.2"))
    yield made
    made.close_all()


def test_who_comes_to_a_host_gets_its_socket_and_others_take_turns(shared: SharedRelays) -> None:
    by_host = {relay.host: relay for relay in shared.relays}
    for host, relay in by_host.items():
        assert shared.open(IPV4, near=pack_address(host, 3478)) == relay
    given = [shared.open(IPV4, near=b"") for _ in range(4)]
    assert given[:2] == given[2:]
    assert set(given) == set(shared.relays)


def test_closing_one_of_an_allocation_leaves_it_open(shared: SharedRelays) -> None:
    relay = shared.open(IPV4, near=b"")
    assert relay is not None
    shared.close(relay)
    os.fstat(relay.fd)
    own = shared.open(IPV4, near=b"", transport=TCP)
    assert own is not None
    assert own not in shared.relays
    shared.close(own)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(own.fd)


def test_there_is_no_even_port_no_pair_and_no_other_family(shared: SharedRelays) -> None:
    assert shared.open(IPV4, near=b"", even=True) is None
    assert shared.open_pair(IPV4, near=b"") is None
    assert shared.has(IPV4)
    assert not shared.has(IPV6)
    assert shared.open(IPV6, near=b"") is None


def test_a_host_of_another_machine_is_told_and_leaves_nothing_open() -> None:
    pool = pool_of("127.0.0.1", "192.0.2.1")
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        SharedRelays(pool)
    opened = [pool.open(IPV4, near=pack_address("127.0.0.1", 1)) for _ in range(32)]
    assert sum(relay is not None for relay in opened) > 20  # none of the ports was kept
    for relay in opened:
        if relay is not None:
            pool.close(relay)
