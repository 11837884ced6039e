"""Unmodified clients behind routers: they connect, talk, measure and move; and one seed gives one run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import ConnectError, NatTraversalConfig, TurnAllocation
from librats.relay.config import RelayConfig
from librats.runtime.datagrams import Origin
from librats.testing import BurstLoss, SimNetwork, SimRelay
from librats.types import Address

ROOT = Path(__file__).parents[2]
RELAY, RELAY_TOO = "203.0.113.10", "198.51.100.10"


def test_a_client_is_reached_through_a_forwarded_port_and_not_otherwise(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, office = net.router("home", "port_restricted"), net.router("office", "symmetric")
        alice, bob = net.host("alice", behind=home), net.host("bob", behind=office)
        server, client = await start_client(alice), await start_client(bob)
        server.on("greet", lambda peer, data: f"hello {data}")
        with pytest.raises(ConnectError):
            await client.connect(f"{home.address}:{PORT}")
        home.forward(PORT, alice)
        peer = await client.connect(f"home:{PORT}", expect_id=server.peer_id)
        assert await peer.request("greet", "Bob") == "hello Bob"
        [seen] = server.peers.values()
        assert seen.address.host == office.address
        office.restart()  # what was mapped is gone: the connection is dead, and the session goes on over another one
        await asyncio.sleep(600)
        assert list(client.peers.values()) == [peer]
        assert list(server.peers.values()) == [seen]
        assert await peer.request("greet", "again") == "hello again"
        await client.stop()
        await server.stop()

    simulate(scenario)


def test_clients_behind_firewalls_meet_over_ipv6_where_one_of_them_has_none(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        alice = net.host("alice", behind=net.router("home", "full_cone"))
        bob = net.host("bob", behind=net.router("mobile", "v6_only"))
        carol = net.host("carol", behind=net.router("campus", "open"))
        clients = [await start_client(host) for host in (alice, bob, carol)]
        for client in clients[:2]:
            await client.connect(f"carol:{PORT}")
        assert {":" in peer.address.host for peer in clients[2].peers.values()} == {True, False}
        with pytest.raises(ConnectError):
            await clients[0].connect(f"bob:{PORT}")
        for client in clients:
            await client.stop()

    simulate(scenario)


async def eventful(net: SimNetwork) -> None:
    """Do some of everything that goes through routers."""
    config = RelayConfig(users={"ann": "secret"}, listen=(Address(RELAY, 3478),), alternate=Address(RELAY_TOO, 3479))
    with net.host("relay", addresses=[RELAY, RELAY_TOO]):
        relay = SimRelay(config)
        await relay.start()
    kinds = ("port_restricted", "symmetric", "bare_masquerade", "cgnat_sym", "full_cone_random", "symmetric_seq")
    routers = [net.router(f"router{n}", kind) for n, kind in enumerate(kinds)]
    hosts = [net.host(f"host{n}", behind=router) for n, router in enumerate(routers)]
    meeting = net.host("meeting")
    hub = await start_client(meeting)
    nat = NatTraversalConfig(stun_servers=(f"{RELAY}:3478",))
    clients = [await start_client(host, nat=nat) for host in hosts]
    heard: list[bytes] = []

    async def live(number: int) -> None:
        host, client = hosts[number], clients[number]
        await client.connect(f"meeting:{PORT}")
        net.note(f"{number}: {(await client.nat.detect()).description}")
        with host:
            relayed = await TurnAllocation.open(
                "turn:ann:secret@relay" + ("?transport=tcp" if number % 2 else ""),
                receive=lambda batch: heard.extend(data for data, _ in batch),
                mobility=True,
                timeout=100,
            )
        for _ in range(20):
            relayed.send(bytes([number]) * 500, Address(meeting.addresses[0], 7000))
            await asyncio.sleep(0.1)
        if number == 0:
            host.interfaces["eth0"].move(routers[5])
            await relayed.move()
        assert await client.send("count", number) == 1
        await relayed.close()

    def answer(batch: list[tuple[bytes, Origin]]) -> None:
        echo.send_many(batch)

    echo = await meeting.open_datagram(port=7000, receive=answer)
    net.at(1.5, routers[2].restart)
    await asyncio.gather(*(live(number) for number in range(len(hosts))))
    net.note(f"{len(heard)} came back")
    assert heard
    await asyncio.gather(*(client.stop() for client in (*clients, hub)))
    echo.close()
    await relay.close()


def traced(seed: int) -> str:
    burst = BurstLoss(enter=0.01, leave=0.7)
    links = {"delay": 0.02, "jitter": 0.01, "reordering": 0.05, "duplication": 0.02, "bandwidth": 1e6, "queue": 30_000}
    with SimNetwork(seed, loss=0.01, burst=burst, trace=True, **links) as net:
        net.run(eventful(net), timeout=1000)
        assert len(net.trace.events) > 2000
        return net.trace.digest()


def test_one_seed_gives_one_run_through_routers_too() -> None:
    here = traced(11)
    assert traced(11) == here
    assert traced(12) != here
    assert {trace_in_new_process(11, hash_seed) for hash_seed in ("1", "77")} == {here}


def trace_in_new_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.test_behind_nats", str(seed)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return done.stdout.strip()


async def crowd(net: SimNetwork, members: int) -> int:
    """Let every client find out its public address and talk to a hub; return how many public addresses there are."""
    with net.host("relay", addresses=[RELAY]):
        relay = SimRelay(RelayConfig(users={"ann": "secret"}))
        await relay.start()
    hub_host = net.host("hub")
    with hub_host:
        hub = await start_client(hub_host, max_peers=members + 1)
    hub.on("sum", lambda peer, data: sum(data))
    nat = NatTraversalConfig(stun_servers=("relay:3478",))
    hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", "port_restricted")) for n in range(members)]
    seen: set[str] = set()

    async def live(number: int) -> None:
        client = await start_client(hosts[number], nat=nat)
        await asyncio.sleep(number * 0.01)
        peer = await client.connect(f"hub:{PORT}")
        seen.update(address.host for address in await client.nat.public_addresses())
        assert await peer.request("sum", [1, 2, 3]) == 6
        await asyncio.sleep(60)
        await client.stop()

    await asyncio.gather(*(live(number) for number in range(members)))
    await hub.stop()
    await relay.close()
    return len(seen)


@pytest.mark.parametrize("members", [50, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_crowd_behind_as_many_routers_runs_in_one_process(simulate: Simulate, members: int) -> None:
    seen = simulate(lambda net: crowd(net, members), seed=5, delay=0.04, jitter=0.02, loss=0.01)
    assert members <= seen <= 2 * members  # of each family one; some answer of a family may have been lost


if __name__ == "__main__":
    sys.stdout.write(traced(int(sys.argv[1])))
