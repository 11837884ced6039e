"""Peer exchange: peers are asked for others, told of others, and who is learnt of is dialled."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from librats.config import RatsConfig
from librats.errors import RatsError, UsageError
from librats.peers.events import PeerDiscovered
from librats.peers.scopes import Scope, plain_address, scope_of
from librats.runtime.tasks import TaskSet
from librats.session.dial_budget import DialBudget
from librats.session.events import PeersOffered, PeersWanted
from librats.session.exchange import MAX_ENTRIES, KnownPeer, encode_answer, encode_request
from librats.types import Address, ConnectionMethod, Entropy

if TYPE_CHECKING:
    from librats.peers.handling.dispatch import Dispatcher
    from librats.peers.peer import Peer

__all__ = ["Dial", "PeerExchange"]

logger = logging.getLogger("librats.exchange")

ASK_INTERVAL = 60.0
"""Seconds after which a peer is asked again, as long as peers are wanted."""

REDIAL_INTERVAL = 300.0
"""Seconds in which one address is dialled once."""

MAX_REMEMBERED = 4096
"""Addresses of which is remembered that they were told of, and when they were dialled."""

MAX_DIALS = 8
"""Dials that may be under way at once."""

BURST, REFILL = 4, 15.0
"""Messages of exchange that are heard from one peer at once, and seconds after which one more is."""


Dial = Callable[[KnownPeer], Awaitable[object]]


class _Allowance:
    """How many more messages of exchange are heard from a peer."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now
        self.asked = -ASK_INTERVAL
        """When we asked it last."""

    def take(self, now: float) -> bool:
        """Use one up; False where none is left."""
        self._left = min(BURST, self._left + (now - self._at) / REFILL)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class PeerExchange:
    """Peer exchange of one client that takes part in it.

    Args:
        own_id: Who we are.
        config: How many peers are wanted, and how many dials a minute.
        peers: The connected peers by id.
        dispatcher: Tells who was discovered.
        tasks: Owner of the dials.
        entropy: Chooses whom to tell of, where not all fit.
        dial: Connects to somebody.
    """

    def __init__(
        self,
        own_id: str,
        config: RatsConfig,
        peers: Mapping[str, Peer],
        dispatcher: Dispatcher,
        tasks: TaskSet,
        *,
        entropy: Entropy,
        dial: Dial,
    ) -> None:
        self._own_id = own_id
        self._wanted = min(config.peer_target, config.max_peers)
        self._budget = DialBudget(at_once=MAX_DIALS, per_minute=config.peer_dials_per_minute)
        self._peers = peers
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._entropy = entropy
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._allowances: dict[str, _Allowance] = {}
        self._remembered: OrderedDict[Address, float | None] = OrderedDict()
        self._dialling: set[str] = set()
        self.counters = dict.fromkeys(
            (
                "asked",
                "answered",
                "ignored",
                "peers_told",
                "peers_learnt",
                "addresses_refused",
                "dials",
                "dials_failed",
            ),
            0,
        )
        """What has happened so far, for statistics."""

    # Peers come and go

    def joined(self, peer: Peer) -> None:
        """Ask a peer that has just connected for others, where they are wanted."""
        self._allowances[peer.id] = _Allowance(self._loop.time())
        if self._more_wanted():
            self._ask(peer)

    def left(self, peer: Peer) -> None:
        """Forget a peer that is gone."""
        self._allowances.pop(peer.id, None)

    async def keep_asking(self) -> None:
        """Ask whoever is connected again from time to time, as long as peers are wanted; without end."""
        while True:
            await asyncio.sleep(ASK_INTERVAL / 2)
            if self._more_wanted():
                due = self._loop.time() - ASK_INTERVAL
                for peer in list(self._peers.values()):
                    allowance = self._allowances.get(peer.id)
                    if allowance is not None and allowance.asked <= due:
                        self._ask(peer)

    def _more_wanted(self) -> bool:
        return len(self._peers) + len(self._dialling) < self._wanted

    def _ask(self, peer: Peer) -> None:
        self._allowances[peer.id].asked = self._loop.time()
        self.counters["asked"] += 1
        self._send(peer, encode_request())

    @staticmethod
    def _send(peer: Peer, payload: bytes) -> None:
        peer.link.session.send_exchange(payload)
        peer.link.request_flush()

    # What peers say

    def heard(self, peer: Peer, event: PeersWanted | PeersOffered) -> None:
        """Answer a peer that asks, and look at whom it tells of. One that says too much is not heard."""
        allowance = self._allowances.get(peer.id)
        if allowance is None or not allowance.take(self._loop.time()):
            self.counters["ignored"] += 1
        elif isinstance(event, PeersWanted):
            self._answer(peer, event.most)
        else:
            for entry in event.entries:
                self._learn(peer, entry)

    def _answer(self, asker: Peer, most: int) -> None:
        reach = scope_of(asker.address.host)
        others = [peer for peer in self._peers.values() if peer.id not in (asker.id, self._own_id)]
        entries: list[KnownPeer] = []
        while others and len(entries) < min(most, MAX_ENTRIES):
            # A random one each time, so that a big network does not always hear of the same.
            index = self._entropy.randbelow(len(others))
            others[index], others[-1] = others[-1], others[index]
            peer = others.pop()
            address = _where(peer)
            # Nobody is told of what it could not reach: an address of our own network is nobody else's business.
            if address is not None and scope_of(address.host) >= max(reach, Scope.HOST):
                entries.append(KnownPeer(address, peer.id))
        if entries:  # a librats 2 node that knows nobody does not answer either
            self.counters["answered"] += 1
            self.counters["peers_told"] += len(entries)
            self._send(asker, encode_answer(entries))

    def _learn(self, teller: Peer, entry: KnownPeer) -> None:
        address = plain_address(entry.address)
        if entry.peer_id == self._own_id or entry.peer_id in self._peers:
            return
        if not address.port or scope_of(address.host) < max(scope_of(teller.address.host), Scope.HOST):
            # Somebody far away names what is near us: whoever dialled it would scan its own network for a stranger.
            self.counters["addresses_refused"] += 1
            return
        if address not in self._remembered:
            self._remember(address, None)
            self.counters["peers_learnt"] += 1
            self._dispatcher.announce(PeerDiscovered(entry.peer_id, (address,), "", "peer-exchange"))
        if self._may_dial(entry.peer_id, address):
            self._start(KnownPeer(address, entry.peer_id))

    def _remember(self, address: Address, dialled: float | None) -> None:
        self._remembered[address] = dialled
        self._remembered.move_to_end(address)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    # Dialling

    def _may_dial(self, peer_id: str, address: Address) -> bool:
        now = self._loop.time()
        dialled = self._remembered.get(address)
        return (
            self._more_wanted()
            and peer_id not in self._dialling
            and self._budget.free_at(now=now) == now
            and (dialled is None or dialled <= now - REDIAL_INTERVAL)
        )

    def _start(self, entry: KnownPeer) -> None:
        now = self._loop.time()
        self._remember(entry.address, now)
        self._budget.take(now=now)
        self._dialling.add(entry.peer_id)
        self.counters["dials"] += 1
        self._tasks.create(self._reach(entry), name=f"librats dials {entry.peer_id[:8]}, of whom it was told")

    async def _reach(self, entry: KnownPeer) -> None:
        try:
            await self._dial(entry)
        except RatsError as error:
            self.counters["dials_failed"] += 1
            logger.debug("was told of %s at %s, but: %s", entry.peer_id[:8], entry.address, error)
        finally:
            self._dialling.discard(entry.peer_id)
            self._budget.give_back()


def _where(peer: Peer) -> Address | None:
    """Where others can dial a peer: where we did, or its address as we see it with the port that it listens on."""
    if peer.method is ConnectionMethod.CARRIED:
        return None
    if peer.outgoing:
        return plain_address(peer.address)
    seen = plain_address(peer.address)
    for text in peer.hello.listen if peer.hello is not None else ():
        try:
            port = Address.parse(text).port
        except UsageError:
            continue
        if port:
            return Address(seen.host, port)
    return None
