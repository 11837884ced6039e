"""A program that writes all it can is killed at random moments; whatever the moment, every file can be read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.peers.stopping import kill, leftovers

from librats import Identity, PeerBook, load_config
from librats.peers.identities.succession_file import read_successions
from librats.peers.keeping.book_files import BookFiles

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows kills in other ways")

WRITER = """
import asyncio, dataclasses, itertools, sys
from pathlib import Path
from librats import Address, RatsClient, RatsConfig, ReconnectConfig

folder = Path(sys.argv[1])

async def main():
    quiet = ReconnectConfig(saved_peers=False)
    config = RatsConfig(listen_host="127.0.0.1", reconnect=quiet)
    async with RatsClient(config=config, data_dir=folder) as client:
        await client.save_configuration()
        print("ready", flush=True)
        async def book():
            for number in itertools.count(len(client.book)):
                address = Address("192.0.2.1", 1 + number % 60000)
                client.book.connected(f"{number:064x}", address, outgoing=True, listen=[str(address)])
                await client._book_files.flush()
        async def settings():
            for number in itertools.count(1):
                client._config = dataclasses.replace(config, max_peers=number)
                await client.save_configuration()
        async def identity():
            while True:
                await client.rotate_identity()
        await asyncio.gather(book(), settings(), identity())

asyncio.run(main())
"""


def check(folder: Path) -> tuple[str, int, int]:
    """Read every file; return who the client is, how many peers it knows, and the number in its configuration."""
    identity = Identity.load(folder)
    records = read_successions(folder, identity)
    assert not records or records[-1].new_id == identity.peer_id
    book = PeerBook()
    BookFiles(book, folder).load()
    assert set(book) == set(book.ever)
    assert not list(folder.glob("*.damaged*"))
    return identity.peer_id, len(book), load_config(folder / "config.json").max_peers


def kill_at_random_moments(folder: Path, times: int) -> None:
    chance = random.Random(times)  # noqa: S311 - moments, no secret
    states, left, known = [], 0, 0
    for _ in range(times):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            env={**os.environ, "SKBUILD_EDITABLE_VERBOSE": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline() == "ready\n", child.stderr.read()
            try:
                child.wait(chance.uniform(0, 0.15))
            except subprocess.TimeoutExpired:
                kill(child)
            assert child.returncode == -9, child.stderr.read()
        left += bool(leftovers(folder))
        states.append(check(folder))
        assert states[-1][1] >= known, "peers that were on the disk are gone"
        known = states[-1][1]
    assert len({identity for identity, _, _ in states}) > times // 2, "it was killed before it had rotated anything"
    assert known > times // 2
    assert left > times // 10, "it was never killed while it wrote"


@POSIX
def test_a_program_killed_at_six_random_moments_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, 6)


@POSIX
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_program_killed_at_two_hundred_random_moments_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, 200)
