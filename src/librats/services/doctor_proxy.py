"""Looks at the HTTP proxy that there is, for :func:`librats.diagnose`."""

from __future__ import annotations

import asyncio

from librats.config import NatTraversalConfig
from librats.doctor.seen import ProxySeen
from librats.errors import ProxyError
from librats.runtime.network import Network
from librats.servers import introducer_place
from librats.services.server_dialling import ServerPlace, proxy_to
from librats.services.turn.paths import problem_of
from librats.types import Address, TurnTransport
from librats.web.tunnel import Tunnel
from librats.web_uris import WebUri

__all__ = ["examine_proxy", "places_through_proxies"]

TIMEOUT = 4.0

SOMEWHERE = Address("librats.invalid", 443)
"""Stands for any server outside, where the settings are asked whether there is a proxy."""


def places_through_proxies(settings: NatTraversalConfig) -> list[Address]:
    """Return the servers of a configuration that are spoken to through a proxy where there is one."""
    places = (introducer_place(text)[1] for text in settings.introducers)
    introducers = [place.address for place in places if isinstance(place, WebUri)]
    return introducers + [
        server.address for server in settings.turn_servers if server.transport is not TurnTransport.UDP
    ]


async def examine_proxy(network: Network, settings: NatTraversalConfig) -> ProxySeen | None:
    """Have the proxy lead to a server, and say nothing there.

    Args:
        network: Where.
        settings: Which proxy, and which servers.

    Returns:
        What was seen; None where there is no proxy.
    """
    target = next(iter(places_through_proxies(settings)), None)
    proxy = await proxy_to(network, ServerPlace(target or SOMEWHERE, proxy=settings.proxy), secure=True)
    if proxy is None:
        return None
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(TIMEOUT):
            addresses = await network.resolve(proxy.address)
            tunnel = None if target is None else Tunnel(proxy, target)
            await network.dial_tcp(_HangUp, addresses[0], tunnel=tunnel)
    except TimeoutError:
        return ProxySeen(proxy=str(proxy), target=target, error=f"no answer within {TIMEOUT:g} s")
    except ProxyError as error:
        return ProxySeen(proxy=str(proxy), target=target, error=error.reason)
    except OSError as error:
        return ProxySeen(proxy=str(proxy), target=target, error=problem_of(error))
    return ProxySeen(proxy=str(proxy), target=target, seconds=loop.time() - began)


class _HangUp(asyncio.Protocol):
    """A connection that is closed as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        if isinstance(transport, asyncio.Transport):
            transport.close()
