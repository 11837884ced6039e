"""Port mapping over real sockets: a gateway on a loopback address of its own that speaks PCP and NAT-PMP."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator

import pytest
from tests.loopback.conftest import LOOPBACK, MakeClient, Until

from librats import Address, ConfigError, PortMapped, PortMappingFailed, PortMappingProtocol
from librats.portmap.pcp_wire import PCP_PORT, PcpResult
from librats.runtime import network
from librats.runtime.gateways import Gateway
from librats.services import portmap
from librats.services.port_mapping import gateway_mappings
from librats.testing.gateways import PortMappingServer
from librats.types import MappedTransport

GATEWAY, PUBLIC = "127.53.51.1", "203.0.113.7"
PCP, NAT_PMP = PortMappingProtocol.PCP, PortMappingProtocol.NAT_PMP


class LoopbackGateway(asyncio.DatagramProtocol):
    """Answers as a router does, and maps nothing."""

    def __init__(self) -> None:
        self.server = PortMappingServer(frozenset((PCP, NAT_PMP)), self._grant, lambda *_: None)
        self.requests = 0

    @staticmethod
    def _grant(_transport: MappedTransport, inner: Address, port: int, _exact: bool, _until: float) -> Address:
        return Address(PUBLIC, port or inner.port)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.requests += 1
        answer = self.server.answer(data, Address(*source), PUBLIC, asyncio.get_running_loop().time())
        if answer is not None:
            self._transport.sendto(answer, source)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopbackGateway]:
    async def gateways() -> list[Gateway]:
        return [Gateway(GATEWAY, LOOPBACK)]

    monkeypatch.setattr(network, "default_gateways", gateways)
    monkeypatch.setattr(gateway_mappings, "UPNP_AFTER", 3600.0)
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(LoopbackGateway, local_addr=(GATEWAY, PCP_PORT))
    except OSError as error:
        pytest.skip(f"this machine has no {GATEWAY}:{PCP_PORT}: {error}")
    yield protocol
    transport.close()


@pytest.mark.parametrize("protocol", [PCP, NAT_PMP])
async def test_a_port_is_mapped_and_given_back(
    gateway: LoopbackGateway, make_client: MakeClient, until: Until, protocol: PortMappingProtocol
) -> None:
    gateway.server.protocols = frozenset((protocol,))
    client = await make_client()
    heard: list[PortMapped] = []
    client.on_event(PortMapped, heard.append)
    await until(lambda: len(client.nat.port_mappings()) == 2)
    outside = Address(PUBLIC, client.listen_port)
    assert {(m.transport, m.external, m.protocol) for m in client.nat.port_mappings()} == {
        ("tcp", outside, protocol),
        ("udp", outside, protocol),
    }
    assert [event.mapping.transport for event in heard] == ["tcp", "udp"]
    assert client.addresses == [Address(LOOPBACK, client.listen_port), outside]
    await client.stop()
    assert gateway.server.leases == {}


async def test_peers_are_told_the_mapped_address(
    gateway: LoopbackGateway, make_client: MakeClient, until: Until
) -> None:
    a = await make_client()
    await until(lambda: len(a.nat.port_mappings()) == 2)
    b = await make_client()
    await b.connect((LOOPBACK, a.listen_port))
    await until(lambda: str(Address(PUBLIC, a.listen_port)) in b.book[a.peer_id].listen)


async def test_only_tcp_is_mapped_where_only_that_is_listened_on(
    gateway: LoopbackGateway, make_client: MakeClient, until: Until
) -> None:
    client = await make_client(transports=("tcp",))
    await until(client.nat.port_mappings)
    assert [m.transport for m in client.nat.port_mappings()] == ["tcp"]
    assert [transport for transport, _ in gateway.server.leases] == ["tcp"]


async def test_a_refusal_is_told_when_no_other_way_is_left(
    gateway: LoopbackGateway,
    make_client: MakeClient,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def not_installed(name: str) -> object:
        raise ImportError(f"there is no {name}")

    monkeypatch.setattr(gateway_mappings, "UPNP_AFTER", 0.05)
    monkeypatch.setattr(importlib, "import_module", not_installed)
    caplog.set_level(logging.DEBUG, "librats.portmap")
    gateway.server.refuses = PcpResult.NO_RESOURCES
    client = await make_client()
    heard: list[PortMappingFailed] = []
    client.on_event(PortMappingFailed, heard.append)
    await until(lambda: len(heard) == 2)
    assert {event.transport for event in heard} == {"tcp", "udp"}
    assert {event.code for event in heard} == {"no_resources"}
    assert "no room" in heard[0].reason
    assert "install librats[upnp]" in heard[0].reason
    assert heard[0].internal == Address(LOOPBACK, client.listen_port)
    assert "is not mapped" in caplog.text


async def test_a_gateway_that_cannot_be_asked_now_is_asked_later(
    gateway: LoopbackGateway, make_client: MakeClient, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_to_be_had(*_: object, **__: object) -> None:
        raise ConfigError("listen_host", "gone")

    monkeypatch.setattr(portmap, "LOOK_INTERVAL", 0.1)
    with monkeypatch.context() as broken:
        broken.setattr(network.SystemNetwork, "open_datagram", none_to_be_had)
        client = await make_client(transports=("tcp",))
        await asyncio.sleep(0.05)
        assert client.nat.port_mappings() == []
    await until(client.nat.port_mappings)
    assert gateway.requests == 1
