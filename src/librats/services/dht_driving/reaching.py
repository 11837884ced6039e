"""What a node of the DHT can reach: the families of addresses that its socket has, and those behind names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE
from librats.errors import DhtError, OperationTimeout
from librats.runtime.network import Network
from librats.runtime.udp_sockets import EVERY_HOST
from librats.types import Address

__all__ = ["Unanswered", "families_of", "family_of", "resolved_within"]


class Unanswered(DhtError):
    """No node has answered."""


def family_of(host: str) -> int:
    """Return the size of the compact addresses of a host's family, 6 or 18.

    Example:
        >>> family_of("192.0.2.7"), family_of("2001:db8::7")
        (6, 18)
    """
    return IPV6_SIZE if ":" in host else IPV4_SIZE


def families_of(local: Sequence[Address], hosts: Sequence[str]) -> tuple[int, ...]:
    """Return the sizes of the addresses that a socket can reach others at.

    A family whose addresses reach no further than this host or its link is left out where the other one's do: whoever
    is asked there would never answer, and every lookup would wait for that.

    Args:
        local: Where the socket listens, one for each family.
        hosts: This host's IP addresses.

    Example:
        >>> both = [Address("0.0.0.0", 6881), Address("::", 6881)]
        >>> families_of(both, ["192.0.2.7", "fe80::1%eth0", "127.0.0.1", "::1"])
        (6,)
        >>> families_of(both, ["127.0.0.1", "::1"])
        (6, 18)
    """
    bound = {family_of(address.host): address.host for address in local}
    if not set(bound.values()) <= set(EVERY_HOST):
        return tuple(sorted(bound))
    far = {family_of(host) for host in hosts if not host.startswith(("127.", "169.254.", "fe80:")) and host != "::1"}
    return tuple(sorted(far & set(bound))) or tuple(sorted(bound))


async def resolved_within(network: Network, address: Address, seconds: float) -> list[Address]:
    """Return the addresses behind the name of a node that is to be pinged.

    Raises:
        OperationTimeout: That takes longer.
        DhtError: The name does not resolve.
    """
    try:
        async with asyncio.timeout(seconds):
            return await network.resolve(address)
    except TimeoutError:
        raise OperationTimeout(f"{address.host} was not resolved within {seconds:g} s") from None
    except (OSError, ValueError) as error:
        raise DhtError(f"{address.host} does not resolve: {getattr(error, 'strerror', None) or error}") from None
