"""Questions to one tracker at one of its addresses, over HTTP or UDP (BEP 3, 7, 15)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from librats.bittorrent.redirects import moved_to
from librats.bittorrent.tracker_http import MAX_REPLY
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RatsError, RemoteProtocolError
from librats.runtime.network import Network
from librats.types import Address

__all__ = ["NoHttpError", "addresses_of", "answers_of", "ask_http", "ask_udp"]

HTTP_TIMEOUT: Final = 20.0
REDIRECTS = 3
DEFAULT_PORTS = {"http": 80, "https": 443, "udp": 80}

T = TypeVar("T")


class NoHttpError(RatsError):
    """There is nothing here with which to ask trackers over HTTP."""


async def addresses_of(network: Network, url: str, families: Collection[bool]) -> dict[bool, Address]:
    """Return an address of a tracker for each family that is of use, the best one first.

    Args:
        network: Through what.
        url: The tracker's.
        families: Whether IPv6 (True) and IPv4 (False) are of use; the others are where there are none of these.

    Raises:
        OSError: Its name is not known.
        ValueError: The URL is none.
    """
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme.lower(), 0)
    found: dict[bool, Address] = {}
    for address in await network.resolve(Address(parts.hostname or "", port)):
        found.setdefault(":" in address.host, address)
    return {is_ipv6: found[is_ipv6] for is_ipv6 in found if is_ipv6 in families} or found


async def answers_of(tasks: Sequence[asyncio.Future[T]], grace: float) -> list[T]:
    """Return what has come of questions; what comes much later than the others is not waited for.

    Args:
        tasks: Who asks.
        grace: Seconds that the others have once one was answered.

    Raises:
        Exception: Nothing has come; why not.
    """
    replies: list[T] = []
    failures: list[BaseException] = []
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=grace if replies else None, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            error = task.exception()
            if error is None:
                replies.append(task.result())
            else:
                failures.append(error)
        if not done:
            break
    if not replies:
        raise failures[0] if failures else OSError("the tracker has no address")
    return replies


async def ask_udp(
    network: Network,
    address: Address,
    tracker: UdpTracker,
    begin: Callable[[float], None],
    reply: Callable[[], T | None],
) -> T:
    """Ask a tracker over UDP until it answers.

    Args:
        network: Through what.
        address: Where it is.
        tracker: Its machine.
        begin: Has the machine begin to ask, given the time.
        reply: Returns what has come of it, once it has.

    Raises:
        RemoteProtocolError: It refuses.
        OSError: It is not reached, or does not answer.
    """
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    refusals: list[RemoteProtocolError] = []  # one at the most: nothing is asked after it

    def receive(items: list[tuple[bytes, Any]]) -> None:
        # At once, so that nothing is kept of what whoever sends in the tracker's name sends.
        for data, origin in items:
            if (origin.host, origin.port) == (address.host, address.port):
                try:
                    tracker.receive_datagram(data, loop.time())
                except RemoteProtocolError as refusal:
                    refusals.append(refusal)
                came.set()

    endpoint = await network.open_datagram("::" if ":" in address.host else "0.0.0.0", 0, receive=receive)  # noqa: S104
    try:
        begin(loop.time())
        while (found := reply()) is None:
            for datagram in tracker.datagrams_to_send():
                endpoint.send(datagram, address)
            came.clear()
            try:
                async with asyncio.timeout_at(tracker.next_time):
                    await came.wait()
            except TimeoutError:
                tracker.handle_timer(loop.time())
            if refusals:
                raise refusals[0]
        return found
    finally:
        endpoint.close()


async def ask_http(network: Network, url: str, *, is_ipv6: bool, path: str, timeout: float = HTTP_TIMEOUT) -> bytes:
    """Ask a tracker over HTTP; return what it answers, or more than :data:`MAX_REPLY` bytes of that.

    Args:
        network: Who knows the addresses of names.
        url: What to ask it with.
        is_ipv6: Over which family.
        path: What the path begins with at trackers of this machine, so that no other services of it are asked.
        timeout: Seconds that it takes at most.

    Raises:
        NoHttpError: ``aiohttp`` is not installed.
        RemoteProtocolError: It is not reached, may not be asked, or answers with an error.
        OSError: It does not answer in time.
        ValueError: The URL is none, or where it sends us is none.
    """
    try:
        import aiohttp  # noqa: PLC0415 - an extra, and slow to import
        from yarl import URL  # noqa: PLC0415 - comes with it

        from librats.services.torrenting.resolving import FamilyResolver  # noqa: PLC0415 - needs it, too
    except ImportError:
        raise NoHttpError("trackers over HTTP need aiohttp: pip install 'librats[torrent]'") from None
    limits = aiohttp.ClientTimeout(total=timeout)
    connector = aiohttp.TCPConnector(resolver=FamilyResolver(network, is_ipv6), use_dns_cache=False)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=True) as session:
            for _ in range(REDIRECTS + 1):
                _check_target(url, path)
                # The hash is encoded already; encoding it again would make another one of it.
                encoded = URL(url, encoded=True)
                async with session.get(encoded, allow_redirects=False) as response:
                    elsewhere = moved_to(url, response.status, response.headers)
                    if elsewhere is not None:
                        url = elsewhere
                        continue
                    raw = await response.content.read(MAX_REPLY + 1)
                    while len(raw) <= MAX_REPLY and (more := await response.content.read(MAX_REPLY)):
                        raw += more
                    if response.status >= 400 and not raw.startswith(b"d"):  # noqa: PLR2004 - HTTP errors
                        raise RemoteProtocolError(f"the tracker answers {response.status}")
                    return raw
    except aiohttp.ClientError as error:
        raise RemoteProtocolError(f"the tracker is not reached: {type(error).__name__}") from None
    raise RemoteProtocolError("the tracker sends us in circles")


def _check_target(url: str, path: str) -> None:
    """See that a torrent does not make us ask services of this machine that are no trackers.

    Raises:
        RemoteProtocolError: It would.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"}:
        raise RemoteProtocolError("the tracker sends us elsewhere than to HTTP")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if is_here and not parts.path.startswith(path):
        raise RemoteProtocolError(f"a tracker on this machine whose path is not {path}")
