"""Connections through every type of simulated router: which public address they have, and who may answer at it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.netns.nat_rules import TYPES, chain_of, widest
from tests.simulation.conftest import Simulate

from librats.testing import SimHost, SimNetwork
from librats.types import Address

PORT, LOCAL = 7000, 5000
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system cannot share a port")


def bound(host: SimHost, port: int = LOCAL) -> Any:
    sock = host.stack.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host.addresses[0], port))
    return sock


async def reaches(host: SimHost, to: Address, port: int = 0) -> bool:
    """Whether a connection from a host to an address comes about."""
    sock = bound(host, port)
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, tuple(to))
    except (OSError, TimeoutError):
        return False
    finally:
        sock.close()
    return True


async def classify(net: SimNetwork, kind: str) -> dict[str, str]:
    """Measure as natlab does: three connections from one port, then some to where they seem to come from."""
    loop = asyncio.get_running_loop()
    inside = net.host("inside", behind=net.router("router", kind))
    outside = [net.host(f"outside{number}") for number in range(2)]
    servers, seen = [], []
    for host, port in ((outside[0], PORT), (outside[0], PORT + 1), (outside[1], PORT)):
        server = bound(host, port)
        server.listen()
        servers.append(server)
        client = bound(inside)
        await loop.sock_connect(client, server.getsockname())
        accepted, name = await loop.sock_accept(server)
        seen.append(name)
        servers += [client, accepted]
    mapping = "ei" if len(set(seen)) == 1 else "ad" if seen[0] == seen[1] else "apd"
    listening, client = bound(inside, LOCAL + 1), bound(inside, LOCAL + 1)
    listening.listen()
    await loop.sock_connect(client, (outside[0].addresses[0], PORT))
    accepted, name = await loop.sock_accept(servers[0])
    public = Address(*name)
    filtering = "apd"
    if await reaches(outside[1], public):
        filtering = "ei"
    elif await reaches(outside[0], public):
        filtering = "ad"
    for sock in (*servers, listening, client, accepted):
        sock.close()
    return {"mapping": mapping, "filtering": filtering}


@pytest.mark.parametrize("kind", [name for name in TYPES if name != "v6_only"])
def test_connections_are_treated_as_the_type_promises(simulate: Simulate, kind: str) -> None:
    chain = chain_of(kind)
    promised = {
        "mapping": widest([nat.mapping for nat in chain]),
        "filtering": widest([nat.filtering for nat in chain]),
    }
    assert simulate(lambda net: classify(net, kind)) == promised


@pytest.mark.parametrize("kinds", [("restricted", "port_restricted"), ("cgnat", "double_nat"), ("firewall", "open")])
def test_connections_are_punched_through_two_routers(simulate: Simulate, kinds: tuple[str, str]) -> None:
    """Each side asks where it is seen, over a connection from the port that it then dials from."""

    async def scenario(net: SimNetwork) -> None:
        loop = asyncio.get_running_loop()
        server = bound(net.host("server"), PORT)
        server.listen()
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", kind)) for n, kind in enumerate(kinds)]
        public, asking = [], []
        for host in hosts:
            client = bound(host)
            await loop.sock_connect(client, server.getsockname())
            accepted, name = await loop.sock_accept(server)
            public.append(name)
            asking += [client, accepted]

        async def dial(number: int) -> bytes:
            sock = bound(hosts[number])
            await loop.sock_connect(sock, public[1 - number])
            await loop.sock_sendall(sock, b"from %d" % number)
            said = await loop.sock_recv(sock, 100)
            sock.close()
            return said

        assert list(await asyncio.gather(dial(0), dial(1))) == [b"from 1", b"from 0"]
        for sock in (*asking, server):
            sock.close()

    simulate(scenario)
