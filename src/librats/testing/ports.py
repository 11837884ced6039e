"""The ports of a host: which sockets have which."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from librats.types import Address

__all__ = ["EVERYWHERE", "PortBook", "version_of"]

EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - names, nothing is bound
FIRST_EPHEMERAL = 49152
LAST_PORT = 65535


class PortBook:
    """Which addresses the sockets of one transport have taken.

    Args:
        is_used: Whether a port is in use otherwise.
    """

    def __init__(self, is_used: Callable[[int], bool]) -> None:
        self._is_used = is_used
        self._taken: dict[int, dict[Address, list[bool]]] = {}
        self._next_port = FIRST_EPHEMERAL

    def take(self, address: Address, *, shared: bool = False) -> Address:
        """Take an address, a port included where none is wanted.

        Args:
            address: Which; port 0 for any.
            shared: Whether others may have it, too, where they allow that as well.

        Raises:
            OSError: It is in use.
        """
        if address.port == 0:
            address = Address(address.host, self.free_port())
        for other, shares in self._taken.get(address.port, {}).items():
            if _clash(address, other) and not (shared and all(shares)):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._taken.setdefault(address.port, {}).setdefault(address, []).append(shared)
        return address

    def give_back(self, address: Address) -> bool:
        """Give an address back; True where nobody has it any more."""
        there = self._taken[address.port]
        there[address].pop()
        if there[address]:
            return False
        del there[address]
        if not there:
            del self._taken[address.port]
        return True

    def free_port(self) -> int:
        """Return a port that nobody has.

        Raises:
            OSError: There is none.
        """
        for _ in range(LAST_PORT - FIRST_EPHEMERAL + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_EPHEMERAL
            if port not in self._taken and not self._is_used(port):
                return port
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _clash(one: Address, other: Address) -> bool:
    if version_of(one.host) != version_of(other.host):
        return False
    return one.host == other.host or not {one.host, other.host}.isdisjoint(EVERYWHERE.values())


def version_of(address: str) -> int:
    """Return 4 or 6."""
    return 6 if ":" in address else 4
