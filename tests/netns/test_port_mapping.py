"""Ports that a real miniupnpd maps, by each protocol that it speaks, and what comes in at them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.netns.lab import Lab, missing
from tests.netns.miniupnpd import OUTSIDE, miniupnpd, missing_miniupnpd, rules_of

from librats import (
    Address,
    ConnectionMethod,
    Identity,
    NatTraversalConfig,
    Peer,
    PortMapped,
    PortMappingFailed,
    PortMappingProtocol,
    RatsClient,
    RatsConfig,
)
from librats.portmap import mapper
from librats.portmap.mapper import PortMapper
from librats.portmap.mapper_events import MapperEvent, MappingGranted
from librats.testing.entropy import SeededEntropy
from librats.types import MappedTransport

WHY_NOT = missing() or missing_miniupnpd()
pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

PORT = 8080
HOST = "192.168.1.11"
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways be asked: the laboratory has no way out."""
    monkeypatch.setenv("LIBRATS_PORT_MAPPING", "1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("port_restricted") as lab:
        yield lab


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever the caller waits for
            await asyncio.sleep(0.01)


def client_of(**settings: object) -> RatsClient:
    return RatsClient(PORT, identity=Identity.generate(), config=RatsConfig(**settings))  # type: ignore[arg-type]


def from_outside(lab: Lab, transport: str) -> ConnectionMethod:
    """Connect from the server to the mapped port, in a thread that stays there, and return how that went."""
    found: list[ConnectionMethod] = []

    async def dial() -> None:
        config = RatsConfig(transports=(transport,), nat=NatTraversalConfig.offline())
        async with RatsClient(0, identity=Identity.generate(), config=config) as client:
            peer: Peer = await client.connect((OUTSIDE, PORT), timeout=PATIENCE)
            assert await peer.request("echo", "hello") == "hello"
            found.append(peer.method)

    def work() -> None:
        with lab.enter("server"):
            asyncio.run(dial())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(
    ("packets", "upnp", "protocol"),
    [(True, False, PortMappingProtocol.PCP), (False, True, PortMappingProtocol.UPNP)],
    ids=["pcp", "upnp"],
)
def test_a_port_is_mapped_used_and_given_back(
    lab: Lab, tmp_path: Path, packets: bool, upnp: bool, protocol: PortMappingProtocol
) -> None:
    async def scenario() -> None:
        heard: list[PortMapped] = []
        client = client_of()
        client.on("echo", lambda peer, data: data)
        client.on_event(PortMapped, heard.append)
        began = time.monotonic()
        await client.start()
        assert time.monotonic() - began < 2.0
        await until(lambda: len(heard) == 2)
        outside = Address(OUTSIDE, PORT)
        assert {(m.transport, m.internal, m.external, m.protocol) for m in client.nat.port_mappings()} == {
            (transport, Address(HOST, PORT), outside, protocol) for transport in ("tcp", "udp")
        }
        assert outside in client.addresses
        assert len(rules_of(lab)) == 2
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, from_outside, lab, "tcp") is ConnectionMethod.TCP
        assert await loop.run_in_executor(None, from_outside, lab, "udp") is ConnectionMethod.UDP
        began = time.monotonic()
        await client.stop()
        assert time.monotonic() - began < 2.0
        assert rules_of(lab) == []

    with miniupnpd(lab, tmp_path, packets=packets, upnp=upnp), lab.enter("host"):
        asyncio.run(scenario())


def test_where_all_protocols_work_the_first_is_used(lab: Lab, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of() as client:
            await until(lambda: len(client.nat.port_mappings()) == 2)
            await asyncio.sleep(2.0)
            assert {m.protocol for m in client.nat.port_mappings()} == {PortMappingProtocol.PCP}
            assert len(rules_of(lab)) == 2

    with miniupnpd(lab, tmp_path, packets=True, upnp=True), lab.enter("host"):
        asyncio.run(scenario())


@pytest.mark.long
def test_a_refusal_is_told(lab: Lab, tmp_path: Path) -> None:
    """By UPnP: by PCP the daemon looks at every other port first, which takes it half a minute."""

    async def scenario() -> None:
        heard: list[PortMappingFailed] = []
        client = client_of()
        client.on_event(PortMappingFailed, heard.append)
        async with client:
            await until(lambda: len(heard) == 2)
            assert {event.code for event in heard} == {"not_authorized"}
            assert {event.gateway for event in heard} == {"192.168.1.1"}
            assert client.nat.port_mappings() == []

    with miniupnpd(lab, tmp_path, packets=False, upnp=True, permits=False), lab.enter("host"):
        asyncio.run(scenario())


@pytest.mark.long
def test_what_a_restarted_gateway_has_forgotten_is_mapped_again(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapper, "WATCH_INTERVAL", 0.5)

    async def scenario() -> None:
        with miniupnpd(lab, tmp_path):
            client = client_of()
            await client.start()
            await until(lambda: len(client.nat.port_mappings()) == 2)
            await asyncio.sleep(3.5)  # or the gateway's clock would not have gone far enough to go back
        with miniupnpd(lab, tmp_path):
            await until(lambda: len(rules_of(lab)) == 2)
            await client.stop()

    with lab.enter("host"):
        asyncio.run(scenario())


@pytest.mark.long
def test_natpmp_maps_where_pcp_gets_no_answer(lab: Lab, tmp_path: Path) -> None:
    """The daemon speaks PCP wherever it speaks NAT-PMP, so the requests of PCP are lost on the way."""
    with miniupnpd(lab, tmp_path), lab.socket("host", HOST) as sock:
        sock.settimeout(0.05)
        machine = PortMapper("192.168.1.1", HOST, entropy=SeededEntropy(1), now=time.monotonic())
        for transport in MappedTransport:
            machine.add(transport, PORT, now=time.monotonic())
        granted = [event for event in _exchange(machine, sock, 2) if isinstance(event, MappingGranted)]
        assert [(event.external, event.protocol) for event in granted] == [
            (Address(OUTSIDE, PORT), PortMappingProtocol.NAT_PMP)
        ] * 2
        assert len(rules_of(lab)) == 2
        machine.remove_all(now=time.monotonic())
        _exchange(machine, sock, 0)
        assert rules_of(lab) == []


def _exchange(machine: PortMapper, sock: socket.socket, wanted: int) -> list[MapperEvent]:
    """Move datagrams until there are so many events; for none, until nothing is wanted any more."""
    events: list[MapperEvent] = []
    deadline = time.monotonic() + PATIENCE
    while (len(events) < wanted) if wanted else len(machine):
        assert time.monotonic() < deadline
        machine.handle_timer(now=time.monotonic())
        for data, address in machine.datagrams_to_send():
            if data[0] == 0:
                sock.sendto(data, (address.host, address.port))
        try:
            data, source = sock.recvfrom(2048)
        except TimeoutError:
            continue
        machine.receive_datagram(data, Address(*source), now=time.monotonic())
        while (event := machine.next_event()) is not None:
            events.append(event)
    return events


def test_the_node_command_tells_of_mappings(lab: Lab, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("librats")), "node", "--json", "--listen", str(PORT)]
    with miniupnpd(lab, tmp_path), lab.enter("host"):
        node = subprocess.Popen([*command, "--data-dir", str(tmp_path / "data")], stdout=subprocess.PIPE, text=True)
        try:
            assert node.stdout is not None
            told = [json.loads(node.stdout.readline()) for _ in range(3)]
        finally:
            node.terminate()
            node.communicate(timeout=10)
        assert told[0]["event"] == "ready"
        assert [(line["event"], line["mapped"], line["transport"], line["external"]) for line in told[1:]] == [
            ("nat", True, transport, f"{OUTSIDE}:{PORT}") for transport in ("tcp", "udp")
        ]
        assert rules_of(lab) == []
