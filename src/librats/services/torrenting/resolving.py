"""Names looked up for requests over HTTP, by whoever knows them in our network. Needs ``aiohttp``."""

from __future__ import annotations

import errno
from abc import abstractmethod
from typing import ClassVar

from aiohttp.abc import AbstractResolver, ResolveResult

from librats.runtime.network import Network
from librats.runtime.tcp import sockaddr_of
from librats.types import Address

__all__ = ["FamilyResolver", "NetworkResolver"]


class NetworkResolver(AbstractResolver):
    """Finds addresses of names, those alone that it accepts.

    Args:
        network: Who knows them.
    """

    refusal: ClassVar[tuple[int, str]]
    """What a name comes to of which no address is accepted: an error number, and words."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @abstractmethod
    def accepts(self, host: str, found: Address) -> bool:
        """Whether an address of a name may be used."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Return the addresses of a name."""
        results: list[ResolveResult] = []
        for found in await self._network.resolve(Address(host, port)):
            kind = sockaddr_of(found)[0]
            if family in {0, kind} and self.accepts(host, found):
                results.append(ResolveResult(hostname=host, host=found.host, port=port, family=kind, proto=0, flags=0))
        if not results:
            raise OSError(*self.refusal)
        return results

    async def close(self) -> None:
        """Do nothing: it keeps nothing."""


class FamilyResolver(NetworkResolver):
    """Accepts addresses of one family.

    Args:
        network: Who knows them.
        is_ipv6: Of which family.
    """

    refusal = (errno.EADDRNOTAVAIL, "the name has no address of that family")

    def __init__(self, network: Network, is_ipv6: bool) -> None:
        super().__init__(network)
        self._is_ipv6 = is_ipv6

    def accepts(self, host: str, found: Address) -> bool:
        """Whether it is of that family."""
        del host
        return (":" in found.host) == self._is_ipv6
