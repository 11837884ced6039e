"""`librats demo`, from its first step to its last."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Run, Start

WAIT = 20.0


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("librats-demo")]


async def test_the_demo_tells_each_step_as_json_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    done = await run("demo", "--size", "1", "--json")
    assert done.status == 0
    *steps, last = done.events
    names = [step["name"] for step in steps]
    assert names == ["start", "find", "connect", "chat", "request", "file"]
    found = steps[1]["found"]
    assert steps[2]["discovery"] == last["discovery"] == ("mdns" if found else "address")
    assert steps[2]["peer_id"] == steps[0]["alice"]["peer_id"]
    assert steps[4]["reply"] == 42
    assert last["success"] is True
    assert last["verified"] is True
    assert last["bytes"] == 1_000_000
    assert len(last["hash"]) == 64
    assert last["bytes_per_second"] > 0
    assert "%" in done.stderr
    assert left_in(tmp_path) == []


async def test_the_demo_tells_people_what_happens_and_how_the_nodes_met(run: Run) -> None:
    done = await run("demo", "--size", "0.3", "--no-mdns")
    assert done.status == 0
    assert "1. " in done.stdout
    assert "by address" in done.stdout
    assert "mDNS is switched off" in done.stdout
    assert "Alice: 42" in done.stdout
    assert "It all worked" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_an_interrupted_demo_leaves_neither_processes_nor_files(start: Start, tmp_path: Path) -> None:
    command = await start("demo", "--size", "900", "--no-mdns", "--json")
    while (await command.event())["name"] != "request":
        pass
    done = await command.stop(signal.SIGINT)
    # Standard error is the nodes' too: it has come to its end only where they have ended.
    assert done.status == 130
    assert left_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_the_nodes_end_when_the_demo_is_killed(start: Start) -> None:
    command = await start("demo", "--size", "900", "--no-mdns", "--json")
    await command.event()
    command.process.kill()
    assert (await command.finish()).status == -signal.SIGKILL


async def test_a_file_that_does_not_fit_on_the_disk_is_a_failure(run: Run, tmp_path: Path) -> None:
    done = await run("demo", "--size", "1e12", "--json")
    assert done.status == 1
    assert done.stderr.count("librats: ") == 1
    assert "--size" in done.stderr
    assert done.events[-1]["success"] is False
    assert left_in(tmp_path) == []


async def test_a_node_of_the_demo_ends_with_its_input(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "librats.cli.demo_node", "Alice", str(tmp_path / "alice"), "test", "error"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT):
        stdout, _ = await process.communicate(b"")
    assert process.returncode == 0
    assert b'"ready"' in stdout
