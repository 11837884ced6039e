"""How much memory a process holds, and the ends for what a further idle peer takes."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_mib", "resident_kib"]

STATUS = Path("/proc/self/status")


def peak_mib() -> float | None:
    """Return the most that this process has held at once, in MiB; None where the system does not tell."""
    peak = _status("VmHWM")  # what the resource module tells begins on Linux with what the parent held
    if peak is not None:
        return peak / 1024
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def resident_kib() -> float | None:
    """Return what this process holds now, in KiB; None where the system does not tell."""
    return _status("VmRSS")


def _status(name: str) -> float | None:
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
