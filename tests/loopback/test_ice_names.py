"""Candidates whose host is a name of multicast DNS, asked for on 127.0.0.1."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from tests.loopback.test_mdns import LOOPBACK, multicast_problem
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from librats import IceAgent, NatTraversalConfig
from librats.runtime.network import SystemNetwork
from librats.services.ice import names as ice_names

pytestmark = pytest.mark.skipif(bool(multicast_problem()), reason="the loopback has no multicast")


class LoopbackNetwork(SystemNetwork):
    async def interface_addresses(self) -> list[str]:
        return [LOOPBACK]


async def publish(host: AsyncZeroconf, name: str) -> None:
    service = "_librats-test._udp.local."
    info = AsyncServiceInfo(
        service, f"{name}.{service}", server=f"{name}.", port=5000, addresses=[bytes([127, 0, 0, 1])]
    )
    await (await host.async_register_service(info))


async def test_a_name_that_somebody_on_the_link_has_is_resolved() -> None:
    name = f"{secrets.token_hex(8)}.local"
    host = AsyncZeroconf(interfaces=[LOOPBACK])
    try:
        await publish(host, name)
        assert await ice_names.local_addresses(LoopbackNetwork(), name) == [LOOPBACK]
    finally:
        await host.async_close()


async def test_a_name_that_nobody_has_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_names, "PATIENCE", 0.1)
    async with asyncio.timeout(5):
        assert await ice_names.local_addresses(LoopbackNetwork(), f"{secrets.token_hex(8)}.local") == []


async def test_agents_meet_by_a_name() -> None:
    name = f"{secrets.token_hex(8)}.local"
    host = AsyncZeroconf(interfaces=[LOOPBACK])
    config = NatTraversalConfig.offline()
    try:
        await publish(host, name)
        async with (
            IceAgent("controlling", config, local_hosts=[LOOPBACK]) as a,
            IceAgent("controlled", config, local_hosts=[LOOPBACK]) as b,
            asyncio.timeout(20),
        ):
            port = b.local_candidates[0].address.port
            named = f"candidate:1 1 udp 2130706431 {name} {port} typ host"
            a.set_remote_description({**b.local_description, "candidates": [named]})
            b.set_remote_description({**a.local_description, "candidates": [], "end_of_candidates": False})
            await asyncio.gather(a.connect(), b.connect())
            a.send(b"data")
            assert await b.recv() == b"data"
    finally:
        await host.async_close()
