from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from librats import (
    Address,
    FilteringBehavior,
    InterfaceKind,
    InterfaceSeen,
    MappedTransport,
    MappingBehavior,
    NatType,
    NatTypeInfo,
    NetworkReport,
    NetworkSeen,
    PeerWay,
    PortAllocation,
    PortMapping,
    PortMappingProtocol,
    ProxySeen,
    TcpSeen,
)
from librats.doctor.interface_kinds import kind_of
from librats.doctor.picture import picture_of
from librats.doctor.wording import lines_of

SERVER = Address("192.0.2.1", 3478)
PUBLIC = Address("203.0.113.9", 5000)
EI, APD = MappingBehavior.ENDPOINT_INDEPENDENT, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT

CONE = NatTypeInfo(
    type=NatType.PORT_RESTRICTED_CONE,
    has_nat=True,
    mapping=EI,
    filtering=FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT,
    port_allocation=PortAllocation.PRESERVING,
    hairpin=False,
    public_address=PUBLIC,
    server=SERVER,
)
SYMMETRIC = replace(CONE, type=NatType.SYMMETRIC, mapping=APD, port_allocation=PortAllocation.RANDOM)
SEQUENTIAL = replace(SYMMETRIC, port_allocation=PortAllocation.SEQUENTIAL, port_step=1)
OPEN = replace(
    CONE, type=NatType.OPEN_INTERNET, has_nat=False, filtering=FilteringBehavior.ENDPOINT_INDEPENDENT, hairpin=None
)
BLOCKED = NatTypeInfo(type=NatType.BLOCKED, server=None, problem="nobody answers")
NONE = NatTypeInfo(problem="no STUN server has an IPv6 address")
MAPPED = PortMapping(
    transport=MappedTransport.UDP,
    internal=Address("192.168.1.5", 4000),
    external=Address(PUBLIC.host, 4000),
    protocol=PortMappingProtocol.UPNP,
    gateway="192.168.1.1",
    lifetime=math.inf,
)
ANSWERS = TcpSeen(server=SERVER, seconds=0.02)
REFUSES = TcpSeen(server=SERVER, seconds=None, error="refused", refused=True)
SILENT = TcpSeen(server=SERVER, seconds=None, error="no answer within 4 s")


WEB = replace(ANSWERS, server=Address("192.0.2.1", 443))
THROUGH = ProxySeen(proxy="http://192.0.2.9:3128", target=SERVER, seconds=0.02)
DENIES = replace(THROUGH, seconds=None, error="it answers 403 Forbidden")


def report_on(ipv4: NatTypeInfo = CONE, **seen: Any) -> NetworkReport:
    return NetworkReport.on(NetworkSeen(**{"ipv4": ipv4, "ipv6": NONE, **seen}))


def interface(name: str, *addresses: str) -> InterfaceSeen:
    return InterfaceSeen(name=name, kind=kind_of(name, addresses), addresses=addresses)


@pytest.mark.parametrize(
    ("report", "code", "severity"),
    [
        (report_on(NatTypeInfo()), "no-servers", "problem"),
        (report_on(BLOCKED, tcp=(SILENT,)), "offline", "problem"),
        (report_on(BLOCKED, tcp=(SILENT, ANSWERS, REFUSES)), "udp-blocked", "problem"),
        (report_on(BLOCKED, tcp=(SILENT, WEB)), "web-only", "problem"),
        (report_on(BLOCKED, tcp=(WEB,)), "udp-blocked", "problem"),
        (report_on(BLOCKED, tcp=(SILENT, REFUSES)), "no-answer", "problem"),
        (report_on(BLOCKED, tcp=(SILENT,), proxy=THROUGH), "proxy-only", "problem"),
        (report_on(proxy=THROUGH), "proxy", "good"),
        (report_on(proxy=replace(THROUGH, target=None)), "proxy", "note"),
        (report_on(proxy=DENIES), "proxy-fails", "warning"),
        (report_on(BLOCKED, tcp=(SILENT,), proxy=DENIES), "offline", "problem"),
        (report_on(OPEN), "open", "good"),
        (report_on(SYMMETRIC), "symmetric-nat", "warning"),
        (report_on(replace(CONE, filtering=FilteringBehavior.UNKNOWN)), "filtering-unknown", "note"),
        (report_on(), "no-hairpin", "note"),
        (report_on(replace(CONE, mapping_expired_after=25.0)), "short-lifetime", "warning"),
        (report_on(mapping=replace(MAPPED, is_public=False)), "double-nat", "warning"),
        (report_on(mapping=replace(MAPPED, external=Address("198.51.100.7", 4000))), "double-nat", "warning"),
        (report_on(mapping=MAPPED), "port-mapping", "good"),
        (report_on(mapping_code="no_answer", mapping_reason="nobody answers"), "no-port-mapping", "note"),
        (report_on(), "no-ipv6", "note"),
        (report_on(ipv6=replace(OPEN, public_address=Address("2001:db8::5", 4))), "ipv6", "good"),
        (report_on(interfaces=(interface("eth0", "100.72.1.1"),)), "carrier-address", "note"),
        (report_on(interfaces=(interface("wg0", "10.8.0.2"),)), "tunnel", "note"),
        (report_on(mtu=1420), "small-mtu", "note"),
        (report_on(mtu=1200), "small-mtu", "warning"),
        (report_on(clock_offset=-45.0), "clock-off", "warning"),
    ],
)
def test_a_fact_is_found_and_told(report: NetworkReport, code: str, severity: str) -> None:
    [found] = [finding for finding in report.findings if finding.code == code]
    assert found.severity.value == severity
    assert found.what in "\n".join(lines_of(report))


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (report_on(), "symmetric-nat"),
        (report_on(replace(CONE, hairpin=None)), "no-hairpin"),
        (report_on(replace(CONE, mapping_expired_after=120.0)), "short-lifetime"),
        (report_on(mapping=MAPPED), "double-nat"),
        (report_on(mapping=replace(MAPPED, is_public=False)), "port-mapping"),
        (report_on(OPEN, mapping_code="no_gateway", mapping_reason="there is none"), "no-port-mapping"),
        (report_on(), "no-port-mapping"),
        (report_on(interfaces=(interface("eth0", "192.168.1.5"),)), "tunnel"),
        (report_on(mtu=1500), "small-mtu"),
        (report_on(clock_offset=5.0), "clock-off"),
        (report_on(BLOCKED, tcp=(SILENT,)), "no-ipv6"),
        (report_on(BLOCKED, ipv6=replace(OPEN, public_address=Address("2001:db8::5", 4)), tcp=(SILENT,)), "offline"),
    ],
)
def test_what_is_not_so_is_not_told(report: NetworkReport, code: str) -> None:
    assert code not in [finding.code for finding in report.findings]


def test_the_worst_comes_first() -> None:
    report = report_on(SYMMETRIC, mapping=MAPPED, mtu=1200)
    order = ["problem", "warning", "note", "good"]
    told = [order.index(finding.severity.value) for finding in report.findings]
    assert told == sorted(told)
    assert len(set(told)) == 3


D, P, C, T, R = PeerWay.DIRECT, PeerWay.PREDICTED, PeerWay.CHANCE, PeerWay.TCP, PeerWay.RELAY


@pytest.mark.parametrize(
    ("report", "ways"),
    [
        (report_on(OPEN), [D, D, D, D, D, T]),
        (report_on(CONE), [D, D, D, P, C, T]),
        (report_on(SEQUENTIAL), [D, D, P, P, R, T]),
        (report_on(SYMMETRIC), [D, D, C, R, R, R]),
        (report_on(SYMMETRIC, mapping=MAPPED), [D, D, D, D, D, T]),
        (report_on(BLOCKED, tcp=(ANSWERS,)), [T, T, T, T, R, T]),
        (report_on(BLOCKED, tcp=(SILENT,)), []),
    ],
    ids=["open", "cone", "sequential", "symmetric", "mapped", "TCP alone", "offline"],
)
def test_peers_behind_each_nat_are_reached_in_one_way(report: NetworkReport, ways: list[PeerWay]) -> None:
    told = [outlook.way for outlook in report.outlooks]
    assert told == ways
    assert all(bool(outlook.why) == (outlook.way is R) for outlook in report.outlooks)


@pytest.mark.parametrize(
    "report",
    [
        report_on(mapping=MAPPED, tcp=(ANSWERS, SILENT), gateways=("192.168.1.1",), mtu=1492, clock_offset=0.2),
        report_on(SYMMETRIC, interfaces=(interface("<&>", "192.168.1.5"), interface("lo", "127.0.0.1"))),
        report_on(BLOCKED, tcp=(SILENT,)),
        report_on(OPEN),
        report_on(NatTypeInfo()),
    ],
)
def test_a_report_is_json_text_and_a_picture(report: NetworkReport) -> None:
    assert json.loads(json.dumps(report.to_json())) == report.to_json()
    text = "\n".join(lines_of(report))
    assert text.startswith("IPv4 ")
    assert "127.0.0.1" not in text
    root = ET.fromstring(picture_of(report))  # noqa: S314 - our own
    words = " ".join(root.itertext())
    assert all(finding.what in words for finding in report.findings)
    assert all(outlook.peer in words for outlook in report.outlooks)
    height = float(root.get("height") or 0)
    assert all(float(each.get("y") or 0) < height for each in root.iter() if each.tag.endswith("text"))


@pytest.mark.parametrize(
    ("name", "addresses", "kind"),
    [
        ("lo", ["127.0.0.1", "::1"], InterfaceKind.LOOPBACK),
        ("eth0", ["192.168.1.5", "fe80::1%eth0"], InterfaceKind.ORDINARY),
        ("wlan0", [], InterfaceKind.LINK_LOCAL),
        ("en0", ["169.254.3.4"], InterfaceKind.LINK_LOCAL),
        ("tun0", ["10.8.0.2"], InterfaceKind.TUNNEL),
        ("utun4", ["fe80::5%utun4"], InterfaceKind.TUNNEL),
        ("WireGuard Tunnel", ["10.8.0.2"], InterfaceKind.TUNNEL),
        ("docker0", ["172.17.0.1"], InterfaceKind.VIRTUAL),
        ("br-5af31c", ["172.18.0.1"], InterfaceKind.VIRTUAL),
        ("vEthernet (WSL)", ["172.20.0.1"], InterfaceKind.VIRTUAL),
        ("tunnelbear", ["192.168.1.7"], InterfaceKind.ORDINARY),
    ],
)
def test_interfaces_are_told_apart(name: str, addresses: list[str], kind: InterfaceKind) -> None:
    assert kind_of(name, addresses) is kind
