"""A link that somebody has dialled, as far as it is looked at before its handshake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from librats.types import Address

if TYPE_CHECKING:
    from librats.services.session import Link


@dataclass(eq=False)
class Dialled:
    address: Address
    time: float = 0.0
    is_aborted: bool = False
    initiator: bool = False
    opening_step: int = 0
    peer_id: str = ""

    def now(self) -> float:
        return self.time

    def abort(self) -> None:
        self.is_aborted = True


def from_host(host: str, now: float = 0.0) -> Link:
    return cast("Link", Dialled(Address(host, 5000), now))
