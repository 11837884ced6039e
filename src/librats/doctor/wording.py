"""The report as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from librats.doctor.findings import FindingSeverity
from librats.doctor.interface_kinds import InterfaceKind
from librats.doctor.outlook import PeerOutlook, PeerWay
from librats.doctor.report import NetworkReport
from librats.doctor.seen import NetworkSeen, ProxySeen
from librats.types import NatType, NatTypeInfo

__all__ = ["WAY_WORDS", "lines_of"]

MARKS = {
    FindingSeverity.GOOD: "+",
    FindingSeverity.NOTE: " ",
    FindingSeverity.WARNING: "!",
    FindingSeverity.PROBLEM: "!!",
}

WAY_WORDS = {
    PeerWay.DIRECT: "direct",
    PeerWay.PREDICTED: "direct, when the port is foretold",
    PeerWay.CHANCE: "direct, with some luck",
    PeerWay.TCP: "direct, over TCP",
    PeerWay.RELAY: "through a relay",
}


def lines_of(report: NetworkReport) -> Iterator[str]:
    """Return the report line by line."""
    seen = report.seen
    yield f"IPv4        {_nat(seen.ipv4)}"
    yield f"IPv6        {_nat(seen.ipv6)}"
    for each in seen.interfaces:
        if each.kind is not InterfaceKind.LOOPBACK:
            yield f"interface   {each.name}: {', '.join(each.addresses) or 'no address'} ({each.kind.value})"
    yield f"routers     {', '.join(seen.gateways) or 'none that is known'}"
    yield f"ports       {_mapping(seen)}"
    for one in seen.tcp:
        told = f"{one.seconds * 1000:.0f} ms" if one.seconds is not None else one.error
        yield f"TCP         {one.server}: {told}"
    if seen.proxy is not None:
        yield f"proxy       {_proxy(seen.proxy)}"
    if seen.mtu is not None:
        yield f"MTU         packets of {seen.mtu} bytes get through whole"
    if seen.clock_offset is not None:
        yield f"clock       {seen.clock_offset:+.1f} s to that of the time server"
    yield ""
    for finding in report.findings:
        yield f"{MARKS[finding.severity]:<2} {finding.what} [{finding.code}]"
        if finding.remedy:
            yield f"   -> {finding.remedy}"
    if report.outlooks:
        yield ""
        yield "peers behind"
        for outlook in report.outlooks:
            yield f"   {outlook.peer:<32} {_outlook(outlook)}"


def _nat(info: NatTypeInfo) -> str:
    if info.type is NatType.UNKNOWN and info.problem:
        return info.problem
    return info.description


def _proxy(seen: ProxySeen) -> str:
    if seen.seconds is None:
        return f"{seen.proxy}: {seen.error}"
    whither = "is there" if seen.target is None else f"to {seen.target}"
    return f"{seen.proxy}: {whither}, {seen.seconds * 1000:.0f} ms"


def _mapping(seen: NetworkSeen) -> str:
    if seen.mapping is not None:
        return f"mapped by {seen.mapping.protocol.value} at {seen.mapping.gateway}: {seen.mapping.external}"
    return f"not mapped: {seen.mapping_reason}" if seen.mapping_reason else "not tried"


def _outlook(outlook: PeerOutlook) -> str:
    return WAY_WORDS[outlook.way] + (f" ({outlook.why})" if outlook.why else "")
