"""Nothing that may block is called in the thread of the event loop."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path


async def test_no_file_and_no_name_is_looked_up_in_the_loops_thread(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.loopback.blocking_calls", str(tmp_path)),
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    seen = json.loads(out)
    assert [call.partition(" ")[0] for call in seen["on_purpose"]] == ["os.remove"]
    assert seen["calls"] == []
