"""Endpoints in a network namespace, with several addresses, and a link on which nobody answers."""

from __future__ import annotations

import sys

import pytest
from tests.reference.namespaces import in_namespace, why_no_namespace

FULL = """
import asyncio, sys
from librats.runtime.udp import open_datagram
from librats.types import Address

async def main():
    heard = []
    here = await open_datagram("10.99.0.1", receive=heard.extend, buffer_size=4096)
    nobody = Address("10.99.0.2", 9)
    items = [(bytes([number % 256]) * 1000, nobody) for number in range(1000)]
    taken = here.send_many(items)
    assert 0 < taken < 1000, taken
    assert not here.send(b"x" * 1000, nobody)
    counters = here.counters
    assert (counters.sent, counters.no_room, counters.refused) == (taken, 2, 0), counters
    waiting = asyncio.ensure_future(here.wait_for_room())
    turns = 0
    while not waiting.done():  # until the kernel gives the neighbour up, after some seconds
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10, turns
    await waiting
    assert here.send_many(items[taken:]) > 0
    # A full buffer keeps nobody from being heard.
    there = await open_datagram("127.0.0.1", receive=lambda batch: None)
    assert there.send(b"hello", Address("10.99.0.1", here.local_address.port)) and here.counters.no_room == 3
    waiting = asyncio.ensure_future(here.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    here.close()
    await waiting
    there.close()

asyncio.run(main())
"""

LONG = """
import asyncio
from librats.runtime.udp import open_datagram
from librats.types import Address

async def main():
    here = await open_datagram("10.99.0.1", receive=lambda batch: None)
    nobody = Address("10.99.0.2", 9)
    assert here.send_many([(bytes(2000), nobody)] * 3) == 3  # longer than the link takes: no run, but fragments
    assert here.counters.sent == 3, here.counters
    assert here.set_dont_fragment(True)
    assert here.send_many([(bytes(2000), nobody)] * 3 + [(bytes(1400), nobody)] * 2) == 5
    assert (here.counters.sent, here.counters.refused) == (5, 3), here.counters
    here.close()

asyncio.run(main())
"""

SEVERAL = """
import asyncio, socket
from librats.runtime.udp import open_datagram

async def main():
    server = await open_datagram(receive=lambda batch: server.send_many([(data, origin) for data, origin in batch]))
    for asked, asking in (("fd00::2", "fd00::1"), ("fd00::1", "fd00::2"), ("10.99.0.1", "10.99.0.7")):
        with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((asking, 0))
            sock.connect((asked, server.local_address.port))  # from here on it hears nobody else
            sock.send(b"x")
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 9), 5) == b"x"
    server.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Skip where no namespace can be had."""
    if why_not := why_no_namespace():
        pytest.skip(why_not)


@pytest.mark.parametrize("portable", ["0", "1"])
@pytest.mark.parametrize("script", [FULL, LONG, SEVERAL], ids=["full", "long", "several addresses"])
def test_in_a_namespace(script: str, portable: str) -> None:
    run = in_namespace(sys.executable, "-c", script, LIBRATS_PORTABLE=portable)
    assert run.returncode == 0, run.stderr
