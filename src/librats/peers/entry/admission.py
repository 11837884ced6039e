"""Who may come in: the lists, handshakes and their rate, the application's hooks, and how many peers there are."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from librats.config import RatsConfig
from librats.errors import PeerLimitReached, RatsError
from librats.peers.entry.access import Access
from librats.peers.entry.half_open import HalfOpenTable
from librats.peers.entry.networks import source_of
from librats.peers.entry.turns import HandshakeTurns
from librats.peers.events import IncomingRefused
from librats.peers.handling.dispatch import FAILURES, Dispatcher, is_to_end
from librats.peers.handling.handlers import HandlerTable
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.services.session import Link
from librats.session.frames import Reason
from librats.session.shared_limits import SharedLimits, limit_words
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
        access: The lists of whom we talk to.
        shared: Where refusals are counted.
    """

    def __init__(
        self,
        config: RatsConfig,
        handlers: HandlerTable,
        dispatcher: Dispatcher,
        tasks: TaskSet,
        peers: Mapping[str, Peer],
        *,
        access: Access,
        shared: SharedLimits,
    ) -> None:
        self._config = config
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._peers = peers
        self._memory = shared.memory
        self._incoming_refused = 0
        self.access = access
        """The lists of whom we talk to."""
        self.half_open: HalfOpenTable[Link] = HalfOpenTable(config.max_half_open, config.max_half_open_per_source)
        """Incoming connections whose handshake is under way."""
        self._turns: HandshakeTurns[Link] = HandshakeTurns(
            config.max_handshake_rate, config.max_handshake_rate_per_source
        )
        self.refusals = shared.refusals
        """How often each limit, list or hook has said no."""

    @property
    def incoming_refused(self) -> int:
        """Connections of others that were not let in."""
        return self._incoming_refused

    # Before the handshake

    def connected(self, link: Link) -> bool:
        """Let a connection that somebody else dialled begin its handshake, or not."""
        denied = self.access.check_address(link.address.host)
        if denied is not None:
            self.refused(link.address, str(denied), denied.limit)
            return False
        evicted = self.half_open.add(source_of(link.address.host), link)
        if evicted is not None:
            victim, limit = evicted
            words = limit_words("too many handshakes are under way", self._config, limit)
            self.refused(victim.address, words, limit)
            victim.abort()
        if not self.has_hooks:
            return True
        verdict = self.ask(link.address)
        if inspect.isawaitable(verdict):
            link.pause()
            self._tasks.create(self._decide_later(link, verdict), name="librats incoming hook")
            return True
        if not verdict:
            self._address_refused(link)
        return bool(verdict)

    async def _decide_later(self, link: Link, verdict: Any) -> None:
        if await verdict:
            link.resume()
        else:
            self._address_refused(link)
            link.abort()

    def _address_refused(self, link: Link) -> None:
        self.refused(link.address, "the application refused the address", "incoming")

    def handshake_begins(self, link: Link) -> float | None:
        """Tell when a handshake, the first bytes of which have come, may begin.

        Returns:
            Seconds; None where it may not, which has been told.
        """
        begun = self._turns.begin(source_of(link.address.host), link, now=link.now())
        if begun.refused is not None:
            words = limit_words("too many handshakes in a second", self._config, begun.limit)
            self.refused(begun.refused.address, words, begun.limit)
            if begun.refused is not link:
                begun.refused.abort()
        return begun.delay

    def handshake_waits(self, link: Link) -> float:
        """Tell in how many more seconds a handshake may begin that has waited for its turn."""
        return self._turns.left(link, now=link.now())

    def handshake_over(self, link: Link) -> None:
        """Take note that a handshake is done, or failed."""
        self.half_open.remove(source_of(link.address.host), link)
        self._turns.end(link)

    def refused(self, address: Address, reason: str, limit: str, peer_id: str = "") -> None:
        """Count and tell that somebody was not let in."""
        self._incoming_refused += 1
        self.refusals[limit] += 1
        logger.debug("refused %s: %s", address, reason)
        self._dispatcher.announce_some(IncomingRefused(address, reason, limit, peer_id))

    # After the handshake

    def turn_away(self, link: Link, error: RatsError, code: str, limit: str) -> None:
        """Tell a peer that it is not let in, and count that.

        Args:
            link: The link to it.
            error: Why, for this side.
            code: Why, for the peer: a :class:`~librats.session.frames.Reason`.
            limit: Which limit, list or hook has said no.
        """
        link.refuse(error, code)
        if link.initiator:
            self.refusals[limit] += 1
        else:
            self.refused(link.address, str(error), limit, link.peer_id)

    def is_sure_of(self, peer_id: str) -> bool:
        """Whether it is settled before the handshake that a peer which this side has dialled will be let in."""
        may_ask = self.has_hooks or self._memory.is_overdrawn
        return not may_ask and self.has_place_for(peer_id) and self.access.check_id(peer_id) is None

    def part_with_denied(self, links: Iterable[Link]) -> None:
        """End the sessions, and the handshakes, with those that are no longer talked to."""
        for link in links:
            denied = self.access.check_address(link.address.host) or (
                self.access.check_id(link.peer_id) if link.peer_id else None
            )
            if denied is None:
                continue
            self.refusals[denied.limit] += 1
            if link.peer_id:
                link.refuse(denied, Reason.REFUSED)
            else:
                link.abort()

    # The limit

    def has_place_for(self, peer_id: str) -> bool:
        """Whether a peer may come in as far as ``max_peers`` is concerned: it is there already, or there is room."""
        return peer_id in self._peers or len(self._peers) < self._config.max_peers

    def limit_reached(self) -> PeerLimitReached:
        """Return the error that says how many peers are connected, and which limit that is."""
        return PeerLimitReached(limit_words(f"{len(self._peers)} peers are connected", self._config, "max_peers"))

    # The application's hooks

    @property
    def has_hooks(self) -> bool:
        """True where the application wants to be asked."""
        return bool(self._handlers.listeners("incoming"))

    def ask(self, what: Address | Peer) -> Any:
        """Ask the incoming hooks; a bool, or an awaitable of one where a hook is async."""
        hooks = iter(self._handlers.listeners("incoming"))
        for hook in hooks:
            try:
                answer = hook.handler(what)
            except FAILURES:
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
        except FAILURES as error:
            if isinstance(error, asyncio.CancelledError) and is_to_end():
                raise
            logger.exception("the incoming hook failed; the peer is refused")
            return False
        return True
