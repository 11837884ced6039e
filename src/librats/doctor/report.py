"""The report on a network: what was seen, what it means, and with whom one can go direct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from librats.doctor.findings import NetworkFinding
from librats.doctor.findings import find as find_in
from librats.doctor.outlook import PeerOutlook
from librats.doctor.outlook import outlooks as outlooks_of
from librats.doctor.seen import NetworkSeen, ProxySeen
from librats.types import NatTypeInfo, PortMapping

__all__ = ["NetworkReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """What :func:`librats.diagnose` has found out about the network that this host is on.

    Example:
        >>> from librats.doctor.seen import NetworkSeen
        >>> from librats.types import NatTypeInfo
        >>> report = NetworkReport.on(NetworkSeen(ipv4=NatTypeInfo(), ipv6=NatTypeInfo()))
        >>> [finding.code for finding in report.findings]
        ['no-servers']
    """

    seen: NetworkSeen
    """The facts."""

    findings: tuple[NetworkFinding, ...]
    """What they mean, the worst first."""

    outlooks: tuple[PeerOutlook, ...]
    """How peers behind each kind of NAT are reached; empty where nobody is."""

    @classmethod
    def on(cls, seen: NetworkSeen) -> NetworkReport:
        """Return the report on what was seen."""
        return cls(seen=seen, findings=find_in(seen), outlooks=outlooks_of(seen))

    def to_json(self) -> dict[str, Any]:
        """Return everything as a dictionary that JSON can hold; addresses as text, times in seconds."""
        seen = self.seen
        return {
            "ipv4": _nat(seen.ipv4),
            "ipv6": _nat(seen.ipv6),
            "interfaces": [
                {"name": each.name, "kind": each.kind.value, "addresses": list(each.addresses)}
                for each in seen.interfaces
            ],
            "gateways": list(seen.gateways),
            "port_mapping": _mapping(seen.mapping, seen.mapping_code, seen.mapping_reason),
            "tcp": [
                {"server": str(each.server), "seconds": each.seconds, "error": each.error, "refused": each.refused}
                for each in seen.tcp
            ],
            "proxy": _proxy(seen.proxy),
            "mtu": seen.mtu,
            "clock_offset": seen.clock_offset,
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity.value,
                    "what": finding.what,
                    "remedy": finding.remedy,
                }
                for finding in self.findings
            ],
            "peers": [{"peer": each.peer, "way": each.way.value, "why": each.why} for each in self.outlooks],
            "duration": seen.duration,
        }


def _nat(info: NatTypeInfo) -> dict[str, Any]:
    return {
        "type": info.type.value,
        "has_nat": info.has_nat,
        "mapping": info.mapping.value,
        "filtering": info.filtering.value,
        "port_allocation": info.port_allocation.value,
        "port_step": info.port_step,
        "hairpin": info.hairpin,
        "mapping_lifetime": info.mapping_lifetime,
        "mapping_expired_after": info.mapping_expired_after,
        "public_address": None if info.public_address is None else str(info.public_address),
        "server": None if info.server is None else str(info.server),
        "problem": info.problem,
    }


def _proxy(seen: ProxySeen | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    target = None if seen.target is None else str(seen.target)
    return {"proxy": seen.proxy, "target": target, "seconds": seen.seconds, "error": seen.error}


def _mapping(mapping: PortMapping | None, code: str, reason: str) -> dict[str, Any]:
    if mapping is None:
        return {"works": False, "code": code, "reason": reason}
    return {
        "works": True,
        "protocol": mapping.protocol.value,
        "gateway": mapping.gateway,
        "external": str(mapping.external),
        "is_public": mapping.is_public,
    }
