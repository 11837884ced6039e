"""Clients that listen on the loopback only, and a check that no test leaves anything behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from librats import Identity, Peer, RatsClient, RatsConfig, SessionConfig

WAIT = 20.0  # seconds after which a test gives up; nothing here takes a tenth of one
LOOPBACK = "127.0.0.1"

Until = Callable[[Callable[[], object]], Awaitable[None]]


class Pair(NamedTuple):
    """Two clients of which the first has dialled the second."""

    a: RatsClient
    b: RatsClient
    to_b: Peer
    """The second client, as the first one sees it."""
    to_a: Peer
    """The first client, as the second one sees it."""


class MakeClient(Protocol):
    def __call__(
        self, *, identity: Identity | None = ..., session: SessionConfig | None = ..., **settings: Any
    ) -> Awaitable[RatsClient]: ...


class Connect(Protocol):
    def __call__(self, a: RatsClient, b: RatsClient) -> Awaitable[Pair]: ...


async def until_true(condition: Callable[[], object]) -> None:
    """Let the loop turn until something has become so."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever the caller waits for
            await asyncio.sleep(0)


def _open_descriptors() -> dict[str, str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return {}
    found = {}
    for entry in folder.iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:  # that of the listing itself
            continue
    return found


class _Inventory:
    """What could be left behind."""

    def __init__(self) -> None:
        self.tasks = asyncio.all_tasks()
        self.threads = set(threading.enumerate())
        self.descriptors = _open_descriptors()

    def added_to(self, before: _Inventory) -> list[object]:
        tasks = self.tasks - before.tasks - {asyncio.current_task()}
        files = self.descriptors.items() - before.descriptors.items()
        if ON_UVLOOP and len(self.descriptors) <= len(before.descriptors):
            files = set()  # it opens a pair of sockets anew whenever it starts to run
        return [*tasks, *(self.threads - before.threads), *files]


ON_UVLOOP = os.environ.get("LIBRATS_TEST_LOOP") == "uvloop"

if ON_UVLOOP:
    import uvloop

    def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
        """Run every test here on uvloop's loop rather than asyncio's own."""
        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def quick_collections() -> Iterator[None]:
    """Set what is there for good aside, so that the many collections below need not look at it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def _warm_up() -> None:
    """Let a loop open what it keeps for itself from its first server and connection on."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, a thread or a descriptor, or in which the loop met an exception of ours."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    if ON_UVLOOP:
        await _warm_up()
    gc.collect()  # what earlier tests left to the collector is not this one's
    before = _Inventory()
    yield
    deadline = loop.time() + 2.0
    while (left := _Inventory().added_to(before)) and loop.time() < deadline:
        await asyncio.wait([loop.create_future()], timeout=0.001)
    gc.collect()
    await asyncio.sleep(0)
    assert left == []
    assert complaints == []


@pytest.fixture
def until() -> Until:
    """Return a function that lets the loop turn until something has become so."""
    return until_true


@pytest.fixture
async def make_client() -> AsyncIterator[MakeClient]:
    """Return a function that starts a client on the loopback; it is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def make(
            *, identity: Identity | None = None, session: SessionConfig | None = None, **settings: Any
        ) -> RatsClient:
            config = RatsConfig(**{"listen_host": LOOPBACK, "session": session or SessionConfig(), **settings})
            client = RatsClient(0, config=config, identity=identity or Identity.generate())
            return await stack.enter_async_context(client)

        yield make


@pytest.fixture
def connect() -> Connect:
    """Return a function that lets one client dial another, and waits until both know."""

    async def dial(a: RatsClient, b: RatsClient) -> Pair:
        to_b = await a.connect((LOOPBACK, b.listen_port))
        await until_true(lambda: a.peer_id in b.peers)
        return Pair(a, b, to_b, b.peers[a.peer_id])

    return dial


@pytest.fixture
async def pair(make_client: MakeClient, connect: Connect) -> Pair:
    """Return two connected clients."""
    return await connect(await make_client(), await make_client())
