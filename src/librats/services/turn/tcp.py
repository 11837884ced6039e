"""TCP connections through a TURN server (RFC 6062)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self, cast

from librats.errors import ClosedError, ConfigError, ConnectError, OperationTimeout, RatsError
from librats.runtime.handover import give
from librats.runtime.tcp import ProtocolFactory
from librats.servers import TurnServer
from librats.services.server_dialling import dial_server
from librats.services.turn.allocation import settings_for
from librats.services.turn.keeping import TurnEvent, TurnKeeper, logger
from librats.services.turn.paths import problem_of
from librats.turn.client_connections import BINDING_TIME, ConnectionBinding
from librats.turn.client_events import IncomingConnection
from librats.types import Address, TurnTransport

__all__ = ["TurnTcpAllocation"]

Incoming = Callable[[Address], asyncio.BaseProtocol]


class TurnTcpAllocation(TurnKeeper):
    """A relayed address on a TURN server for TCP connections, either way. Comes from :meth:`open`.

    Example:
        .. code-block:: python

            server = TurnServer.from_uri("turn:ann:password@turn.example.org?transport=tcp")
            async with await TurnTcpAllocation.open(server) as relay:
                await relay.connect(MyProtocol, Address("198.51.100.7", 8081))
    """

    _incoming: Incoming | None = None

    @classmethod
    async def open(
        cls,
        server: TurnServer | str,
        *,
        incoming: Incoming | None = None,
        on_event: Callable[[TurnEvent], object] | None = None,
        family: str = "ipv4",
        lifetime: float | None = None,
        keep_alive: float = 15.0,
        timeout: float = 10.0,
        local_host: str = "",
    ) -> Self:
        """Ask a server for a relayed address for TCP.

        Args:
            server: The server, or its URI; spoken to over TCP or TLS.
            incoming: Makes the protocol of each connection that a peer with a permission opens; called with the peer's
                address. None refuses them.
            on_event: As for :meth:`TurnAllocation.open`.
            family: ``"ipv4"`` or ``"ipv6"``.
            lifetime: Seconds to ask for; None for the server's own choice.
            keep_alive: Seconds without a sign of the server after which it is asked for one.
            timeout: Seconds that the server has for all of it.
            local_host: As for :meth:`TurnAllocation.open`.

        Raises:
            TurnError: The server refuses; 442 where it does not relay TCP.
            ConnectError: The server cannot be reached, or its certificate is not valid.
            OperationTimeout: It does not answer.
            ConfigError: An argument has a value that cannot be used.
        """
        wanted = TurnServer.from_uri(server) if isinstance(server, str) else server
        if wanted.transport is TurnTransport.UDP:
            raise ConfigError("transport", "TCP is relayed only for those who speak to the server over TCP or TLS")
        if family == "dual":
            raise ConfigError("family", "must be one of ipv4, ipv6 where TCP is relayed")
        settings = settings_for(
            family=family,
            lifetime=lifetime,
            keep_alive=keep_alive,
            mobility=False,
            channels=False,
            relays_tcp=True,
        )
        allocation = cls(wanted, settings, on_event, local_host)
        allocation._incoming = incoming
        return await allocation._open(timeout)

    async def connect(self, factory: ProtocolFactory, peer: Address) -> None:
        """Connect to a peer through the server, and give the connection to a protocol.

        Args:
            factory: Makes the protocol. Its transport is that of a connection to the server, peer name and all.
            peer: The peer's IP address and port.

        Raises:
            TurnError: The server forbids the peer (403), cannot connect to it (447), or has done so already (446).
            ConnectError: The second connection to the server does not come about.
            OperationTimeout: The server does not answer.
            LocalProtocolError: There is no allocation at the moment.
            ClosedError: It is closed.
        """
        connection_id = await self._wait_for(self._client.connect(Address(*peer), now=self._loop.time()))
        await self._bind(factory, int(connection_id))

    async def _bind(self, factory: ProtocolFactory, connection_id: int) -> None:
        path = self._path
        if path is None or self.is_closed:
            raise ClosedError("the allocation is closed")
        binding = ConnectionBinding(
            connection_id, self._client.authentication, self._network.entropy, now=self._loop.time()
        )
        first = _BindingProtocol(binding, factory)
        try:
            async with asyncio.timeout(BINDING_TIME):
                place = await self._place_of(path.server, self._domain)
                await dial_server(self._network, lambda: first, path.server, place)
                await first.bound
        except TimeoutError:
            first.abandon()
            raise OperationTimeout(f"{path.server} does not bind the connection") from None
        except OSError as error:
            raise ConnectError(str(path.server), reason=problem_of(error)) from error
        except BaseException:
            first.abandon()
            raise

    def _accept(self, event: IncomingConnection) -> None:
        if self._incoming is None:
            logger.debug("nobody takes a connection of %s", event.peer)
            return
        incoming = self._incoming
        self._tasks.create(
            self._take(lambda: incoming(event.peer), event), name=f"connection of {event.peer} through TURN"
        )

    async def _take(self, factory: ProtocolFactory, event: IncomingConnection) -> None:
        try:
            await self._bind(factory, event.connection_id)
        except RatsError as error:
            logger.debug("the connection of %s does not come about: %s", event.peer, error)


class _BindingProtocol(asyncio.Protocol):
    """The beginning of a connection, until it is the peer's."""

    def __init__(self, binding: ConnectionBinding, factory: ProtocolFactory) -> None:
        self._binding = binding
        self._factory = factory
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.bound: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._binding.data_to_send())

    def data_received(self, data: bytes) -> None:
        transport, binding = self._transport, self._binding
        if transport is None or self.bound.done():
            return
        first = binding.receive_data(data, now=self._loop.time())
        transport.write(binding.data_to_send())
        if binding.error is not None:
            transport.close()
            self.bound.set_exception(binding.error)
        elif binding.is_bound:
            self._hand_over(transport, first)

    def _hand_over(self, transport: asyncio.Transport, first: bytes) -> None:
        try:
            protocol = self._factory()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            if first:
                give(lambda: protocol, first)
        except Exception as error:
            transport.abort()
            self.bound.set_exception(error)
        else:
            self.bound.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.bound.done():
            self.bound.set_exception(ConnectionResetError(str(error or "the server closed the connection")))

    def abandon(self) -> None:
        """Close it, where it is not the peer's yet."""
        if self._transport is not None and not (self.bound.done() and not self.bound.cancelled()):
            self._transport.close()
