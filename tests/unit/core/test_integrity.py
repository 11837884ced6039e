"""SHA-1 of STUN by OpenSSL's blocks and by our own: each test of the codec's integrity passes by both."""

from __future__ import annotations

import _hashlib
import ctypes
import subprocess
import sys
from pathlib import Path

from librats._core.integrity import BY_OPENSSL

TESTS = Path(__file__).parent / "test_stun.py"
WITHOUT_OPENSSL = """
import sys
sys.modules["_hashlib"] = None
import pytest
from librats._core.integrity import BY_OPENSSL
assert not BY_OPENSSL
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "integrity or vector or sha", sys.argv[1]]))
"""


def test_openssl_is_used_where_it_shows_its_function() -> None:
    assert hasattr(ctypes.CDLL(_hashlib.__file__), "SHA1_Transform") == BY_OPENSSL


def test_integrity_is_the_same_without_openssl() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENSSL, str(TESTS)],
        cwd=TESTS.parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
