"""What an ICE machine tells its driver, and the states that it goes through."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from librats.ice.candidates import IceCandidate
from librats.types import Address

__all__ = [
    "IceEvent",
    "IceRole",
    "IceState",
    "LocalFound",
    "Path",
    "PathChosen",
    "ResolveWanted",
    "Restarted",
    "StateChanged",
]


class IceRole(StrEnum):
    """Who decides which pair is used. Where both sides say the same, one of them gives way by itself."""

    CONTROLLING = "controlling"
    """This side; usually the one that has made the offer."""

    CONTROLLED = "controlled"
    """The other side."""

    @property
    def opposite(self) -> IceRole:
        """The other role."""
        return IceRole.CONTROLLED if self is IceRole.CONTROLLING else IceRole.CONTROLLING


class IceState(StrEnum):
    """How far an agent is."""

    NEW = "new"
    """Nothing is checked yet."""

    CHECKING = "checking"
    """Pairs are checked, and none works yet."""

    CONNECTED = "connected"
    """A pair works: data may flow. Which one is used for good is not settled yet."""

    COMPLETED = "completed"
    """A pair was nominated."""

    FAILED = "failed"
    """No pair works, or the one in use does not any more. A restart may help."""

    CLOSED = "closed"
    """It is over."""


class Path(NamedTuple):
    """Where data goes."""

    base: int
    """Number of the base to send from."""

    address: Address
    """The peer's address."""


class LocalFound(Struct, frozen=True, kw_only=True):
    """This side has another candidate, to be told to the peer."""

    candidate: IceCandidate
    """The candidate."""


class StateChanged(Struct, frozen=True, kw_only=True):
    """The agent has gone from one state to another."""

    state: IceState
    """The new one."""

    reason: str
    """Why it has failed; empty otherwise."""


class PathChosen(Struct, frozen=True, kw_only=True):
    """Data goes another way from now on."""

    path: Path
    """The way."""


class ResolveWanted(Struct, frozen=True, kw_only=True):
    """A candidate of the peer's has a name, which multicast DNS may resolve."""

    name: str
    """The name; it ends in ``.local``."""


class Restarted(Struct, frozen=True, kw_only=True):
    """The peer has restarted ICE, so this side has, too: its new description has to be sent."""


IceEvent = LocalFound | StateChanged | PathChosen | ResolveWanted | Restarted
