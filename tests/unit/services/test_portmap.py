"""Which gateways are asked, of those that a host has."""

from __future__ import annotations

import pytest

from librats.runtime.gateways import Gateway
from librats.runtime.network import SystemNetwork
from librats.runtime.tasks import TaskSet
from librats.services.portmap import PortMappings

EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - compared with, not bound to


@pytest.mark.parametrize(
    ("local", "listening", "asked"),
    [
        ("192.168.1.11", [EVERY_IPV4, EVERY_IPV6], True),
        ("192.168.1.11", ["192.168.1.11"], True),
        ("192.168.1.11", ["127.0.0.1"], False),
        ("192.168.1.11", [EVERY_IPV6], False),
        ("100.64.0.7", [EVERY_IPV4], True),
        ("203.0.113.7", [EVERY_IPV4], False),
        ("2001:db8::7", [EVERY_IPV6], True),
        ("fd00::7", [EVERY_IPV6], False),
        ("2001:db8::7", [EVERY_IPV4], False),
    ],
)
def test_a_gateway_is_asked_where_a_mapping_lets_somebody_in(local: str, listening: list[str], asked: bool) -> None:
    mappings = PortMappings(SystemNetwork(), TaskSet(), lambda _: None, lambda: None)
    mappings.start([], listening)
    gateway = Gateway("fe80::1%eth0" if ":" in local else "192.168.1.1", local)
    assert mappings._is_worth_asking(gateway) is asked
