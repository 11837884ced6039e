"""The addresses of a name that multicast DNS gives, as candidates of browsers have them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging

from librats.runtime.network import Network, SystemNetwork
from librats.types import Address

__all__ = ["local_addresses"]

logger = logging.getLogger("librats.ice")

PATIENCE = 2.0
MAX_ADDRESSES = 4


async def local_addresses(network: Network, name: str) -> list[str]:
    """Return the IP addresses of a ``.local`` name, within two seconds; none where nobody on this link has it."""
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            if isinstance(network, SystemNetwork):
                found = await _ask_the_link(name)
            else:
                found = [address.host for address in await _resolve(network, name)]
    return found[:MAX_ADDRESSES]


async def _resolve(network: Network, name: str) -> list[Address]:
    try:
        return await network.resolve(Address(name, 0))
    except OSError as error:
        logger.debug("%s has no address: %s", name, error)
        return []


async def _ask_the_link(name: str) -> list[str]:
    # Whatever goes wrong where there is no multicast costs one candidate, and no more.
    try:
        zeroconf, aio = importlib.import_module("zeroconf"), importlib.import_module("zeroconf.asyncio")
        asker = aio.AsyncZeroconf(ip_version=zeroconf.IPVersion.V4Only)
    except Exception as error:
        logger.debug("cannot ask for %s by multicast: %s", name, error)
        return []
    try:
        wanted = zeroconf.AddressResolver(f"{name}.")
        await wanted.async_request(asker.zeroconf, PATIENCE * 1000)
        return [str(host) for host in wanted.ip_addresses_by_version(zeroconf.IPVersion.All)]
    except Exception as error:
        logger.debug("cannot ask for %s by multicast: %s", name, error)
        return []
    finally:
        await asker.async_close()
