"""Blocking clients that listen on the loopback only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest

from librats import Identity, RatsConfig
from librats.blocking import Peer, RatsClient

TIMEOUT = 20

NewClient = Callable[[], RatsClient]
Meet = Callable[[RatsClient, RatsClient], tuple[Peer, Peer]]
OnAThread = Callable[[Callable[[], Any]], Future[Any]]


class Pair(NamedTuple):
    """Two connected clients, and how each sees the other."""

    a: RatsClient
    b: RatsClient
    b_seen_by_a: Peer
    a_seen_by_b: Peer


def make_client() -> RatsClient:
    config = RatsConfig(listen_host="127.0.0.1", request_timeout=TIMEOUT)
    return RatsClient(0, config=config, identity=Identity.generate())


def let_meet(a: RatsClient, b: RatsClient) -> tuple[Peer, Peer]:
    arrived: SimpleQueue[Peer] = SimpleQueue()
    b.on_connect(arrived.put)
    there = a.connect(("127.0.0.1", b.listen_port))
    return there, arrived.get(timeout=TIMEOUT)


@pytest.fixture
def new_client() -> NewClient:
    """Return a function that makes a client, which is not started."""
    return make_client


@pytest.fixture
def meet() -> Meet:
    """Return a function that connects two clients and returns how they see each other."""
    return let_meet


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return two connected clients."""
    with make_client() as a, make_client() as b:
        yield Pair(a, b, *let_meet(a, b))


@pytest.fixture
def on_a_thread() -> Iterator[OnAThread]:
    """Return a function that runs another one on a thread of its own."""
    threads = []

    def start(function: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        threads.append(thread)
        thread.start()
        return future

    yield start
    for thread in threads:
        thread.join(TIMEOUT)
