"""What detection is to find behind each type of NAT, be it the kernel's or a simulated one."""

from __future__ import annotations

from tests.netns.nat_rules import chain_of, widest

from librats import NatType, PortAllocation

__all__ = ["PORTS", "WORDS", "promised"]

NAMES = {"ei": "endpoint-independent", "ad": "address-dependent", "apd": "address-and-port-dependent"}
PORTS = {
    "preserve": PortAllocation.PRESERVING,
    "random": PortAllocation.RANDOM,
    "sequential": PortAllocation.SEQUENTIAL,
}
WORDS = {
    "open": NatType.OPEN_INTERNET,
    "firewall": NatType.FIREWALL,
    "full_cone": NatType.FULL_CONE,
    "full_cone_random": NatType.FULL_CONE,
    "restricted": NatType.RESTRICTED_CONE,
    "restricted_random": NatType.RESTRICTED_CONE,
    "port_restricted": NatType.PORT_RESTRICTED_CONE,
    "port_restricted_random": NatType.PORT_RESTRICTED_CONE,
    "openwrt": NatType.PORT_RESTRICTED_CONE,
    "bare_masquerade": NatType.PORT_RESTRICTED_CONE,
    "double_nat": NatType.PORT_RESTRICTED_CONE,
    "cgnat": NatType.PORT_RESTRICTED_CONE,
    "symmetric": NatType.SYMMETRIC,
    "symmetric_seq": NatType.SYMMETRIC,
    "symmetric_ad": NatType.SYMMETRIC,
    "symmetric_eif": NatType.SYMMETRIC,
    "cgnat_sym": NatType.SYMMETRIC,
}


def promised(name: str) -> dict[str, object]:
    """Return what is to be told of a type, by what it is called in the tests."""
    chain = chain_of(name)
    is_nat = chain[0].kind == "nat"
    chosen = next((nat.ports for nat in reversed(chain) if nat.ports != "preserve"), "preserve")
    return {
        "type": WORDS[name],
        "mapping": NAMES[widest([nat.mapping for nat in chain])],
        "filtering": NAMES[widest([nat.filtering for nat in chain])],
        "ports": (PORTS[chosen], 1 if chosen == "sequential" else None),
        "NAT": is_nat,
        "hairpin": chain[-1].hairpin if is_nat else None,
        "problem": "",
    }
