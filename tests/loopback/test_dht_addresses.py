"""Clients with nodes of the DHT at several addresses, on the loopback: others take them for several nodes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.loopback.conftest import MakeClient, Until

from librats import (
    Address,
    ClosedError,
    ConfigError,
    DhtConfig,
    DhtError,
    DhtUnreachable,
    OperationTimeout,
    RatsClient,
    RatsConfig,
)
from librats._core import krpc, krpc_writer
from librats.dht.node import TICK
from librats.runtime.offload import run_in_thread
from librats.services.dht import DhtDriver
from librats.services.dht_driving.addresses import DhtAddresses

HASH = b"a hash has 20 bytes."
FOUR = ("127.0.1.1", "127.0.2.1", "127.0.3.1")
BOTH = (*FOUR, "::1")
NOT_OURS = "192.0.2.7"

Others = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def others(make_client: MakeClient) -> Others:
    """Return a function that starts three clients over IPv4 and one over IPv6, and returns nodes to begin with."""

    async def start() -> list[str]:
        begin: list[str] = []
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"):
            client = await make_client(listen_host=host, dht=DhtConfig(bootstrap=()))
            await client.start_dht_discovery(bootstrap=begin if host != "::1" else [], connect=False)
            begin.append(str(client.addresses[0]))
        return begin

    return start


def configured(begin: list[str], *addresses: str, **settings: Any) -> DhtConfig:
    return DhtConfig(bootstrap=tuple(begin), addresses=addresses, **settings)


def each_of(client: RatsClient) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = client.dht.statistics()["addresses"]
    return found


async def all_in(client: RatsClient, count: int, until: Until) -> None:
    """Wait until there is a node at each address that knows others."""
    await until(lambda: len(each_of(client)) == count and all(each["reachable"] for each in each_of(client).values()))


def tick(client: RatsClient) -> None:
    """Have nodes do at once what they do every five seconds: ask those that they were told of."""
    driver = client.dht.driver
    assert isinstance(driver, DhtAddresses)
    for each in driver._drivers():
        assert each._node is not None
        assert each._traffic is not None
        each._node.handle_timer(now=asyncio.get_running_loop().time() + TICK)
        each._traffic.flush()


async def pinged(address: Address) -> tuple[bytes, Address]:
    """Return the id that a node answers with, and where from."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET

    def ask() -> tuple[bytes, Address]:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(20)
            asking.bind(("::1" if family == socket.AF_INET6 else "127.0.0.9", 0))
            asking.sendto(krpc_writer.query(1, b"aa", b"q" * 20), tuple(address))
            data, source = asking.recvfrom(2048)
        answer = krpc.parse(data)
        assert answer.transaction_id == b"aa"
        assert answer.id is not None
        return answer.id, Address(source[0], source[1])

    return await run_in_thread(ask)


async def test_each_address_answers_from_itself_under_an_id_of_its_own(
    make_client: MakeClient, others: Others, until: Until
) -> None:
    client = await make_client(dht=configured(await others(), *BOTH))
    assert await client.start_dht_discovery(connect=False)
    await all_in(client, 4, until)
    ids = {}
    for text, numbers in each_of(client).items():
        address = Address.parse(text)
        ids[address.host], source = await pinged(address)
        assert source == address
        assert ids[address.host].hex() == numbers["node id"]
    assert list(ids) == list(BOTH)
    assert len(set(ids.values())) == 4
    assert client.dht.node_id == ids["127.0.1.1"]


async def test_what_it_announces_is_found_at_each_address(
    make_client: MakeClient, others: Others, until: Until
) -> None:
    begin = await others()
    client = await make_client(dht=configured(begin, *BOTH))
    await client.start_dht_discovery(connect=False)
    await all_in(client, 4, until)
    tick(client)
    # Three nodes of IPv4 for each of three addresses, and one of IPv6 for one.
    await until(lambda: client.dht.statistics()["nodes"] == 9)
    assert await client.announce_for_hash(HASH) == 10
    looking = await make_client(listen_host="127.0.0.7", dht=DhtConfig(bootstrap=tuple(begin)))
    await looking.start_dht_discovery(connect=False)
    assert set(await looking.find_peers(HASH)) == {Address(host, client.listen_port) for host in FOUR}
    looking6 = await make_client(listen_host="::1", dht=DhtConfig(bootstrap=tuple(begin)))
    await looking6.start_dht_discovery(connect=False)
    assert await looking6.find_peers(HASH) == [Address("::1", client.listen_port)]


async def test_lookups_go_through_one_address_of_each_family_and_are_merged(
    make_client: MakeClient, others: Others, until: Until
) -> None:
    begin = await others()
    client = await make_client(dht=configured(begin, *BOTH))
    await client.start_dht_discovery(connect=False)
    await all_in(client, 4, until)
    found = await client.dht.find_nodes(HASH)
    assert {str(node.address) for node in found} == set(begin)
    stored = await client.dht.put({"port": 8080})
    assert stored.nodes == 4
    item = await client.dht.get(stored.target)
    assert item is not None
    assert item.value == {b"port": 8080}
    for text in begin:
        assert str((await client.dht.ping(text)).address) == text
    with pytest.raises(DhtError, match="does not resolve"):
        await client.dht.ping("no-such-host.invalid:6881")
    changing = await client.dht.put(b"one", mutable=True)
    with pytest.raises(DhtError, match="no node takes it: 301"):
        await client.dht.put(b"two", mutable=True, compare=changing.sequence - 1)


async def test_lookups_go_through_the_addresses_in_turn(make_client: MakeClient, others: Others, until: Until) -> None:
    client = await make_client(dht=configured(await others(), *BOTH))
    await client.start_dht_discovery(connect=False)
    await all_in(client, 4, until)
    driver = client.dht.driver
    assert isinstance(driver, DhtAddresses)
    turns = [await driver._in_turn() for _ in range(6)]
    first = [family[0][0] for family in turns]
    assert len(set(first[:3])) == 3
    assert first[3:] == first[:3]
    assert all([set(map(len, families)) == {1, 3} for families in turns])


async def test_a_lookup_ends_when_the_dht_is_stopped(make_client: MakeClient, until: Until) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        client = await make_client(dht=configured([f"127.0.0.1:{silent.getsockname()[1]}"], *FOUR[:2]))
        starting = asyncio.ensure_future(client.start_dht_discovery(connect=False))
        await until(lambda: client.dht.is_running)
        finding = asyncio.ensure_future(client.dht.find_nodes(HASH))
        await asyncio.sleep(0)
        await client.stop_dht_discovery()
        for task in (starting, finding):
            with pytest.raises(ClosedError):
                await task


async def test_none_of_its_nodes_has_a_place_with_another_one(
    make_client: MakeClient, others: Others, until: Until
) -> None:
    client = await make_client(dht=configured(await others(), *FOUR))
    await client.start_dht_discovery(connect=False)
    await all_in(client, 3, until)
    own_ids = {bytes.fromhex(each["node id"]) for each in each_of(client).values()}
    for own_id in own_ids:
        assert not {node.node_id for node in await client.dht.find_nodes(own_id)} & own_ids
    driver = client.dht.driver
    assert isinstance(driver, DhtAddresses)
    for each in driver._drivers():
        assert each._node is not None
        assert not {node_id for node_id, _, _ in each._node.tables.by_size[6].nodes()} & own_ids


async def test_an_address_that_cannot_be_had_is_a_warning_and_the_others_go_on(
    make_client: MakeClient, others: Others, caplog: pytest.LogCaptureFixture
) -> None:
    client = await make_client(dht=configured(await others(), NOT_OURS, FOUR[0]))
    assert await client.start_dht_discovery(connect=False)
    assert [Address.parse(text).host for text in each_of(client)] == [FOUR[0]]
    assert f"no node of the DHT at {NOT_OURS}" in caplog.text
    with pytest.raises(ConfigError, match="a socket at none of them") as error:
        await (await make_client(dht=configured([], NOT_OURS))).start_dht_discovery()
    assert error.value.field == "dht.addresses"


async def test_that_nobody_answers_is_told_once_for_all_addresses(make_client: MakeClient) -> None:
    client = await make_client(dht=configured([], *BOTH))
    told: list[DhtUnreachable] = []
    client.on_event(DhtUnreachable, told.append)
    assert not await client.start_dht_discovery(connect=False)
    assert [event.reason for event in told] == ["no bootstrap node is known"]
    for call in (client.find_peers(HASH), client.announce_for_hash(HASH), client.dht.get(HASH)):
        with pytest.raises(DhtError, match="no bootstrap node is known"):
            await call
    assert not client.dht.is_reachable
    assert client.dht.is_running


async def test_an_announcement_that_was_not_made_in_time_is_told_of(make_client: MakeClient, until: Until) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        client = await make_client(dht=configured([f"127.0.0.1:{silent.getsockname()[1]}"], *FOUR[:2]))
        starting = asyncio.ensure_future(client.start_dht_discovery(connect=False))
        await until(lambda: client.dht.is_running)
        with pytest.raises(OperationTimeout, match=r"announcing took longer than 0\.1 s"):
            await client.dht.announce(HASH, timeout=0.1)
        await client.stop_dht_discovery()
        with pytest.raises(ClosedError):
            await starting


async def test_ids_and_nodes_last_over_a_restart_though_one_address_goes_and_one_comes(
    others: Others, tmp_path: Path, until: Until
) -> None:
    begin = await others()

    async def run(*addresses: str, bootstrap: list[str]) -> dict[str, str]:
        config = RatsConfig(listen_host="127.0.0.1", dht=configured(bootstrap, *addresses))
        async with RatsClient(0, config=config, data_dir=tmp_path) as client:
            await client.start_dht_discovery(connect=False)
            if addresses:
                await all_in(client, len(addresses), until)
                return {Address.parse(text).host: each["node id"] for text, each in each_of(client).items()}
            return {"": client.dht.node_id.hex()}

    alone = await run(bootstrap=begin)
    first = await run(*FOUR[:2], bootstrap=begin)
    assert first[FOUR[0]] == alone[""]
    second = await run(*FOUR[1:], bootstrap=[])
    assert second[FOUR[1]] == first[FOUR[1]]
    assert second[FOUR[2]] not in first.values()
    assert (await run(bootstrap=[])).keys() == {""}
    third = await run(*FOUR, bootstrap=[])
    assert third == {**first, **second}


async def test_without_addresses_there_is_one_node_as_before(make_client: MakeClient, others: Others) -> None:
    client = await make_client(dht=DhtConfig(bootstrap=tuple(await others())))
    assert await client.start_dht_discovery(connect=False)
    assert isinstance(client.dht.driver, DhtDriver)
    assert "addresses" not in client.dht.statistics()
