"""Moves datagrams between an ICE machine and its ports, and gives both the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from librats.ice.agent import IceMachine
from librats.ice.events import IceEvent
from librats.ice.messages import read_message
from librats.services.ice.gathering import IceSupply
from librats.types import Address

__all__ = ["IceDriver"]

LAST_STUN_BYTE = 3


class IceDriver:
    """Drives one machine and whoever asks STUN servers for it.

    Args:
        machine: The agent.
        supply: Its ports.
        deliver: Called with every datagram of the peer's.
        happened: Called with every event of the machine's.
        gathered: Called when there will be no more candidates of this side; again after a restart.
    """

    def __init__(
        self,
        machine: IceMachine,
        supply: IceSupply,
        *,
        deliver: Callable[[bytes], object],
        happened: Callable[[IceEvent], object],
        gathered: Callable[[], object],
    ) -> None:
        self._machine = machine
        self._supply = supply
        self._deliver = deliver
        self._happened = happened
        self._gathered = gathered
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # the handles of uvloop do not all tell
        self._told_end = self._is_closed = False

    def take(self, number: int, data: bytes, address: Address) -> bool:
        """Take what came to a base; False where it is neither a check nor the peer's data."""
        if self._is_closed:
            return False
        if data and data[0] <= LAST_STUN_BYTE:
            now = self._loop.time()
            taken = self._machine.receive_datagram(data, address, now=now, base=number)
            if taken or self._supply.reflexive.receive_datagram(data, address, now=now, base=number):
                self.pump()
                return True
            if read_message(data) is not None:
                return False  # a late answer, or for another agent on the same socket: never the application's
        if not self._machine.accepts(number, address):
            return False
        self._deliver(data)
        return True

    def pump(self) -> None:
        """Send what is to be sent, tell what has happened, and set the clock."""
        if self._is_closed:
            return
        now = self._loop.time()
        self._take_mapped(now)
        self._send(now)
        self.tell_events()
        if self._supply.is_over and not self._told_end:
            self._told_end = True
            self._gathered()
        self._arm()

    def _take_mapped(self, now: float) -> None:
        machine = self._machine
        while (mapped := self._supply.reflexive.next_event()) is not None:
            server = mapped.server.host
            if mapped.before is None:
                machine.add_mapped(mapped.base, mapped.address, server=server, now=now)
            else:
                machine.replace_mapped(mapped.base, mapped.before, mapped.address, server=server, now=now)
        self._supply.look()

    def _send(self, now: float) -> None:
        reflexive = self._supply.reflexive
        for number, data, address in self._machine.datagrams_to_send():
            if (port := self._supply.port(number)) is not None:
                port.send(data, address)
                reflexive.sent_from(number, now=now)
        for number, data, address in reflexive.datagrams_to_send():
            if (port := self._supply.port(number)) is not None:
                port.send(data, address)

    def tell_events(self) -> None:
        """Tell what has happened."""
        while (event := self._machine.next_event()) is not None:
            self._happened(event)

    def begin_again(self) -> None:
        """Take that this side may have more candidates again."""
        self._told_end = False

    def _arm(self) -> None:
        if self._is_closed:
            return  # by a callback
        times = [at for at in (self._machine.next_timer(), self._supply.reflexive.next_timer()) if at is not None]
        at = min(times, default=None)
        if self._timer is not None:
            if self._timer_at == at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._time_has_come, at)

    def _time_has_come(self, at: float) -> None:
        self._timer = None
        now = max(self._loop.time(), at)  # the loop may call a little early
        self._machine.handle_timer(now=now)
        self._supply.reflexive.handle_timer(now=now)
        self.pump()

    def close(self) -> None:
        """Move nothing any more. Idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
