"""One mapping that is wanted, and how far it has come."""

from __future__ import annotations

import math
from enum import Enum, auto

from msgspec import Struct

from librats.portmap.pacing import SHORTEST_PAUSE, PcpPace, renewal_delay
from librats.portmap.pcp_wire import MapData
from librats.types import Address, Entropy, MappedTransport

__all__ = ["REMOVAL_TRIES", "Phase", "WantedMapping"]

REMOVAL_TRIES = 3
FIRST_REMOVAL_DELAY = 0.25


class Phase(Enum):
    """What is being done about a mapping."""

    ASKING = auto()
    """It is asked for, for the first time or because the gateway may have lost it."""

    HELD = auto()
    """It is there, and renewed in time."""

    REFUSED = auto()
    """It is asked for again later."""

    REMOVING = auto()
    """It is to go."""


class WantedMapping(Struct, eq=False):
    """One mapping that is wanted, and how far it has come."""

    key: int
    transport: MappedTransport
    internal_port: int
    external_port: int
    """The one that is suggested; 0 for the internal one."""
    exact: bool
    """Whether no other external port will do."""
    nonce: bytes
    unspecified: str
    """The address that stands for any, of the family that is mapped."""
    phase: Phase = Phase.ASKING
    due: float = math.inf
    """When there is something to do about it."""
    pace: PcpPace | None = None
    tries: int = 0
    """Requests since it came into this phase."""
    was_sent: bool = False
    """Whether the gateway may know of it."""
    external: Address | None = None
    """Where others reach it, while it is there."""
    lifetime: float = 0.0
    granted_at: float = 0.0
    expires: float = math.inf
    """When it is over unless it is renewed."""
    renewals: int = 0
    """How often it was tried to renew it since it was granted last."""

    def ask(self, now: float) -> None:
        """Begin to ask for it."""
        self.phase, self.due, self.tries, self.pace = Phase.ASKING, now, 0, None

    def hold(self, external: Address, lifetime: float, now: float, entropy: Entropy) -> None:
        """Take note that it was granted."""
        self.phase, self.external, self.lifetime = Phase.HELD, external, lifetime
        self.granted_at, self.expires, self.renewals, self.tries = now, now + lifetime, 0, 0
        self.due = now + renewal_delay(lifetime, 0, entropy)

    def renew_later(self, now: float, entropy: Entropy) -> None:
        """Take note that one more try to renew it was begun, or has failed."""
        self.renewals += 1
        self.tries = 0
        self.due = max(self.granted_at + renewal_delay(self.lifetime, self.renewals, entropy), now + SHORTEST_PAUSE)

    def refuse(self, until: float) -> None:
        """Take note that it was not granted, and when it is asked for again. What was granted before ends in time."""
        self.phase, self.due, self.tries = Phase.REFUSED, until, 0

    def remove(self, now: float) -> None:
        """Begin to remove it."""
        self.phase, self.due, self.tries = Phase.REMOVING, now, 0
        self.expires = math.inf

    def removal_delay(self) -> float:
        """Return how long the answer to a removal is waited for."""
        return float(FIRST_REMOVAL_DELAY * 2 ** (self.tries - 1))

    @property
    def suggestion(self) -> Address:
        """The external address that is asked for: that which it had last, where it had one."""
        if self.external is not None:
            return self.external
        return Address(self.unspecified, self.external_port or self.internal_port)

    @property
    def map_data(self) -> MapData:
        """What a PCP request says of it."""
        return MapData(
            nonce=self.nonce, transport=self.transport, internal_port=self.internal_port, external=self.suggestion
        )
