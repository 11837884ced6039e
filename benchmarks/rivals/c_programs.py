"""Compiles the C of this folder, where there is a C compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["BUILT", "SHARED", "compiled"]

SOURCES = Path(__file__).parent
BUILT = Path(__file__).parents[2] / "build" / "benchmarks"
SHARED = ("-shared", "-fPIC")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def compiled(name: str, *more: str) -> Path | None:
    """Return a program, or a library where SHARED is among the options; None where nothing can be compiled.

    Args:
        name: Of its source, without ``.c``.
        more: Options for the compiler, and libraries.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.name != "posix":
        return None
    BUILT.mkdir(parents=True, exist_ok=True)
    built = BUILT / name
    subprocess.run([compiler, *FLAGS, "-o", built, SOURCES / f"{name}.c", *more], check=True)
    return built
