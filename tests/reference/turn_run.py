"""A TURN client and the reference server in virtual time, with a network between them that a test can spoil."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec.structs import replace
from tests.reference.turn_server import ReferenceServer

from librats.errors import RatsError
from librats.testing.entropy import SeededEntropy
from librats.turn.allocation_events import TurnAllocated
from librats.turn.client import TurnClient
from librats.turn.client_auth import Login
from librats.turn.client_events import ConnectWanted, CredentialsWanted, Event
from librats.turn.client_settings import ClientSettings
from librats.types import Address

__all__ = ["PEER", "SERVER", "TurnRun"]

SERVER = Address("198.51.100.1", 3478)
PEER = Address("203.0.113.9", 4000)
DELAY = 0.01

E = TypeVar("E")


class TurnRun:
    """Drives a client as a driver does, and carries what it sends to the server and back.

    ``copies`` decides for each datagram how many copies arrive, and with which delay.
    """

    def __init__(
        self,
        server: ReferenceServer | None = None,
        *,
        login: Login | None = None,
        logins: Callable[[CredentialsWanted], Login | RatsError] | None = None,
        start: bool = True,
        **settings: Any,
    ) -> None:
        self.now = 1000.0
        self.server = server or ReferenceServer()
        self.servers = {SERVER: self.server}
        wanted = replace(ClientSettings(asks=logins is not None), **settings)
        self.reliable = wanted.reliable
        self.client = TurnClient(wanted, SeededEntropy(5), login)
        self.logins = logins
        self.login_expires: float | None = None
        self.local = Address("192.168.1.5", 40_000)
        self.at = SERVER
        self.events: list[Event] = []
        self.data: list[tuple[bytes, Address]] = []
        self.sent: list[bytes] = []
        self.is_down = False
        self.opens = True
        self.copies: Callable[[bytes], Iterable[float]] = lambda _data: (DELAY,)
        self._flying: list[tuple[float, int, bool, bytes, Address, Address]] = []
        self._count = 0
        if start:
            self.client.start()
            self.pump()

    # The driver

    def pump(self) -> None:
        """Do what the client wants."""
        while (event := self.client.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, ConnectWanted) and self.opens:
                at = event.server or SERVER
                if self.client.transport_ready(at, now=self.now):
                    self.local, self.at = Address(self.local.host, self.local.port + 1), at
            elif isinstance(event, CredentialsWanted) and self.logins is not None:
                found = self.logins(event)
                if isinstance(found, Login):
                    self.client.set_login(found, expires=self.login_expires, now=self.now)
                else:
                    self.client.refuse_login(found, now=self.now)
        for data in self.client.data_to_send():
            self.sent.append(data)
            for delay in self.copies(data):
                self._fly(delay, True, data, self.local, self.at)
        self.data += self.client.take_data()

    def _fly(self, delay: float, up: bool, data: bytes, source: Address, target: Address) -> None:
        self._count += 1
        heapq.heappush(self._flying, (self.now + delay, self._count, up, data, source, target))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.pump()
        while True:
            timer = self.client.next_timer()
            times = [time for time in (timer, self._flying[0][0] if self._flying else None) if time is not None]
            if not times or min(times) > end:
                break
            self.now = max(self.now, min(times))
            while self._flying and self._flying[0][0] <= self.now:
                self._arrive(*heapq.heappop(self._flying)[2:])
            timer = self.client.next_timer()
            if timer is not None and timer <= self.now:
                self.client.handle_timer(now=self.now)
            self.pump()
        self.now = end

    def _arrive(self, up: bool, data: bytes, source: Address, target: Address) -> None:
        if up:
            if not self.is_down and target in self.servers:
                for answer, client in self.servers[target].receive(data, source, self.now):
                    self.back(answer, target, client)
        elif target == self.local:
            if self.reliable:
                self.client.receive_data(data, now=self.now)
            else:
                self.client.receive_datagrams([(data, source)], now=self.now)
            self.pump()

    def back(self, data: bytes, source: Address, client: Address) -> None:
        """Send a datagram from a server to a client."""
        for delay in self.copies(data):
            self._fly(delay, False, data, source, client)

    # What tests do

    def from_peer(self, data: bytes, peer: Address = PEER) -> None:
        for message, client in self.server.from_peer(data, peer, self.now):
            self.back(message, SERVER, client)

    def send(self, data: bytes, peer: Address = PEER) -> bool:
        taken = self.client.send(data, peer, now=self.now)
        self.pump()
        return taken

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def relayed(self) -> Address:
        return self.of(TurnAllocated)[-1].relayed[0]
