"""Moves datagrams between a machine of punching and sockets or connections, and gives it the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from librats.punch.machine import PathFound, PunchMachine, PunchOver, Sent
from librats.punch.plans import PunchReason
from librats.types import Address

__all__ = ["PunchDriver"]

LAST_STUN_BYTE = 3
MAX_EARLY = 64


class PunchDriver:
    """Moves datagrams between a machine and sockets, and gives it the time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine: PunchMachine | None = None
        self._send: Callable[[Sent], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.outcome: asyncio.Future[PathFound | PunchReason] = self._loop.create_future()
        """What has come of it."""
        self._data: Callable[[int, bytes, Address], object] | None = None
        self._early: list[tuple[int, bytes, Address]] = []

    def drive(self, machine: PunchMachine, send: Callable[[Sent], object]) -> None:
        """Begin.

        Args:
            machine: Who is given what comes.
            send: Called with what it sends.
        """
        self._machine, self._send = machine, send

    def take(self, number: int, data: bytes, address: Address) -> bool:
        """Take what came to a socket; False where it is STUN, but no check of the peer's."""
        machine = self._machine
        if machine is not None and machine.receive_datagram(data, address, now=self._loop.time(), base=number):
            self.pump()
            return True
        if data and data[0] <= LAST_STUN_BYTE:
            return False
        if self._data is not None:
            self._data(number, data, address)
        elif len(self._early) < MAX_EARLY:
            self._early.append((number, data, address))
        return True

    def deliver(self, data: Callable[[int, bytes, Address], object]) -> None:
        """Hand on what else comes from now on, and has come: the peer may know earlier that there is a way."""
        self._data = data
        early, self._early = self._early, []
        for item in early:
            data(*item)

    def pump(self) -> None:
        """Send what is to be sent, tell what has happened, and set the clock."""
        machine, send = self._machine, self._send
        if machine is None or send is None:
            return
        for sent in machine.datagrams_to_send():
            send(sent)
        while (event := machine.next_event()) is not None:
            if not self.outcome.done():
                self.outcome.set_result(event.reason if isinstance(event, PunchOver) else event)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = machine.next_timer()
        if at is not None:
            self._timer = self._loop.call_at(at, self._time_has_come, at)

    def _time_has_come(self, at: float) -> None:
        self._timer = None
        if self._machine is not None:
            self._machine.handle_timer(now=max(self._loop.time(), at))
            self.pump()

    def close(self) -> None:
        """Move nothing any more. Idempotent."""
        self._machine = None
        self._data = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
