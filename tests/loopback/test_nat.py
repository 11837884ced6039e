"""client.nat on real sockets: servers on loopback, dead ones among them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.loopback.conftest import LOOPBACK, WAIT, until_true
from tests.reference.stun_server import Reply, StunServer, four_sockets, udp_socket

from librats import (
    Address,
    ClosedError,
    ConfigError,
    Identity,
    NatTraversalConfig,
    NatType,
    PeerDenied,
    PortAllocation,
    RatsClient,
    RatsConfig,
    UsageError,
    blocking,
)
from librats.runtime.network import SystemNetwork


def settings(*servers: str, **values: Any) -> NatTraversalConfig:
    return NatTraversalConfig(stun_servers=servers, **values)


def new_client(nat: NatTraversalConfig) -> RatsClient:
    return RatsClient(0, nat=nat, config=RatsConfig(listen_host=LOOPBACK), identity=Identity.generate())


@pytest.fixture
def server() -> Iterator[StunServer]:
    with StunServer(four_sockets()) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[StunServer]:
    with StunServer([udp_socket(LOOPBACK)]) as running:
        yield running


@pytest.fixture
def dead() -> Iterator[str]:
    """Yield the address of a server that takes everything and says nothing."""
    with udp_socket(LOOPBACK) as sock:
        yield f"{LOOPBACK}:{sock.getsockname()[1]}"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names and what resolving them gives: addresses, an error, or an event to wait for first."""
    known: dict[str, Any] = {}
    resolve = SystemNetwork.resolve

    async def lookup(network: SystemNetwork, address: Address) -> list[Address]:
        found = known.get(address.host)
        if found is None:
            return await resolve(network, address)
        if isinstance(found, asyncio.Event):
            await found.wait()
            return []
        if isinstance(found, Exception):
            raise found
        return [Address(host, address.port) for host in found]

    monkeypatch.setattr(SystemNetwork, "resolve", lookup)
    return known


async def test_a_public_address_is_what_a_server_sees(plain: StunServer) -> None:
    async with new_client(settings(plain.address)) as client:
        [address] = await client.nat.public_addresses()
        assert address.host == LOOPBACK
        assert client.nat.public_hosts == [LOOPBACK]


async def test_both_families_are_asked_and_the_preferred_one_is_first(plain: StunServer) -> None:
    with StunServer([udp_socket("::1")]) as v6:
        for prefer_ipv6, hosts in ((False, [LOOPBACK, "::1"]), (True, ["::1", LOOPBACK])):
            async with new_client(settings(plain.address, v6.address, prefer_ipv6=prefer_ipv6)) as client:
                assert [address.host for address in await client.nat.public_addresses()] == hosts


async def test_dead_servers_and_names_that_do_not_resolve_delay_nothing(
    plain: StunServer, dead: str, names: dict[str, Any]
) -> None:
    names["nowhere.invalid"] = OSError("no such name")
    names["slow.invalid"] = asyncio.Event()
    names["good.test"] = [LOOPBACK]
    port = plain.endpoints[0][1]
    servers = (dead, "nowhere.invalid", "slow.invalid", f"good.test:{port}")
    async with new_client(settings(*servers, stun_first_answer=0.2, stun_timeout=60)) as client:
        started = time.perf_counter()
        [address] = await client.nat.public_addresses()
        assert address.host == LOOPBACK
        assert time.perf_counter() - started < 5


async def test_silence_ends_with_the_timeout_and_no_address(dead: str) -> None:
    async with new_client(settings(dead, stun_first_answer=0.1, stun_timeout=0.3)) as client:
        assert await client.nat.public_addresses() == []
        assert await client.nat.public_addresses(servers=["name.that.is.none.invalid"]) == []


async def test_what_a_slow_server_answers_is_known_later(plain: StunServer) -> None:
    may_answer = asyncio.Event()

    def hold_back(reply: Reply) -> list[Reply]:
        return [reply] if may_answer.is_set() else []

    with StunServer([udp_socket("::1")], meddle=hold_back) as slow:
        async with new_client(settings(plain.address, slow.address, stun_first_answer=0.1, stun_timeout=60)) as client:
            assert [address.host for address in await client.nat.public_addresses()] == [LOOPBACK]
            may_answer.set()
            await until_true(lambda: client.nat.public_hosts == [LOOPBACK, "::1"])


@pytest.mark.parametrize(
    "meddle",
    [
        lambda reply: [(1, *reply[1:])],
        lambda reply: [(reply[0], reply[1][:8] + bytes(12) + reply[1][20:], reply[2])],
        lambda reply: [(reply[0], reply[1][:4] + bytes(4) + reply[1][8:], reply[2])],
        lambda reply: [(reply[0], reply[1][:-2], reply[2])],
        lambda _: [],
    ],
    ids=["another port", "another transaction", "no cookie", "cut off", "silence"],
)
async def test_answers_that_are_none_do_not_count(meddle: Callable[[Reply], list[Reply]]) -> None:
    with StunServer(four_sockets(), meddle=meddle) as liar:
        async with new_client(settings(liar.address, stun_first_answer=0.1, stun_timeout=0.4)) as client:
            assert await client.nat.public_addresses() == []


async def test_the_type_is_told_in_one_word_and_in_full(server: StunServer, dead: str) -> None:
    async with new_client(settings(dead, server.address)) as client:
        assert "nothing detected yet" in repr(client.nat)
        info = await client.get_nat_characteristics()
        assert info is client.nat.last
        assert await client.get_nat_characteristics() is info
        assert await client.detect_nat_type() is NatType.OPEN_INTERNET
        assert client.nat.last is not info
    assert (info.type, info.has_nat, info.hairpin) == (NatType.OPEN_INTERNET, False, None)
    assert (info.mapping, info.filtering) == ("endpoint-independent", "endpoint-independent")
    assert (info.port_allocation, info.preserves_port) == (PortAllocation.PRESERVING, True)
    assert (info.server, info.problem) == (Address(*server.endpoints[0]), "")
    assert info.description.startswith("open internet; mapping endpoint-independent")


async def test_a_server_that_loses_every_second_answer_is_measured_with() -> None:
    count = 0

    def lose(reply: Reply) -> list[Reply]:
        nonlocal count
        count += 1
        return [reply, reply] if count % 2 else []

    with StunServer(four_sockets(), meddle=lose) as lossy:
        async with new_client(settings(lossy.address)) as client:
            assert await client.detect_nat_type() is NatType.OPEN_INTERNET


async def test_a_plain_server_tells_less_and_it_is_said(plain: StunServer) -> None:
    async with new_client(settings(plain.address)) as client:
        info = await client.nat.detect()
    assert (info.has_nat, info.filtering) == (False, "unknown")
    assert "plain" in info.problem or "second address" in info.problem


async def test_silence_is_told_as_blocked(dead: str) -> None:
    async with new_client(settings(dead, stun_first_answer=0.1, stun_timeout=0.3)) as client:
        assert await client.detect_nat_type() is NatType.BLOCKED


async def test_names_that_do_not_resolve_are_told(names: dict[str, Any]) -> None:
    names["nowhere.invalid"] = OSError("no such name")
    names["slow.invalid"] = asyncio.Event()
    async with new_client(settings("nowhere.invalid", "slow.invalid", stun_timeout=0.5)) as client:
        info = await client.nat.detect()
    assert info.type is NatType.UNKNOWN
    assert "nowhere.invalid has no address" in info.problem
    assert "in time" in info.problem


async def test_a_host_name_with_two_families_is_measured_over_the_first(
    server: StunServer, names: dict[str, Any]
) -> None:
    names["both.test"] = ["::1", LOOPBACK]
    async with new_client(settings(f"both.test:{server.endpoints[0][1]}")) as client:
        info = await client.nat.detect()
    assert info.server == Address(*server.endpoints[0])


async def test_a_lifetime_is_measured_with_progress(server: StunServer, plain: StunServer) -> None:
    told: list[tuple[float, float]] = []
    async with new_client(settings(server.address)) as client:
        info = await client.nat.detect(
            lifetime=True, lifetime_waits=(0.1, 0.2), progress=lambda gone, most: told.append((gone, most))
        )
        assert (info.mapping_lifetime, info.mapping_expired_after) == (0.2, None)
        assert told
        assert all(0 < gone < most for gone, most in told)
        with pytest.raises(UsageError):
            await client.nat.detect(lifetime=True, lifetime_waits=(2.0, 1.0))
    async with new_client(settings(plain.address)) as client:
        info = await client.nat.detect(lifetime=True, lifetime_waits=(0.1,))
        assert info.mapping_lifetime is None
        assert "how long" in info.problem


async def test_without_servers_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened or a name resolved")

    monkeypatch.setattr(SystemNetwork, "resolve", forbidden)
    async with new_client(NatTraversalConfig.offline()) as client:
        monkeypatch.setattr(SystemNetwork, "open_datagram", forbidden)  # that of its own port is open
        assert await client.nat.public_addresses() == []
        assert await client.detect_nat_type() is NatType.UNKNOWN
        assert not await client.discover_and_ignore_public_ip()
        monkeypatch.undo()
    monkeypatch.setattr(SystemNetwork, "resolve", forbidden)
    async with new_client(NatTraversalConfig()):
        pass  # public servers are configured, and nothing is asked of them


async def test_a_discovered_public_address_is_never_dialled(plain: StunServer) -> None:
    async with new_client(settings(plain.address)) as client, new_client(NatTraversalConfig.offline()) as other:
        await client.nat.public_addresses()
        await client.connect((LOOPBACK, other.listen_port))  # only looked up, not to be ignored
        await client.disconnect(other.peer_id)
        assert await client.discover_and_ignore_public_ip(LOOPBACK, plain.endpoints[0][1])
        with pytest.raises(PeerDenied) as denied:
            await client.connect((LOOPBACK, other.listen_port))
        assert denied.value.limit == "own"
        await other.connect((LOOPBACK, client.listen_port))  # who comes from there is let in


async def test_stopping_ends_what_is_under_way(dead: str) -> None:
    client = new_client(settings(dead, stun_first_answer=0.1, stun_timeout=60))
    await client.start()
    asking = [asyncio.ensure_future(client.nat.detect()), asyncio.ensure_future(client.nat.public_addresses())]
    await asyncio.sleep(0.05)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking, timeout=WAIT)
    assert all(task.cancelled() for task in asking)
    await client.stop()


async def test_stopping_the_client_ends_a_measurement_with_an_error(dead: str) -> None:
    client = new_client(settings(dead, stun_timeout=60))
    await client.start()
    asking = [asyncio.ensure_future(client.nat.detect()), asyncio.ensure_future(client.nat.public_addresses())]
    await asyncio.sleep(0.05)
    await client.stop()
    done, _ = await asyncio.wait(asking, timeout=WAIT)
    assert [type(task.exception()) for task in done] == [ClosedError, ClosedError]


async def test_servers_that_are_none_are_refused(plain: StunServer) -> None:
    client = new_client(settings(plain.address))
    with pytest.raises(UsageError):
        await client.nat.detect()
    async with client:
        with pytest.raises(ConfigError):
            await client.nat.public_addresses(servers=["host:port"])
        with pytest.raises(UsageError):
            await client.nat.public_addresses(servers="stun.example.org")
        assert await client.nat.public_addresses(servers=[Address(*plain.endpoints[0])])


def test_the_blocking_client_has_it_all(server: StunServer) -> None:
    config = RatsConfig(listen_host=LOOPBACK)
    nat = settings(server.address)
    with blocking.RatsClient(0, nat=nat, config=config, identity=Identity.generate()) as client:
        assert "nothing detected yet" in repr(client.nat)
        assert [address.host for address in client.nat.public_addresses()] == [LOOPBACK]
        assert client.detect_nat_type() is NatType.OPEN_INTERNET
        assert client.get_nat_characteristics() is client.nat.last
        assert client.nat.detect().type is NatType.OPEN_INTERNET
        assert client.discover_and_ignore_public_ip()
        assert client.nat.public_hosts == [LOOPBACK]
        assert "open-internet" in repr(client.nat)
