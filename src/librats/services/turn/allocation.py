"""Datagrams through a TURN server (RFC 8656): an allocation with the shape of a datagram endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from librats.errors import ConfigError
from librats.runtime.callbacks import call_safely
from librats.servers import TurnServer
from librats.services.turn.keeping import TurnEvent, TurnKeeper
from librats.turn.client_settings import ClientSettings
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TurnAllocation"]

FAMILIES = ("ipv4", "ipv6", "dual")
FIRST_CHANNEL_BYTE, LAST_CHANNEL_BYTE = 0x40, 0x4F

Receive = Callable[[list[tuple[bytes, Address]]], object]


def settings_for(
    *, family: str, lifetime: float | None, keep_alive: float, mobility: bool, channels: bool, relays_tcp: bool
) -> ClientSettings:
    """Check the arguments of ``open``.

    Raises:
        ConfigError: One of them has a value that cannot be used.
    """
    if family not in FAMILIES:
        raise ConfigError("family", f"must be one of {', '.join(FAMILIES)}, not {family!r}")
    if keep_alive <= 0:
        raise ConfigError("keep_alive", f"must be a number above 0, not {keep_alive!r}")
    if lifetime is not None and not 1 <= lifetime < 1 << 32:
        raise ConfigError("lifetime", f"must be at least 1 second, not {lifetime!r}")
    return ClientSettings(
        family=family,
        lifetime=None if lifetime is None else round(lifetime),
        keep_alive=keep_alive,
        mobility=mobility,
        channels=channels,
        relays_tcp=relays_tcp,
    )


class TurnAllocation(TurnKeeper):
    """A relayed address on a TURN server, to send and receive datagrams with. Comes from :meth:`open`.

    It keeps itself: lifetimes, permissions and channels are renewed in time. Where the server dies or forgets, another
    allocation is made as soon as it can be, with the same permissions and channels; what is sent meanwhile is lost, as
    datagrams may be, and ``on_event`` tells of the gap and of the new address.

    Example:
        .. code-block:: python

            server = TurnServer.from_uri("turn:ann:password@turn.example.org")
            async with await TurnAllocation.open(server, receive=print) as relay:
                await relay.create_permission("198.51.100.7")
                relay.send(b"hello", Address("198.51.100.7", 8081))
    """

    _receive: Receive | None = None

    @classmethod
    async def open(
        cls,
        server: TurnServer | str,
        *,
        receive: Receive | None = None,
        on_event: Callable[[TurnEvent], object] | None = None,
        family: str = "ipv4",
        lifetime: float | None = None,
        channels: bool = True,
        mobility: bool = False,
        keep_alive: float = 15.0,
        timeout: float = 10.0,
        local_host: str = "",
    ) -> Self:
        """Ask a server for a relayed address.

        Args:
            server: The server, or its URI.
            receive: Called with all that has come from peers, as pairs of data and address; never with an empty list.
            on_event: Called with :class:`~librats.TurnAllocated`, :class:`~librats.TurnLost`,
                :class:`~librats.TurnMoved` and :class:`~librats.TurnPeerRefused`.
            family: Of the relayed address: ``"ipv4"``, ``"ipv6"``, or ``"dual"`` for one of each.
            lifetime: Seconds to ask for; None for the server's own choice.
            channels: Bind a channel to each peer that is sent to, which saves 32 bytes a datagram or more; without,
                only :meth:`bind_channel` does.
            mobility: Ask for a ticket, with which :meth:`move` and a new connection keep the relayed address.
            keep_alive: Seconds without a sign of the server after which it is asked for one.
            timeout: Seconds that the server has for all of it.
            local_host: IP address of ours to use; empty for any.

        Raises:
            TurnError: The server refuses; the code tells why: 401 for the credentials, 440 for the address family, 486
                for the user's quota, 508 for the server's.
            ConnectError: The server cannot be reached, or its certificate is not valid.
            OperationTimeout: It does not answer.
            ConfigError: An argument has a value that cannot be used.
        """
        settings = settings_for(
            family=family,
            lifetime=lifetime,
            keep_alive=keep_alive,
            mobility=mobility,
            channels=channels,
            relays_tcp=False,
        )
        wanted = TurnServer.from_uri(server) if isinstance(server, str) else server
        return await cls.open_as(
            wanted, settings, receive=receive, on_event=on_event, timeout=timeout, local_host=local_host
        )

    @classmethod
    async def open_as(
        cls,
        server: TurnServer,
        settings: ClientSettings,
        *,
        receive: Receive | None,
        on_event: Callable[[TurnEvent], object] | None,
        timeout: float,
        local_host: str = "",
    ) -> Self:
        """Ask for a relayed address as settings say, for those that know more than :meth:`open` takes.

        Args:
            server: The server.
            settings: What is wanted, and what is known of NATs on the way.
            receive: As for :meth:`open`, as all that follows, errors included.
            on_event: Called with events.
            timeout: Seconds that the server has for all of it.
            local_host: IP address of ours to use; empty for any.
        """
        allocation = cls(server, settings, on_event, local_host)
        allocation._receive = receive
        return await allocation._open(timeout)

    @property
    def local_address(self) -> Address:
        """The relayed address: where peers send to."""
        return self.relayed_address

    @property
    def local_addresses(self) -> tuple[Address, ...]:
        """The relayed addresses, IPv4 first."""
        return self.relayed_addresses

    async def bind_channel(self, address: Address) -> None:
        """Let a peer send to us, and send it data with 4 bytes of overhead instead of 36 or more.

        Args:
            address: The peer's IP address and port.

        Raises:
            TurnError: The server forbids the peer (403), or the allocation has no address of its family (443).
            LocalProtocolError: All 4,096 channels are taken.
            UsageError: The host is no IP address.
            ClosedError: It is closed.
        """
        await self._wait_for(self._client.bind_channel(Address(*address), now=self._loop.time()))

    def drop_channel(self, address: Address) -> None:
        """Renew the channel of a peer no more."""
        self._client.drop_channel(Address(*address))

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram to a peer. The first one to a peer asks for its permission, and waits for that.

        Args:
            data: What to send; what is longer than the path's MTU less 40 bytes is fragmented, or lost.
            address: The peer's IP address and port.

        Returns:
            False where it was dropped: in a gap, where the server forbids the peer, where too much waits, once closed.

        Raises:
            UsageError: The host is no IP address.
        """
        return self.send_many(((data, address),)) == 1

    def send_many(self, items: Iterable[tuple[Buffer, Address]]) -> int:
        """Send datagrams, in order, with as few calls of the system as it allows.

        Args:
            items: Data and address of each, as for :meth:`send`.

        Returns:
            How many were not dropped.

        Raises:
            UsageError: A host is no IP address.
        """
        client, now, path = self._client, self._loop.time(), self._path
        if self.is_closed or path is None or not path.has_room:
            dropped = sum(1 for _ in items)
            client.counters.dropped += dropped
            return 0
        taken = 0
        try:
            for data, address in items:
                taken += client.send(data if isinstance(data, bytes) else bytes(data), address, now=now)
        finally:
            out = client.data_to_send()
            unsent = len(out) - path.write(out) if out else 0
            if unsent:
                client.counters.dropped += unsent
                client.counters.sent -= unsent
        if out and not FIRST_CHANNEL_BYTE <= out[0][0] <= LAST_CHANNEL_BYTE:
            self._pump()  # a permission or a channel is asked for
        return max(0, taken - unsent)

    @property
    def is_full(self) -> bool:
        """True where the way to the server takes nothing more now."""
        return not self.is_closed and self._path is not None and not self._path.has_room

    async def wait_for_room(self) -> None:
        """Wait until the way to the server takes more, after :meth:`send` found no room."""
        if self._path is not None:
            await self._path.wait_for_room()

    def _came(self) -> None:
        data = self._client.take_data()
        self._pump()
        if data:
            call_safely(self._receive, data, owner=self)
