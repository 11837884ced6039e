"""Either side of a transfer of a gigabyte is killed, again and again: started anew, it goes on where it was."""

from __future__ import annotations

import asyncio
import dataclasses
import filecmp
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from librats import Identity, NatTraversalConfig, RatsClient, RatsConfig, ReconnectConfig, Ticket
from librats.transfer.sending import Sending
from librats.transfer.tree import LEAF_SIZE

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Start

    from librats.services.transferring.handle import Transfer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

QUIET = ("--no-mdns", "--no-dht", "--json")
SIZE = 1_000_000_000
CHUNK = 1 << 20
WINDOW = 16 << 20
KILLS = 20
SOON = 300.0

logger = logging.getLogger("tests.killed")


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dice = random.Random(8)  # noqa: S311 - the same in every run
    path = tmp_path_factory.mktemp("big") / "big.bin"
    with path.open("wb") as file:
        for _ in range(SIZE // 1_000_000):
            file.write(dice.randbytes(1_000_000))
    return path


@pytest.fixture
def moments() -> list[int]:
    """Return how many bytes are there when a side is killed, in order."""
    dice = random.Random(20)  # noqa: S311 - the same in every run
    return sorted(dice.randrange(SIZE) for _ in range(KILLS))


@pytest.fixture
async def client() -> AsyncIterator[RatsClient]:
    config = RatsConfig(
        listen_host="127.0.0.1", nat=NatTraversalConfig.offline(), reconnect=ReconnectConfig(initial_delay=0.2)
    )
    async with RatsClient(config=config, identity=Identity.generate()) as running:
        yield running


async def reach(transfers: RatsClient, count: int) -> Transfer:
    """Wait until a transfer has so many bytes."""
    async with asyncio.timeout(SOON):
        while True:
            for transfer in transfers.files.transfers.values():
                if transfer.is_over or (transfer.state == "running" and transfer.snapshot().bytes >= count):
                    return transfer
            await asyncio.sleep(0.002)


def leaves_there(part: Path, whole: Path) -> int:
    """Return how many leaves of a file have reached another one, of random bytes both."""
    there = 0
    with part.open("rb") as one, whole.open("rb") as other:
        while piece := one.read(LEAF_SIZE):
            there += piece == other.read(LEAF_SIZE)
    return there


async def test_a_receiver_that_is_killed_at_twenty_moments_of_a_gigabyte_goes_on(
    start: Start, tmp_path: Path, big: Path, moments: list[int], client: RatsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[int] = []
    plainly = Sending.accepted

    def note(machine: Sending, count: int) -> None:
        accepted.append(count)
        plainly(machine, count)

    monkeypatch.setattr(Sending, "accepted", note)
    shared = await client.files.share(big)
    ticket = str(dataclasses.replace(client.ticket(), content=bytes.fromhex(shared.content_id)))
    written = []
    for moment in moments:
        receiver = await start(*("receive", ticket, "--folder", "out", "--listen", "127.0.0.1:0", *QUIET))
        await receiver.event_named("transfer", within=SOON)
        await reach(client, moment)
        receiver.process.kill()
        await receiver.process.wait()
        assert not (tmp_path / "out" / "big.bin").exists()
        [part] = (tmp_path / "out").glob(".librats-*.part/content/big.bin")
        written.append(leaves_there(part, big) * LEAF_SIZE)
    receiver = await start(*("receive", ticket, "--folder", "out", "--listen", "127.0.0.1:0", *QUIET))
    assert (await receiver.event_named("done", within=SOON))["bytes"] == SIZE
    lost = [before - after for before, after in zip(written, accepted[1:], strict=True)]
    assert accepted[0] == 0
    assert max(lost) <= CHUNK, lost  # of what was on the disk, and not noted yet
    again = client.statistics()["files"]["bytes_sent"] - SIZE
    logger.info("lost of what was written: %s; sent again: %d bytes", lost, again)
    assert again <= KILLS * (WINDOW + CHUNK)  # and what was on its way to a process that is not there any more
    assert filecmp.cmp(tmp_path / "out" / "big.bin", big, shallow=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["big.bin"]


async def test_a_sender_that_is_killed_at_twenty_moments_of_a_gigabyte_goes_on(
    start: Start, tmp_path: Path, big: Path, moments: list[int], client: RatsClient
) -> None:
    async def send(listen: str) -> tuple[Command, Ticket]:
        sender = await start("send", str(big), "--keep", "--no-code", "--listen", listen, *QUIET)
        return sender, Ticket.parse((await sender.event_named("ticket", within=SOON))["ticket"])

    sender, ticket = await send("127.0.0.1:0")
    peer = await client.connect(str(ticket))
    taking = await client.files.fetch(peer, ticket.content, tmp_path / "out")
    for moment in moments:
        assert await reach(client, moment) is taking
        if taking.is_over:
            await taking.wait()  # raises what went wrong
        sender.process.kill()
        await sender.process.wait()
        assert not (tmp_path / "out" / "big.bin").exists()
        sender, again = await send(f"127.0.0.1:{ticket.addresses[0].port}")
        assert again.content == ticket.content
    async with asyncio.timeout(SOON):
        result = await taking.wait()
    received = client.statistics()["files"]["bytes_received"]  # whole chunks, with their proofs
    network = client.statistics()["bytes_received"]
    logger.info("chunks received: %d bytes more than the file; by the network: %d", received - SIZE, network - SIZE)
    assert SIZE <= received <= SIZE * 1.001 + KILLS * CHUNK
    assert filecmp.cmp(result.path, big, shallow=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["big.bin"]
