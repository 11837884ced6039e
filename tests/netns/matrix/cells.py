"""Which pairs of networks the matrix has, and which of them nothing but a relay can join."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CHANCE", "FURTHER", "KINDS", "Cell", "cells_named", "pairs", "why_not"]

KINDS = (
    *("open", "full_cone", "restricted", "port_restricted", "symmetric", "symmetric_seq"),
    *("double_nat", "cgnat", "openwrt", "bare_masquerade", "firewall", "udp_blocked"),
)
"""Each of these meets each."""


class Cell(NamedTuple):
    """Who connects, and who is connected to."""

    left: str
    right: str
    shared: str = ""
    """The type of one more router, behind which both are."""

    @property
    def name(self) -> str:
        return f"{self.left}:{self.right}" + (f"@{self.shared}" if self.shared else "")

    @classmethod
    def named(cls, name: str) -> Cell:
        """Read a name.

        Raises:
            ValueError: It is none.
        """
        sides, _, shared = name.partition("@")
        left, colon, right = sides.partition(":")
        if not (left and colon and right):
            raise ValueError(f"not a cell: {name!r}; write LEFT:RIGHT or LEFT:RIGHT@SHARED")
        return cls(left, right, shared)


FURTHER = {
    Cell("port_restricted", "port_restricted", "port_restricted"): "two homes behind one carrier NAT without hairpin",
    Cell("none", "none", "port_restricted"): "two hosts on one LAN",
    Cell("v6_only", "dual_stack"): "IPv6 only, and both",
    Cell("dual_stack", "v6_only"): "both, and IPv6 only",
    Cell("tcp443_only", "open"): "nothing but TCP to port 443 goes out",
    Cell("open", "tcp443_only"): "the same, called",
    Cell("tcp443_only", "port_restricted"): "the same against a home",
    Cell("tcp443_only", "symmetric"): "the same against random ports",
    Cell("tcp443_only", "udp_blocked"): "the same against TCP only",
    Cell("tcp443_only", "tcp443_only"): "the same on both sides",
}
"""Rows beside the matrix, and what each is."""

GUESSED = ("port_restricted", "double_nat", "cgnat", "openwrt", "bare_masquerade", "firewall")
CHANCE = [cell for kind in GUESSED for cell in (Cell("symmetric", kind), Cell(kind, "symmetric"))]
"""Those that nothing but the birthday paradox joins without a relay: chance decides."""

BLOCKED = frozenset({"udp_blocked", "tcp443_only"})


def pairs(kinds: Iterable[str]) -> list[Cell]:
    """Return every pair of some types, in both directions."""
    listed = list(kinds)
    return [Cell(left, right) for left in listed for right in listed]


def cells_named(names: Iterable[str]) -> list[Cell]:
    """Return the cells that some words name: a cell, ``further``, ``chance``, or ``all``."""
    found: dict[Cell, None] = {}
    for name in names:
        if name in ("all", "further"):
            found |= dict.fromkeys([*(pairs(KINDS) if name == "all" else []), *FURTHER])
        elif name == "chance":
            found |= dict.fromkeys(CHANCE)
        else:
            found[Cell.named(name)] = None
    return list(found)


def why_not(cell: Cell) -> str:
    """Return why there can be no direct way; empty where there can be one."""
    sides = {cell.left, cell.right}
    if cell.shared and "none" not in sides:
        return "the carrier's NAT does not turn around what is for its own address"
    if "tcp443_only" in sides:
        return "nothing but TCP to ports 80 and 443 goes out, and the peer listens on neither"
    if "symmetric" in sides and sides <= {"symmetric", "symmetric_seq"}:
        return "the ports of one side cannot be known, and the other side's change with each of them"
    if "symmetric" in sides and sides & BLOCKED:
        return "no UDP on one side, and the ports of TCP on the other cannot be known"
    return ""
