"""A relay under clients that come and go for minutes: it takes no more memory and no more descriptors.

`LIBRATS_SOAK_MINUTES` says for how long, ten where it is not set.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.loopback.relay.clients import UDP, Peer, TurnClient

from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.stun.constants import Attribute, Method
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Start

MINUTES = float(os.environ.get("LIBRATS_SOAK_MINUTES", "10"))
CLIENTS_PER_SECOND = 50
PACKETS = 10
MOST_GROWTH = 2 << 20
WARM_UP = 0.3  # of the time: caches find their size, and the collector of cycles its first turn
CONFIG = """
listen = "127.0.0.1:0"
allow_peers = "127.0.0.0/8"
threads = 2

[users]
bob = "secret"

[settings]
default_lifetime = 5
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(60 * MINUTES + 120),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


class Sample(NamedTuple):
    rss: int
    """Bytes."""
    descriptors: int


def sample(pid: int) -> Sample:
    place = Path(f"/proc/{pid}")
    pages = int((place / "statm").read_text(encoding="ascii").split()[1])
    return Sample(pages * os.sysconf("SC_PAGE_SIZE"), len(list((place / "fd").iterdir())))


def come_and_go(server: Address, peer: Peer, number: int) -> None:
    """Allocate, have data go both ways, and leave in one of four ways."""
    way = number % 4
    with TurnClient(server, "tcp" if way == 0 else "udp") as client:
        answer = client.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP))
        if answer.get(Attribute.ERROR_CODE) == (437, "Allocation Mismatch"):
            return  # the system gave this client the port of one whose allocation has yet to expire
        relayed = answer.get(Attribute.XOR_RELAYED_ADDRESS)
        if way == 1:
            assert client.permit(peer.address) == 0
        else:
            assert client.bind(0x4000, peer.address) == 0
        for size in range(0, 100 * PACKETS, 100):
            data = bytes([number & 0xFF]) * size
            if way == 1:
                client.send(data, peer.address)
            else:
                client.send_channel(0x4000, data)
            assert peer.receive() == data
            peer.send(data, relayed)
            came = client.data()[0] if way == 1 else client.channel()[1]
            assert came == data
        if way == 2:
            assert client.refresh(0) == 0
        # The others end with their connection, or are left to expire.


async def read_all(command: Command) -> dict[str, Any]:
    """Read what the relay tells, and return the last of its statistics."""
    last: dict[str, Any] = {}
    while (event := await command.event())["event"] != "draining":
        last = event if event["event"] == "statistics" else last
    return last


async def test_memory_and_descriptors_stay_flat(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(CONFIG, encoding="utf-8")
    command = await start("relay", "--config", str(file), "--json", "--statistics", "5")
    server = Address.parse((await command.event())["addresses"][0])
    tasks = TaskSet()
    reading = tasks.create(read_all(command), name="read")
    pid, began = command.process.pid, time.monotonic()
    before = sample(pid)
    samples: list[Sample] = []

    def churn() -> None:
        number, due, stop = 0, began, began + 60 * MINUTES
        with Peer() as peer:
            while (now := time.monotonic()) < stop:
                due = max(due + 1 / CLIENTS_PER_SECOND, now)  # what was held up does not come at once
                come_and_go(server, peer, number)
                number += 1
                if number % CLIENTS_PER_SECOND == 0:
                    samples.append(sample(pid))
                time.sleep(max(due - time.monotonic(), 0.0))

    try:
        await run_in_thread(churn)
    except BaseException:
        await tasks.close()
        raise
    await asyncio.sleep(7.0)  # until the last ones have expired, and the data planes have told their figures
    after = sample(pid)
    command.process.terminate()
    last = await reading
    await command.finish()

    steady = samples[int(len(samples) * WARM_UP) :]
    part = max(len(steady) // 5, 1)
    growth = round(statistics.median(s.rss for s in steady[-part:]) - statistics.median(s.rss for s in steady[:part]))
    most = max(s.descriptors for s in steady[:part]), max(s.descriptors for s in steady[-part:])
    print(  # noqa: T201 - `-s` shows it
        f"{last['answers']['allocate']} allocations in {60 * MINUTES:.0f} s, {last['packets']} packets;",
        f"resident {before.rss / 1e6:.1f} MB at first, {steady[0].rss / 1e6:.1f} warm, {after.rss / 1e6:.1f} after;",
        f"growth {growth / 1e3:.0f} kB; descriptors {before.descriptors}, at most {most[0]}, then {most[1]},",
        f"{after.descriptors} after",
    )
    assert last["packets"] == 2 * PACKETS * last["answers"]["allocate"]
    assert last["dropped"] == {}
    assert last["answers"].keys() <= {
        *("allocate", "allocate 401 Unauthenticated", "allocate 437 Allocation Mismatch"),
        *("refresh", "channel_bind", "create_permission"),
    }
    assert growth < MOST_GROWTH
    assert most[1] <= most[0] + CLIENTS_PER_SECOND  # a moment's pause lets that many more wait for their end
    assert after.descriptors == before.descriptors
