"""Relays on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.loopback.relay.clients import PASSWORD, USER

from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.turn.serving.allocation import Allocation
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

LOOPBACK = (parse_network("127.0.0.0/8"), parse_network("::1"))

StartRelay = Callable[..., Awaitable[RelayServer]]


class Witness:
    """Notes what comes and goes, in threads of the relay."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[int, int, int, int]]] = []

    def allocated(self, allocation: Allocation) -> None:
        self.seen.append(("allocated", (0, 0, 0, 0)))

    def released(self, allocation: Allocation, reason: str, traffic: tuple[int, int, int, int]) -> None:
        self.seen.append((reason, traffic))


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def start_relay(witness: Witness) -> AsyncIterator[StartRelay]:
    running: list[RelayServer] = []

    async def start(**fields: Any) -> RelayServer:
        defaults: dict[str, Any] = {
            "listen": (Address("127.0.0.1", 0),),
            "allow_peers": LOOPBACK,
            "users": {} if "no_auth" in fields else {USER: PASSWORD},
        }
        server = RelayServer(RelayConfig(**{**defaults, **fields}), witness)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.close()
