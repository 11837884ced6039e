"""What the two sides tell each other, as dictionaries that JSON can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from msgspec import Struct
from msgspec import field as struct_field

from librats.errors import DecodeError, UsageError
from librats.ice.messages import Credentials
from librats.punch.plans import NatFacts
from librats.types import Address

__all__ = ["PunchDescription", "PunchEnd", "PunchGo", "PunchMessage", "read_punch_message"]

VERSION = 1
MAX_ADDRESSES = 16
MAX_PORTS = 16
LAST_PORT = 65535
MAX_ROUND = 1000
MAX_SECONDS = 120.0
MAX_TEXT = 64

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,64}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,64}")


def _fail(what: str) -> NoReturn:
    raise DecodeError(f"punching: {what}")


class PunchDescription(Struct, frozen=True, kw_only=True):
    """What one side is, in one round. Whoever has it can answer in that side's place: send it over a secure way.

    Example:
        >>> told = PunchDescription(round=1, credentials=Credentials("abcd", "x" * 22), ports=(40000, 40002))
        >>> read_punch_message(told.to_json()) == told
        True
    """

    round: int
    """Which attempt it is for, from 1 on."""

    credentials: Credentials
    """What checks to this side are made with, and its answers (RFC 8445, 7)."""

    nat: NatFacts = struct_field(default_factory=NatFacts)
    """What stands in front of this side."""

    rounds: int = 3
    """How often this side tries each technique."""

    public: tuple[Address, ...] = ()
    """Where servers see the socket of this round."""

    hosts: tuple[Address, ...] = ()
    """Its addresses in its own network."""

    tcp: tuple[Address, ...] = ()
    """Where this side takes TCP connections: as servers see it, and in its own network."""

    ports: tuple[int, ...] = ()
    """Public ports that its NAT has just given out, in order, where the next one can be foretold."""

    held: float | None = None
    """Seconds between what this answers and this; None where it answers nothing."""

    def __repr__(self) -> str:
        """Show it without the password."""
        return f"<PunchDescription round={self.round} public={' '.join(map(str, self.public))}>"

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        return {
            "v": VERSION,
            "round": self.round,
            "ufrag": self.credentials.ufrag,
            "pwd": self.credentials.password,
            "nat": self.nat.to_json(),
            "rounds": self.rounds,
            "public": [str(address) for address in self.public],
            "hosts": [str(address) for address in self.hosts],
            "tcp": [str(address) for address in self.tcp],
            "ports": list(self.ports),
            "held": self.held,
        }


class PunchGo(Struct, frozen=True, kw_only=True):
    """The start of a round: the other side begins when it has this, and whoever sends it half a round trip later."""

    round: int
    ports: tuple[int, ...] = ()
    """As :attr:`PunchDescription.ports`, of whoever sends it."""

    rtt: float = 0.0
    """Seconds to the other side and back, as far as whoever sends it has measured."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        return {"v": VERSION, "go": self.round, "ports": list(self.ports), "rtt": self.rtt}


class PunchEnd(Struct, frozen=True, kw_only=True):
    """No further round: one side has given up."""

    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        return {"v": VERSION, "end": self.reason}


PunchMessage = PunchDescription | PunchGo | PunchEnd


def read_punch_message(value: object) -> PunchMessage:
    """Read what a peer has sent; what is not known in it is skipped.

    Args:
        value: A dictionary, as one of ``to_json`` makes it.

    Raises:
        DecodeError: It is of another version, or a value is missing, of another type, or too long.
    """
    if not isinstance(value, Mapping):
        _fail("it is no dictionary")
    if value.get("v") != VERSION:
        _fail(f"it is not of version {VERSION}")
    if "end" in value:
        reason = value["end"]
        return PunchEnd(reason=reason[:MAX_TEXT] if isinstance(reason, str) else "")
    if "go" in value:
        rtt = _seconds(value.get("rtt"), "rtt") or 0.0
        return PunchGo(round=_round(value["go"]), ports=_ports(value.get("ports", [])), rtt=rtt)
    return PunchDescription(
        round=_round(value.get("round")),
        credentials=_credentials(value.get("ufrag"), value.get("pwd")),
        nat=NatFacts.from_json(value.get("nat")),
        rounds=_round(value.get("rounds", 3)),
        public=_addresses(value, "public"),
        hosts=_addresses(value, "hosts"),
        tcp=_addresses(value, "tcp"),
        ports=_ports(value.get("ports", [])),
        held=_seconds(value.get("held"), "held"),
    )


def _round(value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_ROUND:
        _fail(f"a round is 1 to {MAX_ROUND}")
    return value


def _credentials(ufrag: object, password: object) -> Credentials:
    if not isinstance(ufrag, str) or _UFRAG.fullmatch(ufrag) is None:
        _fail("ufrag is not of 4 to 64 letters, digits, + and /")
    if not isinstance(password, str) or _PASSWORD.fullmatch(password) is None:
        _fail("pwd is not of 22 to 64 letters, digits, + and /")
    return Credentials(ufrag, password)


def _listed(value: object, name: str, most: int) -> Sequence[object]:
    if not isinstance(value, list | tuple) or len(value) > most:
        _fail(f"{name} is no list of at most {most}")
    return value


def _addresses(value: Mapping[Any, Any], name: str) -> tuple[Address, ...]:
    found = []
    for text in _listed(value.get(name, []), name, MAX_ADDRESSES):
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            _fail(f"{name} has what is no text")
        try:
            address = Address.parse(text)
        except UsageError as error:
            raise DecodeError(f"punching: {name} has what is no address") from error
        if not address.is_literal or not 0 < address.port <= LAST_PORT:
            _fail(f"{name} has what is no IP address and port")
        found.append(address)
    return tuple(dict.fromkeys(found))


def _ports(value: object) -> tuple[int, ...]:
    ports = _listed(value, "ports", MAX_PORTS)
    if not all(type(port) is int and 0 < port <= LAST_PORT for port in ports):
        _fail("ports has what is no port")
    return tuple(port for port in ports if isinstance(port, int))


def _seconds(value: object, name: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        _fail(f"{name} is no number of seconds up to {MAX_SECONDS:g}")
    return float(value)
