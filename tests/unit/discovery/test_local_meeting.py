"""Meeting on the local network, started and stopped by several at once; without a network."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from librats import Identity, RatsClient, RatsConfig
from librats.errors import ClosedError
from librats.services import mdns


class Discovery:
    """Stands in for one that announces and browses; tells which are open."""

    open: ClassVar[list[Discovery]] = []
    gate: ClassVar[asyncio.Event]

    def __init__(self, peer_id: str, port: int, **settings: Any) -> None:
        self.peers: dict[str, Any] = {}
        self.closed = False

    async def start(self) -> bool:
        await self.gate.wait()
        if self.closed:
            raise ClosedError("the discovery is closed")
        self.open.append(self)
        return True

    async def close(self) -> None:
        self.closed = True
        await asyncio.sleep(0)
        if self in self.open:
            self.open.remove(self)


@pytest.fixture(autouse=True)
def discoveries(monkeypatch: pytest.MonkeyPatch) -> list[Discovery]:
    Discovery.gate = asyncio.Event()
    Discovery.gate.set()
    monkeypatch.setattr(Discovery, "open", [])
    monkeypatch.setattr(mdns, "MdnsDiscovery", Discovery)
    return Discovery.open


def new_client() -> RatsClient:
    return RatsClient(identity=Identity.generate(), config=RatsConfig(listen_host="127.0.0.1"))


async def test_one_that_is_started_while_another_is_stopped_ends_with_the_client() -> None:
    async with new_client() as client:
        assert await client.start_mdns_discovery()
        await asyncio.gather(client.stop_mdns_discovery(), client.start_mdns_discovery())
        assert len(Discovery.open) == 1
    assert Discovery.open == []


async def test_two_that_are_started_at_once_leave_one() -> None:
    async with new_client() as client:
        await asyncio.gather(*(client.start_mdns_discovery() for _ in range(3)))
        assert len(Discovery.open) == 1
    assert Discovery.open == []


async def test_one_that_is_stopped_while_it_starts_does_not_run() -> None:
    Discovery.gate.clear()
    async with new_client() as client:
        starting = asyncio.ensure_future(client.start_mdns_discovery())
        await asyncio.sleep(0)
        await client.stop_mdns_discovery()
        Discovery.gate.set()
        assert await starting is False
    assert Discovery.open == []


async def test_a_new_identity_does_not_bring_one_back_that_was_stopped_meanwhile() -> None:
    async with new_client() as client:
        assert await client.start_mdns_discovery()
        await asyncio.gather(client.rotate_identity(), client.stop_mdns_discovery())
        assert Discovery.open == []
