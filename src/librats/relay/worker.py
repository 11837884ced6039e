"""A thread that relays, and answers what comes to its sockets."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from librats._core.gate import Gate
from librats._core.relay import Plane
from librats.relay.datagram_sessions import Answers, Heard
from librats.relay.failures import Failures
from librats.turn.serving.allocation import Client
from librats.turn.serving.machine import Machine
from librats.turn.serving.request import Answer

__all__ = ["Worker"]

logger = logging.getLogger("librats.relay")

_TICK = 1.0


class Worker:
    """One thread, its data plane and its machine.

    Nothing here is touched by another thread but the mailbox, and counters that are only read.

    Args:
        plane: The data plane, with its listeners.
        gate: What answers strangers, in the data plane.
        machine: Answers all others.
        failed: Called from the thread where it ends by an exception.
    """

    def __init__(self, plane: Plane, gate: Gate, machine: Machine, failed: Callable[[], None]) -> None:
        self.plane = plane
        self.gate = gate
        self.machine = machine
        self.statistics: dict[str, int] = {}
        """What the data plane counted, as of the last second."""
        self.failures = Failures()
        """What was dropped because of errors that nobody foresaw."""
        self.hand_in: Callable[[Sequence[Heard], Answers], object] | None = None
        """Takes what comes of sessions over UDP."""
        self._failed = failed
        self._mailbox: deque[Callable[[float], None]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="librats relay", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def post(self, task: Callable[[float], None]) -> None:
        """Have something done by the thread, soon. Safe in every thread.

        Args:
            task: Is called with monotonic seconds.
        """
        self._mailbox.append(task)
        self.plane.wake()

    def deliver(self, answer: Answer) -> None:
        """Send an answer that comes late. Only from this thread."""
        self.plane.send(*answer)

    def answer(self, packets: Sequence[Heard]) -> None:
        """Send packets of sessions, soon. Safe in every thread."""
        self.post(partial(self._send_all, packets))

    def _send_all(self, packets: Sequence[Heard], _: float) -> None:
        for packet in packets:
            self.plane.send(*packet)

    def forget_users(self, _: float, *, knows_names: bool) -> None:
        """Let everybody prove anew who they are. To be posted (:meth:`post`) where passwords have changed.

        Args:
            knows_names: Whether every user name can be told from its hash.
        """
        self.gate.forget()
        self.gate.knows_names = knows_names

    def stop(self) -> None:
        """End all allocations and the thread, and wait for it."""
        self._stopping = True
        if self._thread.ident is not None:
            self.plane.wake()
            self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:
            logger.exception("a thread of the relay failed")
            self._failed()

    def _serve(self) -> None:
        plane, machine, mailbox = self.plane, self.machine, self._mailbox
        receive, send = machine.receive, plane.send
        monotonic, new_tuple = time.monotonic, tuple.__new__
        tick = 0.0
        while not self._stopping:
            events = plane.run(max(tick - monotonic(), 0.0))
            now = monotonic()
            packets: list[Heard] = []
            for event in events:
                if event[0] == "session":
                    packets.append(event[1:])
                elif event[0] == "control":
                    try:
                        answer = receive(new_tuple(Client, event[1:4]), event[4], now=now, login=event[5])
                    except Exception:  # one request is not worth the other clients
                        self.failures.note("a request", now=now)
                        continue
                    if answer is not None:
                        send(*answer)
            if packets and self.hand_in is not None:
                self.hand_in(packets, self.answer)
            while mailbox:
                task = mailbox.popleft()
                try:
                    task(now)
                except Exception:
                    self.failures.note("what another thread asked for", now=now)
            if now >= tick:
                tick = now + _TICK
                machine.time_difference = time.time() - now
                self.statistics = plane.statistics()
                try:
                    machine.handle_timer(now=now)
                except Exception:  # what is left over is done in the next second
                    self.failures.note("a second's upkeep", now=now)
        machine.tables.close()
