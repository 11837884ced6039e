"""Clients in a DHT of their own on the loopback: what they announce and keep there is found, and sessions go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Until

from librats import (
    Address,
    ClosedError,
    ConfigError,
    DhtConfig,
    DhtError,
    DhtUnreachable,
    Identity,
    OperationTimeout,
    PeerDiscovered,
    RatsClient,
    RatsConfig,
    UsageError,
)
from librats.dht.node import TICK
from librats.runtime.offload import run_in_thread
from librats.services.dht import DhtDriver

HASH = b"a hash has 20 bytes."
ALONE = DhtConfig(bootstrap=())
FLOOD = 30_000

Swarm = Callable[..., Awaitable[list[RatsClient]]]


@pytest.fixture
def swarm(make_client: MakeClient) -> Swarm:
    """Return a function that starts clients on addresses of their own, all of which begin with the first one."""

    async def start(count: int, **settings: Any) -> list[RatsClient]:
        clients = []
        for number in range(count):
            # Each at an address of its own, as nodes of the internet are.
            client = await make_client(listen_host=f"127.0.0.{2 + number}", **{"dht": ALONE, **settings})
            clients.append(client)
            if number == 0:
                assert not await client.start_dht_discovery(connect=False)
            else:
                first = f"127.0.0.2:{clients[0].listen_port}"
                assert await client.start_dht_discovery(bootstrap=[first], connect=False)
        return clients

    return start


def tick(clients: list[RatsClient]) -> None:
    """Have nodes do at once what they do every five seconds: ask those that have asked them."""
    now = asyncio.get_running_loop().time()
    for client in clients:
        driver = client.dht.driver
        assert isinstance(driver, DhtDriver)
        assert driver._node is not None
        assert driver._traffic is not None
        driver._node.handle_timer(now=now + TICK)
        driver._traffic.flush()


async def test_eight_clients_find_what_each_of_them_has_announced_and_put(swarm: Swarm, until: Until) -> None:
    clients = await swarm(8)
    tick(clients)
    await until(lambda: clients[0].statistics()["dht"]["nodes"] == 7)
    for client in clients[:3]:
        assert await client.announce_for_hash(HASH) == 7
    announced = {Address(client._config.listen_host, client.listen_port) for client in clients[:3]}
    for client in clients:
        assert set(await client.find_peers(HASH.hex())) == announced

    fixed = await clients[1].dht.put({"port": 8080, "text": "ü"})
    changing = await clients[2].dht.put(b"one", mutable=True, salt=b"s")
    replaced = await clients[2].dht.put(b"two", mutable=True, salt=b"s", compare=changing.sequence)
    assert replaced.sequence > changing.sequence
    for client in clients:
        item = await client.dht.get(fixed.target)
        assert item is not None
        assert (item.value, item.key) == ({b"port": 8080, b"text": "ü".encode()}, None)
        newest = await client.dht.get(changing.target.hex(), salt=b"s")
        assert newest is not None
        assert (newest.value, newest.sequence) == (b"two", replaced.sequence)
        assert newest.key == clients[2].identity.verify_key
    assert await clients[3].dht.get(bytes(20)) is None
    with pytest.raises(DhtError, match="no node takes it: 301"):
        await clients[2].dht.put(b"three", mutable=True, salt=b"s", compare=changing.sequence)


async def test_nodes_are_found_and_answer_pings(swarm: Swarm) -> None:
    one, other, third = await swarm(3)
    pinged = await other.dht.ping(f"127.0.0.2:{one.listen_port}")
    assert (pinged.node_id, pinged.address) == (one.dht.node_id, one.addresses[0])
    assert pinged.rtt is not None
    assert 0 <= pinged.rtt < 20
    found = await third.dht.find_nodes(one.dht.node_id)
    assert found[0].node_id == one.dht.node_id
    statistics = other.statistics()["dht"]
    assert statistics["reachable"] is True
    assert statistics["datagrams received"] > 0


async def test_what_does_not_answer_a_ping_is_told(swarm: Swarm) -> None:
    one, _ = await swarm(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        with pytest.raises(OperationTimeout, match="a ping to"):
            await one.dht.ping(Address(*silent.getsockname()), timeout=0.2)
    with pytest.raises(DhtError, match="no way"):
        await one.dht.ping("[2001:db8::7]:6881")
    assert one.statistics()["dht"]["operations"] == 0


async def test_clients_of_one_protocol_meet_in_the_dht(make_client: MakeClient, until: Until) -> None:
    node = await make_client(listen_host="127.0.0.2", protocol_name="another", dht=ALONE)
    await node.start_dht_discovery(connect=False)
    begin = [f"127.0.0.2:{node.listen_port}"]
    alice = await make_client(listen_host="127.0.0.3", dht=ALONE)
    bob = await make_client(listen_host="127.0.0.4", dht=ALONE)
    found: list[PeerDiscovered] = []
    bob.on_event(PeerDiscovered, found.append)
    assert await alice.start_dht_discovery(bootstrap=begin)
    await until(lambda: node.statistics()["dht"]["hashes"])
    assert await bob.start_dht_discovery(bootstrap=begin)
    await until(lambda: alice.peer_id in bob.peers)
    assert [(event.addresses, event.source) for event in found] == [((alice.addresses[0],), "dht")]
    assert len(bob.peers) == 1


async def test_over_ipv6_it_is_the_same(make_client: MakeClient) -> None:
    one = await make_client(listen_host="::1", dht=ALONE)
    other = await make_client(listen_host="::1", dht=ALONE)
    await one.start_dht_discovery(connect=False)
    assert await other.start_dht_discovery(bootstrap=[f"[::1]:{one.listen_port}"], connect=False)
    await other.announce_for_hash(HASH)
    assert await one.find_peers(HASH) == [Address("::1", other.listen_port)]


async def test_a_flood_of_messages_of_the_dht_does_not_disturb_a_session(
    make_client: MakeClient, connect: Connect
) -> None:
    alice = await make_client(dht=ALONE, transports=("udp",))
    bob = await make_client(dht=ALONE, transports=("udp",))
    await alice.start_dht_discovery(connect=False)
    alice.on("double", lambda peer, data: 2 * data)
    pair = await connect(bob, alice)
    ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
    hostile = [ping, b"d" + ping, b"de", b"d1:yi1ee", ping[:-4] + b"e"]

    def flood(sock: socket.socket) -> None:
        for number in range(FLOOD):
            sock.sendto(hostile[number % len(hostile)], (LOOPBACK, alice.listen_port))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flooding = asyncio.create_task(run_in_thread(flood, sock))
        try:
            answered = 0
            while not flooding.done() or answered < 20:
                assert await pair.to_b.request("double", answered) == 2 * answered
                answered += 1
        finally:
            await flooding
    statistics = alice.statistics()["dht"]
    assert statistics["answering: malformed"] > 0
    # A host may ask a hundred times at once and twenty times a second, and is answered no more often than that.
    assert 0 < statistics["answering: ping"] < FLOOD / 10
    assert statistics["datagrams sent"] < FLOOD / 10


async def test_the_dht_may_have_a_port_of_its_own(make_client: MakeClient) -> None:
    node = await make_client(listen_host="127.0.0.2", dht=ALONE)
    await node.start_dht_discovery(connect=False)
    apart = await make_client(listen_host="127.0.0.3", dht=DhtConfig(bootstrap=(), port=0))
    assert await apart.start_dht_discovery(bootstrap=[f"127.0.0.2:{node.listen_port}"], connect=False)
    own = apart.dht._own
    assert own is not None
    assert own.local_address.port != apart.listen_port
    assert (await node.dht.ping(own.local_address)).node_id == apart.dht.node_id
    assert await apart.announce_for_hash(HASH) == 1
    assert await node.find_peers(HASH) == [apart.addresses[0]]
    await apart.stop_dht_discovery()
    assert own.is_closed


async def test_a_port_of_its_own_that_is_taken_is_named(make_client: MakeClient, until: Until) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        settings = DhtConfig(bootstrap=(), port=port)
        client = await make_client(dht=settings)
        with pytest.raises(ConfigError, match=f"UDP port {port}") as caught:
            await client.start_dht_discovery()
        assert caught.value.field == "dht.port"
        assert not client.dht.is_running
        told: list[DhtUnreachable] = []
        config = RatsConfig(listen_host=LOOPBACK, dht=DhtConfig(enabled=True, port=port))
        other = RatsClient(config=config, identity=Identity.generate())
        other.on_event(DhtUnreachable, told.append)
        async with other:
            await until(lambda: told)
        assert str(port) in told[0].reason


async def test_a_client_may_start_it_by_its_configuration(make_client: MakeClient, until: Until) -> None:
    node = await make_client(listen_host="127.0.0.2", dht=DhtConfig(enabled=True, bootstrap=()))
    await until(lambda: node.dht.is_running)
    begin = (f"127.0.0.2:{node.listen_port}",)
    other = await make_client(listen_host="127.0.0.3", dht=DhtConfig(enabled=True, bootstrap=begin))
    await until(lambda: other.dht.is_reachable)
    assert await other.start_dht_discovery()


async def test_what_is_kept_by_this_very_node_is_found_by_it(swarm: Swarm) -> None:
    one, other = await swarm(2)
    await other.announce_for_hash(HASH)
    stored = await other.dht.put("value")
    assert await one.find_peers(HASH) == [other.addresses[0]]
    item = await one.dht.get(stored.target)
    assert item is not None
    assert item.value == b"value"


async def test_nodes_are_saved_and_begun_with_the_next_time(
    make_client: MakeClient, tmp_path: Path, until: Until
) -> None:
    node = await make_client(listen_host="127.0.0.2", dht=ALONE)
    await node.start_dht_discovery(connect=False)

    def client() -> RatsClient:
        return RatsClient(config=RatsConfig(listen_host="127.0.0.3", dht=ALONE), data_dir=tmp_path)

    async with client() as first:
        assert await first.start_dht_discovery(bootstrap=[f"127.0.0.2:{node.listen_port}"], connect=False)
        own_id = first.dht.node_id
    async with client() as second:
        assert await second.start_dht_discovery(connect=False)
        assert second.dht.node_id == own_id


async def test_verbs_raise_while_it_does_not_run_and_once_it_is_stopped(swarm: Swarm) -> None:
    one, other = await swarm(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        waiting = [asyncio.ensure_future(each.dht.ping(Address(*silent.getsockname()))) for each in (one, other)]
        await asyncio.sleep(0)
        await other.stop_dht_discovery()
        await one.stop_dht_discovery()
        await one.stop_dht_discovery()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, ClosedError)
    assert not one.dht.is_running
    assert one.statistics()["dht"] is None
    for call in (lambda: one.find_peers(HASH), lambda: one.dht.ping("127.0.0.1:1"), lambda: one.dht.put(1)):
        with pytest.raises(UsageError, match="start_dht_discovery"):
            await call()
    with pytest.raises(UsageError, match="start_dht_discovery"):
        _ = one.dht.node_id
