"""When two sides begin to send to each other, as a dictionary that their applications carry; and what opens a NAT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from librats._core.stun import serialise
from librats.errors import DecodeError, UsageError
from librats.peer_ids import is_peer_id
from librats.stun.constants import MessageClass, Method
from librats.types import Address, Entropy

__all__ = ["LONGEST_WAIT", "Appointment", "opener", "target"]

VERSION = 1
TRANSACTION_ID_SIZE = 12
LAST_PORT = 65535

LONGEST_WAIT = 120.0
"""Seconds between now and an appointment, at the most, either way."""


class Appointment(Struct, frozen=True, kw_only=True):
    """Who begins to send when.

    Example:
        >>> made = Appointment(peer_id="ab" * 32, start=1_700_000_000.25)
        >>> Appointment.from_json(made.to_json()) == made
        True
    """

    peer_id: str
    """Who has made it."""

    start: float
    """Seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary that JSON can hold."""
        return {"v": VERSION, "from": self.peer_id, "start_ms": round(self.start * 1000)}

    @classmethod
    def from_json(cls, value: object) -> Appointment:
        """Read what the other side has made.

        Raises:
            DecodeError: It is none.
        """
        if not isinstance(value, Mapping) or value.get("v") != VERSION:
            raise DecodeError(f"no appointment of version {VERSION}")
        peer_id, start = value.get("from"), value.get("start_ms")
        if not is_peer_id(peer_id):
            raise DecodeError("an appointment with no peer id")
        if type(start) is not int or not 0 <= start < 1 << 53:
            raise DecodeError("an appointment at no time")
        return cls(peer_id=peer_id, start=start / 1000)

    def wait(self, wall: float) -> float:
        """Return how many seconds are left; 0 where it is over.

        Args:
            wall: Seconds since 1970.

        Raises:
            DecodeError: It is far away: the two clocks differ, or somebody has held it back.
        """
        left = self.start - wall
        if abs(left) > LONGEST_WAIT:
            raise DecodeError(f"an appointment that is {left:.0f} seconds away: the clocks differ, or it is an old one")
        return max(0.0, left)


def opener(entropy: Entropy) -> bytes:
    """Return a datagram that has a NAT let in what comes from where it goes, and that nobody answers."""
    return serialise(Method.BINDING, MessageClass.INDICATION, entropy.token_bytes(TRANSACTION_ID_SIZE))


def target(ip: str, port: int) -> Address:
    """Return the address that is to be sent to.

    Example:
        >>> target("192.0.2.7", 8080)
        Address(host='192.0.2.7', port=8080)

    Raises:
        UsageError: It is none.
    """
    address = Address(ip, port) if isinstance(ip, str) else None
    if address is None or not address.is_literal:
        raise UsageError(f"not an IP address: {ip!r}")
    if type(port) is not int or not 0 < port <= LAST_PORT:
        raise UsageError(f"a port is 1 to {LAST_PORT}, not {port!r}")
    return address
