"""The client and datagrams on uvloop, which the extra `loop` brings: the same tests as on asyncio's own loop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = (
    *(f"test_client_{name}.py" for name in ("messages", "streams", "requests", "life", "backpressure")),
    *("test_web_introducers.py", "test_tunnels.py", "udp/test_udp.py", "udp/test_udp_flood.py"),
)


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist there")
def test_a_client_works_on_uvloop() -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider"),
            *(str(HERE / name) for name in FILES),
        ],
        cwd=HERE.parents[1],
        env=os.environ | {"LIBRATS_TEST_LOOP": "uvloop"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) > len(FILES) * 10


def test_no_timer_is_asked_when_it_is_due() -> None:
    # uvloop makes a handle without that of a timer which is due already.
    sources = sorted((HERE.parents[1] / "src" / "librats").rglob("*.py"))
    assert [path.name for path in sources if ".when()" in path.read_text(encoding="utf-8")] == []
