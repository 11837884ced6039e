"""Either side of a transfer is killed, again and again: started anew, it goes on where it was."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from librats import FilesConfig, RatsConfig, Ticket, save_config

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Start

QUIET = ("--no-mdns", "--no-dht", "--json")
CHUNK = 1 << 20
KILLS = 20


async def follow(command: Command, chunks: int) -> tuple[int, int, bool]:
    """Read until so many chunks have come; return the first report, the last one, and whether it has ended."""
    first = last = -1
    while True:
        event = await command.event()
        if event["event"] == "done":
            return first, event["bytes"], True
        if event["event"] == "progress":
            last = event["bytes"]
            first = last if first < 0 else first
            if last >= first + chunks * CHUNK:
                return first, last, False


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_either_side_is_killed_at_twenty_moments_and_nothing_is_lost(start: Start, tmp_path: Path) -> None:
    dice = random.Random(8)  # noqa: S311 - the same in every run
    size = 200 * CHUNK
    data = dice.randbytes(size)
    (tmp_path / "big.bin").write_bytes(data)
    save_config(RatsConfig(files=FilesConfig(max_rate=4_000_000)), tmp_path / "slow.json")

    async def send(listen: str) -> tuple[Command, str]:
        command = await start("send", "big.bin", "--keep", "--listen", listen, *QUIET, home="sender")
        return command, (await command.event_named("ticket"))["ticket"]

    sender, ticket = await send("127.0.0.1:0")
    port = Ticket.parse(ticket).addresses[0].port
    reached, ended, kills = 0, False, 0
    while not ended:
        pace = ("--config", "slow.json") if kills < KILLS else ()
        receiver = await start(
            *("receive", ticket, "--folder", "out", "--listen", "127.0.0.1:0", *pace, *QUIET), home="receiver"
        )
        first, last, ended = await follow(receiver, dice.randrange(1, 6) if kills < KILLS else 1 << 30)
        if first >= 0:
            assert first >= reached - CHUNK, "more than a chunk was lost"
        reached = max(reached, last)
        if ended:
            break
        assert not (tmp_path / "out" / "big.bin").exists()
        kills += 1
        if kills % 3 == 0:  # the other side, and this one goes on by itself when that is back
            sender.process.kill()
            await sender.process.wait()
            sender, _ = await send(f"127.0.0.1:{port}")
            _, last, ended = await follow(receiver, 3)
            reached = max(reached, last)
            if ended:
                break
        receiver.process.kill()
        await receiver.process.wait()
    assert kills == KILLS
    assert (tmp_path / "out" / "big.bin").read_bytes() == data
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["big.bin"]
