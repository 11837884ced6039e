"""UPnP gateways on loopback: what is asked of them, and what is believed of what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from tests.loopback.conftest import LOOPBACK, MakeClient, Until

pytest.importorskip("async_upnp_client")

from aiohttp import web
from async_upnp_client.const import HttpRequest
from async_upnp_client.exceptions import UpnpCommunicationError
from tests.reference.upnp_gateway import FakeGateway

from librats import Address, PortMapped, PortMappingError, PortMappingFailed, PortMappingProtocol
from librats.runtime import network
from librats.runtime.gateways import Gateway
from librats.services.port_mapping import gateway_mappings, upnp_device
from librats.services.port_mapping.upnp_device import find_upnp_gateway
from librats.types import MappedTransport

UPNP = PortMappingProtocol.UPNP
TCP, UDP = MappedTransport.TCP, MappedTransport.UDP


class Answers:
    """In place of the search by multicast, which loopback has not: what answers to it."""

    def __init__(self, *headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.stopped = 0

    def __call__(self, *, callback: Any, **_: object) -> Any:
        return _Listener(self, callback)


class _Listener:
    def __init__(self, answers: Answers, callback: Any) -> None:
        self._answers, self._callback = answers, callback

    async def async_start(self) -> None:
        await asyncio.sleep(0)

    def async_search(self) -> None:
        for headers in self._answers.headers:
            self._callback(headers)

    def async_stop(self) -> None:
        self._answers.stopped += 1


def answering(monkeypatch: pytest.MonkeyPatch, *locations: str, sender: str = LOOPBACK) -> Answers:
    answers = Answers(*({"location": location, "_host": sender} for location in locations))
    monkeypatch.setattr(upnp_device, "SsdpSearchListener", answers)
    return answers


@pytest.fixture
async def router() -> AsyncIterator[FakeGateway]:
    async with FakeGateway() as router:
        yield router


async def test_a_gateway_is_found_and_maps_ports(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answering(monkeypatch, router.location)
    gateway = await find_upnp_gateway(LOOPBACK, LOOPBACK, 5.0)
    assert answers.stopped == 2
    assert await gateway.external_host() == "203.0.113.7"
    assert await gateway.map(TCP, 8080, 8081, 7200) == 7200
    action, arguments = router.asked[-1]
    assert (action, arguments) == (
        "AddPortMapping",
        {
            "NewRemoteHost": "",
            "NewExternalPort": "8081",
            "NewProtocol": "TCP",
            "NewInternalPort": "8080",
            "NewInternalClient": LOOPBACK,
            "NewEnabled": "1",
            "NewPortMappingDescription": "librats",
            "NewLeaseDuration": "7200",
        },
    )
    await gateway.unmap(TCP, 8081)
    assert router.mappings == {}
    await gateway.close()


async def test_a_gateway_that_knows_no_end_maps_without(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, router.location)
    router.refuse = lambda _, arguments: 725 if arguments.get("NewLeaseDuration", "0") != "0" else 0
    gateway = await find_upnp_gateway(LOOPBACK, LOOPBACK, 5.0)
    assert await gateway.map(UDP, 8080, 8080, 7200) == float("inf")
    await gateway.close()


@pytest.mark.parametrize(
    ("number", "code"),
    [(606, "not_authorized"), (718, "conflict"), (728, "no_resources"), (402, "unsupported"), (999, "refused")],
)
async def test_a_refusal_has_a_code(
    router: FakeGateway, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    answering(monkeypatch, router.location)
    router.refuse = lambda *_: number
    gateway = await find_upnp_gateway(LOOPBACK, LOOPBACK, 5.0)
    with pytest.raises(PortMappingError) as error:
        await gateway.map(UDP, 8080, 8080, 7200)
    assert (error.value.code, error.value.number) == (code, number)
    await gateway.close()


async def test_others_than_the_gateway_are_not_asked(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger answers, and one with the gateway's address names others: neither is sent a request."""
    async with FakeGateway("127.0.0.2") as stranger:
        answering(monkeypatch, router.location, sender="127.0.0.2")
        with pytest.raises(PortMappingError, match="no gateway"):
            await find_upnp_gateway(LOOPBACK, LOOPBACK, 0.3)
        answering(monkeypatch, stranger.location, "http://[::bad", "", "file:///etc/passwd")
        with pytest.raises(PortMappingError, match="no gateway"):
            await find_upnp_gateway(LOOPBACK, LOOPBACK, 0.3)
        assert (router.described, stranger.described) == (0, 0)


@pytest.fixture
async def requester() -> AsyncIterator[upnp_device._GatewayRequester]:
    requester = upnp_device._GatewayRequester(LOOPBACK, LOOPBACK)
    yield requester
    await requester.close()


async def test_requests_go_to_the_gateway_alone(requester: upnp_device._GatewayRequester) -> None:
    async with FakeGateway("127.0.0.2") as stranger:
        with pytest.raises(UpnpCommunicationError, match="names another host"):
            await requester.async_http_request(HttpRequest("GET", stranger.location, {}, None))
        assert stranger.described == 0


async def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    router: FakeGateway, requester: upnp_device._GatewayRequester
) -> None:
    async def long() -> web.Response:
        return web.Response(body=b" " * (upnp_device.MAX_BODY + 1))

    router.describe = long
    with pytest.raises(UpnpCommunicationError, match="more than"):
        await requester.async_http_request(HttpRequest("GET", router.location, {}, None))


async def test_a_description_that_names_another_host_leads_nowhere(
    router: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, router.location)
    async with FakeGateway("127.0.0.2") as victim:
        router.control = f"http://127.0.0.2:{victim.port}/control"
        # Newer versions of the library leave such a service out by themselves.
        with pytest.raises(PortMappingError, match=r"names another host|no gateway"):
            await _found_and_mapped()
        assert victim.asked == []


async def _found_and_mapped() -> None:
    gateway = await find_upnp_gateway(LOOPBACK, LOOPBACK, 2.0)
    try:
        await gateway.map(TCP, 8080, 8080, 7200)
    finally:
        await gateway.close()


async def test_a_redirect_is_not_followed(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeGateway("127.0.0.2") as victim:

        async def redirect() -> web.Response:
            raise web.HTTPFound(victim.location)

        router.describe = redirect
        answering(monkeypatch, router.location)
        with pytest.raises(PortMappingError, match="no gateway"):
            await find_upnp_gateway(LOOPBACK, LOOPBACK, 0.3)
        assert (router.described > 0, victim.described) == (True, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<root/>",
        b"\xff\xfe\x00",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><root>&b;</root>",
        b"<a>" * 50_000,
        b" " * (upnp_device.MAX_BODY + 1),
    ],
    ids=["empty", "text", "no device", "no text", "entities", "deep", "too long"],
)
async def test_a_damaged_description_is_no_gateway(
    router: FakeGateway, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async def damaged() -> web.Response:
        return web.Response(body=body, content_type="text/xml")

    router.describe = damaged
    answering(monkeypatch, router.location)
    with pytest.raises(PortMappingError, match="no gateway"):
        await find_upnp_gateway(LOOPBACK, LOOPBACK, 0.5)


async def test_a_device_that_maps_no_ports_is_no_gateway(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    router.service = "urn:schemas-upnp-org:service:Layer3Forwarding:1"
    answering(monkeypatch, router.location)
    with pytest.raises(PortMappingError, match="no gateway"):
        await find_upnp_gateway(LOOPBACK, LOOPBACK, 0.5)


@pytest.mark.parametrize("told", ["<", "<a>", "<!DOCTYPE a [<!ENTITY b 'c'>]>"])
async def test_a_damaged_answer_is_an_error(router: FakeGateway, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    answering(monkeypatch, router.location)
    router.external = told
    gateway = await find_upnp_gateway(LOOPBACK, LOOPBACK, 5.0)
    with pytest.raises(PortMappingError):
        await gateway.external_host()
    await gateway.close()


# A client whose gateway knows UPnP alone


@pytest.fixture
def behind(router: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    async def gateways() -> list[Gateway]:
        return [Gateway(LOOPBACK, LOOPBACK)]

    monkeypatch.setattr(network, "default_gateways", gateways)
    monkeypatch.setattr(gateway_mappings, "UPNP_AFTER", 0.01)
    answering(monkeypatch, router.location)
    return router


async def test_a_client_maps_its_port_by_upnp_and_gives_it_back(
    behind: FakeGateway, make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    heard: list[PortMapped] = []
    client.on_event(PortMapped, heard.append)
    await until(lambda: len(client.nat.port_mappings()) == 2)
    outside = Address("203.0.113.7", client.listen_port)
    assert {(m.transport, m.external, m.protocol) for m in client.nat.port_mappings()} == {
        (TCP, outside, UPNP),
        (UDP, outside, UPNP),
    }
    assert len(heard) == 2
    assert set(behind.mappings) == {("TCP", str(outside.port)), ("UDP", str(outside.port))}
    await client.stop()
    assert behind.mappings == {}


async def test_where_the_port_is_taken_others_are_tried(
    behind: FakeGateway, make_client: MakeClient, until: Until
) -> None:
    taken: set[str] = set()

    def refuse(action: str, arguments: dict[str, str]) -> int:
        port = arguments.get("NewExternalPort", "")
        if action == "AddPortMapping" and len(taken | {port}) <= 3:
            taken.add(port)
            return 718
        return 0

    behind.refuse = refuse
    client = await make_client(transports=("tcp",))
    await until(client.nat.port_mappings)
    [mapping] = client.nat.port_mappings()
    assert str(client.listen_port) in taken
    assert str(mapping.external.port) not in taken


async def test_a_mapping_that_is_under_way_is_removed_as_well(
    behind: FakeGateway, make_client: MakeClient, until: Until
) -> None:
    client = await make_client(transports=("tcp",))
    await until(lambda: any(action == "AddPortMapping" for action, _ in behind.asked))
    await client.stop()
    assert behind.mappings == {}


@pytest.mark.parametrize("external", ["", "0.0.0.0", "127.0.0.1", "router.example.org"])  # noqa: S104 - no binding
async def test_a_gateway_without_an_address_is_told(
    behind: FakeGateway, make_client: MakeClient, until: Until, monkeypatch: pytest.MonkeyPatch, external: str
) -> None:
    monkeypatch.setattr("librats.portmap.mapper.PATIENCE", 0.1)
    behind.external = external
    client = await make_client(transports=("tcp",))
    heard: list[PortMappingFailed] = []
    client.on_event(PortMappingFailed, heard.append)
    await until(lambda: heard)
    assert [(event.code, event.transport) for event in heard] == [("network_failure", TCP)]
    assert "does not answer to PCP or NAT-PMP; by UPnP the gateway has no public address" in heard[0].reason
