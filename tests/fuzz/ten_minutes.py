"""Ten minutes of libFuzzer, by atheris, on one of the targets beside this module."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["MARKS", "fuzz"]

ROOT = Path(__file__).parents[2]
SECONDS = 600
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None

MARKS = [
    pytest.mark.long,
    pytest.mark.timeout(SECONDS + 120),
    pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux only"),
]
"""Of each test that does it."""


def fuzz(target: str, inputs: Mapping[str, bytes], folder: Path, *, longest: int, patience: int = 5) -> int:
    """Run a target from some inputs on, check that it finds nothing, and return how many inputs it has tried.

    Args:
        target: Name of its module in this folder.
        inputs: What it begins with, by name.
        folder: Where they are put, and what it finds.
        longest: Bytes of an input at the most.
        patience: Seconds that one input may take.
    """
    corpus, finds = folder / "corpus", folder / "finds"
    corpus.mkdir()
    finds.mkdir()
    for name, data in inputs.items():
        (corpus / name).write_bytes(data)
    options = [f"-max_total_time={SECONDS}", f"-timeout={patience}", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", f"tests.fuzz.{target}", *options, f"-max_len={longest}", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    return int(executed.split()[-1])
