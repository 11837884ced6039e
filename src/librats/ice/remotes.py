"""The peer's candidates: what it has told, what its checks have shown, and which of them are checked."""

from __future__ import annotations

from collections.abc import Iterator

from librats.ice.addresses import AddressPolicy
from librats.ice.bases import Base
from librats.ice.candidates import CandidateType, IceCandidate, comparable
from librats.ice.descriptions import MAX_CANDIDATES
from librats.types import Address

__all__ = ["RemoteCandidates"]


class RemoteCandidates:
    """The candidates of one peer in one round.

    Args:
        policy: Says which are checked.
        max_learnt: How many are learnt from checks.
    """

    def __init__(self, policy: AddressPolicy, *, max_learnt: int) -> None:
        self._policy = policy
        self._max_learnt = max_learnt
        self._learnt = 0
        self._candidates: dict[tuple[str, Address], IceCandidate] = {}
        self._proven: set[Address] = set()
        self.refused: dict[Address, str] = {}
        """Those that are not checked, and why."""
        self.are_complete = False
        """Whether the peer has no more of them."""
        self.waits_for_names = False
        """Whether a name of the peer's is being resolved."""

    def __iter__(self) -> Iterator[IceCandidate]:
        """Go through all of them, in the order in which they came."""
        return iter(self._candidates.values())

    @property
    def may_grow(self) -> bool:
        """Whether there may be more of them yet."""
        return self.waits_for_names or not self.are_complete

    def add(self, candidate: IceCandidate, *, proven: bool = False) -> bool:
        """Take a candidate; one that is there already, or for which there is no room, is left out.

        Args:
            candidate: Its host is an IP address.
            proven: Whether something else than the peer's word says that it is there.

        Returns:
            Whether it gives one that was learnt from a check its proper name (RFC 8838, 11.4).
        """
        key = (candidate.transport, comparable(candidate.address))
        known = self._candidates.get(key)
        was_learnt = known is not None and known.type is CandidateType.PEER_REFLEXIVE
        if was_learnt or (known is None and len(self._candidates) < MAX_CANDIDATES + self._max_learnt):
            self._candidates[key] = candidate
        self._policy.note_peer(candidate.address.host)
        if proven:
            self._proven.add(key[1])
        return was_learnt

    def learn(self, base: Base, address: Address, priority: int) -> IceCandidate | None:
        """Return the candidate at which a check has come from, known or learnt of now (RFC 8445, 7.3.1.3).

        Args:
            base: What it came to.
            address: Where it came from.
            priority: What the check says.

        Returns:
            None where it may not be checked, or where there is no room for more.
        """
        local = base.candidate
        key = (local.transport, comparable(address))
        known = self._candidates.get(key)
        if known is not None:
            return known
        if self._learnt >= self._max_learnt or self._policy.refusal(address, proven=True):
            return None
        self._learnt += 1
        candidate = self._candidates[key] = IceCandidate(
            foundation=f"learnt{self._learnt}",
            transport=local.transport,
            priority=priority,
            address=key[1],
            type=CandidateType.PEER_REFLEXIVE,
            tcp_type=None if local.tcp_type is None else local.tcp_type.counterpart,
        )
        return candidate

    def to_check(self) -> Iterator[tuple[IceCandidate, bool]]:
        """Go through those that are checked from every base, each with whether it is an unlikely one."""
        self.refused = {}
        for candidate in self:
            if candidate.type is CandidateType.PEER_REFLEXIVE:
                continue  # it was learnt of at one base, and is of no use to the others
            address = comparable(candidate.address)
            if reason := self._policy.refusal(address, proven=address in self._proven):
                self.refused[address] = reason
            else:
                yield candidate, self._policy.is_unlikely(address)
