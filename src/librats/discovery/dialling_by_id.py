"""Dialling a peer of which hardly more than the id is known: through the DHT, and through what a ticket names."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct, structs

from librats.attempts.accounts import OVERTAKEN, describe, later, outcome, reason_of
from librats.attempts.strategies import Plan
from librats.connector import Connector, Target
from librats.dht.items import Item
from librats.dht.records import RECORD_SALT, KnownRecords, PeerRecord, introducer_hash, record_target
from librats.errors import (
    ConnectError,
    DecodeError,
    HandshakeError,
    IntroductionError,
    OperationTimeout,
    PeerDenied,
    PeerLimitReached,
    RatsError,
)
from librats.ice.addresses import AddressPolicy
from librats.introducers.found import FoundIntroducers, HeldIntroducer
from librats.introductions.introduced import IntroducedPeers
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet, end_all
from librats.servers import introducer_place
from librats.services.introduction.letters import Introducer
from librats.services.session import Link
from librats.session.pace import Pace, PaceTable, wait_for_all
from librats.tickets import Ticket
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, Entropy
from librats.web_uris import WebUri

__all__ = ["DialById", "LooksUp", "Surroundings"]

logger = logging.getLogger("librats.finding")

MAX_ASKED = 8
"""Introducers that are asked for one peer."""

FIRST_ASKED = 4
"""Of these, those that the DHT tells of first."""

ALL_AFTER = 1.0
"""Seconds after which, or when the first ones do not know the peer, all that the DHT knows are looked for."""

ASK_TIMEOUT = 5.0
"""Seconds that an introducer has to tell a key."""

PEER_TIMEOUT = 10.0
"""Seconds that it takes to connect to a peer that introduces."""

MINUTE = 60.0
PER_HOST, HOST_BURST = 12.0, 6.0
"""How often a minute, and at once, one host that others have named is dialled."""

PER_MINUTE, BURST = 120.0, 32.0
"""How often a minute, and at once, any host is."""

IN_THE_DHT = Address("dht", 0)
"""What stands for the address in the account of a lookup."""


class LooksUp(Protocol):
    """What is asked of the DHT."""

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        """Return the newest item at a target."""

    async def find_peers(
        self, info_hash: bytes, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return who has announced a hash."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a client has that dials by id."""

    manager: PeerManager
    """Where links become peers."""

    connector: Connector
    """Dials addresses."""

    introduced: IntroducedPeers | None
    """Reaches peers through introducers; None where ICE or encryption is off."""

    found: FoundIntroducers
    """Sessions with introducers."""

    tasks: TaskSet
    """Owner of the tasks."""

    entropy: Entropy
    """Chooses whom to ask, where there are too many."""

    wall: Callable[[], float]
    """Seconds since 1970."""

    introducer_of: Callable[[Peer], Introducer | None]
    """Returns a peer as an introducer; None where it does not introduce."""

    own_hosts: Callable[[], Sequence[str]]
    """Returns the hosts at which this client listens."""

    seen_at: Callable[[], Sequence[str]]
    """Returns the hosts at which others see this client."""


class DialById:
    """Dials by id, for one client from its start to its stop.

    Args:
        around: What the client has.
    """

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.records = KnownRecords()
        """The newest records of peers."""
        self._hosts = PaceTable(PER_HOST / MINUTE, HOST_BURST)
        self._all = Pace(PER_MINUTE / MINUTE, BURST)
        self._loop = asyncio.get_running_loop()

    def refusal(self, address: Address) -> tuple[str, AttemptReason] | None:
        """Return why an address that others have named is not dialled now, in words and in a word; None where it is."""
        denied = self.around.manager.admission.access.check_dial(address.host)
        if denied is not None:
            return str(denied), reason_of(denied)
        now = self._loop.time()
        if wait_for_all(self._hosts.of(address.host, now=now), self._all, now=now) is None:
            return "too many dials to what others have named", AttemptReason.ADDRESS_REFUSED
        return None

    async def reach(
        self,
        wanted: Target,
        peer_id: str,
        plan: Plan,
        attempts: list[ConnectionAttempt],
        *,
        ticket: Ticket | None,
        dht: LooksUp | None,
        verify_key: bytes | None,
        dialled: Sequence[Address],
        offset: float,
    ) -> Peer:
        """Reach a peer by what its ticket names, its record in the DHT, and introducers that the DHT knows.

        Args:
            wanted: What the caller named.
            peer_id: The peer.
            plan: What the strategy does.
            attempts: Where every attempt is noted, at the latest when this is cancelled.
            ticket: The peer's ticket; None where there is none.
            dht: Whom to ask; None where there is no DHT.
            verify_key: The key with which the peer signs; None where that is not known.
            dialled: Addresses that are dialled besides.
            offset: Seconds from the caller's call until now.

        Raises:
            ConnectError: There is no way.
            PeerLimitReached: ``max_peers`` are connected; likewise PeerDenied.
            IntroductionError: The peer does not want to be reached.
        """
        search = _Search(self, wanted, peer_id, plan, dialled)
        try:
            return await search.run(ticket, dht, verify_key)
        finally:
            attempts.extend(later(search.attempts, offset))


class _Announced(Struct, frozen=True):
    """Introducers that the DHT knows."""

    addresses: list[Address]
    is_all: bool


class _Search:
    """One peer that is looked for."""

    def __init__(self, owner: DialById, wanted: Target, peer_id: str, plan: Plan, dialled: Sequence[Address]) -> None:
        self._owner = owner
        self._around = owner.around
        self._wanted = wanted
        self._target = peer_id
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.attempts: list[ConnectionAttempt] = []
        """What was tried, with the time since the search began."""
        self._dialled = set(dialled)
        self._asked: set[Address | WebUri] = set()
        self._running: dict[asyncio.Task[Any], None] = {}
        self._held: list[HeldIntroducer] = []
        self._ready: deque[HeldIntroducer] = deque()
        self._calling: asyncio.Task[Any] | None = None
        self._led_to: tuple[HeldIntroducer, Link] | None = None
        self._last: RatsError | OSError | None = None

    async def run(self, ticket: Ticket | None, dht: LooksUp | None, verify_key: bytes | None) -> Peer:
        """Look for ways, go each as it is found, and return the peer that the first one leads to."""
        try:
            self._begin(ticket, dht, verify_key)
            while self._running:
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in self._running if task in done]:
                    del self._running[task]
                    peer = self._take(task.result(), dht)
                    if peer is not None:
                        return peer
                self._call_next()
        finally:
            await end_all(self._running)
            for held in self._held:
                led_to = None if self._led_to is None or self._led_to[0] is not held else self._led_to[1]
                held.release(led_to)
        last = self._last
        if isinstance(last, PeerLimitReached | PeerDenied):
            raise last
        words = "" if self.attempts else "nothing leads to it"
        code = AttemptReason.NOT_IN_DHT if last is None else reason_of(last)
        raise ConnectError(self._wanted.text, self.attempts, words, code) from last

    def _begin(self, ticket: Ticket | None, dht: LooksUp | None, verify_key: bytes | None) -> None:
        if ticket is not None and self._plan.meets:
            for text in ticket.introducers:
                peer_id, place = introducer_place(text)
                self._ask_at(place, peer_id)
        if dht is None:
            return
        if verify_key is not None:
            known = self._owner.records.get(self._target, now=self._around.wall())
            if known is not None:
                self._use_record(known)
            self._start(self._look_up_record(dht, verify_key), "its record")
        if self._plan.meets:
            self._start(self._look_up_introducers(dht, 1, after=0.0), "its introducers")

    def _start(self, coroutine: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        name = f"librats finds {self._target[:8]} by {what}"
        task = self._around.tasks.create(outcome(coroutine), name=name)
        self._running[task] = None
        return task

    def _take(self, found: object, dht: LooksUp | None) -> Peer | None:
        """Take what one of the ways has come to, and return the peer where it is there."""
        match found:
            case Peer():
                return found
            case HeldIntroducer():
                self._ready.append(found)
            case PeerRecord():
                self._use_record(found)
            case _Announced():
                self._use_announced(found, dht)
            case RatsError() | OSError():
                self._last = found
                if isinstance(found, IntroductionError) and found.by_peer:
                    raise found  # it was asked: nothing else would change its mind
        return None

    def _note(self, place: Address | WebUri, began: float, problem: str, reason: AttemptReason) -> None:
        attempt = ConnectionAttempt(
            address=place.address if isinstance(place, WebUri) else place,
            method=ConnectionMethod.UDP if place == IN_THE_DHT else ConnectionMethod.TCP,
            duration=self._loop.time() - began,
            error=problem,
            reason=reason,
            started=began - self._began,
        )
        self.attempts.append(attempt)

    def _unreachable(self, began: float, what: str, error: RatsError) -> ConnectError:
        words, reason = f"{what}: {describe(error)}", AttemptReason.DHT_UNREACHABLE
        self._note(IN_THE_DHT, began, words, reason)
        return ConnectError(self._wanted.text, reason=words, code=reason)

    # The record

    async def _look_up_record(self, dht: LooksUp, verify_key: bytes) -> PeerRecord | None:
        began = self._loop.time()
        try:
            item = await dht.get(record_target(verify_key), salt=RECORD_SALT)
            if item is None or item.key != verify_key:
                self._note(IN_THE_DHT, began, "it has published no record", AttemptReason.NOT_IN_DHT)
                return None
            now = self._around.wall()
            record = PeerRecord.read(item, now=now, peer_id=self._target)
        except DecodeError as error:
            self._note(IN_THE_DHT, began, f"its record is of no use: {error}", AttemptReason.NOT_IN_DHT)
            return None
        except RatsError as error:
            raise self._unreachable(began, "its record", error) from error
        except asyncio.CancelledError:
            self._note(IN_THE_DHT, began, *OVERTAKEN)
            raise
        logger.debug("%s: its record names %d addresses", self._target[:8], len(record.addresses))
        return self._owner.records.take(record, now=now)

    def _use_record(self, record: PeerRecord) -> None:
        """Dial where a record says that the peer is, and ask whom it names as its introducers."""
        policy = AddressPolicy(strangers=True)
        for host in self._around.own_hosts():
            policy.note_base(host)
        for host in self._around.seen_at():
            policy.note_own(host)
        for host in (*record.seen, *(address.host for address in record.addresses)):
            policy.note_peer(host)
        new = [address for address in record.addresses if address not in self._dialled] if self._plan.dials else []
        self._dialled.update(new)
        allowed = [address for address in new if self._may_go(address, policy)]
        if allowed:
            self._start(self._dial(allowed), "its addresses")
        if self._plan.meets:
            for peer_id, address in record.introducers:
                if address not in self._asked and self._may_go(address, policy):
                    self._ask_at(address, peer_id)

    def _may_go(self, address: Address, policy: AddressPolicy | None) -> bool:
        words, reason = "" if policy is None else policy.refusal(address), AttemptReason.ADDRESS_REFUSED
        if not words:
            refused = self._owner.refusal(address)
            if refused is None:
                return True
            words, reason = refused
        self._note(address, self._loop.time(), words, reason)
        return False

    async def _dial(self, addresses: list[Address]) -> Peer:
        offset = self._loop.time() - self._began
        noted: list[ConnectionAttempt] = []
        try:
            return await self._around.connector.connect(
                self._wanted.text, addresses, expect_id=self._target, only=self._plan.dials, attempts=noted
            )
        finally:
            self.attempts += later(noted, offset)

    # Introducers

    async def _look_up_introducers(self, dht: LooksUp, enough: int, *, after: float) -> _Announced:
        await asyncio.sleep(after)
        began = self._loop.time()
        try:
            found = await dht.find_peers(introducer_hash(self._target), enough=enough)
        except RatsError as error:
            raise self._unreachable(began, "its introducers", error) from error
        except asyncio.CancelledError:
            self._note(IN_THE_DHT, began, *OVERTAKEN)
            raise
        if not found:
            self._note(IN_THE_DHT, began, "nobody announces to introduce it", AttemptReason.NOT_IN_DHT)
        logger.debug("%s: %d announce that they introduce it", self._target[:8], len(found))
        return _Announced(found, is_all=enough > 1 or not found)

    def _use_announced(self, announced: _Announced, dht: LooksUp | None) -> None:
        """Ask some of those who say that they introduce the peer: any of them may lie."""
        waiting = [address for address in dict.fromkeys(announced.addresses) if address not in self._asked]
        room = MAX_ASKED if announced.is_all else FIRST_ASKED
        while waiting and len(self._asked) < room:
            address = waiting.pop(self._around.entropy.randbelow(len(waiting)))
            if self._may_go(address, None):
                self._ask_at(address, None)
        if not announced.is_all and dht is not None:
            self._start(self._look_up_introducers(dht, MAX_ASKED, after=ALL_AFTER), "all its introducers")

    def _ask_at(self, place: Address | WebUri, peer_id: str | None) -> None:
        if place not in self._asked and len(self._asked) < MAX_ASKED:
            self._asked.add(place)
            self._start(self._ask(place, peer_id), f"introducer {place}")

    async def _ask(self, place: Address | WebUri, peer_id: str | None) -> HeldIntroducer | Peer | None:
        """Ask whoever is there for the peer's key; None where it does not introduce the peer."""
        began = self._loop.time()
        try:
            there = await self._introducer_at(place, peer_id)
            if isinstance(there, Peer):
                return there
            self._held.append(there)
            introducer = there.introducer
            logger.debug("%s: introducer %s is there", self._target[:8], introducer.peer_id[:8])
            key = await _within(ASK_TIMEOUT, introducer.circle.ask(introducer.peer_id, self._target))
        except asyncio.CancelledError:
            self._note(place, began, *OVERTAKEN)
            raise
        except (RatsError, OSError) as error:
            self._note(place, began, f"as its introducer: {describe(error)}", reason_of(error))
            self._last = error
            return None
        logger.debug("%s: introducer %s knows it", self._target[:8], introducer.peer_id[:8])
        self._held[self._held.index(there)] = asked = structs.replace(
            there, introducer=structs.replace(introducer, key=key)
        )
        return asked

    async def _introducer_at(self, place: Address | WebUri, peer_id: str | None) -> HeldIntroducer | Peer:
        try:
            return await self._around.found.hold(place, peer_id)
        except HandshakeError as error:
            if error.code is not AttemptReason.HANDSHAKE_FAILED or isinstance(place, WebUri):
                raise
        # Something else than a public introducer: a peer of this application, perhaps, for these introduce as well.
        around, before = self._around, set(self._around.manager.peers)
        peer = await around.connector.connect(str(place), [place], expect_id=peer_id, timeout=PEER_TIMEOUT)
        if peer.id == self._target:
            return peer

        def release(led_to: Link | None) -> None:
            if led_to is None and peer.id not in before:
                around.tasks.create(peer.close("no introducer of whom was looked for"), name="librats leaves a peer")

        introducer = around.introducer_of(peer)
        if introducer is None:
            release(None)
            raise HandshakeError(f"peer {peer.id[:8]} is there, which does not introduce", AttemptReason.UNKNOWN_PEER)
        return HeldIntroducer(introducer, release)

    def _call_next(self) -> None:
        """Call the peer through the next introducer that knows it, where no call is under way."""
        if self._ready and (self._calling is None or self._calling.done()):
            self._calling = self._start(self._call(self._ready.popleft()), "an introducer")

    async def _call(self, held: HeldIntroducer) -> Peer:
        offset, introduced = self._loop.time() - self._began, self._around.introduced
        noted: list[ConnectionAttempt] = []
        if introduced is None:
            raise HandshakeError("ICE is off", AttemptReason.NOT_CONFIGURED)
        try:
            link = await introduced.reach(self._target, [held.introducer], noted, ways=self._plan.meets)
        finally:
            self.attempts += later(noted, offset)
        self._led_to = held, link
        peer = self._around.manager.peers.get(link.peer_id)
        if peer is None:
            words = f"the session ended at once: {link.reason[1]}"
            raise HandshakeError(words)
        return peer


async def _within(seconds: float, coroutine: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await coroutine
    except TimeoutError:
        raise OperationTimeout(f"no answer within {seconds:g} s") from None
