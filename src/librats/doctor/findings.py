"""What the facts mean, and what to do about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from librats.doctor.interface_kinds import InterfaceKind
from librats.doctor.seen import NetworkSeen
from librats.punch.plans import NatFacts
from librats.types import FilteringBehavior, NatType, NatTypeInfo

__all__ = ["FindingSeverity", "NetworkFinding"]

USUAL_MTU, LEAST_MTU = 1500, 1280
CLOCK_TOLERANCE = 30.0
"""Seconds: sealed offers and relay credentials are worth that much longer than they say."""
SHORT_LIFETIME = 30.0
WEB_PORTS = frozenset({80, 443})
CARRIER = ipaddress.ip_network("100.64.0.0/10")


class FindingSeverity(StrEnum):
    """How much a finding matters."""

    GOOD = "good"
    """It helps."""

    NOTE = "note"
    """Good to know."""

    WARNING = "warning"
    """Some peers cannot be reached directly, or sessions suffer."""

    PROBLEM = "problem"
    """Something does not work at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFinding:
    """One thing that was found."""

    code: str
    """What it is, in a word that stays the same."""

    severity: FindingSeverity
    """How much it matters."""

    what: str
    """What was found, for people."""

    remedy: str = ""
    """What to do about it; empty where there is nothing to do."""


def find(seen: NetworkSeen) -> tuple[NetworkFinding, ...]:
    """Return what the facts mean, the worst first."""
    found = [*_reach(seen), *_proxy(seen), *_nat(seen), *_port_mapping(seen), *_ipv6(seen), *_host(seen)]
    order = list(FindingSeverity)[::-1]
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def _is_blocked(info: NatTypeInfo) -> bool:
    return info.type in (NatType.BLOCKED, NatType.UNKNOWN) and info.public_address is None


def _reach(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    if not (_is_blocked(seen.ipv4) and _is_blocked(seen.ipv6)):
        return
    if seen.ipv4.server is None and seen.ipv6.server is None and not seen.tcp:
        yield NetworkFinding(
            code="no-servers",
            severity=FindingSeverity.PROBLEM,
            what="there is no server that could tell anything: " + (seen.ipv4.problem or "none is configured"),
            remedy="name one with --stun HOST:PORT",
        )
    elif all(one.refused or one.seconds is None for one in seen.tcp) and any(one.refused for one in seen.tcp):
        yield NetworkFinding(
            code="no-answer",
            severity=FindingSeverity.PROBLEM,
            what="the servers' hosts are there, but nothing answers: UDP does not get through, or they are no STUN "
            "servers",
            remedy="name others with --stun HOST:PORT",
        )
    elif _lets_only_the_web_out(seen):
        yield NetworkFinding(
            code="web-only",
            severity=FindingSeverity.PROBLEM,
            what="nothing gets through but TCP to the ports of the web",
            remedy="peers are met and reached at a relay that has port 443: --introducer wss://PEERID@HOST, or "
            "--turn 'turn:USER:PASSWORD@HOST:443?transport=tls'",
        )
    elif any(one.seconds is not None for one in seen.tcp):
        yield NetworkFinding(
            code="udp-blocked",
            severity=FindingSeverity.PROBLEM,
            what="UDP does not get through, but TCP does: a firewall lets no datagrams out, or none of them in",
            remedy="peers are reached over TCP, and through a TURN server that is spoken to over TCP or TLS: "
            "--turn 'turn:USER:PASSWORD@HOST:443?transport=tls'; or have the firewall let UDP out",
        )
    elif seen.proxy is not None and seen.proxy.gets_through:
        yield NetworkFinding(
            code="proxy-only",
            severity=FindingSeverity.PROBLEM,
            what="nothing but the proxy leads out of this network",
            remedy="peers are met at the WebSocket of a relay, and reached through it: --introducer wss://PEERID@HOST",
        )
    else:
        yield NetworkFinding(
            code="offline",
            severity=FindingSeverity.PROBLEM,
            what="no server answers, neither over UDP nor over TCP",
            remedy="see whether this host is connected, and whether it leaves its network through a proxy alone",
        )


def _lets_only_the_web_out(seen: NetworkSeen) -> bool:
    """Whether TCP gets through to the ports of the web, and was tried in vain to others."""
    through = {one.server.port for one in seen.tcp if one.seconds is not None}
    tried = {one.server.port for one in seen.tcp}
    return bool(through) and through <= WEB_PORTS and not tried <= WEB_PORTS


def _proxy(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    proxy = seen.proxy
    if proxy is None:
        return
    if proxy.seconds is None:
        yield NetworkFinding(
            code="proxy-fails",
            severity=FindingSeverity.WARNING,
            what=f"the proxy {proxy.proxy} does not work: {proxy.error}",
            remedy="name another one, or its user and password, with --proxy http://USER:PASSWORD@HOST:PORT, or none "
            "with --proxy off; many let through to port 443 alone",
        )
    elif proxy.target is None:
        yield NetworkFinding(
            code="proxy",
            severity=FindingSeverity.NOTE,
            what=f"there is a proxy, {proxy.proxy}, and no server that would be spoken to through it",
            remedy="name one to try, with --introducer wss://PEERID@HOST or --turn",
        )
    else:
        yield NetworkFinding(
            code="proxy",
            severity=FindingSeverity.GOOD,
            what=f"the proxy {proxy.proxy} lets through to {proxy.target}",
        )


def _nat(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    info = seen.ipv4
    if info.type in (NatType.OPEN_INTERNET, NatType.FULL_CONE):
        yield NetworkFinding(
            code="open", severity=FindingSeverity.GOOD, what="everybody can send to this host's public IPv4 address"
        )
    facts = NatFacts.of(info)
    if facts.is_hard:
        yield NetworkFinding(
            code="symmetric-nat",
            severity=FindingSeverity.WARNING,
            what="the NAT gives each destination another public port, "
            + (
                "one after the other: peers can foretell the next"
                if facts.is_predictable
                else "which peers cannot foretell"
            ),
            remedy="switch on port mapping in the router (UPnP, NAT-PMP or PCP), use IPv6, or name a TURN server",
        )
    if info.type not in (NatType.BLOCKED, NatType.UNKNOWN) and info.filtering is FilteringBehavior.UNKNOWN:
        yield NetworkFinding(
            code="filtering-unknown",
            severity=FindingSeverity.NOTE,
            what="who can send to the public address was not found out",
            remedy="that takes a STUN server with a second address (RFC 5780)",
        )
    if info.hairpin is False:
        yield NetworkFinding(
            code="no-hairpin",
            severity=FindingSeverity.NOTE,
            what="two hosts behind this NAT do not reach each other by their public addresses",
            remedy="they meet by their local ones, on one network; behind a carrier's NAT a TURN server helps",
        )
    if info.mapping_expired_after is not None and info.mapping_expired_after <= SHORT_LIFETIME:
        yield NetworkFinding(
            code="short-lifetime",
            severity=FindingSeverity.WARNING,
            what=f"the NAT forgets a silent socket within {info.mapping_expired_after:g} s",
            remedy="sessions are kept alive more often, which costs battery on mobile hosts",
        )
    if _is_nested(seen):
        yield NetworkFinding(
            code="double-nat",
            severity=FindingSeverity.WARNING,
            what="there is a NAT behind the NAT: a router behind another one, or a carrier's",
            remedy="ports that the nearer one maps lead nowhere; put it into bridge mode, or ask the provider for an "
            "address of your own",
        )


def _is_nested(seen: NetworkSeen) -> bool:
    """Whether the nearest NAT is not the last one."""
    if seen.mapping is not None and ":" not in seen.mapping.external.host:
        public = seen.ipv4.public_address
        return not seen.mapping.is_public or (public is not None and seen.mapping.external.host != public.host)
    # An address of a carrier on the host itself: its own NAT is the only one.
    return False


def _port_mapping(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    if seen.mapping is not None and seen.mapping.is_public:
        yield NetworkFinding(
            code="port-mapping",
            severity=FindingSeverity.GOOD,
            what=f"the router {seen.mapping.gateway} lets others in, asked by {seen.mapping.protocol}",
        )
    elif seen.mapping is None and seen.mapping_code and seen.ipv4.has_nat:
        yield NetworkFinding(
            code="no-port-mapping",
            severity=FindingSeverity.NOTE,
            what=f"no router lets others in: {seen.mapping_reason}",
            remedy="switch on UPnP, NAT-PMP or PCP in the router, if it has them",
        )


def _ipv6(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    if not _is_blocked(seen.ipv6):
        is_open = seen.ipv6.type is NatType.OPEN_INTERNET
        yield NetworkFinding(
            code="ipv6",
            severity=FindingSeverity.GOOD,
            what="IPv6 works" + (", and everybody can send here" if is_open else ", behind a firewall"),
        )
    elif not _is_blocked(seen.ipv4):
        yield NetworkFinding(
            code="no-ipv6", severity=FindingSeverity.NOTE, what="IPv6 does not get through, or no server speaks it"
        )


def _host(seen: NetworkSeen) -> Iterator[NetworkFinding]:
    addresses = [address for each in seen.interfaces for address in each.addresses if ":" not in address]
    if any(ipaddress.ip_address(address) in CARRIER for address in addresses):
        yield NetworkFinding(
            code="carrier-address",
            severity=FindingSeverity.NOTE,
            what="this host has an address of 100.64.0.0/10: that of a carrier's NAT, or of an overlay network",
        )
    for each in seen.interfaces:
        if each.kind is InterfaceKind.TUNNEL:
            yield NetworkFinding(
                code="tunnel",
                severity=FindingSeverity.NOTE,
                what=f"{each.name} is a tunnel: what goes through it has the NAT and the delay of its other end",
                remedy="leave it out where peers should be reached past it: listen on an address of another interface",
            )
    if seen.mtu is not None and seen.mtu < USUAL_MTU:
        yield NetworkFinding(
            code="small-mtu",
            severity=FindingSeverity.WARNING if seen.mtu < LEAST_MTU else FindingSeverity.NOTE,
            what=f"packets of more than {seen.mtu} bytes do not get through whole",
            remedy="" if seen.mtu >= LEAST_MTU else "a tunnel in between has too small an MTU: see to that",
        )
    if seen.clock_offset is not None and abs(seen.clock_offset) > CLOCK_TOLERANCE:
        way = "behind" if seen.clock_offset > 0 else "ahead"
        yield NetworkFinding(
            code="clock-off",
            severity=FindingSeverity.WARNING,
            what=f"this host's clock is {abs(seen.clock_offset):.0f} s {way}",
            remedy="set it: what is sealed with a time or has an expiry is refused",
        )
