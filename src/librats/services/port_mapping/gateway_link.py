"""Driver of the port mapper: a socket towards one gateway, and the mapper's clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from librats.portmap.mapper import PortMapper
from librats.portmap.mapper_events import MapperEvent
from librats.runtime.datagrams import Origin
from librats.runtime.gateways import Gateway
from librats.runtime.network import Network
from librats.runtime.udp import DatagramEndpoint
from librats.types import Address, MappedTransport

__all__ = ["GatewayLink"]


class GatewayLink:
    """Asks one gateway by PCP and NAT-PMP.

    Args:
        gateway: Which one, and from which address of this host.
        network: Where it is.
        heed: Called with every event of the mapper.
    """

    def __init__(self, gateway: Gateway, network: Network, heed: Callable[[MapperEvent], object]) -> None:
        self._gateway = gateway
        self._network = network
        self._heed = heed
        self._loop = asyncio.get_running_loop()
        self._endpoint: DatagramEndpoint | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self.mapper = PortMapper(gateway.host, gateway.local, entropy=network.entropy, now=self._loop.time())
        """The machine."""

    async def open(self) -> None:
        """Open the socket.

        Raises:
            ConfigError: The address is no longer this host's.
        """
        self._endpoint = await self._network.open_datagram(self._gateway.local, 0, receive=self._receive)

    def add(self, transport: MappedTransport, port: int) -> int:
        """Ask for a mapping, and return its key."""
        key = self.mapper.add(transport, port, now=self._loop.time())
        self._step()
        return key

    def remove(self, key: int) -> None:
        """Remove a mapping, without waiting for the gateway."""
        self.mapper.remove(key, now=self._loop.time())
        self._step()

    async def close(self, within: float) -> None:
        """Remove every mapping, wait for the gateway to confirm it, and let the socket go. Idempotent.

        Args:
            within: Seconds to wait at the most; for a gateway that has never answered nothing is waited for.
        """
        if self._endpoint is not None and not self._endpoint.is_closed:
            self.mapper.remove_all(now=self._loop.time())
            self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    while len(self.mapper):
                        self._moved.clear()
                        await self._moved.wait()
        self.abandon()

    def abandon(self) -> None:
        """Let the socket go, and leave the mappings to end by themselves. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._endpoint is not None:
            self._endpoint.close()

    def _receive(self, batch: list[tuple[bytes, Origin]]) -> None:
        now = self._loop.time()
        for data, origin in batch:
            self.mapper.receive_datagram(data, origin, now=now)
        self._step()

    def _step(self) -> None:
        """Tell the events, send what is to be sent, and set the clock."""
        endpoint, mapper = self._endpoint, self.mapper
        if endpoint is None or endpoint.is_closed:
            return
        for data, address in mapper.datagrams_to_send():
            endpoint.send(data, Address(address.host, address.port))
        while (event := mapper.next_event()) is not None:
            self._heed(event)
        self._moved.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = mapper.next_timer()
        if due is not None and not endpoint.is_closed:
            self._timer = self._loop.call_at(due, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        # The loop may call a little early, by the resolution of its clock.
        due = self.mapper.next_timer()
        self.mapper.handle_timer(now=max(self._loop.time(), due or 0.0))
        self._step()
