"""A cell of the matrix: a relay on the server, ``librats node`` on one side, ``librats connect`` on the other."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns.lab import SERVER, SERVER6, Lab
from tests.netns.matrix import beside
from tests.netns.matrix.cells import Cell
from tests.netns.matrix.programs import Program
from tests.netns.matrix.results import Try

__all__ = ["CARRIED", "MODES", "USER", "Scene", "Settings"]

MODES = ("relay", "direct")
"""With everything that a relay grants, and with nothing but its introductions and STUN."""

CARRIED = "carried"
"""With everything that it grants, and the beginnings of sessions carried: what matters there is how soon they begin."""

USER = "ann", "secret"
PORT, OTHER_PORT, WEB_PORT = 3478, 3479, 443
PER_NODE = 5
"""Tries for which one node runs: it answers no more than six offers at once that name one host, and others later."""

AFTERWARDS = 15.0
"""Seconds that a command has to end when its time to connect is over."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a cell is measured."""

    delay: float = 0.02
    """Seconds of each access link, one way."""

    loss: float = 0.0
    timeout: float = 30.0
    """Seconds that a try may take."""

    fresh: bool = False
    """Whether each try has a node of its own."""

    cold: bool = False
    """Whether the connecting program begins from nothing, imports included."""


class Scene:
    """A laboratory in which two can meet.

    Args:
        lab: The laboratory.
        folder: Where identities and logs go.
        settings: How it is measured.
        mode: Which help there is.
    """

    def __init__(self, lab: Lab, folder: Path, settings: Settings, mode: str) -> None:
        self._lab, self._folder, self._settings, self._mode = lab, folder, settings, mode
        self._numbers = itertools.count()
        self._relay_id = ""

    @classmethod
    @contextlib.contextmanager
    def of(cls, cell: Cell, folder: Path, settings: Settings, mode: str) -> Iterator[Scene]:
        """Build a cell, with its relay."""
        with Lab(cell.left, cell.right, delay=settings.delay, loss=settings.loss, shared=cell.shared) as lab:
            scene = cls(lab, folder, settings, mode)
            with scene.relay():
                yield scene

    @contextlib.contextmanager
    def relay(self) -> Iterator[None]:
        words = ["relay", "--json", "--alternate", f"{SERVER[1]}:{OTHER_PORT}"]
        for where in (f"{SERVER[0]}:{PORT}", f"{SERVER[0]}:{WEB_PORT}", f"[{SERVER6}]:{PORT}"):
            words += ["--listen", where]
        words += ["--user", ":".join(USER)]
        if self._mode != CARRIED:
            words.append("--no-carry")
        if self._mode != "direct":
            # All hosts of the laboratory are of one network, which those of the internet are not.
            words += ["--relay-for-introduced", "--introduced-allocations", "100"]
        with self._running("server", words, "relay") as program:
            self._relay_id = program.tell()["peer_id"]
            program.mute()
            yield

    @contextlib.contextmanager
    def _running(self, box: str, words: list[str], name: str, *, cold: bool = False) -> Iterator[Program]:
        data = ["--data-dir", str(self._folder / name)]
        program = Program(self._lab, box, [*words, *data], self._folder / f"{name}.log", cold=cold)
        try:
            yield program
        finally:
            program.end()

    def _introducer(self, kind: str) -> list[str]:
        """Return the options that name the relay, at the address that such a network lets one reach."""
        port = WEB_PORT if kind == "tcp443_only" else PORT
        host = f"[{SERVER6}]" if kind == "v6_only" else SERVER[0]
        return ["--introducer", f"{self._relay_id}@{host}:{port}", "--no-port-mapping"]

    @contextlib.contextmanager
    def node(self, kind: str) -> Iterator[str]:
        """Run a node that answers, and yield its id when the relay knows it."""
        name = f"node{next(self._numbers)}"
        with self._running("host2", ["node", "--json", "--echo", *self._introducer(kind)], name) as program:
            peer_id: str = program.tell()["peer_id"]
            program.mute()
            self._wait_until_introduced()
            yield peer_id

    def tries(self, cell: Cell, count: int) -> Iterator[Try]:
        """Connect several times, to one node as long as that answers."""
        while count > 0:
            with self.node(cell.right) as peer_id:
                for _ in range(min(count, PER_NODE)):
                    yield self.connect(cell.left, peer_id)
            count -= PER_NODE

    def tries_of(self, whose: str, count: int) -> Iterator[Try]:
        """Let two ICE agents of somebody's meet several times."""
        for _ in range(count):
            yield beside.meet(self._lab, whose, USER if self._mode != "direct" else None, self._settings.timeout)

    def _wait_until_introduced(self) -> None:
        until = time.monotonic() + 20
        while not self._has_sessions() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2 + 8 * self._settings.delay)

    def _has_sessions(self) -> bool:
        """Tell whether somebody is connected to the relay, as the kernel lists it."""
        ports = tuple(f":{port:04X}" for port in (PORT, WEB_PORT))
        with self._lab.enter("server"):
            listed = [
                line.split()
                for table in ("tcp", "tcp6")
                for line in Path("/proc/thread-self/net", table).read_text(encoding="ascii").splitlines()[1:]
            ]
        return any(columns[3] == "01" and columns[1].endswith(ports) for columns in listed)

    def connect(self, kind: str, peer_id: str) -> Try:
        """Connect once, by a client that nobody knows yet, and ask something."""
        timeout = self._settings.timeout
        words = ["connect", peer_id, "--json", "--request", "echo", '"hello"', "--timeout", f"{timeout:g}"]
        name = f"connect{next(self._numbers)}"
        words += self._introducer(kind)
        with self._running("host", words, name, cold=self._settings.cold) as program:
            told = program.all(within=timeout + AFTERWARDS)
            return read_try(told, program.complaint())


def read_try(told: list[dict[str, Any]], complaint: str) -> Try:
    """Make a try of what ``librats connect --json`` has told."""
    if not told:
        return Try(ok=False, seconds=0.0, error=complaint or "it has said nothing")
    result, replies = told[0], told[1:]
    seconds = result["duration_ms"] / 1000
    if not result["success"]:
        return Try(ok=False, seconds=seconds, error=result["error_message"] or result["error"])
    won: dict[str, Any] = next((each for each in result["attempts"] if not each["error"]), {})
    introduced = won.get("duration_ms", 0.0) / 1000
    way = str(won.get("technique") or result["method"])
    is_carried = way == CARRIED
    if not is_carried and any(
        candidate.rpartition(":")[0].strip("[]") in (*SERVER, SERVER6) for candidate in result["used_candidates"]
    ):
        way = "relay"
    if not replies or "error" in replies[0]:
        error = f"connected, but: {replies[0]['error'] if replies else complaint}"
        return Try(ok=False, seconds=seconds, introduced=introduced, way=way, error=error)
    reply = replies[0]["duration_ms"] / 1000
    return Try(ok=True, seconds=seconds, introduced=introduced, reply=reply, way=way)
