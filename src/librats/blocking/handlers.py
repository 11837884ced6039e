"""Plain functions as the async client wants its handlers, while worker threads run them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

from librats.blocking.bridge import Bridge
from librats.blocking.peer import Peers
from librats.errors import ClosedError, UsageError
from librats.peers.events import PeerConnected, PeerDisconnected
from librats.peers.peer import Peer as AsyncPeer

__all__ = ["Answering", "Listening"]

logger = logging.getLogger("librats.blocking")

LIFE = ("connect", "disconnect", PeerConnected, PeerDisconnected)
"""What is told of each peer in one sequence, and always."""

MAX_WAITING = 1024
"""Of everything else, so much of one peer waits for a handler; what comes then is dropped."""


class _OnWorker:
    """Two of them are equal where their functions are, so that the async client finds what it is to remove."""

    def __init__(self, function: Callable[..., Any], bridge: Bridge, peers: Peers) -> None:
        if not callable(function):
            raise UsageError(f"a handler is a function, not {type(function).__name__}")
        call = getattr(function, "__call__", function)  # noqa: B004 - an object with an async __call__ is async too
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
            raise UsageError("handlers of the blocking client are plain functions, not async ones")
        self._function = self.__wrapped__ = function  # by the second name its annotations are found
        self._bridge = bridge
        self._peers = peers

    def __eq__(self, other: object) -> bool:
        """Compare the functions."""
        return isinstance(other, _OnWorker) and other._function == self._function

    def __hash__(self) -> int:
        """Hash the function."""
        return hash(self._function)

    def _handle(self, *args: Any) -> Any:
        result = self._function(*(self._peers.blocking_form(arg) for arg in args))
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise UsageError("a handler of the blocking client returned an awaitable")
        return result


class Answering(_OnWorker):
    """A handler whose outcome the client waits for.

    Args:
        function: The application's function.
        bridge: Where it runs.
        peers: Gives it the blocking forms of its arguments.
        lane: Calls with the same first argument run one at a time in a lane of that name; None lifts it.
        alone: Whether each call gets a thread of its own.
    """

    def __init__(
        self, function: Callable[..., Any], bridge: Bridge, peers: Peers, *, lane: Hashable = None, alone: bool = False
    ) -> None:
        super().__init__(function, bridge, peers)
        self._lane = lane
        self._alone = alone

    async def __call__(self, *args: Any) -> Any:
        """Run the function on a worker and wait for what it returns."""
        # The client hands messages over one at a time already. But where it gives up waiting for a function, at a
        # request's deadline for example, that one runs on, and the next has to wait for its end.
        lane = None if self._lane is None else (self._lane, args[0])
        return await _outcome(self._bridge.workers.submit(self._handle, *args, lane=lane, alone=self._alone))


class Listening(_OnWorker):
    """A handler that is told something and whose outcome nobody waits for: it runs even while the client stops.

    What is told of one peer is told in the order it happened.

    Args:
        function: The application's function.
        bridge: Where it runs.
        peers: Gives it the blocking forms of its arguments.
        what: What it listens to: a word, or the class of an event.
    """

    def __init__(self, function: Callable[..., Any], bridge: Bridge, peers: Peers, what: str | type) -> None:
        super().__init__(function, bridge, peers)
        self._what = what

    def __call__(self, *args: Any) -> None:
        """Have the function run on a worker."""
        subject = args[0]
        peer = subject if isinstance(subject, AsyncPeer | str) else getattr(subject, "peer", None)
        lane = None if peer is None else ("life" if self._what in LIFE else self._what, peer)
        workers = self._bridge.workers
        if self._what not in LIFE and workers.waiting(lane) >= MAX_WAITING:
            return
        try:
            workers.submit(self._handle, *args, lane=lane).add_done_callback(self._done)
        except (ClosedError, RuntimeError) as error:
            logger.debug("not told of %s: %s", self._what, error)

    def _done(self, job: Future[Any]) -> None:
        if (error := job.exception()) is not None:
            self._bridge.workers.failures += 1
            name = self._what if isinstance(self._what, str) else self._what.__name__
            logger.error("the handler for %s failed", name, exc_info=error)


async def _outcome(job: Future[Any]) -> Any:
    """Wait on the loop for what a worker does; cancelling this cancels the job where it has not begun."""
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not finished.done():
            finished.set_result(None)

    def on_done(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(wake)

    job.add_done_callback(on_done)
    try:
        await finished
    except asyncio.CancelledError:
        job.cancel()
        raise
    return job.result()
