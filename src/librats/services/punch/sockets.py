"""The sockets of one round of punching, and where servers see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from librats.errors import ConfigError
from librats.punch.machine import Sent
from librats.runtime.network import Network
from librats.runtime.udp import DatagramEndpoint
from librats.stun.client import Answered, StunClient
from librats.stun.transaction import Retransmission
from librats.types import Address

__all__ = ["PunchSockets", "Take"]

Take = Callable[[int, bytes, Address], bool]
"""Called with the number of a socket, a datagram and where it came from; says whether it was taken."""

PACE = Retransmission(rto=0.1, rc=8, rm=4, longest=0.2)
SMALL_BUFFER = 16 * 1024
IPV4_ANY = "0.0.0.0"  # noqa: S104 - answers come from anywhere

Batch = Sequence[tuple[bytes, Address]]


class PunchSockets:
    """Numbered sockets, each on a port of its own.

    Args:
        network: Where they are opened.
        take: Called with what is no answer of a STUN server.
    """

    def __init__(self, network: Network, take: Take) -> None:
        self._network = network
        self._take = take
        self._endpoints: dict[int, DatagramEndpoint] = {}
        self._client = StunClient(network.entropy, pace=PACE)
        self._seen: dict[int, Address] = {}
        self._changed = asyncio.Event()
        self.server: Address | None = None
        """The STUN server that was the first to answer."""

    def __len__(self) -> int:
        """How many are open."""
        return len(self._endpoints)

    @property
    def numbers(self) -> list[int]:
        """Those that are open."""
        return list(self._endpoints)

    def endpoint(self, number: int) -> DatagramEndpoint:
        """Return one of them."""
        return self._endpoints[number]

    async def open_first(self) -> int:
        """Open number 0, on every interface and both address families, and return its port.

        Raises:
            ConfigError: This machine lets us open none.
        """
        first = self._endpoints[0] = await self._network.open_datagram("", 0, receive=partial(self._came, 0))
        return first.local_address.port

    async def open_more(self, count: int) -> list[int]:
        """Open others, over IPv4 alone, and return their numbers: fewer, where this machine lets us open no more."""
        opened = []
        for number in range(max(self._endpoints, default=-1) + 1, max(self._endpoints, default=-1) + 1 + count):
            try:
                endpoint = await self._network.open_datagram(
                    IPV4_ANY, 0, receive=partial(self._came, number), buffer_size=SMALL_BUFFER
                )
            except ConfigError:
                break
            self._endpoints[number] = endpoint
            opened.append(number)
        return opened

    async def seen_at(
        self, numbers: Sequence[int], servers: Sequence[Address], is_vain: Callable[[], bool] = lambda: False
    ) -> dict[int, Address]:
        """Ask STUN servers where they see some of them, in that order; who answers first counts.

        Args:
            numbers: Which ones.
            servers: Whom to ask.
            is_vain: Tells that no answer will come, which is looked at now and then.

        Returns:
            The public address by number, of those for which an answer has come.
        """
        loop = asyncio.get_running_loop()
        asked = []
        for number in numbers:
            self._seen.pop(number, None)
            asked += [self._client.ask(server, now=loop.time(), socket=number) for server in servers]
        try:
            while len(self._client) and not (all(number in self._seen for number in numbers) or is_vain()):
                self._changed.clear()
                self._pump_client()
                wake = self._client.next_timer()
                try:
                    async with asyncio.timeout_at(wake):
                        await self._changed.wait()
                except TimeoutError:
                    self._client.handle_timer(now=max(loop.time(), wake or 0.0))
                self._pump_client()
        finally:
            for request in asked:
                self._client.cancel(request)
        return {number: self._seen[number] for number in numbers if number in self._seen}

    def _pump_client(self) -> None:
        for number, data, address in self._client.datagrams_to_send():
            self.send(Sent(number, data, address))
        while (event := self._client.next_event()) is not None:
            if isinstance(event, Answered):
                self._seen.setdefault(event.socket, event.mapped)
                self.server = self.server or event.server

    def _came(self, number: int, batch: Batch) -> None:
        for data, address in batch:
            if self._take(number, data, address):
                continue
            if len(self._client):
                now = asyncio.get_running_loop().time()
                self._client.receive_datagram(data, address, now=now, socket=number)
                self._pump_client()
                self._changed.set()

    def send(self, sent: Sent) -> bool:
        """Send one datagram; False where it was not."""
        endpoint = self._endpoints.get(sent.base)
        if endpoint is None:
            return False
        if sent.hops:
            return endpoint.send_near(sent.data, sent.address, sent.hops)
        return endpoint.send(sent.data, sent.address)

    def close(self, numbers: Sequence[int]) -> None:
        """Close some of them."""
        for number in numbers:
            self._endpoints.pop(number).close()

    def close_others(self, number: int | None = None) -> None:
        """Close all but one of them, or all."""
        for other in [other for other in self._endpoints if other != number]:
            self._endpoints.pop(other).close()
