"""Sessions through a relay in a simulated network: who meets there, and what moves, cuts and roaming do to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import pairwise
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, start_client, until

from librats import (
    Address,
    ConnectionMethod,
    NatTraversalConfig,
    PathChanged,
    Peer,
    RatsClient,
    RatsConfig,
    ReconnectConfig,
    TurnServer,
)
from librats.errors import RatsError
from librats.relay.config import RelayConfig
from librats.runtime.network import current_network
from librats.runtime.tasks import TaskSet
from librats.services.relays import Relays
from librats.stun.mapping_habits import MappingHabits
from librats.testing import RouterBehavior, SimHost, SimNetwork, SimRelay
from librats.turn.serving.peer_policy import parse_network
from librats.turn.serving.tables import Settings
from librats.types import PathPolicy

RELAY = "203.0.113.10"
PORT = 8080
EVERYWHERE = (parse_network("10.0.0.0/8"),)


async def serve(net: SimNetwork, **settings: bool) -> SimRelay:
    with net.host("relay", addresses=[RELAY]):
        config = RelayConfig(users={"ann": "secret"}, allow_peers=EVERYWHERE, settings=Settings(**settings))
        relay = SimRelay(config)
        await relay.start()
    return relay


async def start(
    host: SimHost, policy: str = "auto", port: int = PORT, *, relay_over: str = "udp", **settings: Any
) -> RatsClient:
    uri = f"turn:ann:secret@{RELAY}?transport={relay_over}"
    nat = NatTraversalConfig(stun_servers=(), turn_servers=(uri,), path_policy=PathPolicy(policy))
    with host:
        client = RatsClient(port, config=RatsConfig(nat=nat, reconnect=ReconnectConfig(enabled=False), **settings))
        await client.start()
    return client


async def stop(*closing: RatsClient | SimRelay) -> None:
    for each in closing:
        await each.close()


class Counting:
    """Numbers sent both ways, of which every one has to come once and in order."""

    def __init__(self, a: RatsClient, b: RatsClient) -> None:
        self._clients = (a, b)
        self.got: tuple[list[int], list[int]] = ([], [])
        self.sent = [0, 0]
        for client, got in zip((a, b), self.got, strict=True):
            client.on("n", lambda peer, data, got=got: got.append(data))

    def peer(self, side: int) -> Peer:
        return self._clients[side].peers[self._clients[1 - side].peer_id]

    @property
    def are_relayed(self) -> bool:
        return any(self.peer(side).method is ConnectionMethod.RELAY for side in (0, 1))

    async def send(self, count: int, pause: float) -> None:
        for _ in range(count):
            for side in (0, 1):
                await self.peer(side).send("n", self.sent[side])
                self.sent[side] += 1
            await asyncio.sleep(pause)

    async def check(self, within: float = 60.0) -> None:
        await until(lambda: [len(got) for got in self.got] == self.sent[::-1], within=within)
        assert all(got == list(range(len(got))) for got in self.got)


@pytest.mark.parametrize("both_hide", [False, True])
def test_two_behind_symmetric_nats_meet_at_the_relay(simulate: Simulate, both_hide: bool) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        home = net.router("home", "symmetric")
        alice = net.host("alice", behind=home)
        bob = net.host("bob", behind=net.router("office", "symmetric"))
        a, b = await start(alice, "relay_only" if both_hide else "auto"), await start(bob, "relay_only")
        await until(lambda: b.addresses and (a.addresses or not both_hide))
        with bob:  # whom an introducer would tell
            await b.paths.permit(a.addresses[0] if both_hide else home.address)
        with alice:
            to_b = await a.connect(b.addresses[0])
        await until(lambda: a.peer_id in b.peers)
        assert b.peers[a.peer_id].method is ConnectionMethod.RELAY
        assert to_b.method is (ConnectionMethod.RELAY if both_hide else ConnectionMethod.UDP)
        assert to_b.address.host == RELAY
        counting = Counting(a, b)
        await counting.send(200, 0.01)
        await counting.check()
        await asyncio.sleep(300)  # permissions, channels and mappings would be over by now
        await counting.send(10, 0.01)
        await counting.check()
        assert to_b.is_connected
        await stop(a, b, relay)

    simulate(scenario)


def test_hidden_means_that_no_packet_goes_straight_to_the_peer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start(alice, "relay_only"), await start(bob)
        with alice:
            peer = await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        assert b.peers[a.peer_id].address.host == RELAY
        await peer.ping()
        with bob, pytest.raises(RatsError):
            await b.paths.move(b.peers[a.peer_id], Address(alice.addresses[0], PORT))
        await asyncio.sleep(30)
        assert peer.method is ConnectionMethod.RELAY
        await stop(a, b, relay)

    simulate(scenario)


def test_a_direct_path_that_is_cut_is_left_for_the_relay_and_returned_to(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        net.set_link(alice, bob, delay=0.02)
        a, b = await start(alice), await start(bob)
        with alice:
            to_b = await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        assert to_b.method is ConnectionMethod.TCP
        changes: list[tuple[float, ConnectionMethod]] = []
        a.on_event(PathChanged, lambda change: changes.append((net.time, change.method)))
        counting = Counting(a, b)
        sending = asyncio.create_task(counting.send(3000, 0.02))
        await asyncio.sleep(1)
        cut_at = net.time
        net.cut(alice, bob)
        await until(lambda: counting.are_relayed)
        assert net.time - cut_at < 2
        await asyncio.sleep(20)
        assert counting.are_relayed
        net.mend(alice, bob)
        await until(lambda: not counting.are_relayed, within=65)
        await sending
        await counting.check()
        assert len(changes) == 2
        await stop(a, b, relay)

    simulate(scenario)


def test_a_punched_path_is_known_to_both_when_the_relay_that_came_after_it_dies(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        home, office = (net.router(name, RouterBehavior(ipv6="none")) for name in ("home", "office"))
        alice, bob = net.host("alice", behind=home), net.host("bob", behind=office)
        a, b = await start(alice), await start(bob)
        with alice:
            await a.paths.set_policy("relay_only")
            await a.paths.set_policy("auto")
        [relayed] = a.paths.relayed_addresses
        await a.paths.permit(office.address)
        with bob:  # who begins the session, so that she is called, and has called nobody
            await b.connect(relayed)
        await until(lambda: b.peer_id in a.peers)
        counting = Counting(a, b)

        async def move(client: RatsClient, side: int, address: Address, method: str) -> None:
            with contextlib.suppress(RatsError):
                await client.paths.move(counting.peer(side), address, method=method)

        to_alice, to_bob = Address(home.address, PORT), Address(office.address, PORT)
        await asyncio.gather(move(a, 0, to_bob, "udp"), move(b, 1, to_alice, "udp"))
        await until(lambda: not counting.are_relayed, within=1)
        await move(b, 1, relayed, "udp")
        await until(lambda: counting.are_relayed, within=1)
        net.cut(bob, net.hosts[0])
        await counting.send(10, 0.01)
        await counting.check(within=3)
        assert not counting.are_relayed
        await stop(a, b, relay)

    simulate(scenario)


def test_who_wants_relays_alone_from_now_on_leaves_the_dht_and_comes_back_when_that_is_over(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start(alice), await start(bob)
        begin = [f"{bob.addresses[0]}:{PORT}"]
        with bob:
            await b.start_dht_discovery(bootstrap=[], meet=False)
        with alice:
            assert await a.start_dht_discovery(bootstrap=begin, meet=False)
            await a.paths.set_policy("relay_only")
            assert not a.dht.is_running
            assert not await a.start_dht_discovery(bootstrap=begin)
            await a.paths.set_policy("auto")
            assert await a.start_dht_discovery(bootstrap=begin, meet=False)
        await stop(a, b, relay)

    simulate(scenario)


def test_a_path_that_comes_and_goes_is_returned_to_ever_more_slowly(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start(alice), await start(bob)
        with alice:
            await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        counting = Counting(a, b)
        sending = asyncio.create_task(counting.send(2400, 0.1))
        returned: list[float] = []
        for _ in range(4):
            net.cut(alice, bob)
            await until(lambda: counting.are_relayed)
            net.mend(alice, bob)
            mended = net.time
            await until(lambda: not counting.are_relayed)
            returned.append(net.time - mended)
            await asyncio.sleep(1)
        await sending
        await counting.check()
        assert returned[0] < 4
        assert max(returned) > 10  # not the last for sure: a rescue may find that the direct way is open again
        await stop(a, b, relay)

    simulate(scenario)


def test_a_host_that_roams_keeps_its_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        phone = net.host("phone", behind=net.router("home", "symmetric"))
        bob = net.host("bob")
        a, b = await start(phone), await start(bob)
        with phone:
            to_b = await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        counting = Counting(a, b)
        sending = asyncio.create_task(counting.send(1500, 0.02))
        for number in range(3):
            await asyncio.sleep(5)
            phone.interfaces["eth0"].move(net.router(f"cafe{number}", "symmetric"))
        await sending
        await counting.check()
        assert to_b.is_connected
        await stop(a, b, relay)

    simulate(scenario)


async def roam_while_relayed(
    net: SimNetwork, relay_over: str, **settings: bool
) -> tuple[list[Address], list[float], list[str]]:
    """Take a phone that only the relay leads to from one network to the next; return its relayed addresses, the longest
    time without a word in each, and what the session did."""
    relay = await serve(net, **settings)
    phone, bob = net.host("phone", behind=net.router("home", "symmetric")), net.host("bob")
    a, b = await start(phone, "relay_only", relay_over=relay_over), await start(bob)
    with phone:
        await a.connect(Address(bob.addresses[0], PORT))
    await until(lambda: a.peer_id in b.peers)
    happened: list[str] = []
    for client in (a, b):
        client.on_event(PathChanged, lambda change: happened.append(f"{change.method} {change.new.host}"))
        client.on_disconnect(lambda peer, reason: happened.append(reason))
    heard = [net.time]
    counting = Counting(a, b)
    b.on("n", lambda peer, data: heard.append(net.time))
    sending = asyncio.create_task(counting.send(1500, 0.02))
    relayed = list(a.paths.relayed_addresses)
    gaps = []
    for number in range(3):
        await asyncio.sleep(4)
        heard[:] = [net.time]
        phone.interfaces["eth0"].move(net.router(f"cafe{number}", "symmetric"))
        await asyncio.sleep(5)
        relayed += a.paths.relayed_addresses
        gaps.append(max(later - sooner for sooner, later in pairwise([*heard, net.time])))
    await sending
    await counting.check()
    so_far = list(happened)
    await stop(a, b, relay)
    return relayed, gaps, so_far


def test_a_roaming_host_keeps_its_relayed_address_where_the_server_lets_it(simulate: Simulate) -> None:
    relayed, gaps, happened = simulate(lambda net: roam_while_relayed(net, "udp"))
    assert len(set(relayed)) == 1
    assert max(gaps) < 1.5
    assert not [what for what in happened if not what.startswith(("relay", f"udp {RELAY}"))]


@pytest.mark.parametrize("relay_over", ["udp", "tcp"])
def test_a_roaming_host_gets_another_relayed_address_where_the_server_keeps_none(
    simulate: Simulate, relay_over: str
) -> None:
    relayed, gaps, happened = simulate(lambda net: roam_while_relayed(net, relay_over, mobility=False))
    assert len(set(relayed)) == len(relayed)
    assert max(gaps) < 3.5
    assert not [what for what in happened if not what.startswith(("relay", f"udp {RELAY}"))]


@pytest.mark.parametrize("mobility", [True, False])
def test_a_connection_to_the_relay_that_falls_silent_is_replaced_when_a_session_stalls(
    simulate: Simulate, mobility: bool
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, mobility=mobility)
        phone, bob = net.host("phone", behind=net.router("home", "symmetric")), net.host("bob")
        phone.add_interface("cell", behind=net.router("carrier", "cgnat_sym"))
        a, b = await start(phone, "relay_only", relay_over="tcp"), await start(bob)
        with phone:
            await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        relayed = list(a.paths.relayed_addresses)
        counting = Counting(a, b)
        phone.interfaces["eth0"].down()
        await counting.send(10, 0.01)
        await counting.check(within=2 if mobility else 4)
        assert (a.paths.relayed_addresses == relayed) is mobility
        await stop(a, b, relay)

    simulate(scenario)


def test_a_relayed_address_is_kept_by_a_host_that_roams_while_nobody_talks(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        phone, bob = net.host("phone", behind=net.router("home", "symmetric")), net.host("bob")
        a, b = await start(phone, "relay_only"), await start(bob, "relay_only")
        await until(lambda: a.paths.relayed_addresses and b.paths.relayed_addresses)
        relayed = a.paths.relayed_addresses[0]
        phone.interfaces["eth0"].move(net.router("cafe", "symmetric"))
        await asyncio.sleep(30)
        assert a.paths.relayed_addresses == [relayed]
        await a.paths.permit(b.paths.relayed_addresses[0])
        with bob:
            assert (await b.connect(relayed)).address == relayed
        await stop(a, b, relay)

    simulate(scenario)


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.2])
def test_an_allocation_may_be_made_again_while_the_client_stops(simulate: Simulate, moment: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start(alice, "relay_only"), await start(bob)
        with alice:
            peer = await a.connect(Address(bob.addresses[0], PORT))
        await relay.close()
        with net.hosts[0]:
            relay = SimRelay(relay.config)
            await relay.start()
        peer.try_send("n", 1)
        net.cut(alice, bob)
        await asyncio.sleep(0.8 + moment)  # it stalls, and the server knows of no allocation
        await stop(a, b, relay)

    simulate(scenario)


def test_a_relay_that_falls_silent_behind_its_allocation_holds_nobody_up(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice = net.host("alice")
        a = await start(alice)
        begun = net.time
        net.at(begun + 0.045, net.cut, net.hosts[0], net.hosts[1])  # what is asked for behind the allocation is lost
        with alice:
            await a.paths.set_policy("relay_only")
        assert net.time - begun < 11
        assert a.paths.relayed_addresses
        net.heal()
        await stop(a, relay)

    simulate(scenario)


def random_moves(simulate: Simulate, seed: int) -> None:
    """Move, cut and mend at random for a minute; every message comes once and in order, or the session ends."""

    async def scenario(net: SimNetwork) -> None:
        source = random.Random(seed)  # noqa: S311 - nothing here is a secret
        relay = await serve(net)
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start(alice), await start(bob)
        with alice:
            await a.connect(Address(bob.addresses[0], PORT))
        await until(lambda: a.peer_id in b.peers)
        counting = Counting(a, b)
        sending = asyncio.create_task(counting.send(3000, 0.02))
        is_cut, moves = False, 0
        while not sending.done():
            await asyncio.sleep(source.uniform(0.01, 3))
            side, client = source.choice(((0, a), (1, b)))
            if source.random() < 0.2:
                (net.mend if is_cut else net.cut)(alice, bob)
                is_cut = not is_cut
            with contextlib.suppress(RatsError):
                await client.paths.move(counting.peer(side), method=source.choice(("tcp", "udp", "relay")))
                moves += 1
        assert moves > 3
        if is_cut:
            net.mend(alice, bob)
        await sending
        await counting.check()
        await stop(a, b, relay)

    simulate(scenario, seed, delay=0.01, loss=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_many_moves_lose_nothing(simulate: Simulate, seed: int) -> None:
    random_moves(simulate, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4, 200))
def test_very_many_moves_lose_nothing(simulate: Simulate, seed: int) -> None:
    random_moves(simulate, seed)


def test_relays_that_are_asked_when_everything_stops_leave_nothing_behind(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        with net.host("relays", addresses=[RELAY]):
            pass  # up, and silent
        servers = tuple(TurnServer(host=RELAY, port=3478 + n, username="ann", password="secret") for n in range(3))
        settings = NatTraversalConfig(stun_servers=(), turn_servers=servers)
        with net.host("alice"):
            tasks = TaskSet()
            relays = Relays(lambda: settings, tasks, MappingHabits())
            relays.start(asyncio.Protocol, current_network().entropy, lambda: None)
            opening = tasks.create(relays.open(), name="somebody needs a relay")
            await asyncio.sleep(3)
            await tasks.close()
        assert opening.cancelled()

    simulate(scenario)


@pytest.mark.parametrize("after", [0.35, 0.4, 0.45])
@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_session_that_is_closed_while_it_has_left_one_path_and_is_not_on_the_other_yet(
    simulate: Simulate, how: str, after: float
) -> None:
    """What opens the other path goes on for seconds: it must not bring the session back."""

    async def scenario(net: SimNetwork) -> None:
        alice, bob = net.host("alice"), net.host("bob")
        a, b = await start_client(alice), await start_client(bob)
        with alice:
            peer = await a.connect(f"bob:{PORT}")
        await until(lambda: a.peer_id in b.peers)
        for host in (alice, bob):
            host.interfaces["eth0"].set_access(delay=0.05)
        moving = asyncio.ensure_future(a.paths.move(peer, peer.address, method="tcp"))
        await asyncio.sleep(after)
        lost = peer.link._transport
        assert lost is not None
        lost.abort()
        await asyncio.sleep(0)
        if how == "abort":
            peer.link.abort()
        await stop(a)
        with contextlib.suppress(RatsError):
            await moving
        await asyncio.sleep(2)
        assert [each for each in net.left_behind() if " of alice" in each] == []
        await stop(b)

    simulate(scenario)
