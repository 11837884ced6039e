"""uTP sockets in the simulated network: many hosts, links that lose, both families, idle hours, a dead peer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from tests.simulation.joined_tables import FILLER

from librats.services.utp import UtpSocket
from librats.testing import SimHost, SimNetwork
from librats.types import Address

PORT = 6881


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve() -> None:
    await UtpSocket.open("", PORT, accept=Echo)
    await asyncio.Event().wait()


async def echoed(size: int, target: Address) -> bytes:
    here = await UtpSocket.open()
    reader, writer = await here.open_connection(target)
    sending = asyncio.ensure_future(fill(writer, size))
    found = await reader.readexactly(size)
    await sending
    writer.close()
    here.close()
    return found


async def fill(writer: asyncio.StreamWriter, size: int) -> None:
    for at in range(0, size, 65536):
        writer.write(FILLER[at : min(at + 65536, size)])
        await writer.drain()


def served(net: SimNetwork, work: Callable[[SimHost], Coroutine[Any, Any, Any]]) -> Any:
    """Let a host echo while something is done in the network."""

    async def main() -> Any:
        host = net.host("server")
        server = host.spawn(serve())
        try:
            return await work(host)
        finally:
            server.cancel()

    return net.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_many_hosts_have_their_bytes_back_over_links_that_lose(seed: int) -> None:
    async def work(_server: SimHost) -> list[bytes]:
        hosts = [net.host(f"client {index}") for index in range(6)]
        return list(await asyncio.gather(*(host.spawn(echoed(100_000, Address("server", PORT))) for host in hosts)))

    with SimNetwork(seed=seed, delay=0.02, loss=0.02) as net:
        assert served(net, work) == [FILLER[:100_000]] * 6


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00:0:0:1::1"])
def test_both_families_are_spoken(address: str) -> None:
    async def work(_server: SimHost) -> bytes:
        return await net.host("client").spawn(echoed(10_000, Address(address, PORT)))

    with SimNetwork(seed=1, delay=0.01) as net:
        assert served(net, work) == FILLER[:10_000]


class Ear(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)


def test_two_that_dial_each_other_at_once_meet_through_their_nats() -> None:
    async def meet(other: str) -> bytes:
        here = await UtpSocket.open("", PORT, accept=Echo)
        ear = Ear()
        transport = await here.dial(lambda: ear, Address(other, PORT), punch=True)
        transport.write(b"through")
        return await ear.heard

    with SimNetwork(seed=1, delay=0.01) as net:
        routers = [net.router(name) for name in ("home", "office")]
        hosts = [net.host(f"peer {index}", behind=router) for index, router in enumerate(routers)]

        async def main() -> list[bytes]:
            others = [router.address for router in reversed(routers)]
            work = [host.spawn(meet(other)) for host, other in zip(hosts, others, strict=True)]
            return list(await asyncio.gather(*work))

        assert net.run(main()) == [b"through"] * 2


def test_an_idle_connection_lasts_and_a_dead_peer_is_noticed() -> None:
    async def talk(server: SimHost) -> float:
        loop = asyncio.get_running_loop()
        here = await UtpSocket.open()
        reader, writer = await here.open_connection(Address("server", PORT))
        for word in (b"one", b"two"):
            writer.write(word)
            assert await reader.readexactly(3) == word
            await asyncio.sleep(3600)
        server.down()
        began = loop.time()
        writer.write(b"three")
        with pytest.raises(TimeoutError):
            await reader.readexactly(5)
        here.close()
        return loop.time() - began

    async def work(server: SimHost) -> float:
        return await net.host("client").spawn(talk(server))

    with SimNetwork(seed=1, delay=0.01) as net:
        assert 10 < served(net, work) < 120
