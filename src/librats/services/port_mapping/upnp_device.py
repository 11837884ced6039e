"""One gateway as a UPnP Internet Gateway Device, over ``async-upnp-client``. Imported only where that is used.

What answers to the search is believed only where it is at the gateway's own address, and so are the addresses in its
descriptions: anybody on the local network may answer, and would have us send requests to whomever it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from async_upnp_client.client import UpnpAction, UpnpDevice, UpnpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.const import HttpRequest, HttpResponse
from async_upnp_client.exceptions import UpnpActionError, UpnpCommunicationError, UpnpError
from async_upnp_client.search import SsdpSearchListener

from librats.errors import PortMappingError
from librats.types import MappedTransport

__all__ = ["UpnpGateway", "find_upnp_gateway"]

logger = logging.getLogger("librats.portmap")

DEVICE_TYPES = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)
SERVICE_TYPES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
SEARCH_AGAIN = 1.0
MAX_WAIT = 1
"""Seconds within which devices are asked to answer."""

MAX_BODY = 256 * 1024
REQUEST_TIMEOUT = 5.0
MAX_LOCATIONS = 4

NOT_AUTHORIZED, CONFLICT, ONLY_PERMANENT = 606, 718, 725
CODES = {
    NOT_AUTHORIZED: "not_authorized",
    CONFLICT: "conflict",
    501: "refused",
    402: "unsupported",
    728: "no_resources",
    729: "conflict",
}


class _GatewayRequester(UpnpRequester):
    """Requests to one host alone, of which no answer is longer than a description can be, and none leads elsewhere.

    Args:
        host: The gateway's IP address.
        local: The address of this host to send from.
    """

    def __init__(self, host: str, local: str) -> None:
        self._host = host
        connector = aiohttp.TCPConnector(local_addr=(local, 0), force_close=True)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        """Make a request, as the library wants it."""
        if urlsplit(http_request.url).hostname != self._host:
            raise UpnpCommunicationError(f"the gateway at {self._host} names another host")
        try:
            async with self._session.request(
                http_request.method,
                http_request.url,
                headers=dict(http_request.headers or {}),
                data=http_request.body,
                allow_redirects=False,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise UpnpCommunicationError(
                            f"the gateway at {self._host} answers with more than {MAX_BODY} bytes"
                        )
                headers: Mapping[str, str] = response.headers
                return HttpResponse(response.status, headers, body.decode("utf-8", "replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpnpCommunicationError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Let the connections go."""
        await self._session.close()


class UpnpGateway:
    """A gateway that maps ports by UPnP. Comes from :func:`find_upnp_gateway`."""

    def __init__(self, device: UpnpDevice, requester: _GatewayRequester, local: str) -> None:
        self._requester = requester
        self._local = local
        services = {service.service_type: service for service in device.all_services}
        chosen = next((services[name] for name in SERVICE_TYPES if name in services), None)
        self._actions: dict[str, UpnpAction] = {} if chosen is None else dict(chosen.actions)

    @property
    def maps_ports(self) -> bool:
        """Whether it has what port mapping takes."""
        return {"AddPortMapping", "DeletePortMapping", "GetExternalIPAddress"} <= self._actions.keys()

    async def external_host(self) -> str:
        """Return the gateway's public IP address, as it tells it; empty where it has none.

        Raises:
            PortMappingError: It does not tell.
        """
        told = await self._call("GetExternalIPAddress")
        return str(told.get("NewExternalIPAddress") or "").strip()

    async def map(self, transport: MappedTransport, internal_port: int, external_port: int, lifetime: int) -> float:
        """Map a port, or renew that.

        Args:
            transport: ``"tcp"`` or ``"udp"``.
            internal_port: The port of this host.
            external_port: The one outside.
            lifetime: Seconds that are wanted.

        Returns:
            The seconds that it lasts; ``inf`` where the gateway knows no end.

        Raises:
            PortMappingError: It is not granted.
        """
        try:
            await self._add(transport, internal_port, external_port, lifetime)
        except PortMappingError as error:
            if error.number != ONLY_PERMANENT:
                raise
            await self._add(transport, internal_port, external_port, 0)
            return float("inf")
        return float(lifetime)

    async def _add(self, transport: MappedTransport, internal_port: int, external_port: int, lifetime: int) -> None:
        await self._call(
            "AddPortMapping",
            NewRemoteHost="",
            NewExternalPort=external_port,
            NewProtocol=transport.upper(),
            NewInternalPort=internal_port,
            NewInternalClient=self._local,
            NewEnabled=True,
            NewPortMappingDescription="librats",
            NewLeaseDuration=lifetime,
        )

    async def unmap(self, transport: MappedTransport, external_port: int) -> None:
        """Remove a mapping.

        Raises:
            PortMappingError: It stays.
        """
        await self._call(
            "DeletePortMapping", NewRemoteHost="", NewExternalPort=external_port, NewProtocol=transport.upper()
        )

    async def _call(self, action: str, **arguments: Any) -> Mapping[str, object]:
        try:
            told: Mapping[str, object] = await self._actions[action].async_call(**arguments)
        except UpnpActionError as error:
            number = int(error.error_code or 0)
            code = CODES.get(number, "refused")
            raise PortMappingError(
                code, f"the gateway refuses {action}: {number} {error.error_desc or ''}", number
            ) from error
        except UpnpError as error:
            raise PortMappingError("no_answer", f"{action} has failed: {error}") from error
        except Exception as error:  # as above, for answers
            raise PortMappingError("absurd_answer", f"the answer to {action} cannot be read: {error!r}") from error
        return told

    async def close(self) -> None:
        """Let the connections go. The mappings stay."""
        await self._requester.close()


async def find_upnp_gateway(host: str, local: str, timeout: float) -> UpnpGateway:
    """Look for a gateway on the network of one address.

    Args:
        host: The gateway's IPv4 address; others that answer are not believed.
        local: The address of this host, to search and ask from.
        timeout: Seconds to wait for an answer.

    Raises:
        PortMappingError: None has answered, or it maps no ports.
    """
    requester = _GatewayRequester(host, local)
    try:
        async with asyncio.timeout(timeout):
            gateway = await _described(requester, host, local)
    except TimeoutError:
        await requester.close()
        raise PortMappingError("no_answer", "no gateway has answered to UPnP") from None
    except BaseException:
        await requester.close()
        raise
    return gateway


async def _described(requester: _GatewayRequester, host: str, local: str) -> UpnpGateway:
    locations: asyncio.Queue[str] = asyncio.Queue(MAX_LOCATIONS)
    seen: set[str] = set()

    def answered(headers: Mapping[str, str]) -> None:
        location = headers.get("location", "")
        if location not in seen and headers.get("_host") == host and _hostname(location) == host:
            seen.add(location)
            with contextlib.suppress(asyncio.QueueFull):
                locations.put_nowait(location)

    listeners = [
        SsdpSearchListener(callback=answered, source=(local, 0), timeout=MAX_WAIT, search_target=device)
        for device in DEVICE_TYPES
    ]
    searching = asyncio.ensure_future(_search(listeners))
    try:
        factory = UpnpFactory(requester, non_strict=True)
        while True:
            location = await locations.get()
            try:
                gateway = UpnpGateway(await factory.async_create_device(location), requester, local)
            except (
                Exception
            ) as error:  # what a description can do to a parser is not limited to the library's own errors
                logger.debug("%s is not described in a way that can be read: %r", location, error)
                continue
            if gateway.maps_ports:
                return gateway
    finally:
        searching.cancel()
        await asyncio.wait([searching])
        for listener in listeners:
            listener.async_stop()


async def _search(listeners: list[SsdpSearchListener]) -> None:
    with contextlib.suppress(OSError):  # no multicast from that address
        for listener in listeners:
            await listener.async_start()
        while True:
            for listener in listeners:
                listener.async_search()
            await asyncio.sleep(SEARCH_AGAIN)


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
