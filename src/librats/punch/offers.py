"""What rides with an offer and its answer, so that both sides know whether, and when, they punch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from librats.errors import DecodeError
from librats.punch.plans import NatFacts, may_meet

__all__ = ["PunchOffer", "head_start"]

VERSION = 1

HEAD_START, LEAST_HEAD_START = 0.8, 0.25
"""Seconds that the checks of ICE have for themselves where they may do, at the most and at the least; then holes are
punched beside them."""

ROUND_TRIPS = 3.0
"""The same in round trips by way of the introducer: the checks of cones take one between the peers."""


class PunchOffer(Struct, frozen=True, kw_only=True):
    """That a side punches holes, and what is known of its NAT.

    Example:
        >>> PunchOffer.from_json(PunchOffer(nat=NatFacts(udp=False)).to_json()).nat.udp
        False
    """

    nat: NatFacts | None = None
    """What its NAT does; None where it is not known yet."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary that JSON can hold."""
        return {"v": VERSION} if self.nat is None else {"v": VERSION, "nat": self.nat.to_json()}

    @classmethod
    def from_json(cls, value: object) -> PunchOffer:
        """Read what a peer has sent.

        Raises:
            DecodeError: It is of another version, or a value is of another type.
        """
        if not isinstance(value, Mapping) or value.get("v") != VERSION:
            raise DecodeError(f"punching: it is not of version {VERSION}")
        nat = value.get("nat")
        return cls(nat=None if nat is None else NatFacts.from_json(nat))


def head_start(local: NatFacts | None, remote: NatFacts | None, round_trip: float) -> float:
    """Return for how many seconds ICE is left to itself before holes are punched.

    Args:
        local: What is known of this side's NAT.
        remote: What is known of the peer's.
        round_trip: Seconds that the answer to the offer has taken.

    Example:
        >>> head_start(None, NatFacts(), 0.25)
        0.75
        >>> head_start(NatFacts(udp=False), NatFacts(), 0.2)
        0.0
    """
    if local is None or remote is None or may_meet(local, remote):
        return min(max(ROUND_TRIPS * round_trip, LEAST_HEAD_START), HEAD_START)
    return 0.0
