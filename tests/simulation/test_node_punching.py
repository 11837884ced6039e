"""Hole punching among librats 2 nodes, behind NATs: nodes spelled out over another Noise library, and our clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from tests.reference.librats2_node import PEX, PUNCH, peer_id
from tests.reference.librats2_punching import OPENS, PunchingNode, connect, packed
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import ConnectError, ConnectionStrategy, NatTraversalConfig, RatsClient
from librats.testing import SimHost, SimNetwork
from librats.types import ConnectionMethod

IPV4 = "0.0.0.0"  # noqa: S104 - of simulated hosts
RELAY = "203.0.113.10"
KEY = bytes(range(1, 33))
CONES = ("open", "full_cone", "restricted", "port_restricted")


def nat(**fields: Any) -> NatTraversalConfig:
    return NatTraversalConfig(**{"stun_servers": (), "enable_port_mapping": False, **fields})


class Scene(NamedTuple):
    net: SimNetwork
    relay: PunchingNode
    stack: AsyncExitStack

    async def tell(self, client: RatsClient, source: str, inner: bytes) -> None:
        """Have the relay pass a word on to a client, under whatever name."""
        await self.relay.connections[client.peer_id].send(PUNCH, b"\1\1" + bytes.fromhex(source) + inner)

    async def client(self, name: str, kind: str, **fields: Any) -> tuple[RatsClient, SimHost]:
        """Start a client behind a router of that kind, and connect it to the relay."""
        host = self.net.host(name, behind=self.net.router(f"router of {name}", kind))
        transports = fields.pop("transports", ("udp", "tcp"))
        exchange = fields.pop("peer_exchange", False)
        client = await start_client(
            host, nat=nat(**fields), listen_host=IPV4, transports=transports, peer_exchange=exchange
        )
        self.stack.push_async_callback(client.stop)
        peer = await client.connect(f"{RELAY}:{PORT}")
        assert peer.method is ConnectionMethod(transports[0])
        await until(lambda: peer.hello is not None and peer.hello.observed)
        return client, host

    def seen(self, client: RatsClient) -> tuple[str, int]:
        """Where the relay sees a client."""
        return self.relay.connections[client.peer_id].address

    async def node(self, name: str, kind: str, key: bytes = KEY, **options: Any) -> PunchingNode:
        """Start a librats 2 node behind a router of that kind, and connect it to the relay."""
        with self.net.host(name, behind=self.net.router(f"router of {name}", kind)):
            node = PunchingNode(key, **options)
            await node.start(IPV4, PORT)
            self.stack.push_async_callback(node.close)
            await node.dial((RELAY, PORT))
        await until(lambda: node.seen_at is not None and node.id in self.relay.connections)
        return node


@asynccontextmanager
async def scene(net: SimNetwork, **options: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        relay = PunchingNode(os.urandom(32), answers=False, **options)
        with net.host("relay", addresses=[RELAY]):
            await relay.start(IPV4, PORT)
        stack.push_async_callback(relay.close)
        yield Scene(net, relay, stack)


async def call(client: RatsClient, host: SimHost, target: str, **options: Any) -> Any:
    """Have a client reach a peer, as a program on its host does."""
    with host:
        return await client.connect(target, **options)


@pytest.mark.parametrize("one", CONES)
@pytest.mark.parametrize("other", CONES)
def test_our_clients_behind_cones_meet_at_a_librats_2_node(simulate: Simulate, one: str, other: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", one)
            bob, _ = await at.client("bob", other)
            bob.on("greet", lambda peer, data: f"hello {data}")
            began = asyncio.get_running_loop().time()
            peer = await call(alice, home, bob.peer_id)
            assert asyncio.get_running_loop().time() - began < 2
            assert peer.method is ConnectionMethod.UDP
            assert [(each.address, each.error) for each in peer.attempts] == [(peer.address, "")]
            assert await peer.request("greet", "Alice") == "hello Alice"
            assert len(at.relay.said) == 3
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"
            counted = alice.statistics()["librats2_punching"], bob.statistics()["librats2_punching"]
            assert [each["opened"] for each in counted] == [1, 0]
            assert [each["answered"] for each in counted] == [0, 1]
            assert [each["reached"] for each in counted] == [1, 1]

    simulate(scenario)


@pytest.mark.parametrize("ours_is_smaller", [True, False])
@pytest.mark.parametrize("we_call", [True, False])
def test_one_of_ours_and_a_node_behind_port_restricted_nats(
    simulate: Simulate, we_call: bool, ours_is_smaller: bool
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            keys = (bytes([number]) * 32 for number in range(256))
            key = next(key for key in keys if (alice.peer_id < peer_id(key)) is ours_is_smaller)
            node = await at.node("node", "port_restricted", key)
            heard: list[Any] = []
            alice.on("hi", lambda peer, data: heard.append((peer.id, data)))
            if we_call:
                peer = await call(alice, home, node.id)
            else:
                await node.open(at.relay.id, alice.peer_id)
                await until(lambda: node.id in alice.peers)
                peer = alice.peers[node.id]
            await asyncio.sleep(5)  # until links that have crossed are one
            assert alice.peers[node.id] is peer
            assert peer.is_connected
            assert node.dialled == [at.seen(alice)]
            await node.connections[alice.peer_id].send_json(b"hi", b"1")
            await until(lambda: heard)
            assert heard == [(node.id, 1)]

    simulate(scenario)


def counted(client: RatsClient) -> dict[str, int]:
    counters: dict[str, int] = client.statistics()["librats2_punching"]
    return counters


def test_two_that_call_each_other_at_once_have_one_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            bob, office = await at.client("bob", "port_restricted")
            bob.on("greet", lambda peer, data: f"hello {data}")
            to_bob, to_alice = await asyncio.gather(call(alice, home, bob.peer_id), call(bob, office, alice.peer_id))
            await asyncio.sleep(30)
            assert alice.peers[bob.peer_id] is to_bob
            assert bob.peers[alice.peer_id] is to_alice
            assert await to_bob.request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_many_wait_for_one_round(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            bob, _ = await at.client("bob", "port_restricted")
            peers = await asyncio.gather(*(call(alice, home, bob.peer_id) for _ in range(5)))
            assert {peer.id for peer in peers} == {bob.peer_id}
            assert counted(alice)["opened"] == 1

    simulate(scenario)


def test_a_known_address_that_nobody_gets_through_to_is_no_obstacle(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            node = await at.node("node", "port_restricted")
            host, port = at.relay.connections[node.id].address
            began = asyncio.get_running_loop().time()
            peer = await call(alice, home, f"{node.id}@{host}:{port}", timeout=20)
            assert peer.id == node.id
            assert 1 <= asyncio.get_running_loop().time() - began < 3

    simulate(scenario)


def test_who_is_not_there_is_told_with_every_round_and_left_alone_for_a_minute(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(ConnectError) as info:
                await call(alice, home, "ab" * 32)
            assert loop.time() - began == pytest.approx(18, abs=0.1)
            [attempt] = info.value.attempts
            assert (attempt.address, attempt.method) == ((RELAY, PORT), ConnectionMethod.UDP)
            words = f"by librats 2 peer {at.relay.id[:8]}: nobody passed an answer on in 3 rounds of 6 s"
            assert (attempt.error, attempt.duration) == (words, 18.0)
            assert len(at.relay.said) == 3
            with pytest.raises(ConnectError, match="left alone for 60 s"):
                await call(alice, home, "ab" * 32)
            await asyncio.sleep(61)
            with pytest.raises(ConnectError, match="no session"):
                await call(alice, home, "ab" * 32, timeout=2)
            assert len(at.relay.said) == 4
            with pytest.raises(ConnectError, match="no session"):
                await call(alice, home, "ab" * 32, timeout=2)  # who gave up by himself is not left alone
            assert len(at.relay.said) == 5

    simulate(scenario)


def test_addresses_that_do_not_answer_are_told_one_by_one(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            silent = await at.node("node", "symmetric")  # it is seen at another port than that from which it dials
            other = await at.client("bob", "symmetric", enable_hole_punching=False)
            with pytest.raises(ConnectError) as info:
                await call(alice, home, silent.id)
            told = [(attempt.address, attempt.error) for attempt in info.value.attempts]
            where = at.relay.connections[silent.id].address
            assert [address for address, _ in told] == [where, where, where, (RELAY, PORT)]
            assert "none of its addresses answered in 3 rounds" in told[-1][1]
            assert counted(alice)["dials_failed"] == 3
            with pytest.raises(ConnectError, match="nobody passed an answer on"):
                await call(alice, home, other[0].peer_id)
            assert other[0].peer_id not in alice.peers

    simulate(scenario)


def test_a_client_that_two_see_at_different_endpoints_does_not_begin(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "symmetric")
            second = PunchingNode(bytes(32), answers=False)
            with net.host("second", addresses=["203.0.113.11"]):
                await second.start(IPV4, PORT)
            at.stack.push_async_callback(second.close)
            await call(alice, home, f"203.0.113.11:{PORT}")
            await until(lambda: all(peer.hello is not None and peer.hello.observed for peer in alice.peers.values()))
            with pytest.raises(ConnectError, match="maps each destination anew"):
                await call(alice, home, "ab" * 32)
            assert at.relay.said == second.said == []

    simulate(scenario)


def test_who_takes_no_part_neither_calls_nor_answers(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "open", enable_hole_punching=False)
            bob, office = await at.client("bob", "port_restricted")
            with pytest.raises(ConnectError, match="no address is known"):
                await call(alice, home, bob.peer_id)
            with pytest.raises(ConnectError, match="nobody passed an answer on"):
                await call(bob, office, alice.peer_id)
            assert {sender for sender, _ in at.relay.said} == {bob.peer_id}

    simulate(scenario)


def test_a_strategy_of_direct_ways_alone_asks_nobody(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "open")
            with pytest.raises(ConnectError, match="no address is known"):
                await call(alice, home, "ab" * 32, strategy=ConnectionStrategy.DIRECT_ONLY)
            assert at.relay.said == []

    simulate(scenario)


def test_a_dial_of_whom_a_peer_told_is_followed_by_a_punch(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, _ = await at.client("alice", "port_restricted", peer_exchange=True)
            node = await at.node("node", "port_restricted")
            where = ("8.8.4.4", 5000)  # nobody is there; peers tell of no addresses of the simulation's kind
            told = b"\1\1\0\1" + packed(where) + bytes.fromhex(node.id)
            await at.relay.connections[alice.peer_id].send(PEX, told)
            await until(lambda: node.id in alice.peers, within=60)
            assert alice.statistics()["peer_exchange"]["dials_failed"] == 1
            assert counted(alice)["opened"] == 1

    simulate(scenario)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.7", "192.168.1.1", "100.64.0.7", "169.254.169.254", "169.254.1.1", "fe80::1", "::1"]
)
def test_addresses_inside_of_networks_are_not_dialled_for_a_stranger(simulate: Simulate, host: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, _ = await at.client("alice", "port_restricted")
            await at.tell(alice, "ab" * 32, connect(OPENS, (host, 5000)))
            await until(lambda: at.relay.said)
            await at.tell(alice, "ab" * 32, b"\1")
            await until(lambda: counted(alice)["dials"] == 1)
            assert counted(alice)["addresses_refused"] == 1
            assert alice.statistics()["links_out"] == 1
            await asyncio.sleep(3)
            assert counted(alice)["dials_failed"] == 0

    simulate(scenario)


def test_private_addresses_are_dialled_for_one_of_our_own_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, _ = await at.client("alice", "port_restricted")
            at_ours = (at.seen(alice)[0], 5000)
            await at.tell(alice, "ab" * 32, connect(OPENS, ("192.168.77.7", 5000), at_ours))
            await until(lambda: at.relay.said)
            await at.tell(alice, "ab" * 32, b"\1")
            await until(lambda: counted(alice)["dials_failed"] == 2)
            assert counted(alice)["addresses_refused"] == 0

    simulate(scenario)


def test_one_host_is_not_dialled_again_and_again(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, _ = await at.client("alice", "port_restricted")
            for number in range(20):
                await at.tell(alice, "ab" * 32, connect(OPENS, ("198.51.100.77", 5000 + number)))
                await at.tell(alice, "ab" * 32, b"\1")
            await until(lambda: counted(alice)["dials"] + counted(alice)["dials_refused"] == 20)
            await asyncio.sleep(5)
            assert counted(alice)["dials_failed"] == 6

    simulate(scenario)


def test_who_is_denied_is_not_answered(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, _ = await at.client("alice", "port_restricted")
            alice.deny.add("ab" * 32)
            await at.tell(alice, "ab" * 32, connect(OPENS, ("198.51.100.77", 5000)))
            await at.tell(alice, "cd" * 32, connect(OPENS, ("198.51.100.77", 5000)))
            await until(lambda: at.relay.said)
            assert [payload[2:34].hex() for _, payload in at.relay.said] == ["cd" * 32]
            assert counted(alice)["refused"] == 1
            alice.deny.add("198.51.100.0/24")
            await at.tell(alice, "cd" * 32, b"\1")
            await until(lambda: counted(alice)["dials"] == 1)
            assert counted(alice)["addresses_refused"] == 1

    simulate(scenario)


def test_nothing_is_left_of_a_call_that_is_cancelled_or_whose_client_stops(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with scene(net) as at:
            alice, home = await at.client("alice", "port_restricted")
            calling = asyncio.create_task(call(alice, home, "ab" * 32))
            await until(lambda: at.relay.said)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await asyncio.sleep(10)
            assert len(at.relay.said) == 1
            stopped = asyncio.create_task(call(alice, home, "cd" * 32))
            await until(lambda: len(at.relay.said) == 2)
            await alice.stop()
            with pytest.raises(ConnectError):
                await stopped
            bob, office = await at.client("bob", "port_restricted")
            early = asyncio.create_task(call(bob, office, f"{'cd' * 32}@8.8.4.4:5000"))
            await asyncio.sleep(0.5)
            await bob.stop()
            with pytest.raises(ConnectError):
                await early

    simulate(scenario)
