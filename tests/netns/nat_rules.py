"""The kinds of router that the laboratory has, and the nftables rules that make each of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

PROTOCOLS = ("udp", "tcp")
CHOICES = {"ei": 0, "ad": 1, "apd": 2}


@dataclass(frozen=True)
class Nat:
    """One router. Mapping and filtering are endpoint-independent, address-, or address-and-port-dependent."""

    kind: str = "nat"
    """"nat", "route", "firewall" or "no_ipv4"."""
    mapping: str = "ei"
    filtering: str = "apd"
    ports: str = "preserve"
    """"preserve", "random" or "sequential"."""
    hairpin: bool = False
    unsolicited: str = "drop"
    """"drop", "refuse" (it answers with ICMP unreachable) or "local" (no rule at all: it goes to the router itself)."""
    udp: bool = True
    tcp_ports: tuple[int, ...] = ()
    """The ports of others that may be connected to; empty where all may."""
    ipv6: bool = False
    """Whether there is IPv6 as well, without NAT, but nothing unsolicited comes in."""


TYPES = {
    "open": Nat("route", "ei", "ei"),
    "firewall": Nat("firewall", "ei", "apd"),
    "full_cone": Nat("nat", "ei", "ei", hairpin=True),
    "restricted": Nat("nat", "ei", "ad"),
    "port_restricted": Nat("nat", "ei", "apd"),
    "full_cone_random": Nat("nat", "ei", "ei", "random", hairpin=True),
    "restricted_random": Nat("nat", "ei", "ad", "random"),
    "port_restricted_random": Nat("nat", "ei", "apd", "random"),
    "symmetric": Nat("nat", "apd", "apd", "random"),
    "symmetric_seq": Nat("nat", "apd", "apd", "sequential"),
    "symmetric_ad": Nat("nat", "ad", "ad", "random"),
    "symmetric_eif": Nat("nat", "apd", "ei", "random"),
    "openwrt": Nat("nat", "ei", "apd", unsolicited="refuse"),
    "bare_masquerade": Nat("nat", "ei", "apd", unsolicited="local"),
    "udp_blocked": Nat("nat", "ei", "apd", udp=False),
    "v6_only": Nat("no_ipv4", ipv6=True),
    "double_nat": Nat(),
    "cgnat": Nat(),
    "cgnat_sym": Nat(),
}
FURTHER = {
    "tcp443_only": Nat("nat", "ei", "apd", udp=False, tcp_ports=(80, 443)),
    "dual_stack": Nat("nat", "ei", "apd", ipv6=True),
}
"""Those whose difference from others is not how UDP over IPv4 is translated."""

CHAINS = {
    "double_nat": ("port_restricted", "port_restricted"),
    "cgnat": ("port_restricted", "full_cone"),
    "cgnat_sym": ("port_restricted", "symmetric"),
}


DIRECTLY = "none"
"""Of a host that has no router of its own, and stands in the network of the one that all share."""


def chain_of(name: str) -> list[Nat]:
    """Return the routers of a type, from the host outwards."""
    return [] if name == DIRECTLY else [(TYPES | FURTHER)[part] for part in CHAINS.get(name, (name,))]


def widest(values: list[str]) -> str:
    """Return the strictest of some kinds of mapping or filtering."""
    return max(values, key=CHOICES.__getitem__)


def nat_rules(nat: Nat, wan: str, lifetime: int) -> str:
    """Return the tables that translate: the kernel's own masquerade, and maps that let in what it would not."""
    # A number that is used as a port directly would get there byte-swapped, hence the map.
    ports = list(range(40000, 41024)) if nat.ports == "sequential" else random.sample(range(32768, 57344), 2048)
    choose = f"mod {len(ports)} %smap {{ {', '.join(f'{i} : {port}' for i, port in enumerate(ports))} }}"
    life = f"flags dynamic,timeout; timeout {lifetime}s;"
    rules = ["table ip nat {"]
    for protocol in PROTOCOLS:
        rules += [
            f" map ways_in_{protocol} {{ type inet_service : ipv4_addr . inet_service; {life} }}",
            f" set let_in_{protocol} {{ type inet_service . ipv4_addr; {life} }}",
        ]
    rules += [" chain pre {", "  type nat hook prerouting priority dstnat"]
    for protocol in PROTOCOLS:
        there = f"dnat ip to {protocol} dport map @ways_in_{protocol}"
        if nat.filtering == "ei":
            rules.append(f'  iifname "wan" {there}')
        elif nat.filtering == "ad":
            rules.append(f'  iifname "wan" {protocol} dport . ip saddr @let_in_{protocol} {there}')
        if nat.hairpin:
            rules.append(f'  iifname != "wan" ip daddr {wan} {there}')
    rules += [" }", " chain post {", "  type nat hook postrouting priority srcnat"]
    seed = f"seed 0x{random.getrandbits(31) | 1:x} "
    for protocol in PROTOCOLS:
        head = f'  oifname "wan" meta l4proto {protocol} snat ip to {wan}:'
        if nat.ports == "sequential":
            rules.append(head + "numgen inc " + choose % "")
        elif nat.ports == "random" and nat.mapping != "apd":
            keys = f"ip saddr . {protocol} sport" + (" . ip daddr" if nat.mapping == "ad" else "")
            rules.append(head + f"jhash {keys} " + choose % seed)
    if nat.ports == "random" and nat.mapping == "apd":
        rules.append('  oifname "wan" masquerade random,fully-random')
    rules.append('  oifname "wan" masquerade')
    if nat.hairpin:
        rules.append(f'  oifname != "wan" ct status dnat iifname != "wan" snat ip to {wan}')
    rules += [" }", " chain learn {", "  type filter hook postrouting priority 150"]
    for protocol in PROTOCOLS:
        rules += [
            f'  oifname "wan" ct direction {way} meta l4proto {protocol} update @ways_in_{protocol} '
            f"{{ {protocol} sport : ct {way} ip saddr . ct {way} proto-src }}"
            for way in ("original", "reply")
        ]
        rules.append(
            f'  oifname "wan" meta l4proto {protocol} update @let_in_{protocol} {{ {protocol} sport . ip daddr }}'
        )
    return "\n".join([*rules, " }", "}"]) + "\n"


def filter_rules(nat: Nat) -> str:
    """Return the tables that say what may pass."""
    rules = ["table inet filter {", " chain through {", "  type filter hook forward priority 0"]
    if not nat.udp:
        rules.append("  meta l4proto udp drop")
    if nat.kind != "route":
        rules.append("  ct state established,related accept")
        if nat.tcp_ports:
            allowed = ", ".join(map(str, nat.tcp_ports))
            rules.append(f'  iifname != "wan" tcp dport != {{ {allowed} }} drop')
        rules += [
            '  iifname != "wan" accept',
            "  ct status dnat accept",
            "  meta l4proto { udp, tcp } drop",
        ]
    rules += [" }", " chain inwards {", "  type filter hook input priority 0"]
    if nat.kind != "route" and nat.unsolicited != "local":
        rules.append("  ct state established,related accept")
        if nat.unsolicited == "refuse":
            rules.append('  iifname "wan" meta l4proto tcp reject with tcp reset')
            rules.append('  iifname "wan" meta l4proto udp reject')
        rules.append('  iifname "wan" meta l4proto { udp, tcp } drop')
    return "\n".join([*rules, " }", "}"]) + "\n"
