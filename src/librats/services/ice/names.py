"""The addresses of a name that multicast DNS gives, as candidates of browsers have them."""

from __future__ import annotations

import importlib
import logging
import warnings

from librats.runtime.network import Network, SystemNetwork
from librats.runtime.offload import run_in_thread
from librats.types import Address

__all__ = ["local_addresses"]

logger = logging.getLogger("librats.ice")

PATIENCE = 2.0
"""Seconds that the hosts on this link have to answer."""

OPENING_TIME = 1.0
MAX_ADDRESSES = 4


async def local_addresses(network: Network, name: str) -> list[str]:
    """Return the IP addresses of a ``.local`` name, after some seconds at most; none where nobody here has it."""
    if isinstance(network, SystemNetwork):
        found = await _ask_the_link(network, name)
    else:
        found = await _resolve(network, name)
    return found[:MAX_ADDRESSES]


async def _resolve(network: Network, name: str) -> list[str]:
    try:
        return [address.host for address in await network.resolve(Address(name, 0))]
    except OSError as error:
        logger.debug("%s has no address: %s", name, error)
        return []


async def _ask_the_link(network: Network, name: str) -> list[str]:
    # Loading takes tens of milliseconds, in which a loop would stand still.
    await run_in_thread(importlib.import_module, "zeroconf.asyncio")
    hosts = [host for host in await network.interface_addresses() if ":" not in host]
    try:
        return await _ask_over(hosts, name)
    except Exception as error:  # whatever goes wrong where there is no multicast costs one candidate, and no more
        logger.debug("cannot ask for %s by multicast: %s", name, error)
        return []


async def _ask_over(hosts: list[str], name: str) -> list[str]:
    from zeroconf import AddressResolver, IPVersion  # type: ignore[attr-defined]  # noqa: PLC0415 - for names alone
    from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415

    with warnings.catch_warnings():  # where one fails, zeroconf leaves the others' sockets to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        asker = AsyncZeroconf(interfaces=hosts)
    try:
        await asker.zeroconf.async_wait_for_start(timeout=OPENING_TIME)
        wanted = AddressResolver(f"{name}.")
        await wanted.async_request(asker.zeroconf, PATIENCE * 1000)
        return [str(host) for host in wanted.ip_addresses_by_version(IPVersion.All)]
    finally:
        await asker.async_close()
