"""The ways to receive datagrams, each of which the tests try: batched, one at a time, and without readers."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from librats.runtime.datagrams import Origin
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.types import Address

if TYPE_CHECKING:
    pass


LOOPBACK = "127.0.0.1"
ON_UVLOOP = os.environ.get("LIBRATS_TEST_LOOP") == "uvloop"
LINUX = sys.platform == "linux"

WAIT = 20.0

WAYS = ["batched", "portable"] if LINUX else ["portable"]
if not ON_UVLOOP:
    WAYS.append("awaited")


class Heard:
    """What an endpoint has received, in the batches in which it came."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, Origin]]] = []

    def __call__(self, batch: list[tuple[bytes, Origin]]) -> None:
        assert batch
        self.batches.append(batch)

    @property
    def data(self) -> list[bytes]:
        return [data for batch in self.batches for data, _ in batch]

    @property
    def origins(self) -> list[Origin]:
        return [origin for batch in self.batches for _, origin in batch]


class Open(Protocol):
    async def __call__(self, host: str = ..., port: int = ..., **options: Any) -> tuple[DatagramEndpoint, Heard]: ...


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def endpoint(way: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Return a function that opens an endpoint, with what it hears."""
    monkeypatch.setenv("LIBRATS_PORTABLE", "0" if way == "batched" else "1")
    if way == "awaited":

        def refuse(*args: object) -> None:
            raise NotImplementedError

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", refuse)
        monkeypatch.setattr(loop, "add_writer", refuse)
    opened = []

    async def make(host: str = LOOPBACK, port: int = 0, **options: Any) -> tuple[DatagramEndpoint, Heard]:
        heard = Heard()
        receive = options.pop("receive", heard)
        made = await open_datagram(host, port, receive=receive, **options)
        assert made.is_batched == (way == "batched")
        opened.append(made)
        return made, heard

    yield make
    for made in opened:
        made.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


TELLING = [way for way in WAYS if way != "awaited" and (LINUX or sys.platform == "darwin")]
"""Ways to receive that tell more of a datagram than where it is from."""
told = pytest.mark.parametrize("way", TELLING, indirect=True)
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
HOSTS = [LOOPBACK, pytest.param("::1", marks=needs_ipv6)]


def fill(address: Address, count: int, data: bytes = b"x" * 100) -> None:
    """Send from a socket of its own, whether or not anybody reads meanwhile."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(data, address)
