"""The cipher without the compiled way into libsodium gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_cipher_vectors_pass_through_the_bindings() -> None:
    tests = Path(__file__).parent / "test_cipher_vectors.py"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=tests.parents[3],
        env=os.environ | {"LIBRATS_AEAD": "bindings"},
        capture_output=True,
        text=True,
        check=False,
    )
    # One for the backend, one for the count, the AEAD's cases, and twice those of the cipher state.
    assert f"{1 + 1 + 244 + 2 * 36} passed" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0


def test_handshake_vectors_pass_through_the_bindings() -> None:
    tests = Path(__file__).parent / "test_handshake_vectors.py"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(tests),
        ],
        cwd=tests.parents[3],
        env=os.environ | {"LIBRATS_AEAD": "bindings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "478 passed" in run.stdout
