"""Commands of ``librats`` in the laboratory's boxes.

To start Python and import everything takes a second of CPU, which is not measured here. So they are forked from a
process that has imported everything already, unless it is asked for programs that begin from nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.netns.lab import Lab, end, inside

__all__ = ["LIBRATS", "Program", "preload"]

LIBRATS = Path(sys.executable).with_name("librats")
PATIENCE = 5.0

_forks = multiprocessing.get_context("forkserver")


def preload() -> None:
    """Have the process from which others are forked import what they need; before the first one is started."""
    imported = ("librats.cli", "librats.services.mdns", "librats.services.web_transport", "ifaddr")
    _forks.set_forkserver_preload([*imported, "tests.netns.matrix.programs"])


def _be(namespace: str, words: list[str], log: str, out: Connection) -> None:
    """Be a command."""
    with inside(namespace):
        os.dup2(out.fileno(), 1)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
        from librats.cli import main  # noqa: PLC0415 - by those that are forked

        code = main(words)
        sys.stdout.flush()
    os._exit(code)


class Program:
    """A command that runs, and what it says.

    Args:
        lab: The laboratory.
        box: Where in it.
        words: Of the command, without its name.
        log: Where its standard error goes.
        cold: Whether it begins from nothing.
    """

    def __init__(self, lab: Lab, box: str, words: Sequence[str], log: Path, *, cold: bool = False) -> None:
        self._log = log
        self._cold: subprocess.Popen[bytes] | None = None
        self._warm: Any = None
        self._reader: threading.Thread | None = None
        if cold:
            with lab.enter(box), log.open("ab") as errors:
                self._cold = subprocess.Popen([LIBRATS, *words], stdout=subprocess.PIPE, stderr=errors)
            self._out: Any = self._cold.stdout
        else:
            ours, theirs = _forks.Pipe(duplex=False)
            self._warm = _forks.Process(target=_be, args=(lab.namespace(box), list(words), str(log), theirs))
            self._warm.start()
            theirs.close()
            self._out = os.fdopen(os.dup(ours.fileno()), "rb")
            ours.close()

    def tell(self) -> dict[str, Any]:
        """Return the next that it says.

        Raises:
            RuntimeError: It has ended instead.
        """
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"it has ended: {self.complaint()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def mute(self) -> None:
        """Hear nothing more of what it says."""
        self._reader = threading.Thread(target=self._out.read, daemon=True)
        self._reader.start()

    def all(self, within: float) -> list[dict[str, Any]]:
        """Return everything that it says until its end, for which it has so many seconds."""
        timer = threading.Timer(within, self._stop)
        timer.start()
        try:
            return [json.loads(line) for line in self._out]
        finally:
            timer.cancel()

    def complaint(self) -> str:
        """Return the end of its standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-300:].strip() if self._log.exists() else ""

    def end(self) -> None:
        """End it, if it has not ended, and hear nothing more of it."""
        self._stop()
        if self._reader is not None:
            self._reader.join()
        self._out.close()

    def _stop(self) -> None:
        if self._cold is not None:
            end(self._cold)
            return
        self._warm.terminate()
        self._warm.join(PATIENCE)
        if self._warm.is_alive():
            self._warm.kill()
            self._warm.join()
