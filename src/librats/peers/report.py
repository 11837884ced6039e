"""How a peer is connected, and what was tried before: as values, and as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from librats.types import Address, ConnectionAttempt, ConnectionMethod, NatType

__all__ = ["ConnectionReport"]

NO_ENCRYPTION = "none, and its id is not proven"
NOISE = "Noise XX, 25519, ChaCha20-Poly1305"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReport:
    """What :meth:`~librats.Peer.report` tells; as a text it is what :meth:`~librats.Peer.explain` tells."""

    peer_id: str
    """Who."""

    connected: bool
    """Whether there is a session now."""

    method: ConnectionMethod
    """How the peer is reached."""

    address: Address
    """Where it is."""

    local_address: Address
    """Where this side of the connection is."""

    outgoing: bool
    """Whether this side has dialled."""

    encrypted: bool
    """Whether the session is encrypted and the peer's id is proven."""

    rtt: float | None
    """Seconds of a round trip; None where it was not measured yet."""

    agent: str
    """The peer's software, as it says; empty where it does not."""

    nat_type: NatType
    """What stands in front of the peer, as it has told where it was introduced."""

    ended: str = ""
    """Why the session has ended, in words and with its code; empty while there is one."""

    older: int = 0
    """Older connections to it that finish what they had under way."""

    attempts: tuple[ConnectionAttempt, ...] = ()
    """How the connection was tried, where this side dialled; in the order in which the attempts ended."""

    @property
    def used_candidates(self) -> tuple[str, str]:
        """The addresses of the path in use: ours, as the peer sees it where that is known, then the peer's."""
        for attempt in self.attempts:
            if attempt.pair is not None and not attempt.error and attempt.address == self.address:
                ours, theirs = (candidate.partition(" ")[2] for candidate in attempt.pair)
                return ours, theirs
        return str(self.local_address), str(self.address)

    def __str__(self) -> str:
        """Return it as lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        rtt = "not measured yet" if self.rtt is None else f"{self.rtt * 1000:.1f} ms"
        yield f"peer {self.peer_id}"
        is_carried = self.method is ConnectionMethod.CARRIED
        how = (
            f"carried by the introducer at {self.address.host}"
            if is_carried
            else f"over {self.method} at {self.address}"
        )
        yield (
            f"{'connected' if self.connected else 'was connected'} {how} "
            f"({'we dialled' if self.outgoing else 'it dialled'})"
            f"{'' if is_carried else f', from {self.local_address}'}"
        )
        yield (
            f"encryption: {NOISE if self.encrypted else NO_ENCRYPTION}; round trip: {rtt}; "
            f"software: {self.agent or 'unknown'}"
        )
        if self.nat_type is not NatType.UNKNOWN:
            yield f"in front of it, as it says: {self.nat_type}"
        if self.ended:
            yield f"ended: {self.ended}"
        if self.older:
            yield f"{self.older} older connections are finishing what they had under way"
        yield from map(_told, self.attempts)


def _told(attempt: ConnectionAttempt) -> str:
    """Return an attempt in one line."""
    pair = "" if attempt.pair is None else f" ({attempt.pair[0]} to {attempt.pair[1]})"
    worked = f"worked, by punching a hole ({attempt.technique})" if attempt.technique else "worked"
    outcome = f"{attempt.error} [{attempt.reason}]" if attempt.error else worked
    started = round(attempt.started * 1000)
    when = f", {started} ms after the call" if started else ""
    return f"tried {attempt.address} over {attempt.method}{pair}: {outcome}, {attempt.duration * 1000:.0f} ms{when}"
