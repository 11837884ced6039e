"""Peers that are reached by their id alone, through the DHT: their record, and introducers that announce themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.test_introducers import IPV4, RELAY
from tests.simulation.test_public_introducers import IDENTITY, INTRODUCER, serve

from librats import Address, AttemptReason, ConnectError, DhtConfig, NatTraversalConfig, Peer, RatsClient
from librats.dht.items import Item
from librats.dht.records import RECORD_SALT, PeerRecord, introducer_hash, record_target
from librats.errors import DhtError
from librats.testing import SimHost, SimNetwork
from librats.types import ConnectionMethod

HUB = "203.0.113.20"
OFFLINE = NatTraversalConfig.offline()


class Lab(NamedTuple):
    hub: RatsClient
    alice: RatsClient
    bob: RatsClient
    home: SimHost
    office: SimHost

    async def connect(self, **options: Any) -> Peer:
        with self.office:
            return await self.bob.connect(self.alice.peer_id, **options)


@asynccontextmanager
async def lab(net: SimNetwork, nat: str = "port_restricted", **fields: Any) -> AsyncIterator[Lab]:
    """Start a public node, one that wants to be found, and one that knows the former as a node of the DHT, no more."""
    async with AsyncExitStack() as stack:
        hosts = (
            net.host("hub", addresses=[HUB]),
            net.host("alice", behind=net.router("home", nat)),
            net.host("bob", behind=net.router("office", nat)),
        )
        clients = []
        for host in hosts:
            name = host.name
            dht = DhtConfig(bootstrap=() if name == "hub" else (f"{HUB}:{PORT}",), publish=name == "alice")
            settings: dict[str, Any] = {"nat": OFFLINE, "transports": ("udp", "tcp"), "dht": dht}
            client = await start_client(host, listen_host=IPV4, **{**settings, **fields.get(name, {})})
            stack.push_async_callback(client.stop)
            clients.append(client)
            if name != "alice":
                # Nobody is met by the protocol that all three have in common.
                with host:
                    assert await client.start_dht_discovery(connect=False) == (name == "bob")
        hub, alice, bob = clients
        alice.on("greet", lambda peer, data: f"hello {data}")
        yield Lab(hub, alice, bob, hosts[1], hosts[2])


async def is_announced(met: Lab) -> None:
    await until(lambda: met.hub.statistics()["introductions"]["announcer"]["announced"], within=30)


def test_a_peer_is_reached_by_its_id_through_a_node_that_announces_to_introduce_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            with met.home:
                await met.alice.connect(f"{HUB}:{PORT}")
            await is_announced(met)
            assert not met.bob.peers
            assert met.bob.book.get(met.alice.peer_id) is None
            began = asyncio.get_running_loop().time()
            peer = await met.connect()
            assert asyncio.get_running_loop().time() - began < 3
            assert peer.method is ConnectionMethod.UDP
            assert await peer.request("greet", "Bob") == "hello Bob"

    simulate(scenario)


def test_a_client_that_does_not_want_to_be_found_is_not_announced(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net, alice={"dht": DhtConfig()}) as met:
            with met.home:
                await met.alice.connect(f"{HUB}:{PORT}")
            await asyncio.sleep(60)
            assert met.hub.statistics()["introductions"]["announcer"]["peers"] == 0
            with pytest.raises(ConnectError) as failed:
                await met.connect()
            assert failed.value.code is AttemptReason.NOT_IN_DHT

    simulate(scenario)


def test_who_is_gone_is_announced_no_more_and_the_caller_is_told_who_does_not_know_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            with met.home:
                await met.alice.connect(f"{HUB}:{PORT}")
            await is_announced(met)
            await met.alice.stop()
            await asyncio.sleep(10)
            assert met.hub.statistics()["introductions"]["announcer"]["peers"] == 0
            with pytest.raises(ConnectError) as failed:
                await met.connect()
            told = [attempt for attempt in failed.value.attempts if attempt.reason is AttemptReason.UNKNOWN_PEER]
            assert told
            assert told[0].address.host == HUB
            await asyncio.sleep(1)
            assert not met.bob.peers  # who was dialled only to be asked, and did not know, is no peer

    simulate(scenario)


def test_a_peer_that_has_moved_is_found_by_its_record(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net, "open", alice={"nat": replace(OFFLINE, enable_ice=False)}) as met:
            with met.office:
                peer = await met.bob.connect(met.alice.addresses[0])
            known = met.bob.book[peer.id].verify_key
            assert known == met.alice.identity.verify_key.hex()
            await met.bob.disconnect(peer)
            identity = met.alice.identity
            await met.alice.stop()
            elsewhere = net.host("elsewhere", behind=net.router("cafe", "open"))
            dht = DhtConfig(enabled=True, bootstrap=(f"{HUB}:{PORT}",), publish=True)
            with elsewhere:
                moved = RatsClient(PORT, config=replace(met.alice._config, dht=dht), identity=identity)
                await moved.start()
            try:
                await until(lambda: moved.statistics()["introductions"]["publisher"].get("published"), within=30)
                again = await met.connect()
                assert again.address == moved.addresses[0]
            finally:
                await moved.stop()

    simulate(scenario)


def test_a_public_introducer_that_is_announced_is_spoken_to_in_its_own_protocol(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        kept = replace(OFFLINE, introducers=(INTRODUCER,))
        async with lab(net, alice={"nat": kept}) as met:
            await until(lambda: met.alice.introducers, within=10)
            dht = met.bob.dht
            found = {introducer_hash(met.alice.peer_id): [Address("198.51.100.77", 9), Address(RELAY, 3478)]}
            lookups = Scripted(peers=found)
            with patched(met.bob, lookups):
                peer = await met.connect()
            assert dht.is_running
            assert await peer.request("greet", "Bob") == "hello Bob"
            assert relay.introducer is not None
            assert IDENTITY.peer_id not in met.bob.peers
            assert relay.introducer.statistics["sessions"] == 2
            await until(lambda: peer.method is ConnectionMethod.UDP, within=5)  # by what its STUN has told
            await met.bob.disconnect(peer)
            await until(
                lambda: relay.introducer is not None and relay.introducer.statistics["sessions"] == 1, within=30
            )
        await relay.close()

    simulate(scenario)


def test_a_client_that_rotates_its_identity_publishes_under_the_new_one(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            with met.home:
                assert await met.alice.start_dht_discovery(connect=False)
                await until(lambda: met.alice.statistics()["introductions"]["publisher"]["published"] == 1, within=30)
                before = met.alice.identity
                await met.alice.rotate_identity()
                await until(lambda: met.alice.statistics()["introductions"]["publisher"]["published"] == 2, within=30)
            for identity in (before, met.alice.identity):
                found = await met.bob.dht.get(record_target(identity.verify_key), salt=RECORD_SALT)
                assert found is not None
                assert found.key == identity.verify_key
            await met.alice.stop_dht_discovery()
            assert met.alice.statistics()["introductions"]["publisher"] == {}

    simulate(scenario)


def test_no_more_sessions_with_introducers_are_begun_than_there_may_be(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librats.introducers.found.MOST", 2)

    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            silent = [Address(f"198.51.100.{number}", 9) for number in range(1, 5)]
            lookups = Scripted(peers={introducer_hash(met.alice.peer_id): silent})
            with patched(met.bob, lookups), pytest.raises(ConnectError) as failed:
                await met.connect()
            denied = [one for one in failed.value.attempts if one.reason is AttemptReason.DENIED]
            assert len(denied) == 2

    simulate(scenario)


class Scripted:
    """A DHT that knows what it is told to know."""

    def __init__(self, peers: dict[bytes, list[Address]] | None = None, item: Item | None = None) -> None:
        self.peers = peers or {}
        self.item = item
        self.asked = 0

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        await asyncio.sleep(0.05)
        return self.item

    async def find_peers(
        self, info_hash: bytes, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        self.asked += 1
        await asyncio.sleep(0.05)
        return self.peers.get(info_hash, [])


class Down(Scripted):
    async def find_peers(
        self, info_hash: bytes, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        raise DhtError("finding peers: no bootstrap node answers")


def patched(client: RatsClient, dht: Scripted) -> Any:
    """Have a client ask another DHT in the block."""
    patch = pytest.MonkeyPatch()
    patch.setattr(client, "_dht_now", lambda: dht)

    class Patched:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            patch.undo()

    return Patched()


def test_of_many_that_claim_to_introduce_only_eight_are_asked(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            liars = [Address(f"198.51.100.{number}", 9) for number in range(1, 60)]
            lookups = Scripted(peers={introducer_hash(met.alice.peer_id): liars})
            with patched(met.bob, lookups), pytest.raises(ConnectError) as failed:
                await met.connect()
            asked = [attempt for attempt in failed.value.attempts if attempt.address.host.startswith("198.51.100.")]
            assert len(asked) == 8
            assert len({attempt.address for attempt in asked}) == 8
            assert all(attempt.reason is not None for attempt in asked)
            assert lookups.asked == 2

    simulate(scenario)


def test_where_the_dht_does_not_answer_that_is_the_reason(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            with patched(met.bob, Down()), pytest.raises(ConnectError) as failed:
                await met.connect()
            assert failed.value.code is AttemptReason.DHT_UNREACHABLE
            assert "no bootstrap node answers" in str(failed.value)

    simulate(scenario)


def test_a_record_makes_nobody_dial_into_his_own_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net, "open") as met:
            identity = met.alice.identity
            met.bob.book.connected(identity.peer_id, Address(HUB, 1), outgoing=False, verify_key=identity.verify_key)
            now = met.bob._running_network().wall_time()
            inside = (Address("192.168.7.7", 80), Address("127.0.0.1", 80), Address("198.51.100.250", 80))
            record = PeerRecord(
                public_key=identity.public_key, expires=int(now) + 600, addresses=inside, sequence=int(now)
            )
            lookups = Scripted(item=record.sign(bytes(identity.signing_key)))
            with patched(met.bob, lookups), pytest.raises(ConnectError) as failed:
                await met.connect()
            reasons = {str(attempt.address): attempt.reason for attempt in failed.value.attempts}
            assert reasons["192.168.7.7:80"] is reasons["127.0.0.1:80"] is AttemptReason.ADDRESS_REFUSED
            assert reasons["198.51.100.250:80"] is not AttemptReason.ADDRESS_REFUSED

    simulate(scenario)


def test_a_record_that_somebody_else_has_signed_or_that_names_another_is_of_no_use(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net, "open") as met:
            alice, hub = met.alice.identity, met.hub.identity
            met.bob.book.connected(alice.peer_id, Address(HUB, 1), outgoing=False, verify_key=alice.verify_key)
            now = int(met.bob._running_network().wall_time())
            for public_key, signer in ((alice.public_key, hub), (hub.public_key, alice)):
                record = PeerRecord(
                    public_key=public_key, expires=now + 600, addresses=(Address(HUB, PORT),), sequence=now
                )
                with patched(met.bob, Scripted(item=record.sign(bytes(signer.signing_key)))):
                    with pytest.raises(ConnectError) as failed:
                        await met.connect()
                    assert not [one for one in failed.value.attempts if one.address.host == HUB]

    simulate(scenario)


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1, 0.15, 0.2])
def test_a_caller_that_gives_up_leaves_nothing_behind(simulate: Simulate, seconds: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with lab(net) as met:
            with met.home:
                await met.alice.connect(f"{HUB}:{PORT}")
            await is_announced(met)
            with met.office:
                task = asyncio.ensure_future(met.bob.connect(met.alice.peer_id))
                await asyncio.sleep(seconds)
                task.cancel()
                await asyncio.wait([task])
            assert task.cancelled()
            await asyncio.sleep(20)
            peer = await met.connect()
            assert peer.is_connected

    simulate(scenario)
