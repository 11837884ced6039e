"""The driver of hole punching: rounds of telling each other where one is, opening, and sending at the agreed time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import structs

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, ConnectError, DecodeError
from librats.ice.addresses import AddressPolicy, Reach, reach_of
from librats.ice.descriptions import new_credentials
from librats.ice.messages import Credentials
from librats.punch.descriptions import PunchDescription, PunchEnd, PunchGo, PunchMessage, read_punch_message
from librats.punch.machine import PathFound, PunchMachine
from librats.punch.plans import NatFacts, Plan, PunchPart, PunchReason, PunchTechnique, choose_plans, why_not
from librats.punch.settings import PunchSettings
from librats.punch.techniques import Round
from librats.runtime.network import Network, current_network
from librats.services.punch.account import REASONS, failed_attempts
from librats.services.punch.attempts import PunchAttempt
from librats.services.punch.driver import PunchDriver
from librats.services.punch.path import PunchedConnection, PunchedPath
from librats.services.punch.sockets import PunchSockets
from librats.services.punch.tcp import TcpMeeting
from librats.services.stun import measure_behaviour
from librats.types import Address, NatTypeInfo

__all__ = ["HolePuncher", "PunchSignalling"]

logger = logging.getLogger("librats.punch")

MAX_HOSTS = 8
MAX_SERVERS = 3
MOST_UNSEEN = 2
"""Rounds in which both have asked over TCP where they are seen, and nobody has answered."""

FURTHER = 1.5
"""How many round trips an attempt to connect is given at least."""
LONGEST_HEAD_START = 0.3
"""Seconds that the leader waits, for its peer to begin, at the most: what looks like a long way may be a late start."""

GUESSING = frozenset({PunchTechnique.PREDICTION, PunchTechnique.BIRTHDAY})
T = TypeVar("T")
M = TypeVar("M", PunchDescription, PunchGo)


class PunchSignalling(Protocol):
    """How the two sides tell each other something before there is a way: sealed, through an introducer for example."""

    async def send(self, message: dict[str, Any]) -> None:
        """Send a dictionary that JSON can hold to the peer."""

    async def receive(self) -> Mapping[str, Any]:
        """Return the next one of the peer's, in the order in which they were sent."""


class _Failure(Exception):
    def __init__(self, reason: PunchReason, *, by_peer: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.by_peer = by_peer


class _Here:
    """What one round has on this side."""

    def __init__(self, number: int, network: Network) -> None:
        self.number = number
        self.driver = PunchDriver()
        self.sockets = PunchSockets(network, self.driver.take)
        self.tcp: TcpMeeting | None = None
        self.ours: PunchDescription
        self.round: Round
        self.machine: PunchMachine
        self.began = 0.0
        self.is_void = False
        """Whether nobody can connect: one side did not know yet that it would be over TCP, or neither is seen."""
        self.is_kept = False
        """Whether a path goes on using it."""

    async def close(self) -> None:
        """Let everything go that no path uses."""
        if self.tcp is not None:
            await self.tcp.close()
        if not self.is_kept:
            self.driver.close()
            self.sockets.close_others()


class HolePuncher:
    """Makes a way for datagrams to a peer behind a NAT, which runs one, too, at the same time.

    Args:
        signalling: How the two tell each other something.
        leads: Whether this side leads: exactly one of the two does, whoever calls for example.
        config: STUN servers, and how long they are waited for.
        nat: What was found out about this side's NAT, or what returns it at the beginning of each round; it is measured
            where None is given, which takes some seconds.
        settings: What it may cost.
        strangers: Whether nobody vouches for the peer: private addresses that it names are sent to only where both
            sides are seen at the same public address.
        local_hosts: This host's own addresses; those of its interfaces where None is given.
        tcp: Whether a TCP connection will do, where datagrams do not get through.
        network: Where sockets are opened; the running loop's network where None is given.
        allows: Says whether an address of the peer's may be sent to, and with True, whether ports may be guessed there,
            beside what holds for all peers.

    Example:
        .. code-block:: python

            puncher = HolePuncher(signalling, leads=True, config=config, nat=await client.nat.detect())
            path = await puncher.punch()
            path.send(b"hello")
    """

    def __init__(
        self,
        signalling: PunchSignalling,
        *,
        leads: bool,
        config: NatTraversalConfig | None = None,
        nat: NatTypeInfo | Callable[[], NatTypeInfo] | None = None,
        settings: PunchSettings | None = None,
        strangers: bool = True,
        local_hosts: Sequence[str] | None = None,
        tcp: bool = True,
        network: Network | None = None,
        allows: Callable[[Address, bool], bool] = lambda _address, _guessing: True,
    ) -> None:
        self._signalling = signalling
        self._leads = leads
        self._config = config if config is not None else NatTraversalConfig()
        self._nat = NatFacts.of(nat) if isinstance(nat, NatTypeInfo) else None
        self._learn = nat if callable(nat) else None
        self._allows = allows
        self._settings = settings or PunchSettings()
        self._strangers = strangers
        self._local_hosts = local_hosts
        self._tcp = tcp
        self._plans: list[Plan] | None = None
        self._rounds = self._settings.rounds
        self._unseen_rounds = 0
        self._servers: list[Address] | None = None
        self._given_network = network
        self._network: Network
        self._loop: asyncio.AbstractEventLoop
        self._no_target = PunchReason.NO_ADDRESS
        self.attempts: list[PunchAttempt] = []
        """Every round so far."""
        self.rtt: float | None = None
        """Seconds that a message takes to the peer and back through the signalling; None until it is known, and on the
        side that does not lead."""

    async def punch(self) -> PunchedPath | PunchedConnection:
        """Make a way.

        Returns:
            A way for datagrams; a connection where ``tcp`` allows that, and datagrams do not get through.

        Raises:
            ConnectError: There is none; ``reason`` is one of :class:`~librats.punch.PunchReason`.
            ConfigError: This machine lets us open no socket.
        """
        self._loop = asyncio.get_running_loop()
        self._network = self._given_network or current_network()
        tell = True
        try:
            async with asyncio.timeout(self._settings.seconds):
                return await (self._lead() if self._leads else self._follow())
        except TimeoutError:
            reason = PunchReason.OUT_OF_BUDGET
        except _Failure as failure:
            reason, tell = failure.reason, not failure.by_peer
        logger.debug("no way to the peer by punching: %s", reason)
        if tell:
            with contextlib.suppress(Exception):  # where the peer is gone it need not be told
                await self._signalling.send(PunchEnd(reason=reason).to_json())
        raise ConnectError("the peer by hole punching", failed_attempts(self.attempts), reason, REASONS[reason])

    # The two sides

    async def _lead(self) -> PunchedPath | PunchedConnection:
        number = 0
        while True:
            number += 1
            self._check_there_are_more(number)
            async with self._prepared(number) as here:
                asked_at = self._loop.time()
                await self._signalling.send(here.ours.to_json())
                theirs = await self._expect(PunchDescription, number)
                took = max(0.0, self._loop.time() - asked_at - (theirs.held or 0.0))
                self.rtt = took if self.rtt is None else min(self.rtt, took)
                ports = await self._make_ready(here, theirs, theirs.ports)
                await self._signalling.send(PunchGo(round=number, ports=ports, rtt=self.rtt).to_json())
                await asyncio.sleep(min(self.rtt / 2, LONGEST_HEAD_START))
                self._start(here, theirs.ports, self.rtt)
                outcome = await here.driver.outcome
                self._note(here, outcome)
                if isinstance(outcome, PathFound):
                    return await self._path(here, outcome)

    async def _follow(self) -> PunchedPath | PunchedConnection:
        number = 0
        incoming = asyncio.ensure_future(self._receive())
        try:
            while True:
                number += 1
                async with self._prepared(number) as here:
                    theirs, asked_at = await self._within_answer_time(incoming)
                    theirs = self._checked(theirs, PunchDescription, number)
                    ports = await self._make_ready(here, theirs, ())
                    answer = structs.replace(here.ours, ports=ports, held=self._loop.time() - asked_at)
                    await self._signalling.send(answer.to_json())
                    go = await self._expect(PunchGo, number)
                    self._start(here, go.ports, go.rtt)
                    incoming = asyncio.ensure_future(self._receive())
                    either: set[asyncio.Future[Any]] = {here.driver.outcome, incoming}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    outcome = here.driver.outcome.result() if here.driver.outcome.done() else PunchReason.NO_ANSWER
                    self._note(here, outcome)
                    if isinstance(outcome, PathFound):
                        return await self._path(here, outcome)
        finally:
            incoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await incoming

    # What they tell each other

    async def _receive(self) -> tuple[PunchMessage, float]:
        """Return the peer's next message that can be read, and when it came."""
        while True:
            told = await self._signalling.receive()
            try:
                return read_punch_message(told), self._loop.time()
            except DecodeError as error:
                logger.debug("skipped: %s", error)

    async def _within_answer_time(self, incoming: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._settings.answer_time):
                return await incoming
        except TimeoutError:
            raise _Failure(PunchReason.PEER_SILENT) from None

    async def _expect(self, kind: type[M], number: int) -> M:
        message, _ = await self._within_answer_time(self._receive())
        return self._checked(message, kind, number)

    @staticmethod
    def _checked(message: PunchMessage, kind: type[M], number: int) -> M:
        if isinstance(message, kind) and message.round == number:
            return message
        known = {str(reason): reason for reason in PunchReason}
        ended = message.reason if isinstance(message, PunchEnd) else ""
        raise _Failure(known.get(ended, PunchReason.PEER_GAVE_UP), by_peer=isinstance(message, PunchEnd))

    # One round

    @contextlib.asynccontextmanager
    async def _prepared(self, number: int) -> AsyncIterator[_Here]:
        """Open a fresh socket, and find out where it is seen."""
        here = _Here(number, self._network)
        try:
            port = await here.sockets.open_first()
            if self._servers is None:
                self._servers = await self._resolved()
            if self._learn is None and self._nat is None:
                self._nat = NatFacts.of(await self._measured())
            can_ask = bool(self._servers) and self._present_facts().udp
            seen = await here.sockets.seen_at([0], self._servers, self._is_blocked) if can_ask else {}
            nat = self._present_facts()
            hosts = self._local_hosts if self._local_hosts is not None else await self._network.interface_addresses()
            near = [host for host in hosts if reach_of(host) in (Reach.PRIVATE, Reach.GLOBAL)]
            here.ours = PunchDescription(
                round=number,
                credentials=Credentials(*new_credentials(self._network.entropy)),
                nat=nat,
                rounds=self._settings.rounds,
                public=tuple(seen.values()),
                hosts=tuple(Address(host, port) for host in near[:MAX_HOSTS]),
            )
            plan = self._planned(number)
            if not nat.udp or (plan is not None and plan[0].technique is PunchTechnique.TCP):
                await self._listen(here)
            yield here
        finally:
            await here.close()

    def _present_facts(self) -> NatFacts:
        if self._learn is not None:
            self._nat = NatFacts.of(self._learn())
        return self._nat or NatFacts()

    def _is_blocked(self) -> bool:
        return not self._present_facts().udp

    async def _listen(self, here: _Here) -> None:
        """Listen on a fresh TCP port, and find out where it is seen."""
        if not self._tcp or here.tcp is not None:
            return
        here.tcp = TcpMeeting(self._network, here.driver, leads=self._leads)
        await here.tcp.open()
        port = here.tcp.port
        seen = await here.tcp.seen_at(self._servers or (), self._config.stun_timeout)
        # Most NATs keep the port of a connection where they can.
        guessed = seen or next((Address(each.host, port) for each in here.ours.public), None)
        near = [Address(address.host, port) for address in here.ours.hosts]
        here.ours = structs.replace(here.ours, tcp=((guessed,) if guessed is not None else ()) + tuple(near))

    async def _resolved(self) -> list[Address]:
        found: list[Address] = []
        for server in self._config.stun_addresses[:MAX_SERVERS]:
            with contextlib.suppress(OSError):
                found += [each for each in await self._network.resolve(server) if ":" not in each.host][:1]
        return found

    async def _measured(self) -> NatTypeInfo:
        config = self._config
        if not config.stun_servers:
            return NatTypeInfo()
        return await measure_behaviour(
            config.stun_addresses,
            network=self._network,
            first_answer=config.stun_first_answer,
            timeout=config.stun_timeout,
        )

    async def _make_ready(self, here: _Here, theirs: PunchDescription, ports: Sequence[int]) -> tuple[int, ...]:
        """Choose the technique, and open this side's NAT for it.

        Args:
            here: The round.
            theirs: What the peer has told.
            ports: Public ports that the peer's NAT has given out last, where that is known already.

        Returns:
            Those that this side's NAT has, where the peer needs them.
        """
        over_udp, near = self._targets(here.ours, theirs, (*theirs.public, *theirs.hosts))
        self._plans = choose_plans(here.ours.nat, theirs.nat, leads=self._leads, near=near, tcp=self._tcp)
        self._rounds = min(self._settings.rounds, theirs.rounds)
        if not self._plans:
            raise _Failure(why_not(here.ours.nat, theirs.nat))
        self._check_there_are_more(here.number)
        plan, number = self._planned(here.number) or (self._plans[-1], 1)
        is_tcp = plan.technique is PunchTechnique.TCP
        if is_tcp and not self._leads:  # who leads has told where it listens already, or not
            await self._listen(here)
        targets = self._targets(here.ours, theirs, theirs.tcp)[0] if is_tcp else over_udp
        if plan.technique in GUESSING or (is_tcp and plan.part is PunchPart.PROBE):
            targets = tuple(address for address in targets if self._allows(address, True))
        if not targets:
            self._no_target = PunchReason.REFUSED if theirs.public or theirs.hosts else PunchReason.NO_ADDRESS
        sockets, settings = here.sockets, self._settings
        told: tuple[int, ...] = ()
        is_foretold = plan.technique is PunchTechnique.PREDICTION and plan.part is not PunchPart.PROBE
        if is_foretold and sockets.server is not None:
            numbers = await sockets.open_more(settings.observations)
            told = tuple(seen.port for seen in (await sockets.seen_at(numbers, [sockets.server])).values())
            sockets.close(numbers)
        elif is_tcp and plan.part is PunchPart.OPEN and here.tcp is not None:
            servers = self._servers or ()
            told = tuple(await here.tcp.observe(servers, settings.observations, self._config.stun_timeout))
        elif plan.technique is PunchTechnique.BIRTHDAY and plan.part is PunchPart.OPEN:
            await sockets.open_more(settings.birthday_sockets - 1)
        here.round = Round(
            plan=plan,
            number=number,
            leads=self._leads,
            targets=targets,
            bases=sockets.numbers,
            step=theirs.nat.step,
            settings=settings,
        )
        here.machine = PunchMachine(
            self._leads,
            here.ours.credentials,
            theirs.credentials,
            self._network.entropy,
            settings=settings,
            over_streams=is_tcp,
        )
        is_unseen = is_tcp and not targets and not self._may_be_dialled(here.ours.tcp)
        self._unseen_rounds += is_unseen
        here.is_void = is_unseen or (is_tcp and not (here.ours.tcp and theirs.tcp))
        here.began = self._loop.time()
        if is_tcp and here.tcp is not None:
            here.driver.drive(here.machine, here.tcp.send)
            here.tcp.drive(here.machine)
        else:
            here.driver.drive(here.machine, sockets.send)
            here.machine.open(here.round.opening(ports), now=here.began)
        here.driver.pump()
        return told

    def _targets(
        self, ours: PunchDescription, theirs: PunchDescription, named: Iterable[Address]
    ) -> tuple[tuple[Address, ...], bool]:
        """Return which of the peer's addresses may be sent to, and whether it may be in this network."""
        policy = AddressPolicy(strangers=self._strangers)
        for address in ours.hosts:
            policy.note_base(address.host)
        for address in ours.public:
            policy.note_own(address.host)
        for address in (*theirs.public, *theirs.hosts):
            policy.note_peer(address.host)
        allowed = tuple(each for each in dict.fromkeys(named) if not policy.refusal(each) and self._allows(each, False))
        is_near = policy.shares_network or (_has_ipv6(ours.hosts) and _has_ipv6(allowed))
        return allowed, is_near

    def _may_be_dialled(self, ours: Iterable[Address]) -> bool:
        """Whether the peer may send to one of this side's addresses, which are in no network that it shares."""
        return any(not self._strangers or reach_of(each.host) == Reach.GLOBAL for each in ours)

    def _planned(self, number: int) -> tuple[Plan, int] | None:
        """Return the plan of a round, and which one by it this is: the likeliest for some rounds, then the next one."""
        left = number
        for plan in self._plans or ():
            rounds = self._rounds if plan.rounds is None else min(plan.rounds, self._rounds)
            if left <= rounds:
                return plan, left
            left -= rounds
        return None

    def _check_there_are_more(self, number: int) -> None:
        """Fail where everything was tried, or cannot be."""
        if self._unseen_rounds >= MOST_UNSEEN:
            raise _Failure(PunchReason.NO_ADDRESS)
        if self._plans is not None and self._planned(number) is None:
            had_target = any(attempt.address is not None for attempt in self.attempts)
            raise _Failure(PunchReason.NO_ANSWER if had_target else self._no_target)

    def _start(self, here: _Here, ports: Sequence[int], rtt: float) -> None:
        """Send by the plan from now on."""
        here.began = self._loop.time()
        settings, until = self._settings, here.round.duration
        if here.round.plan.technique is PunchTechnique.TCP:
            interval = min(max(settings.tcp_interval, FURTHER * rtt), until)
            if here.is_void:
                until = 0.0
            elif here.tcp is not None:
                here.tcp.start(here.round.connections(ports), interval=interval, until=until)
        schedule = here.round.schedule(ports, self._network.entropy)
        grace = 0.0 if self._leads else settings.answer_time
        here.machine.start(schedule, now=here.began, until=until + grace)
        here.driver.pump()

    def _note(self, here: _Here, outcome: PathFound | PunchReason) -> None:
        if here.is_void:
            return
        plan = here.round.plan
        is_found = isinstance(outcome, PathFound)
        attempt = PunchAttempt(
            round=here.number,
            technique=plan.technique,
            part=plan.part,
            duration=self._loop.time() - here.began,
            sent=here.machine.sent,
            address=outcome.address if isinstance(outcome, PathFound) else next(iter(here.round.targets), None),
            reason=None if isinstance(outcome, PathFound) else outcome,
        )
        self.attempts.append(attempt)
        logger.debug(
            "round %d by %s, %s: %s after %.3f s and %d datagrams",
            here.number,
            plan.technique,
            plan.part,
            "found a way" if is_found else attempt.reason,
            attempt.duration,
            attempt.sent,
        )

    async def _path(self, here: _Here, found: PathFound) -> PunchedPath | PunchedConnection:
        if here.round.plan.technique is PunchTechnique.TCP and here.tcp is not None:
            try:
                return PunchedConnection(await here.tcp.take(found), len(self.attempts), found.rtt)
            except ClosedError:
                raise _Failure(PunchReason.NO_ANSWER) from None
        here.is_kept = True
        return PunchedPath(here.driver, here.sockets, found, here.round.plan.technique, len(self.attempts))


def _has_ipv6(addresses: Sequence[Address]) -> bool:
    return any(":" in address.host and reach_of(address.host) == Reach.GLOBAL for address in addresses)
