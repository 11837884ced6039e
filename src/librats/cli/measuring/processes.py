"""Two processes that talk over loopback: one that receives and one that sends, and what both tell about it.

The receiver writes a line of JSON with its port. The sender is given that port as its last argument. When they are
done, each writes a line of JSON with what it measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from librats.errors import RatsError

__all__ = ["Both", "MeasuringFailed", "end_command", "run_both", "started", "told_by"]

TIME_LIMIT = 300.0

Told = dict[str, Any]


class MeasuringFailed(RatsError):
    """A process that was to measure something has not."""


@dataclass(frozen=True, slots=True)
class Both:
    """What the two ends told."""

    receiver: Told
    sender: Told

    @property
    def seconds(self) -> float:
        """From the first message of the measured part until the sender knew that all of them had come."""
        return float(self.sender["seconds"])

    @property
    def cpu_seconds(self) -> float:
        """CPU time of both processes in the measured part, all their threads and the system included."""
        return float(self.sender["cpu_seconds"]) + float(self.receiver["cpu_seconds"])


def end_command(function: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command that runs one end.

    Args:
        function: Where it is: ``module:function``.
        options: What it is told, as JSON.
    """
    return [sys.executable, "-m", "librats.cli.measuring", function, json.dumps(options)]


def run_both(receiver: Sequence[str], sender: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Both:
    """Run two commands, and return what they measured.

    Args:
        receiver: Command of the end that listens.
        sender: Command of the other one; the port becomes its last argument.
        environment: Variables for both, on top of those of this process.

    Raises:
        MeasuringFailed: One of them did not do it.
    """
    with started(receiver, environment) as listening:
        port = told_by(listening)["port"]
        with started([*sender, str(port)], environment) as dialling:
            sent = told_by(dialling)
        received = told_by(listening)
    return Both(received, sent)


@contextlib.contextmanager
def started(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a process whose output :func:`told_by` reads.

    An end of a measurement ends with its standard input, which is closed with the block, or when this process dies.

    Args:
        command: What to run.
        environment: Variables on top of those of this process.

    Raises:
        MeasuringFailed: It ended with another status than 0.
    """
    import tempfile  # noqa: PLC0415 - two thirds of a megabyte, which the measured processes need not have

    # A rebuild on import of an editable installation says so on standard output.
    variables = {**os.environ, "SKBUILD_EDITABLE_VERBOSE": "0", **(environment or {})}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        process = subprocess.Popen(  # noqa: S603 - our own program, and no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, env=variables
        )
        try:
            yield process
            _close(process.stdin)
            status = process.wait(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise MeasuringFailed(f"a process did not end within {TIME_LIMIT:g} s") from None
        except MeasuringFailed as failure:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            raise MeasuringFailed(f"{failure}: {_last_line(complaints)}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            _close(process.stdin)
            _close(process.stdout)
        if status:
            raise MeasuringFailed(f"a measuring process ended with status {status}: {_last_line(complaints)}")


def told_by(process: subprocess.Popen[str]) -> Told:
    """Return the next line of JSON of a process.

    Raises:
        MeasuringFailed: There is none.
    """
    line = process.stdout.readline() if process.stdout is not None else ""
    try:
        told = json.loads(line)
    except ValueError:
        raise MeasuringFailed("a measuring process told nothing") from None
    if not isinstance(told, dict):
        raise MeasuringFailed("a measuring process told nothing")
    return told


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


def _last_line(complaints: IO[str]) -> str:
    complaints.seek(0)
    lines = complaints.read().strip().splitlines()
    return lines[-1] if lines else "it says nothing"
