"""What `import librats` costs in a fresh process, beside a process that does nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

# An editable install looks for something to rebuild when a compiled module is imported; that comes on top.
STATEMENTS = {"nothing": "pass", "librats": "import librats", "asyncio": "import asyncio"}


@pytest.mark.parametrize("what", STATEMENTS)
def bench_import(what: str, benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", STATEMENTS[what]]
    benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"check": True, "cwd": tmp_path}, rounds=15, warmup_rounds=2
    )
