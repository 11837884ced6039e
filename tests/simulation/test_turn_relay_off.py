"""A client that asks TURN servers for no address, though it knows one: ``enable_turn_relay=False``."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.conftest import Simulate, until
from tests.simulation.test_relayed_paths import RELAY, serve

from librats import ConnectError, ConnectionMethod, NatTraversalConfig, PathPolicy, RatsClient, RatsConfig
from librats.errors import ConfigError
from librats.services.ice.agent import IceAgent
from librats.testing import SimHost, SimNetwork
from librats.types import AttemptReason

TURN = f"turn:ann:secret@{RELAY}"


async def start(host: SimHost, *, enable_turn_relay: bool, policy: str = "auto") -> RatsClient:
    nat = NatTraversalConfig(
        stun_servers=(), turn_servers=(TURN,), path_policy=PathPolicy(policy), enable_turn_relay=enable_turn_relay
    )
    with host:
        client = RatsClient(8080, config=RatsConfig(nat=nat))
        await client.start()
    return client


@pytest.mark.parametrize("is_on", [True, False])
def test_no_server_is_asked_where_it_is_off_and_the_peers_relayed_address_is_reached(
    simulate: Simulate, is_on: bool
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        alice = net.host("alice", behind=(home := net.router("home", "symmetric")))
        bob = net.host("bob", behind=net.router("office", "symmetric"))
        a = await start(alice, enable_turn_relay=is_on)
        b = await start(bob, enable_turn_relay=True, policy="relay_only")
        await until(lambda: b.addresses)
        address = b.addresses[0]
        if is_on:
            with alice:
                await a.paths.set_policy("relay_only")
        with bob:
            await b.paths.permit(a.addresses[-1] if is_on else home.address)
        with alice:
            if is_on:
                await a.connect(address, strategy="relay")
                assert a.peers[b.peer_id].method is ConnectionMethod.RELAY
            else:
                with pytest.raises(ConnectError, match="enable_turn_relay is off") as failure:
                    await a.connect(address, strategy="relay")
                assert failure.value.code is AttemptReason.NOT_CONFIGURED
                with pytest.raises(ConfigError):
                    await a.paths.set_policy("relay_only")
                assert (await a.connect(address)).method is ConnectionMethod.UDP
            agent = IceAgent("controlling", NatTraversalConfig(turn_servers=(TURN,), enable_turn_relay=is_on))
            await agent.start()
            await agent.gather_candidates()
            assert any(candidate.is_relayed for candidate in agent.local_candidates) is is_on
            await agent.close()
        assert any(place.host == RELAY for place in a.addresses) is is_on
        await asyncio.gather(a.stop(), b.stop(), relay.close())

    simulate(scenario)
