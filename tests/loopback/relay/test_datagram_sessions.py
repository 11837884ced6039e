"""Nodes have their sessions with a relay over UDP, on its port for STUN and TURN, and over TCP where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from librats import Address, Identity, NatTraversalConfig, RatsClient, RatsConfig
from librats.relay.config import RelayConfig
from librats.relay.datagram_sessions import Heard
from librats.relay.server import RelayServer
from librats.types import ConnectionMethod


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def relay(*listen: str, **fields: Any) -> AsyncIterator[tuple[RelayServer, str]]:
    places = tuple(Address(host, 0) for host in listen or ("127.0.0.1",))
    config = RelayConfig(listen=places, users={"ann": "secret"}, **fields)
    async with RelayServer(config, identity=Identity.generate()) as server:
        assert server.introducer is not None
        yield server, server.introducer.identity.peer_id


@asynccontextmanager
async def client(introducer: str, **fields: Any) -> AsyncIterator[RatsClient]:
    nat = NatTraversalConfig(stun_servers=(), enable_port_mapping=False, introducers=(introducer,))
    config = RatsConfig(**{"listen_host": "127.0.0.1", "nat": nat, **fields})
    async with RatsClient(config=config, identity=Identity.generate()) as one:
        yield one


def methods(server: RelayServer) -> list[ConnectionMethod]:
    assert server.introducer is not None
    return [link.method for link in server.introducer.sessions.links.values()]


@pytest.mark.parametrize("threads", [1, 3])
async def test_two_meet_by_sessions_over_udp(threads: int) -> None:
    async with AsyncExitStack() as stack:
        server, peer_id = await stack.enter_async_context(relay(threads=threads))
        name = f"{peer_id}@{server.addresses[0]}"
        alice = await stack.enter_async_context(client(name))
        bob = await stack.enter_async_context(client(name))
        await until(lambda: alice.introducers and bob.introducers)
        assert methods(server) == [ConnectionMethod.UDP] * 2
        alice.on("greet", lambda peer, data: f"hello {data}")
        assert alice.peer_id is not None
        peer = await bob.connect(alice.peer_id)
        assert await peer.request("greet", "Bob") == "hello Bob"
        assert server.statistics().connections == 0


@pytest.mark.parametrize(("family", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])  # noqa: S104
async def test_a_relay_on_every_interface_answers_from_where_it_was_asked(family: str, host: str) -> None:
    async with relay(family) as (server, peer_id), AsyncExitStack() as stack:
        where = Address(host, server.addresses[0].port)
        one = await stack.enter_async_context(client(f"{peer_id}@{where}", listen_host=""))
        await until(lambda: one.introducers)
        assert methods(server) == [ConnectionMethod.UDP]


async def test_a_client_without_udp_has_its_session_over_tcp() -> None:
    async with relay() as (server, peer_id), client(f"{peer_id}@{server.addresses[0]}", transports=("tcp",)) as one:
        await until(lambda: one.introducers)
        assert methods(server) == [ConnectionMethod.TCP]


async def test_where_udp_is_not_answered_the_session_is_over_tcp() -> None:
    async with relay() as (server, peer_id), AsyncExitStack() as stack:
        port = server.addresses[0].port
        forwarder = await asyncio.start_server(_forward_to(port), "127.0.0.1", 0)
        stack.callback(forwarder.close)
        there = forwarder.sockets[0].getsockname()[1]
        one = await stack.enter_async_context(client(f"{peer_id}@127.0.0.1:{there}"))
        await until(lambda: one.introducers)
        assert methods(server) == [ConnectionMethod.TCP]


def _forward_to(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)

    return serve


SYN = bytes.fromhex("10020400 0da93327 00000001 00000000")


@pytest.mark.parametrize("fields", [{"introduce": False}, {"tcp": False}])
async def test_a_relay_that_introduces_nobody_takes_no_packet_of_sessions(fields: dict[str, Any]) -> None:
    assert await handed_in() == [SYN]
    assert await handed_in(**fields) == []


async def handed_in(**fields: Any) -> list[bytes]:
    """Send a relay a packet as sessions begin with, and return what of it a thread hands to the loop."""
    config = RelayConfig(listen=(Address("127.0.0.1", 0),), users={"ann": "secret"}, **fields)
    packets: list[Heard] = []
    answered: list[bytes] = []
    async with RelayServer(config, identity=Identity.generate()) as server, AsyncExitStack() as stack:
        assert (server.introducer is None) == bool(fields)
        [worker] = server._workers
        worker.hand_in = lambda came, _: packets.extend(came)
        await send_and_ask(stack, server.addresses[0], SYN, answered)
        await until(lambda: answered)
    return [packet[3] for packet in packets]


async def send_and_ask(stack: AsyncExitStack, to: Address, packet: bytes, heard: list[bytes]) -> None:
    """Send a packet, and a request to which there is an answer when that was dealt with."""

    class Listening(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Listening, local_addr=("127.0.0.1", 0))
    stack.callback(transport.close)
    for data in (packet, bytes.fromhex("00010000 2112a442") + b"transaction!"):
        transport.sendto(data, to)


async def test_a_relay_that_introduces_nobody_answers_no_session() -> None:
    async with AsyncExitStack() as stack:
        config = RelayConfig(listen=(Address("127.0.0.1", 0),), users={"ann": "secret"}, introduce=False)
        server = await stack.enter_async_context(RelayServer(config, identity=Identity.generate()))
        heard: list[bytes] = []
        await send_and_ask(stack, server.addresses[0], SYN, heard)
        await until(lambda: heard)
        assert [data[:2] for data in heard] == [b"\1\1"]
