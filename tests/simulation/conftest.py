"""Runs scenarios in a simulated network, and checks that none leaves anything behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from librats import RatsClient, RatsConfig, ReconnectConfig
from librats.testing import SimHost, SimNetwork

T = TypeVar("T")
PORT = 8080
PATIENCE = 100_000.0  # virtual seconds after which a scenario is given up


class Simulate(Protocol):
    def __call__(
        self, scenario: Callable[[SimNetwork], Coroutine[Any, Any, T]], seed: int = 0, **options: Any
    ) -> T: ...


def run_scenario(scenario: Callable[[SimNetwork], Coroutine[Any, Any, T]], seed: int = 0, **options: Any) -> T:
    complaints: list[dict[str, Any]] = []
    with SimNetwork(seed, **options) as net:
        net.loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        result = net.run(scenario(net), timeout=PATIENCE)
        net.run(asyncio.sleep(1))
        left = net.left_behind()
    gc.collect()  # exceptions that nobody has retrieved complain when they go
    assert left == [], f"seed {seed}: {left}"
    assert complaints == [], f"seed {seed}: {complaints}"
    return result


async def start_client(host: SimHost, port: int = PORT, **settings: Any) -> RatsClient:
    with host:
        client = RatsClient(port, config=RatsConfig(**{"reconnect": ReconnectConfig(enabled=False), **settings}))
        await client.start()
    return client


async def until(condition: Callable[[], object], *, within: float = 1000.0) -> None:
    """Wait until something has become so, looking every millisecond of virtual time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever the caller waits for
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Return a function that runs a scenario to its end."""
    return run_scenario


@pytest.fixture(autouse=True, scope="package")
def quick_collections() -> Iterator[None]:
    """Set what is there for good aside, so that the many collections need not look at it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
