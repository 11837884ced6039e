"""What `librats node` tells of events, to people and to programs, whatever a peer has put into them."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from librats import (
    Address,
    ConnectionMethod,
    Identity,
    IncomingRefused,
    MappedTransport,
    PathChanged,
    PeerDiscovered,
    PortMapped,
    PortMapping,
    PortMappingFailed,
    PortMappingProtocol,
    RatsClient,
)
from librats.cli.node import tell_events
from librats.cli.output import Output

PEER: Any = argparse.Namespace(id="ab" * 32)
NEW, OLD = Address("192.0.2.7", 8081), Address("2001:db8::7", 8082)
MAPPING = PortMapping(
    transport=MappedTransport.UDP,
    internal=Address("192.168.1.11", 8080),
    external=NEW,
    protocol=PortMappingProtocol.NAT_PMP,
    gateway="192.168.1.1",
    lifetime=7200.0,
)

EVENTS = [
    (
        PathChanged(PEER, OLD, NEW, ConnectionMethod.UDP),
        {
            "event": "path",
            "peer_id": PEER.id,
            "address": "192.0.2.7:8081",
            "old_address": "[2001:db8::7]:8082",
            "method": "udp",
        },
        "abababab is now at 192.0.2.7:8081 over udp, before at [2001:db8::7]:8082",
    ),
    (
        IncomingRefused(NEW, "\x1b[2Jfull"),
        {"event": "refused", "address": "192.0.2.7:8081", "reason": "\x1b[2Jfull"},
        "refused 192.0.2.7:8081: full",
    ),
    (
        PeerDiscovered(PEER.id, (NEW, OLD), "kit\x07chen", "mdns"),
        {
            "event": "discovered",
            "peer_id": PEER.id,
            "addresses": ["192.0.2.7:8081", "[2001:db8::7]:8082"],
            "name": "kit\x07chen",
            "source": "mdns",
        },
        "found abababab kitchen at 192.0.2.7:8081, [2001:db8::7]:8082",
    ),
    (
        PortMapped(MAPPING),
        {
            "event": "nat",
            "mapped": True,
            "transport": "udp",
            "internal": "192.168.1.11:8080",
            "external": "192.0.2.7:8081",
            "protocol": "nat-pmp",
            "gateway": "192.168.1.1",
            "public": True,
        },
        "udp 192.168.1.11:8080 is reached at 192.0.2.7:8081, by nat-pmp",
    ),
    (
        PortMappingFailed(MAPPING.transport, MAPPING.internal, "192.168.1.1", "refused", "\x1b[2Jno", 60.0),
        {
            "event": "nat",
            "mapped": False,
            "transport": "udp",
            "internal": "192.168.1.11:8080",
            "gateway": "192.168.1.1",
            "code": "refused",
            "reason": "\x1b[2Jno",
        },
        "udp 192.168.1.11:8080 is not mapped: no [refused]",
    ),
    (
        PeerDiscovered("", (NEW,), "", "mdns"),
        {"event": "discovered", "peer_id": "", "addresses": ["192.0.2.7:8081"], "name": "", "source": "mdns"},
        "found a node at 192.0.2.7:8081",
    ),
]


def tell(event: Any, *, as_json: bool) -> None:
    client = RatsClient(identity=Identity.generate())
    tell_events(client, Output(as_json=as_json))
    for registration in client._handlers.listeners(type(event)):
        registration.handler(event)


@pytest.mark.parametrize(("event", "as_object", "as_text"), EVENTS)
def test_an_event_is_told(
    event: Any, as_object: dict[str, Any], as_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(event, as_json=True)
    assert json.loads(capsys.readouterr().out) == as_object
    tell(event, as_json=False)
    assert capsys.readouterr().out == as_text + "\n"
