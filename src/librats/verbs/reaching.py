"""The client's verbs for reaching peers: the race between direct ways and those through introducers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs

from librats.attempts.accounts import later
from librats.attempts.reaching import ReachRace
from librats.attempts.strategies import Situation, lacks, plan_of
from librats.connector import Target
from librats.errors import ConnectError, RatsError, UsageError
from librats.introductions.introduced import IntroducedPeers
from librats.peers.events import TraversalStep
from librats.peers.keeping.what_worked import WhatWorked
from librats.peers.peer import Peer
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, ConnectionStrategy
from librats.verbs.introducing import IntroducingVerbs

if TYPE_CHECKING:
    from librats.peers.book import PeerBook

__all__ = ["ReachingVerbs"]

INTRODUCER_PATIENCE = 12.0
"""Seconds that a dial waits for the first introducer of a client that has just started, while it is being dialled."""

SERVICES_PATIENCE = 0.5
"""The same, where there is another one already."""

HEAD_START = 0.1
"""Seconds that known addresses have before introducers are asked."""

AN_ADDRESS = Situation(has_id=False, has_address=True)
"""What is enough for a peer whose id is not known: nobody can introduce that one."""


class ReachingVerbs(IntroducingVerbs):
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _worked: WhatWorked

        @property
        def book(self) -> PeerBook:
            """See the client."""

    async def _reach(
        self, wanted: Target, addresses: Sequence[Address], strategy: ConnectionStrategy, timeout: float | None
    ) -> Peer:
        """Reach a peer as a strategy says; where the caller gives up, nothing of it stays behind."""
        try:
            return await self._reach_by_plan(wanted, addresses, strategy, timeout)
        except asyncio.CancelledError:
            if not self._paths.hides_us:
                self._tasks.create(self._paths.relays.let_go_unused(), name="librats gives relayed addresses back")
            raise

    async def _reach_by_plan(
        self, wanted: Target, addresses: Sequence[Address], strategy: ConnectionStrategy, timeout: float | None
    ) -> Peer:
        """Reach a peer at its addresses, and through introducers, as far as a strategy does that."""
        connector, introduced = self._connector, self._introduced
        if connector is None:
            raise UsageError("the client is not running")
        plan = plan_of(strategy)
        target = wanted.peer_id or (None if plan.dials else self._who_is_at(addresses))
        is_auto = strategy is ConnectionStrategy.AUTO_ADAPTIVE
        is_found = self._may_find(wanted, target, plan)
        situation = AN_ADDRESS if is_auto and target is None and addresses else self._situation(target, addresses)
        lacking = lacks(strategy, structs.replace(situation, is_found=is_found))
        if lacking is not None:
            raise ConnectError(wanted.text, reason=lacking[0], code=lacking[1])
        worked = self._worked.get(self._nat_memory.here, target) if is_auto and target is not None else None
        attempts: list[ConnectionAttempt] = []
        seconds = self._config.connect_timeout if timeout is None else timeout
        began = asyncio.get_running_loop().time()

        async def directly() -> Peer:
            if strategy is ConnectionStrategy.TURN_RELAY:
                await self._wait_for_relay(wanted)
            return await connector.connect(
                wanted.text,
                list(addresses),
                expect_id=wanted.peer_id,
                timeout=timeout,
                only=plan.dials,
                first=None if worked is None or worked.introduced else worked.method,
                punch=strategy is ConnectionStrategy.HOLE_PUNCHING,
                attempts=attempts,
            )

        circle = introduced if plan.meets and situation.has_introducers else None
        if target is None or (circle is None and not is_found):
            return self._settle(await directly(), strategy)
        is_dialled = bool(addresses and plan.dials)
        head_start = HEAD_START if is_dialled and not (worked is not None and worked.introduced) else 0.0
        connector.check_limits(target)
        race = ReachRace(self._tasks, wanted.text, attempts)
        if is_dialled:
            race.start(directly(), "directly")
        rest: dict[str, Callable[[], Coroutine[Any, Any, Peer]]] = {}
        if circle is not None:
            rest["with help"] = partial(self._by_introducers, circle, wanted, target, strategy, attempts, began)
        if is_found:
            rest["by its id"] = partial(
                self._find_way,
                wanted,
                target,
                plan,
                attempts,
                dialled=addresses if is_dialled else (),
                began=began,
                has_others=is_dialled or circle is not None,
            )
        try:
            peer = await race.run(rest, head_start=head_start, seconds=seconds)
        except RatsError as error:
            self._tell(target, TraversalStep.FAILED, str(error))
            raise
        self._tell(target, TraversalStep.CONNECTED)
        return self._settle(peer, strategy)

    def _tell(self, target: str, step: TraversalStep, words: str = "") -> None:
        if self._introduced is not None:
            self._introduced.tell(target, step, words)

    async def _by_introducers(
        self,
        introduced: IntroducedPeers,
        wanted: Target,
        target: str,
        strategy: ConnectionStrategy,
        attempts: list[ConnectionAttempt],
        began: float,
    ) -> Peer:
        """Reach a peer through those who are connected, or will be soon."""
        keeper = self._keeper
        if strategy is ConnectionStrategy.TURN_RELAY:
            await self._wait_for_relay(wanted)
        introduced.tell(target, TraversalStep.STARTED)
        if keeper is not None and not keeper.is_ready:
            introduced.tell(target, TraversalStep.WAITING)
            await keeper.wait(SERVICES_PATIENCE if self._introducers() else INTRODUCER_PATIENCE)
        introducers = self._introducers()
        if not introducers:
            nobody = ("no introducer is connected", AttemptReason.NO_INTRODUCER)
            words, reason = nobody if keeper is None else keeper.problem
            raise ConnectError(wanted.text, attempts, words, reason)
        noted: list[ConnectionAttempt] = []
        offset = asyncio.get_running_loop().time() - began
        try:
            link = await introduced.reach(target, introducers, noted, ways=plan_of(strategy).meets)
        finally:
            attempts.extend(later(noted, offset))
        return self._peer_of(link, wanted.text, attempts)

    def _situation(self, target: str | None, addresses: Sequence[Address]) -> Situation:
        nat, relays = self._config.nat, self._paths.relays
        return Situation(
            policy=self._paths.policy,
            has_id=target is not None,
            has_address=bool(addresses),
            meets=self._introduced is not None,
            has_introducers=self._keeper is not None or bool(self._introducers()),
            has_udp=self._connector is not None and ConnectionMethod.UDP in self._connector.direct_methods,
            has_stun=bool(nat.stun_servers or self._keeper is not None),
            has_relay=bool(relays.servers or self._keeper is not None),
            relays=nat.enable_turn_relay,
            punches=nat.enable_hole_punching,
        )

    def _who_is_at(self, addresses: Sequence[Address]) -> str | None:
        """Return the id of the peer that was at an address the last time, where it is known."""
        return next((who for who in self.book if not set(addresses).isdisjoint(self.book.addresses_of(who))), None)

    async def _wait_for_relay(self, wanted: Target) -> None:
        """Wait until an introducer has granted a TURN server, where none is configured.

        Raises:
            ConnectError: None has.
        """
        relays, keeper = self._paths.relays, self._keeper
        if not relays.servers and keeper is not None:
            await keeper.wait(INTRODUCER_PATIENCE)
        if not relays.servers:
            words = "no TURN server is configured, and no introducer grants one"
            raise ConnectError(wanted.text, reason=words, code=AttemptReason.NOT_CONFIGURED)

    def _settle(self, peer: Peer, strategy: ConnectionStrategy) -> Peer:
        """Have a session stay where the strategy says, and remember which way has worked."""
        if strategy is ConnectionStrategy.TURN_RELAY:
            self._running().paths.stay(peer.link)
        here = self._nat_memory.here
        if strategy is ConnectionStrategy.AUTO_ADAPTIVE and here and peer.is_encrypted:
            by_ice = any(attempt.pair is not None and not attempt.error for attempt in peer.attempts)
            is_carried = peer.method is ConnectionMethod.CARRIED
            self._worked.note(here, peer.id, peer.method, introduced=by_ice or is_carried)
        return peer
