"""How long an import takes in a fresh process."""

from __future__ import annotations

import subprocess
import sys
import time

from librats.cli.measuring.contest import Sample

__all__ = ["import_time"]


def import_time(module: str) -> Sample:
    """Measure milliseconds to import a module, beyond those of a process that does nothing."""
    return Sample((_process_time(f"import {module}") - _process_time("pass")) * 1e3)


def _process_time(statement: str) -> float:
    started = time.perf_counter()
    # Isolated: neither the working directory nor the environment adds to where modules are looked for.
    subprocess.run([sys.executable, "-I", "-c", statement], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - started
