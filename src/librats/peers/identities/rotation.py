"""What peers tell of their identities: checked, the first word kept, and the application asked."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from librats.errors import DecodeError
from librats.peers.book import PeerBook
from librats.peers.events import IdentityRotated
from librats.peers.handling.dispatch import FAILURES, Dispatcher, is_to_end
from librats.peers.identities.succession import Succession, decode_chain
from librats.runtime.tasks import TaskSet
from librats.session.opening import Opened

if TYPE_CHECKING:
    from librats.peers.peer import Peer

__all__ = ["Rotations"]

logger = logging.getLogger("librats.peers")


class Rotations:
    """Hears of successions, for one client.

    A record counts where the session's own keys are in its chain, and the identity before is in the book with the key
    that the record has. Of two records about one identity the first counts for ever.

    Args:
        book: Where successions are noted.
        dispatcher: Has the application's functions.
        tasks: Owner of the tasks in which they are asked.
        followed: Called with the old and the new id where the application agrees.
    """

    def __init__(
        self, book: PeerBook, dispatcher: Dispatcher, tasks: TaskSet, followed: Callable[[str, str], None]
    ) -> None:
        self._book = book
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._followed = followed
        self._asking: set[str] = set()

    def received(self, peer: Peer, payload: bytes) -> None:
        """Take what a peer tells. Whatever it is, nothing is raised."""
        try:
            records = decode_chain(payload)
        except DecodeError as error:
            self._dispatcher.bad_payloads += 1
            logger.debug("%r: %s", peer, error)
            return
        if not _is_vouched_for(peer, records):
            self._dispatcher.bad_payloads += 1
            logger.debug("%r tells of identities that are not its own", peer)
        elif any(self._is_news(record) for record in records):
            self._tasks.create(self._hear(peer, records), name="librats identity hook")

    def _is_news(self, record: Succession) -> bool:
        known = self._book.get(record.old_id)
        return known is None or known.successor != record.new_id or known.followed is None

    async def _hear(self, peer: Peer, records: Sequence[Succession]) -> None:
        for record in records:  # in order: the next one's identity before may be known by this one only
            known = self._book.get(record.old_id)
            if known is None or known.verify_key != record.old_verify_key.hex() or record.old_id in self._asking:
                continue
            if known.successor and known.successor != record.new_id:
                logger.warning(
                    "%r says that %s follows %s, but that was %s at first",
                    *(peer, record.new_id[:8], record.old_id[:8], known.successor[:8]),
                )
            elif known.followed is None:
                await self._decide(peer, record)

    async def _decide(self, peer: Peer, record: Succession) -> None:
        old_id, new_id = record.old_id, record.new_id
        self._book.succeeded(old_id, new_id, record.new_verify_key, followed=None)
        self._asking.add(old_id)
        try:
            followed = await self._ask(peer, record)
        finally:
            self._asking.discard(old_id)
        self._book.succeeded(old_id, new_id, record.new_verify_key, followed=followed)
        if followed:
            self._followed(old_id, new_id)
        logger.info("%s follows %s%s", new_id[:8], old_id[:8], "" if followed else ", which is not acted upon")
        self._dispatcher.announce(IdentityRotated(peer, record, bool(followed)))

    async def _ask(self, peer: Peer, record: Succession) -> bool | None:
        """Ask the application: False as soon as one function says so or fails, None where there is no function."""
        verdict = None
        for hook in self._dispatcher.handlers.listeners("identity_rotated"):
            try:
                answer = hook.handler(peer, record)
                if inspect.isawaitable(answer):
                    answer = await answer
            except FAILURES as error:
                if isinstance(error, asyncio.CancelledError) and is_to_end():
                    raise
                logger.exception("the hook for a rotated identity failed; it is not followed")
                return False
            if answer is False:
                return False
            verdict = True
        return verdict


def _is_vouched_for(peer: Peer, records: Sequence[Succession]) -> bool:
    """Whether the keys that the session has proven are among those of the records."""
    opened = peer.link.opened
    verify_key = peer.hello.verify_key if peer.hello is not None else None
    if not isinstance(opened, Opened) or verify_key is None:
        return False
    ours = opened.public_key, verify_key
    last = records[-1]
    pairs = [(record.old_public_key, record.old_verify_key) for record in records]
    return ours in [*pairs, (last.new_public_key, last.new_verify_key)]
