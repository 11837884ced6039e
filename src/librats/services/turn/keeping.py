"""Keeping an allocation on a TURN server: what drives :class:`~librats.turn.client.TurnClient`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Self

from msgspec import structs

from librats.errors import ClosedError, ConfigError, ConnectError, OperationTimeout, RatsError, UsageError
from librats.runtime.callbacks import call_safely
from librats.runtime.network import current_network
from librats.runtime.tasks import TaskSet
from librats.runtime.tls import ClientTls, client_tls
from librats.servers import TurnCredentials, TurnServer
from librats.services.server_dialling import ServerPlace, dial_server, require_web, resolve_server
from librats.services.turn.paths import DatagramPath, ServerPath, StreamPath, problem_of
from librats.turn.allocation_events import TurnAllocated, TurnCounters, TurnLost, TurnMoved, TurnPeerRefused
from librats.turn.client import TurnClient
from librats.turn.client_auth import Login
from librats.turn.client_events import (
    AllocationFailed,
    Closed,
    Connected,
    ConnectWanted,
    CredentialsWanted,
    Event,
    IncomingConnection,
    RequestDone,
    RequestFailed,
)
from librats.turn.client_settings import ClientSettings
from librats.types import Address, TurnTransport

__all__ = ["TurnEvent", "TurnKeeper"]

logger = logging.getLogger("librats.turn")

PATIENCE = 8.0
CLOSING_TIME = 1.5

TurnEvent = TurnAllocated | TurnLost | TurnMoved | TurnPeerRefused


class TurnKeeper:
    """An allocation, whatever it relays. Comes from ``open`` of the classes below it.

    Args:
        server: The server.
        settings: What is wanted of it.
        on_event: Called with what happens to the allocation.
        local_host: IP address of ours to use; empty for any.
    """

    def __init__(
        self,
        server: TurnServer,
        settings: ClientSettings,
        on_event: Callable[[TurnEvent], object] | None,
        local_host: str,
    ) -> None:
        if server.web is not None:
            require_web("transport")
        self.server = server
        """The server, as it was asked for."""
        self.is_closed = False
        """True once it is closed, or never came about."""
        self._settings = settings
        self._on_event = on_event
        self._local_host = local_host
        self._known: list[Address] = []
        self._network = current_network()
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._path: ServerPath | None = None
        self._old_paths: list[ServerPath] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # the handles of uvloop do not all tell
        self._allocated: TurnAllocated | None = None
        self._rounds = 0
        self._tls: ClientTls | None = None
        self._domain = ""
        self._client = self._new_client(PATIENCE)

    def __repr__(self) -> str:
        """Show the relayed address and the server."""
        state = "closed" if self.is_closed else self._allocated.relayed[0] if self._allocated else "without allocation"
        return f"<{type(self).__name__} {state} on {self.server.address}>"

    def _new_client(self, patience: float) -> TurnClient:
        server = self.server
        settings = structs.replace(
            self._settings,
            reliable=server.transport is not TurnTransport.UDP,
            asks=server.credentials is not None,
            patience=patience,
        )
        login = Login(server.username, server.password) if server.username else None
        return TurnClient(settings, self._network.entropy, login)

    # What it is

    @property
    def is_allocated(self) -> bool:
        """True while the server relays; False in a gap, and once closed."""
        return self._client.is_allocated

    @property
    def is_movable(self) -> bool:
        """True where :meth:`move` keeps the relayed address: the server has given a ticket for that (RFC 8016)."""
        return self._client.is_movable

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The relayed addresses, IPv4 first; the last ones in a gap."""
        return self._allocated.relayed if self._allocated else ()

    @property
    def relayed_address(self) -> Address:
        """The relayed address, IPv4 where there are two. After a gap it is another one."""
        return self.relayed_addresses[0]

    @property
    def mapped_address(self) -> Address | None:
        """Our own address as the server sees it; None where it does not tell."""
        return self._allocated.mapped if self._allocated else None

    @property
    def server_address(self) -> Address | None:
        """The server in use, which may be one that the configured one has named; None in a gap."""
        return self._path.server if self._path is not None else None

    @property
    def counters(self) -> TurnCounters:
        """What was seen so far."""
        return self._client.counters

    # Opening and closing

    async def _open(self, timeout: float) -> Self:
        try:
            async with asyncio.timeout(timeout):
                await self._open_first(timeout)
        except TimeoutError as error:
            await self._abandon()
            if isinstance(error, RatsError):
                raise
            raise OperationTimeout(
                f"no allocation on {self.server.address} over {self.server.transport} within {timeout:g} seconds"
            ) from None
        except BaseException:
            await self._abandon()
            raise
        return self

    async def _open_first(self, timeout: float) -> None:
        """Try the server's addresses one after the other, until one gives an allocation or says why not."""
        addresses = await self._addresses()
        for number, address in enumerate(addresses):
            self._rounds = addresses.index(address)
            self._opened = self._loop.create_future()
            self._client = self._new_client(min(PATIENCE, timeout / len(addresses)))
            self._client.start()
            self._pump()
            try:
                await self._opened
            except (ConnectError, OperationTimeout):
                if number + 1 == len(addresses):
                    raise
            else:
                return

    async def _addresses(self) -> list[Address]:
        try:
            if self.server.transport is TurnTransport.UDP:
                found = await self._network.resolve(self.server.address)
            else:
                found = await resolve_server(self._network, ServerPlace(self.server.address, proxy=self.server.proxy))
        except OSError as error:
            raise ConnectError(str(self.server.address), reason=f"no such host: {error}") from error
        if not found:
            raise ConnectError(str(self.server.address), reason="no such host")
        self._known = found
        return found

    async def _abandon(self) -> None:
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()
        for path in (*self._old_paths, self._path):
            if path is not None:
                path.close()
        self._old_paths.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ClosedError("the allocation is closed"))
                future.exception()  # collected: who waited may be gone
        self._waiting.clear()

    async def close(self) -> None:
        """Give the allocation back to the server, and let everything go. Idempotent; takes 1.5 seconds at most."""
        if self.is_closed:
            return
        self.is_closed = True
        self._client.close(now=self._loop.time())
        self._pump()
        try:
            async with asyncio.timeout(CLOSING_TIME):
                await self._gone
        except TimeoutError:
            logger.debug("the TURN server %s does not confirm the end", self.server.address)
        finally:
            await self._abandon()

    async def __aenter__(self) -> Self:
        """Use it until the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    # What is asked of it

    async def create_permission(self, *hosts: str | Address) -> None:
        """Let peers send to us, from any port, as long as the allocation is open; made again after a gap.

        Args:
            hosts: IP addresses.

        Raises:
            TurnError: The server forbids a peer (403), or the allocation has no address of its family (443).
            UsageError: A host is no IP address.
            ClosedError: It is closed.
        """
        names = [host.host if isinstance(host, Address) else host for host in hosts]
        await self._wait_for(self._client.create_permission(names, now=self._loop.time()))

    def drop_permission(self, *hosts: str | Address) -> None:
        """Renew permissions no more; the server lets the peers in for up to 5 minutes yet."""
        self._client.drop_permission([host.host if isinstance(host, Address) else host for host in hosts])

    async def refresh(self, lifetime: float | None = None) -> None:
        """Ask the server to keep the allocation, which happens in time without asking.

        Args:
            lifetime: Seconds from now; None for as long as the server likes. It may grant others.

        Raises:
            TurnError: The server refuses.
            ClosedError: It is closed.
        """
        seconds = None if lifetime is None else max(1, round(lifetime))
        await self._wait_for(self._client.refresh(seconds, now=self._loop.time()))

    async def move(self, local_host: str = "") -> bool:
        """Go on from another local port, or another address of ours, after a change of network.

        Args:
            local_host: IP address of ours; empty for any.

        Returns:
            True where the relayed address is still the same, which needs ``mobility=True`` and a server that has it
            (RFC 8016); False where another allocation was made.

        Raises:
            ConfigError: The local address cannot be used; the old one is.
            ConnectError: The server cannot be reached from there; the old way is used on.
            ClosedError: It is closed.
        """
        before, self._local_host = self._local_host, local_host
        relayed = self.relayed_addresses
        try:
            await self._wait_for(self._client.move(now=self._loop.time()))
        except RatsError:
            self._local_host = before
            raise
        return self.relayed_addresses == relayed

    async def _wait_for(self, number: int) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = future
        try:
            self._pump()
            return await future
        finally:
            self._waiting.pop(number, None)

    # Driving the machine

    def _pump(self) -> None:
        """Send what is to be sent, and tell what has happened."""
        client = self._client
        while True:
            if out := client.data_to_send():
                self._write(out)
            event = client.next_event()
            if event is None:
                break
            self._handle(event)
        self._arm()

    def _write(self, messages: list[bytes]) -> int:
        return 0 if self._path is None else self._path.write(messages)

    def _arm(self) -> None:
        """Set the timer; one that is early enough stays, for what comes of the network only puts things off."""
        at = self._client.next_timer()
        if self._timer is not None:
            if at is not None and self._timer_at <= at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        at = self._client.next_timer()
        if at is not None and at <= now:
            self._client.handle_timer(now=now)
        self._pump()

    def _handle(self, event: Event) -> None:
        match event:
            case ConnectWanted():
                logger.debug("a way to the TURN server %s: %s", event.server or self.server.address, event.reason)
                self._tasks.create(self._make_path(event), name=f"way to {self.server.address}")
            case CredentialsWanted():
                self._tasks.create(self._ask_credentials(), name=f"credentials for {self.server.address}")
            case RequestDone():
                self._settle(event.request, None)
            case Connected():
                self._settle(event.request, event.connection_id)
            case RequestFailed():
                self._settle(event.request, event.error)
            case AllocationFailed():
                if not self._opened.done():
                    self._opened.set_exception(event.error)
                    self._opened.exception()  # collected: who waited may be gone
            case Closed():
                if not self._gone.done():
                    self._gone.set_result(None)
            case IncomingConnection():
                self._accept(event)
            case _:
                self._happened(event)

    def _happened(self, event: TurnEvent) -> None:
        if isinstance(event, TurnAllocated):
            self._allocated = event
            if not self._opened.done():
                self._opened.set_result(None)
        if not isinstance(event, TurnPeerRefused):
            self._close_old_paths()
        if isinstance(event, TurnLost):
            logger.debug("the allocation on %s is lost: %s", self.server.address, event.reason)
        call_safely(self._on_event, event, owner=self)

    def _settle(self, number: int, result: object) -> None:
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return
        if isinstance(result, RatsError):
            future.set_exception(result)
            future.exception()  # collected: who waited may be gone
        else:
            future.set_result(result)

    def _accept(self, event: IncomingConnection) -> None:
        """A peer has connected; only an allocation for TCP hears of that."""

    # The way to the server

    async def _make_path(self, wanted: ConnectWanted) -> None:
        try:
            path = await self._new_path(wanted)
        except RatsError as error:
            self._rounds += 1
            self._client.transport_failed(error, now=self._loop.time())
            self._pump()
            return
        moves = self._client.is_allocated
        if not self._client.transport_ready(path.server, now=self._loop.time()):
            path.close()
            return
        if self._path is not None:
            # An allocation that moves is heard over the old way until the server has answered over the new one.
            self._old_paths.append(self._path)
        if not moves:
            self._close_old_paths()
        self._path, self._domain = path, wanted.domain
        self._pump()

    def _close_old_paths(self) -> None:
        for path in self._old_paths:
            path.close()
        self._old_paths.clear()

    async def _new_path(self, wanted: ConnectWanted) -> ServerPath:
        address = wanted.server
        if address is None:
            addresses = await self._addresses()
            address = addresses[self._rounds % len(addresses)]
        try:
            async with asyncio.timeout(PATIENCE):
                if self.server.transport is TurnTransport.UDP:
                    return await self._datagram_path(address)
                return await self._stream_path(address, wanted.domain)
        except TimeoutError:
            raise OperationTimeout(f"no connection to {address} within {PATIENCE:g} seconds") from None
        except OSError as error:
            raise ConnectError(str(address), reason=problem_of(error)) from error

    async def _datagram_path(self, address: Address) -> DatagramPath:
        host = self._local_host or ("::" if ":" in address.host else "0.0.0.0")  # noqa: S104 - the server alone is heard
        endpoint = await self._network.open_datagram(host, receive=self._datagrams_came, pktinfo=False)
        return DatagramPath(endpoint, address)

    async def _stream_path(self, address: Address, domain: str) -> StreamPath:
        path = StreamPath(address, self._bytes_came, self._path_lost)
        await dial_server(self._network, lambda: path, address, await self._place_of(address, domain))
        return path

    async def _place_of(self, address: Address, domain: str) -> ServerPlace:
        """Return what there is to know of the server at an address, which may be one that the configured one names."""
        name = self.server.address if address in self._known else address
        tls = await self._tls_with(domain)
        return ServerPlace(name, tls, self.server.web, self.server.proxy, self.server.ca_file)

    async def _tls_with(self, domain: str) -> ClientTls | None:
        if not self.server.is_encrypted:
            return None
        if self._tls is None:
            self._tls = await client_tls(self.server.host, self.server.ca_file)
        return ClientTls(self._tls.context, domain or self.server.host)

    def _datagrams_came(self, batch: list[tuple[bytes, Any]]) -> None:
        self._client.receive_datagrams(batch, now=self._loop.time())
        self._came()

    def _bytes_came(self, path: StreamPath, data: bytes) -> None:
        if path is not self._path:
            return
        if not self._client.receive_data(data, now=self._loop.time()):
            path.close()
            self._path_lost(path, "the server sends neither STUN nor ChannelData")
        self._came()

    def _path_lost(self, path: StreamPath, reason: str) -> None:
        if path is self._path:
            self._client.transport_lost(reason, now=self._loop.time())
            self._pump()

    def _came(self) -> None:
        """Something has come."""
        self._pump()

    # Credentials

    async def _ask_credentials(self) -> None:
        client = self._client
        try:
            credentials = await self._credentials()
            now = self._loop.time()
            expires = None if credentials.lifetime is None else now + credentials.lifetime
            client.set_login(Login(credentials.username, credentials.password), expires=expires, now=now)
        except RatsError as error:
            client.refuse_login(error, now=self._loop.time())
        self._pump()

    async def _credentials(self) -> TurnCredentials:
        ask = self.server.credentials
        if ask is None:
            raise UsageError("the server wants a username and a password")
        try:
            found = ask()
            if inspect.isawaitable(found):
                found = await found
        except Exception as error:
            logger.warning("credentials for the TURN server %s: %r", self.server.address, error)
            raise ConnectError(
                str(self.server.address), reason=f"the credentials callback failed: {error!r}"
            ) from error
        if not isinstance(found, TurnCredentials):
            raise ConfigError("credentials", f"must return TurnCredentials, not {type(found).__name__}")
        return found
