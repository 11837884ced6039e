"""How long an import takes in a fresh process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from librats.cli.measuring.sample import Sample

__all__ = ["import_time"]


def import_time(module: str, folders: Sequence[str] | None = None) -> Sample:
    """Measure milliseconds to import a module, beyond those of a process that does nothing.

    Args:
        module: Its name.
        folders: Where it and what it needs are looked for, beside the standard library, and nothing that is installed
            there acts at the start of the interpreter; None for what is usual.
    """
    return Sample((_process_time(f"import {module}", folders) - _process_time("pass", folders)) * 1e3)


def _process_time(statement: str, folders: Sequence[str] | None) -> float:
    # Isolated: neither the working directory nor the environment adds to where modules are looked for.
    command = [sys.executable, "-I"]
    if folders is not None:
        command.append("-S")
        statement = f"import sys; sys.path += {list(folders)!r}; {statement}"
    started = time.perf_counter()
    subprocess.run([*command, "-c", statement], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words
    return time.perf_counter() - started
