"""Memory of the C library that is freed and asked for again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from librats.runtime.heap import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        pieces = [b"x" * 65536 for _ in range(64)]
        del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
before = resource.getrusage(resource.RUSAGE_SELF)
keep_freed_memory()
after = resource.getrusage(resource.RUSAGE_SELF)
faults()  # the first round fills it
print(plain, faults(), after.ru_maxrss - before.ru_maxrss)
"""

PAGES = 64 * 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have rules of their own")
def test_memory_that_comes_and_goes_is_asked_of_the_system_once() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    plain, kept, grown = map(int, done.stdout.split())
    assert plain > 5 * PAGES  # each of ten rounds
    assert kept < PAGES  # not even one
    assert grown < 256  # KiB: what was freed was never written to
