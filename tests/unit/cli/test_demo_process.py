"""The processes of the demo: what the conductor hears when one of them fails, ends early, or is told nonsense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from librats.cli import demo_process
from librats.cli.demo_process import DemoFailed, NodeProcess

STRANGER = "ab" * 32


def make_node(folder: Path) -> NodeProcess:
    return NodeProcess("Alice", folder, "librats-demo-test", "warning")


async def test_a_command_that_cannot_be_carried_out_fails_the_demo(tmp_path: Path) -> None:
    async with asyncio.timeout(30), make_node(tmp_path) as node:
        ready = await node.expect("ready")
        assert ready["address"].startswith("127.0.0.1:")
        await node.tell("request", to=STRANGER, numbers=[1])
        with pytest.raises(DemoFailed, match=r"^Alice: peer abababab is not connected"):
            await node.expect("reply")
        with pytest.raises(DemoFailed, match="Alice has ended early, with status 1"):
            await node.expect("reply")
        await node.tell("chat", text="nobody hears this")  # nothing happens, though it has ended


async def test_what_is_told_early_is_kept_until_it_is_expected(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with asyncio.timeout(30), make_node(tmp_path) as alice, make_node(tmp_path / "other") as bob:
        first, second = await alice.expect("ready"), await bob.expect("ready")
        await bob.tell("connect", target=first["address"], expect_id=first["peer_id"])
        await bob.expect("connected")
        await bob.tell("chat", text="one")
        await bob.tell("request", to=first["peer_id"], numbers=[20, 22])
        asked = await alice.expect("asked")
        assert asked["numbers"] == [20, 22]
        assert (await alice.expect("message"))["text"] == "one"
        assert (await bob.expect("reply"))["value"] == 42
        assert second["peer_id"] == asked["peer_id"]


async def test_a_node_that_does_not_end_by_itself_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_process, "FAREWELL", 0.0)
    node = make_node(tmp_path)
    async with asyncio.timeout(30), node:
        await node.expect("ready")
    with pytest.raises(DemoFailed, match="has ended early"):
        await node.expect("message")


async def test_a_node_that_was_not_started_cannot_be_told_anything(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with pytest.raises(DemoFailed, match="Alice is not running"):
        await node.tell("chat", text="hi")
    with pytest.raises(DemoFailed, match="Alice is not running"):
        await node.expect("ready")
