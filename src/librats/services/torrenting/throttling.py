"""Limits of how much comes and goes, kept by the clock: one timer for each direction of a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Final

from librats.bittorrent.throttle import Gate, Turns

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.bittorrent.swarm import Swarm
    from librats.services.torrenting.wire import PeerWire

__all__ = ["Limits", "Throttle"]

GRAIN: Final = 0.01
"""Seconds between two looks at whose turn it is."""


class Throttle:
    """One direction of a client: who waits until more may pass."""

    def __init__(self) -> None:
        self.gate = Gate()
        """The limit of all torrents together."""
        self._turns = Turns()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ran = float("-inf")

    def wait(self, key: Hashable, gate: Gate, go: Callable[[float], int]) -> None:
        """Have somebody wait for a turn; see :meth:`.Turns.wait`."""
        self._loop = asyncio.get_running_loop()
        self._turns.wait(key, gate, go)
        if self._timer is None:
            self.arm()

    def leave(self, key: Hashable) -> None:
        """Have somebody wait no more."""
        self._turns.leave(key)

    async def turn(self, gate: Gate, size: int) -> None:
        """Wait for a turn, and take that many bytes."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def go(_now: float) -> int:
            if turn.done():
                return 0
            turn.set_result(None)
            return size

        self.wait(turn, gate, go)
        await turn

    def arm(self) -> None:
        """Look again when it is somebody's turn: that may be another time than before."""
        self.close()
        loop = self._loop
        due = self._turns.next_time(loop.time()) if loop is not None else None
        if loop is not None and due is not None:
            self._timer = loop.call_at(max(due, self._ran + GRAIN), self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ran = loop.time()
        self._turns.run(self._ran)
        self.arm()

    def close(self) -> None:
        """Let nobody pass any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Limits:
    """The limits of one torrent, or of a client.

    Args:
        down: What comes, of the client.
        up: What goes, of the client.
        common: Whether it is the client's own.
    """

    def __init__(self, down: Throttle, up: Throttle, *, common: bool = False) -> None:
        self.down, self.up = down, up
        self.down_gate = down.gate if common else Gate(down.gate)
        """What lets through what comes."""
        self.up_gate = up.gate if common else Gate(up.gate)
        """What lets through what goes."""

    def heed(self, swarm: Swarm) -> None:
        """Have a torrent heed what comes at most, which is something else now."""
        swarm.gate = self.down_gate if self.down_gate.is_limited else None
        self.down.arm()

    def forget(self, wire: PeerWire) -> None:
        """Take note that a connection is gone."""
        self.up.leave(wire)
        if wire.link is not None:
            self.down.leave(wire.link.key)

    def await_turns(self, swarm: Swarm, settle: Callable[[], None]) -> None:
        """Have peers of a torrent wait for their turn to be asked.

        Args:
            swarm: The torrent.
            settle: Called after one was asked.
        """

        def ask(link: PeerLink, now: float) -> int:
            size = link.ask_in_turn(now)
            settle()
            return size

        waiting, swarm.waiting = swarm.waiting, {}
        for key, link in waiting.items():
            self.down.wait(key, self.down_gate, partial(ask, link))
