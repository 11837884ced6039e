"""The same meetings with aioice, in the same simulated network: two of our agents are never later than two of its."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aioice
import pytest
from tests.simulation.test_ice import SERVER, serve, settings, start, told

from librats.testing import SimHost, SimNetwork

pytestmark = pytest.mark.interop

DELAY = 0.02
SIGNAL = 0.02
KINDS = ("open", "full_cone", "restricted", "port_restricted", "double_nat", "openwrt", "firewall")
Met = Callable[[], object]
Meet = Callable[[Sequence[SimHost], Met], Awaitable[None]]


def ipv4_of(host: SimHost) -> list[str]:
    return [address for address in host.addresses if ":" not in address]


async def ours(hosts: Sequence[SimHost], met: Met) -> None:
    """Gather, offer, gather there, answer: the other side begins to check while its answer is on its way."""
    config = settings(stun_servers=(f"{SERVER[0]}:3478",))
    a = await start(hosts[0], "controlling", config, local_hosts=ipv4_of(hosts[0]))
    await a.gather_candidates()
    offer = told(a)
    await asyncio.sleep(SIGNAL)
    b = await start(hosts[1], "controlled", config, local_hosts=ipv4_of(hosts[1]))
    await b.gather_candidates()
    b.set_remote_description(offer)
    connecting = asyncio.create_task(b.connect())
    answer = told(b)
    await asyncio.sleep(SIGNAL)
    a.set_remote_description(answer)
    await asyncio.gather(a.connect(), connecting)
    met()
    await asyncio.gather(a.close(), b.close())


async def theirs(hosts: Sequence[SimHost], met: Met, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the same with aioice, which is told the addresses that the simulation has."""
    agents = []
    offer: list[aioice.Candidate] = []
    for host, controls in zip(hosts, (True, False), strict=True):
        monkeypatch.setattr("aioice.ice.get_host_addresses", lambda host=host, **_: ipv4_of(host))
        agent = aioice.Connection(ice_controlling=controls, stun_server=(SERVER[0], 3478), use_ipv6=False)
        await host.run(agent.gather_candidates())
        agents.append(agent)
        if controls:
            offer = agent.local_candidates
            await asyncio.sleep(SIGNAL)
    a, b = agents
    for here, there in ((a, b), (b, a)):
        there.remote_username, there.remote_password = here.local_username, here.local_password
    for candidate in (*offer, None):
        await b.add_remote_candidate(candidate)
    connecting = hosts[1].spawn(b.connect())
    answer = b.local_candidates
    await asyncio.sleep(SIGNAL)
    for candidate in (*answer, None):
        await a.add_remote_candidate(candidate)
    await asyncio.gather(hosts[0].run(a.connect()), connecting)
    met()
    await asyncio.gather(a.close(), b.close())


def seconds(kinds: tuple[str, str], meet: Meet) -> float:
    """Return what a meeting takes, from the first question to a STUN server on."""

    async def main(net: SimNetwork) -> float:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", kind)) for n, kind in enumerate(kinds)]
        ended: list[float] = []
        began = net.time
        await meet(hosts, lambda: ended.append(net.time))
        await relay.close()
        return ended[0] - began

    with SimNetwork(1, delay=DELAY) as net:
        return net.run(main(net), timeout=100.0)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_meets_later_than_with_aioice(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sooner = 0
    for other in KINDS:
        one = seconds((kind, other), ours)
        rival = seconds((kind, other), lambda hosts, met: theirs(hosts, met, monkeypatch))
        assert one <= rival + 1e-6, (kind, other, one, rival)
        sooner += one < rival - DELAY / 2
    assert sooner >= (0 if kind == "open" else 4)  # nobody can ask an open host sooner
