"""Who may come in: handshakes under way, the application's hooks, and how many peers there may be."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from librats.config import RatsConfig
from librats.errors import PeerLimitReached
from librats.peers.dispatch import Dispatcher
from librats.peers.events import IncomingRefused
from librats.peers.handlers import HandlerTable
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.services.session import Link
from librats.types import Address

__all__ = ["Admission"]

logger = logging.getLogger("librats.peers")


class Admission:
    """Decides who may come in.

    Args:
        config: The limits.
        handlers: Where the application's hooks are.
        dispatcher: Tells who was refused.
        tasks: Owner of the tasks in which async hooks run.
        peers: The connected peers by id.
    """

    def __init__(
        self,
        config: RatsConfig,
        handlers: HandlerTable,
        dispatcher: Dispatcher,
        tasks: TaskSet,
        peers: Mapping[str, Peer],
    ) -> None:
        self._config = config
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._peers = peers
        self._half_open: dict[Link, None] = {}
        self.incoming_refused = 0
        """Connections of others that were not let in."""

    @property
    def half_open(self) -> int:
        """Incoming connections whose handshake is under way."""
        return len(self._half_open)

    # Before the handshake

    def connected(self, link: Link) -> bool:
        """Let a connection that somebody else dialled begin its handshake, or not."""
        if len(self._half_open) >= self._config.max_half_open:
            # The oldest makes room: refusing the newest would let idle connections lock everybody out.
            oldest = next(iter(self._half_open))
            self.handshake_over(oldest)
            self.refused(oldest.address, "more handshakes are under way than max_half_open")
            oldest.abort()
        self._half_open[link] = None
        verdict = self.ask(link.address)
        if inspect.isawaitable(verdict):
            link.pause()
            self._tasks.create(self._decide_later(link, verdict), name="librats incoming hook")
            return True
        if not verdict:
            self.refused(link.address, "the application refused the address")
        return bool(verdict)

    async def _decide_later(self, link: Link, verdict: Any) -> None:
        if await verdict:
            link.resume()
        else:
            self.refused(link.address, "the application refused the address")
            link.abort()

    def handshake_over(self, link: Link) -> None:
        """Take note that a handshake is done, or failed."""
        self._half_open.pop(link, None)

    def refused(self, address: Address, reason: str) -> None:
        """Count and tell that somebody was not let in."""
        self.incoming_refused += 1
        logger.debug("refused %s: %s", address, reason)
        self._dispatcher.announce(IncomingRefused(address, reason))

    # The limit

    def has_place_for(self, peer_id: str) -> bool:
        """Whether a peer may come in as far as ``max_peers`` is concerned: it is there already, or there is room."""
        return peer_id in self._peers or len(self._peers) < self._config.max_peers

    def limit_reached(self) -> PeerLimitReached:
        """Return the error that says how many peers are connected, and which limit that is."""
        return PeerLimitReached(f"{len(self._peers)} peers are connected, the limit is max_peers")

    # The application's hooks

    def ask(self, what: Address | Peer) -> Any:
        """Ask the incoming hooks; a bool, or an awaitable of one where a hook is async."""
        hooks = iter(self._handlers.listeners("incoming"))
        for hook in hooks:
            try:
                answer = hook.handler(what)
            except Exception:
                logger.exception("the incoming hook failed; the peer is refused")
                return False
            if inspect.isawaitable(answer):
                return self._ask_rest(answer, what, hooks)
            if answer is False:
                return False
        return True

    async def _ask_rest(self, answer: Any, what: Address | Peer, hooks: Iterator[Any]) -> bool:
        try:
            if await answer is False:
                return False
            for hook in hooks:
                answer = hook.handler(what)
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer is False:
                    return False
        except Exception:
            logger.exception("the incoming hook failed; the peer is refused")
            return False
        return True
