"""Parts of files over HTTP, from servers that a torrent names: never from a network that it has no business in."""

from __future__ import annotations

import errno
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from librats.bittorrent.redirects import moved_to
from librats.bittorrent.web_seeds import WebPart
from librats.dht.addresses import compact, may_be_told
from librats.errors import RemoteProtocolError, UsageError
from librats.runtime.network import Network
from librats.services.torrenting.resolving import NetworkResolver
from librats.types import Address

__all__ = ["HttpFiles", "HttpRefusal"]

TIMEOUT: Final = 300.0
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
REDIRECTS = 5
CONNECTIONS = 4
MAX_PASSED_OVER = 1 << 20
MAX_RETRY_AFTER = 3600
OK, PART = 200, 206
ANYBODY = compact("1.1.1.1", 1)  # a stranger on the internet


class HttpRefusal(RemoteProtocolError):
    """A server has answered, and not with what was asked for.

    Args:
        status: The status.
        retry_after: Seconds that it asks to wait for.
    """

    def __init__(self, status: int, retry_after: float = 0.0) -> None:
        super().__init__(f"the server answers {status}")
        self.status = status
        """The status of HTTP."""
        self.retry_after = retry_after
        """Seconds that it asks to wait for; 0 where it does not say."""

    @property
    def is_lasting(self) -> bool:
        """Whether it would answer the same later."""
        return 400 <= self.status < 500 and self.status not in {408, 425, 429}  # noqa: PLR2004 - HTTP's


class _Resolver(NetworkResolver):
    """Accepts those addresses alone that a stranger may have us dial."""

    refusal = (errno.EACCES, "the server is in a network that the torrent has no business in")

    def __init__(self, network: Network, trusted: Collection[str]) -> None:
        super().__init__(network)
        self._trusted = trusted

    def accepts(self, host: str, found: Address) -> bool:
        return host in self._trusted or _is_public(found.host)


class HttpFiles:
    """A client of HTTP for the web seeds of one torrent.

    Args:
        network: Who knows the addresses of names.
        trusted: Hosts that may be anywhere: those that the user has named.
    """

    def __init__(self, network: Network, trusted: Collection[str]) -> None:
        self._trusted = frozenset(trusted)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(network, self._trusted), limit_per_host=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(TIMEOUT, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": "librats"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        """End every connection."""
        await self._session.close()

    async def fetch(self, part: WebPart, into: memoryview) -> None:
        """Fetch a part of a file.

        Args:
            part: Which.
            into: Where it goes; as long as the part.

        Raises:
            HttpRefusal: The server answers otherwise.
            RemoteProtocolError: It is not reached, gives less or something else, or may not be asked.
        """
        url = part.url
        headers = {"Range": f"bytes={part.offset}-{part.offset + part.size - 1}"}
        try:
            for _ in range(REDIRECTS + 1):
                self._check(url)
                # Names are encoded already, as the torrent has them.
                async with self._session.get(
                    URL(url, encoded=True), headers=headers, allow_redirects=False
                ) as response:
                    elsewhere = moved_to(url, response.status, response.headers)
                    if elsewhere is not None:
                        url = elsewhere
                        continue
                    await _read(response, part, into)
                    return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RemoteProtocolError(f"it is not reached: {error or type(error).__name__}") from None
        raise RemoteProtocolError("it sends us in circles")

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host:
            raise RemoteProtocolError("it sends us elsewhere than to HTTP")
        if host in self._trusted:
            return
        try:
            is_public = _is_public(host)
        except UsageError:
            is_public = host != "localhost" and not host.endswith(".localhost")  # a name: the resolver sees to it
        if not is_public:
            raise RemoteProtocolError("it is in a network that the torrent has no business in")


def _is_public(host: str) -> bool:
    return may_be_told(compact(host, 1), by=ANYBODY)


async def _read(response: aiohttp.ClientResponse, part: WebPart, into: memoryview) -> None:
    passed_over = 0
    if response.status == OK and part.offset + part.size <= MAX_PASSED_OVER:
        passed_over = part.offset  # it knows no ranges
    elif response.status != PART:
        after = response.headers.get("Retry-After", "")
        raise HttpRefusal(response.status, min(int(after), MAX_RETRY_AFTER) if after.isdecimal() else 0.0)
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {part.offset}-"):
        raise RemoteProtocolError("it gives another part than it was asked for")
    at = -passed_over
    async for data in response.content.iter_any():
        view = memoryview(data)[max(0, -at) :] if at < 0 else memoryview(data)
        taken = view[: part.size - max(at, 0)]
        into[max(at, 0) : max(at, 0) + len(taken)] = taken
        at += len(data)
        if at >= part.size:
            return
    raise RemoteProtocolError("it gives less than it was asked for")
