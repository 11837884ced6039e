"""Streams that peers open, and the handlers that they go to."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

from librats.errors import RatsError
from librats.peers.handling.dispatch import FAILURES, is_to_end
from librats.peers.handling.words import words_for_peer
from librats.runtime.tasks import TaskSet
from librats.services.stream import Stream
from librats.session.frames import Reason

if TYPE_CHECKING:
    from librats.peers.handling.dispatch import Dispatcher
    from librats.peers.handling.handlers import HandlerTable
    from librats.peers.peer import Peer

__all__ = ["StreamServing"]

logger = logging.getLogger("librats.peers")


class StreamServing:
    """Hands the streams of one client's peers to handlers.

    Args:
        handlers: The application's.
        dispatcher: Told of handlers that fail.
        tasks: Owner of the async ones.
    """

    def __init__(self, handlers: HandlerTable, dispatcher: Dispatcher, tasks: TaskSet) -> None:
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._tasks = tasks

    def opened(self, peer: Peer | None, stream: Stream) -> None:
        """Hand a stream to the handler of its protocol; refuse it where there is none, or no peer."""
        handler = self._handlers.stream(stream.protocol)
        if handler is None or peer is None:
            stream.refuse(Reason.NO_HANDLER, f"no handler for streams of {stream.protocol!r}")
            return
        stream.peer = peer
        stream.accept()
        try:
            result = handler(stream)
        except FAILURES as error:  # the application's code may raise anything, and must not harm the session
            self._failed(peer, stream, error)
            return
        if inspect.isawaitable(result):
            self._tasks.create(self._serve(peer, stream, result), name=f"librats stream {stream.protocol}")

    async def _serve(self, peer: Peer, stream: Stream, result: Any) -> None:
        """Run an async stream handler; when it returns the stream is closed."""
        try:
            await result
            await stream.close()
        except FAILURES as error:
            if isinstance(error, asyncio.CancelledError) and is_to_end():
                raise
            self._failed(peer, stream, error)

    def _failed(self, peer: Peer, stream: Stream, error: BaseException) -> None:
        if isinstance(error, RatsError) and not peer.is_connected:
            logger.debug("%r ended with its session", stream)
            return
        self._dispatcher.handler_failed(peer, stream.protocol, error)
        stream.refuse(Reason.HANDLER_ERROR, words_for_peer(error))
