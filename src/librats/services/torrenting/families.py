"""Names looked up for one address family, for requests over HTTP. Needs ``aiohttp``."""

from __future__ import annotations

import errno

from aiohttp.abc import AbstractResolver, ResolveResult

from librats.runtime.network import Network
from librats.runtime.tcp import sockaddr_of
from librats.types import Address

__all__ = ["FamilyResolver"]


class FamilyResolver(AbstractResolver):
    """Finds the addresses of names, of one family alone.

    Args:
        network: Who knows them.
        is_ipv6: Of which family.
    """

    def __init__(self, network: Network, is_ipv6: bool) -> None:
        self._network = network
        self._is_ipv6 = is_ipv6

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Return the addresses of a name."""
        del family
        results = [
            ResolveResult(hostname=host, host=found.host, port=port, family=sockaddr_of(found)[0], proto=0, flags=0)
            for found in await self._network.resolve(Address(host, port))
            if (":" in found.host) == self._is_ipv6
        ]
        if not results:
            raise OSError(errno.EADDRNOTAVAIL, "the name has no address of that family")
        return results

    async def close(self) -> None:
        """Do nothing: it keeps nothing."""
