"""Addresses of peers: which to dial next, and which not again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from librats.types import Address

__all__ = ["MAX_CANDIDATES", "MAX_LOCAL", "Candidates"]

MAX_CANDIDATES: Final = 2000
"""Addresses that are kept at most."""

MAX_LOCAL: Final = 100
"""Addresses at most that were only heard of on the local network: nobody there has to prove who they are."""

FIRST_PAUSE = 20.0
MAX_FAILURES = 6
PAUSE_AFTER_LOSS = 15.0


@dataclass(slots=True)
class _Candidate:
    failures: int = 0
    due: float = 0.0
    is_busy: bool = False  # being dialled, or connected
    is_encrypted: bool | None = None  # whether to dial it with encryption; None where nothing is known
    is_seed: bool = False  # whether it wanted nothing when it was connected
    is_said_to_seed: bool = False  # whether others have said so, who may lie
    is_local: bool = False  # whether it was heard of on the local network, and was never connected
    has_turned: bool = False  # whether it was dialled in the other way since it was last heard


class Candidates:
    """The addresses of one torrent.

    Example:
        >>> from librats.bittorrent.candidates import Candidates
        >>> from librats.types import Address
        >>> candidates = Candidates()
        >>> candidates.add([Address("192.0.2.1", 6881)], now=0.0)
        1
        >>> candidates.take(now=0.0)
        Address(host='192.0.2.1', port=6881)
        >>> candidates.take(now=0.0) is None
        True
    """

    def __init__(self) -> None:
        self._known: dict[Address, _Candidate] = {}
        self._banned: set[str] = set()

    def __len__(self) -> int:
        """Addresses that are known."""
        return len(self._known)

    def add(
        self,
        addresses: Iterable[Address],
        now: float,
        *,
        encrypted: Collection[Address] = (),
        seeds: Collection[Address] = (),
    ) -> int:
        """Take note of addresses; return how many are new.

        Args:
            addresses: Where peers are.
            now: The time.
            encrypted: Those of them that are said to want encryption.
            seeds: Those of them that are said to have everything: they are dialled last by who has everything, too.
        """
        before = len(self._known)
        for address in addresses:
            if len(self._known) >= MAX_CANDIDATES:
                break
            if address.port and address.host not in self._banned and address not in self._known:
                self._known[address] = _Candidate(
                    due=now, is_encrypted=True if address in encrypted else None, is_said_to_seed=address in seeds
                )
        return len(self._known) - before

    def add_local(self, address: Address, now: float) -> bool:
        """Take note of an address that was heard of on the local network; return whether it is new and has room.

        Args:
            address: Where a peer is.
            now: The time.
        """
        if sum(candidate.is_local for candidate in self._known.values()) >= MAX_LOCAL or not self.add([address], now):
            return False
        self._known[address].is_local = True
        return True

    def take(self, now: float, *, seeds: bool = True) -> Address | None:
        """Return an address to dial now; None for none. It counts as busy until :meth:`fail` or :meth:`lose`.

        Args:
            now: The time.
            seeds: Whether those are of use that want nothing. Where they are not, those are passed over that wanted
                nothing when they were connected, and those that others have said it of come last.
        """
        said: tuple[Address, _Candidate] | None = None
        for address, candidate in self._known.items():
            if candidate.is_busy or candidate.due > now or (candidate.is_seed and not seeds):
                continue
            if seeds or not candidate.is_said_to_seed:
                candidate.is_busy = True
                return address
            said = said or (address, candidate)
        if said is None:
            return None
        said[1].is_busy = True
        return said[0]

    def fail(self, address: Address, now: float) -> None:
        """Take note that nobody was there: it is tried again ever later, and then no more."""
        candidate = self._known.get(address)
        if candidate is None:
            return
        candidate.is_busy = candidate.has_turned = False
        candidate.failures += 1
        candidate.due = now + FIRST_PAUSE * 2**candidate.failures
        if candidate.failures >= MAX_FAILURES:
            del self._known[address]

    def lose(self, address: Address, now: float, *, is_seed: bool = False) -> None:
        """Take note that a connection has ended.

        Args:
            address: Where the peer listens.
            now: The time.
            is_seed: Whether it wanted nothing.
        """
        candidate = self._known.get(address)
        if candidate is not None:
            candidate.is_busy = candidate.has_turned = candidate.is_local = False
            candidate.failures = 0
            candidate.due = now + PAUSE_AFTER_LOSS
            candidate.is_seed, candidate.is_said_to_seed = is_seed, False

    def hurry(self, now: float) -> None:
        """Have those dialled again at once who were there the last time, as they are of use once more."""
        for candidate in self._known.values():
            if not candidate.failures:
                candidate.due = min(candidate.due, now)

    def is_encrypted(self, address: Address) -> bool | None:
        """Say whether to dial an address with encryption; None where nothing is known."""
        candidate = self._known.get(address)
        return candidate.is_encrypted if candidate is not None else None

    def turn(self, address: Address, now: float, *, encrypted: bool) -> bool:
        """Have an address dialled again at once, with encryption or without: the other way it did not say a word.

        Returns:
            Whether it will be: not where both ways were tried. :meth:`fail` is to be called then.
        """
        candidate = self._known.get(address)
        if candidate is None or candidate.has_turned:
            return False
        candidate.is_busy, candidate.has_turned = False, True
        candidate.is_encrypted, candidate.due = encrypted, now
        return True

    def ban(self, address: Address, *, whole_host: bool = True) -> None:
        """Never dial an address again; nor any other of its host."""
        self._known.pop(address, None)
        if whole_host:
            self._banned.add(address.host)

    def is_banned(self, host: str) -> bool:
        """Whether a host is not to be talked to."""
        return host in self._banned
