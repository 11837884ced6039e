"""uTP (BEP 29) over a UDP port: connections of BitTorrent's peers, as transports of asyncio.

What speaks over TCP speaks over them unchanged: ``write``, ``pause_reading``, ``write_eof``, ``close``, ``abort``, and
a protocol that is told. Two things are different. Who dials speaks first, for nothing is sent to an address that is not
proven; a connection that comes in gets its protocol with its first bytes. And ``get_extra_info("rudp")`` tells what the
connection has seen of the path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from librats._core.utp import UtpTable
from librats.runtime.datagrams import Receive
from librats.runtime.network import Network, current_network
from librats.runtime.rudp import RudpPort
from librats.runtime.rudp_transport import RudpTransport
from librats.types import Address

__all__ = ["UtpSocket"]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

DIAL_TIMEOUT = 10.0
READ_LIMIT = 1 << 16

WHOLE_AGAIN = 60.0
"""Seconds for which datagrams may be fragmented, once a path seems to carry less than it did before."""


class UtpPort(RudpPort):
    """A UDP port whose streams are those of uTP."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, kind=UtpTable, **options)
        self._sends_whole = True

    def _on_timer(self) -> None:
        super()._on_timer()
        table = cast("UtpTable", self._table)
        whole = table.shrunk_at < 0 or self._time() - table.shrunk_at > WHOLE_AGAIN
        if whole != self._sends_whole:
            # A packet that was sent once keeps its size: where it is too long now, routers have to cut it.
            self._sends_whole = whole
            self.endpoint.set_dont_fragment(whole)


class UtpSocket:
    """uTP connections, in and out, on one UDP port. Comes from :meth:`open`.

    Example:
        >>> import asyncio
        >>> class Echo(asyncio.Protocol):
        ...     def connection_made(self, transport):
        ...         self.transport = transport
        ...     def data_received(self, data):
        ...         self.transport.write(data)
        >>> async def main():
        ...     here = await UtpSocket.open("127.0.0.1", accept=Echo)
        ...     there = await UtpSocket.open("127.0.0.1")
        ...     reader, writer = await there.open_connection(here.local_address)
        ...     writer.write(b"hello")
        ...     print(await reader.readexactly(5))
        ...     writer.close()
        ...     here.close()
        ...     there.close()
        >>> asyncio.run(main())
        b'hello'
    """

    def __init__(self, network: Network, port: RudpPort) -> None:
        self._network = network
        self._port = port

    @classmethod
    async def open(
        cls,
        host: str = "",
        port: int = 0,
        *,
        accept: ProtocolFactory | None = None,
        others: Receive | None = None,
        network: Network | None = None,
        control: str = "ledbat",
        max_connections: int = 8192,
    ) -> UtpSocket:
        """Open a UDP port for uTP.

        Args:
            host: IP address; empty for every interface, IPv4 and IPv6.
            port: 0 picks one.
            accept: Makes the protocol of a connection that somebody else opens; None refuses them.
            others: Called with what is not of uTP, as messages of a DHT are; None drops it.
            network: Where to open it; the network of the running loop where it is left out.
            control: How the sending rate is found: ``ledbat`` as BEP 29 has it, with at most a tenth of a second of
                what is sent in queues, which gives way to everything else; ``model`` for the most that the path
                carries, also where it loses packets; ``cubic`` as TCP does.
            max_connections: More are refused.

        Raises:
            ConfigError: The address is taken, not this machine's, or not an address at all.
            UsageError: There is no such control, or a number makes no sense.
        """
        found = current_network() if network is None else network
        opened = await UtpPort.open(
            found,
            host,
            port,
            accept=accept,
            others=others,
            entropy=found.entropy,
            control=control,
            max_streams=max_connections,
        )
        return cls(found, opened)

    def __repr__(self) -> str:
        """Show where it listens."""
        return f"<UtpSocket {self.local_address}{' closed' if self._port.endpoint.is_closed else ''}>"

    def __len__(self) -> int:
        """Connections, those included that hand over their last bytes."""
        return len(self._port)

    @property
    def local_address(self) -> Address:
        """Where it listens, IPv4 where it does on both families."""
        return self._port.endpoint.local_address

    @property
    def local_addresses(self) -> list[Address]:
        """Where it listens, one for each family."""
        return list(self._port.endpoint.local_addresses)

    @property
    def counters(self) -> dict[str, int]:
        """What it has seen so far by name, in packets; ``forged`` and ``refused`` tell of those who mean no good."""
        return self._port.counters

    async def dial(
        self,
        factory: ProtocolFactory,
        address: Address,
        *,
        punch: bool = False,
        timeout: float | None = DIAL_TIMEOUT,
    ) -> RudpTransport:
        """Connect, and give the connection to a protocol.

        Args:
            factory: Makes the protocol, once the connection is there.
            address: Where the peer is; a name is looked up, and its first address is taken.
            punch: Whether the peer dials us at the same time, both through NATs (BEP 55): more Syns, closer together.
                There may be two connections then, one that either side has dialled.
            timeout: Seconds; None waits as long as Syns are sent, 3.5 seconds, or 5 where a NAT is punched.

        Raises:
            OSError: The peer refused, or did not answer; a ``TimeoutError`` where it took too long.
            UsageError: There are too many connections.
        """
        async with asyncio.timeout(timeout):
            (found, *_) = await self._network.resolve(address)
            return await self._port.dial(factory, found, punch=punch)

    async def open_connection(
        self, address: Address, *, timeout: float | None = DIAL_TIMEOUT
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and return streams as :func:`asyncio.open_connection` does; see :meth:`dial`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(READ_LIMIT, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = await self.dial(lambda: protocol, address, timeout=timeout)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def close(self) -> None:
        """End every connection at once and let the port go. Idempotent."""
        self._port.close()
