"""Hole punching as librats 2 nodes agree on it, through a node that both are connected to (LIBRATS2 wire, section 10).

Who opens lists its addresses, the other one answers with its own. Then the opener says that it dials, and does; the
other one dials when it hears that, half a round trip later, so that the two meet in the middle. Nothing is proven by
it: the one in between says who has sent what, and whoever is dialled has to prove its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from msgspec import Struct
from msgspec import field as struct_field

from librats.errors import DecodeError
from librats.punch.sightings import Sightings
from librats.session.librats2_punch import (
    SYNC,
    Envelope,
    PunchConnect,
    PunchOp,
    PunchRole,
    PunchSync,
    decode_inner,
)
from librats.session.pace import Pace, PaceTable, wait_for_all
from librats.types import Address

__all__ = ["MAX_RELAYS", "Dial", "GivenUp", "PunchRelay", "Rendezvous", "Say"]

ROUND_TIME = 6.0
"""Seconds after which a round is over."""

MAX_ROUNDS = 3
"""Rounds of who opens."""

PAUSE = 60.0
"""Seconds for which a target that was given up is left alone."""

MAX_SESSIONS = 32
"""Rounds under way at once."""

MAX_RELAYS = 3
"""Nodes that are asked to pass the first message on."""

MAX_ADDRESSES = 4
"""Addresses that are told, and of those told that are dialled."""

MAX_PAUSES = 1024
"""Targets that are left alone at once; beyond that the oldest pause is forgotten."""

RELAY_BUDGET, RELAY_WINDOW = 12, 1.0
"""Messages of one sender that are passed on in so many seconds."""

DIALS, DIAL_BURST = 60.0, 16.0
"""Addresses that others have us dial, a minute and at once, all of them together."""

MINUTE = 60.0
NEVER = float("inf")


class Say(Struct, frozen=True):
    """Send a Punch message."""

    to: str
    """The peer that it is sent to, by its id."""

    envelope: Envelope


class Dial(Struct, frozen=True):
    """Dial a peer over UDP, as in hole punching, at all of its addresses at once."""

    peer_id: str
    addresses: tuple[Address, ...]


class GivenUp(Struct, frozen=True):
    """A peer that was to be reached was not."""

    peer_id: str
    reason: str
    asked: Sequence[str]
    """Through which peers, by their ids."""
    seconds: float
    """How long it was tried."""


class _Step(Enum):
    WAITS_FOR_ANSWER = auto()
    WAITS_FOR_SYNC = auto()
    DIALS = auto()


class _Session(Struct):
    opens: bool
    """Whether this side leads."""

    wanted: bool
    """Whether this side wants to reach the peer, also where it is the peer that leads."""

    until: float
    step: _Step
    asked: Sequence[str] = ()
    """Through which peers, in all rounds; the one that has passed an answer on alone, where one has."""
    rounds: int = 1
    answered: bool = False
    addresses: tuple[Address, ...] = ()


class PunchRelay:
    """Passes Punch messages on between peers that are connected, so much and no more of each.

    It looks up no address, dials nobody and does not read what it passes on.

    Args:
        is_connected: Whether a peer of that id is connected and can be sent a Punch message.

    Example:
        >>> relay = PunchRelay({"aa" * 32, "bb" * 32}.__contains__)
        >>> said = relay.take("aa" * 32, Envelope(PunchOp.TO_RELAY, "bb" * 32, SYNC), own_id="cc" * 32, now=0.0)
        >>> said.to == "bb" * 32, said.envelope.peer_id == "aa" * 32
        (True, True)
    """

    def __init__(self, is_connected: Callable[[str], bool]) -> None:
        self._is_connected = is_connected
        self._budgets: dict[str, tuple[float, int]] = {}

    def take(self, sender: str, envelope: Envelope, *, own_id: str, now: float) -> Say | None:
        """Return what is to be sent for a message; None where it is dropped.

        Args:
            sender: The peer from whom it has come.
            envelope: The message, which is for somebody else.
            own_id: Who we are to the sender.
            now: Monotonic seconds.
        """
        target = envelope.peer_id
        if target in (own_id, sender) or not self._is_connected(target):
            return None
        since, spent = self._budgets.get(sender, (now, 0))
        if now - since >= RELAY_WINDOW:
            since, spent = now, 0
        if spent >= RELAY_BUDGET:
            return None
        self._budgets[sender] = (since, spent + 1)
        return Say(target, Envelope(PunchOp.FROM_RELAY, sender, envelope.inner))

    def left(self, peer_id: str) -> None:
        """Forget a peer that is gone."""
        self._budgets.pop(peer_id, None)


class _Limits(Struct):
    """What others may have us do."""

    answers: Pace
    of_each: PaceTable
    dials: Pace = struct_field(default_factory=lambda: Pace(DIALS / MINUTE, DIAL_BURST))


class Rendezvous:
    """The two ends of librats 2's hole punching, for one client, without any input or output of its own.

    Args:
        sightings: Returns where peers see us over UDP; nowhere where we neither open nor answer.
        relays: Returns the peers that may know somebody, by their ids.
        answers_per_minute: Rounds of others that are answered in any minute; half as many through one peer.

    Example:
        >>> seen = Sightings([Address("192.0.2.7", 5000)])
        >>> ours = Rendezvous(lambda: seen, lambda: ["aa" * 32], answers_per_minute=30)
        >>> ours.open("bb" * 32, now=0.0)
        ''
        >>> [said] = ours.take_actions()
        >>> said.to == "aa" * 32, decode_inner(said.envelope.inner).role
        (True, <PunchRole.OPENS: 0>)
    """

    def __init__(
        self,
        sightings: Callable[[], Sightings],
        relays: Callable[[], Sequence[str]],
        *,
        answers_per_minute: float,
    ) -> None:
        self._sightings = sightings
        self._relays = relays
        self._limits = _Limits(
            answers=Pace(answers_per_minute / MINUTE, max(1.0, answers_per_minute / 4)),
            of_each=PaceTable(answers_per_minute / 2 / MINUTE, max(1.0, answers_per_minute / 8)),
        )
        self._sessions: dict[str, _Session] = {}
        self._pauses: dict[str, float] = {}
        self._actions: list[Say | Dial | GivenUp] = []
        self.counters = dict.fromkeys(
            ("opened", "rounds", "heard", "answered", "ignored", "dials", "dials_refused", "reached", "given_up"), 0
        )
        """What has happened so far."""

    def __len__(self) -> int:
        """Rounds that are under way."""
        return len(self._sessions)

    def asked(self, target: str) -> Sequence[str]:
        """Return the peers through which a target was asked, by their ids."""
        session = self._sessions.get(target)
        return () if session is None else session.asked

    def take_actions(self) -> list[Say | Dial | GivenUp]:
        """Return what is to be done, in this order."""
        actions, self._actions = self._actions, []
        return actions

    # This side opens

    def open(self, target: str, *, now: float) -> str:
        """Begin to reach a peer.

        Args:
            target: Its id.
            now: Monotonic seconds.

        Returns:
            Why that is not done; empty where it is, or is being done.
        """
        session = self._sessions.get(target)
        if session is not None:
            session.wanted = True
            return ""
        relays = self._relays_to(target)
        why = self._why_not(target, relays, now)
        if not why:
            until = now + ROUND_TIME
            self._sessions[target] = _Session(True, True, until, _Step.WAITS_FOR_ANSWER, relays)
            self.counters["opened"] += 1
            self._say_opening(target, relays)
        return why

    def _why_not(self, target: str, relays: Sequence[str], now: float) -> str:
        pause = self._pauses.get(target, now) - now
        seen = self._sightings()
        if pause > 0:
            return f"it was given up a while ago, and is left alone for {pause:.0f} s"
        if not relays:
            return "no librats 2 peer is connected that could pass a message on"
        if not seen.endpoints:
            return "no librats 2 peer has told where it sees us over UDP"
        if seen.differ:
            return "peers see us at different endpoints: the NAT on this side maps each destination anew"
        return f"{MAX_SESSIONS} peers are being reached" if len(self._sessions) >= MAX_SESSIONS else ""

    def _relays_to(self, target: str, asked: Sequence[str] = ()) -> Sequence[str]:
        """Return whom to ask: those first who were not, for who was not the right one then is not the right one now."""
        there = [peer_id for peer_id in self._relays() if peer_id != target]
        return sorted(there, key=lambda peer_id: peer_id in asked)[:MAX_RELAYS]

    def _say_opening(self, target: str, relays: Sequence[str]) -> None:
        self.counters["rounds"] += 1
        for relay in relays:
            self._say_addresses(target, relay, PunchRole.OPENS)

    def _say_addresses(self, target: str, relay: str, role: PunchRole) -> None:
        connect = PunchConnect(role, self._sightings().endpoints[:MAX_ADDRESSES])
        self._actions.append(Say(relay, Envelope(PunchOp.TO_RELAY, target, connect.encode())))

    def close(self, target: str) -> None:
        """Give a target up that is no longer wanted."""
        session = self._sessions.get(target)
        if session is not None and session.opens:
            del self._sessions[target]
        elif session is not None:
            session.wanted = False

    def arrived(self, peer_id: str) -> None:
        """Take that a session with a peer has begun, whoever has dialled."""
        session = self._sessions.pop(peer_id, None)
        self._pauses.pop(peer_id, None)
        if session is not None:
            self.counters["reached"] += 1

    # What comes

    def take(self, via: str, envelope: Envelope, *, own_id: str, now: float) -> None:
        """Take a message that a peer has passed on.

        Args:
            via: The peer that has passed it on.
            envelope: The message, which says from whom it is.
            own_id: Who we are to that peer.
            now: Monotonic seconds.
        """
        self.counters["heard"] += 1
        source = envelope.peer_id
        if source == own_id or not self._take(via, source, envelope.inner, own_id, now):
            self.counters["ignored"] += 1

    def _take(self, via: str, source: str, inner: bytes, own_id: str, now: float) -> bool:
        try:
            told = decode_inner(inner)
        except DecodeError:
            return False
        session = self._sessions.get(source)
        if isinstance(told, PunchSync):
            return session is not None and self._take_sync(source, session, now)
        addresses = told.addresses[:MAX_ADDRESSES]
        if told.role is PunchRole.ANSWERS:
            return session is not None and self._take_answer(via, source, session, addresses, now)
        return self._take_opening(via, source, session, addresses, own_id, now)

    def _take_answer(
        self, via: str, source: str, session: _Session, addresses: tuple[Address, ...], now: float
    ) -> bool:
        if session.step is not _Step.WAITS_FOR_ANSWER:
            return False
        session.step, session.until = _Step.DIALS, now + ROUND_TIME
        session.asked, session.answered = (via,), True
        # The word first: the other side dials when it has come all the way.
        self._actions.append(Say(via, Envelope(PunchOp.TO_RELAY, source, SYNC)))
        self._dial(source, addresses)
        return True

    def _take_opening(
        self,
        via: str,
        source: str,
        session: _Session | None,
        addresses: tuple[Address, ...],
        own_id: str,
        now: float,
    ) -> bool:
        if not self._sightings().endpoints:
            return False
        if session is None:
            if not self._may_answer(via, now):
                return False
            session = self._sessions[source] = _Session(False, False, now, _Step.WAITS_FOR_SYNC)
        elif session.opens:
            if own_id < source:
                return False  # both have opened: the round of the smaller id goes on
            session.opens = False
        session.step, session.until = _Step.WAITS_FOR_SYNC, now + ROUND_TIME
        session.asked, session.answered, session.addresses = (via,), True, addresses
        self.counters["answered"] += 1
        self._say_addresses(source, via, PunchRole.ANSWERS)
        return True

    def _may_answer(self, via: str, now: float) -> bool:
        if len(self._sessions) >= MAX_SESSIONS:
            return False
        limits = self._limits
        return wait_for_all(limits.of_each.of(via, now=now), limits.answers, now=now) is not None

    def _take_sync(self, source: str, session: _Session, now: float) -> bool:
        if session.step is not _Step.WAITS_FOR_SYNC:
            return False
        session.step, session.until = _Step.DIALS, now + ROUND_TIME
        allowed = tuple(each for each in session.addresses if self._limits.dials.wait(now=now) is not None)
        self.counters["dials_refused"] += len(session.addresses) - len(allowed)
        self._dial(source, allowed)
        return True

    def _dial(self, peer_id: str, addresses: tuple[Address, ...]) -> None:
        if addresses:
            self.counters["dials"] += len(addresses)
            self._actions.append(Dial(peer_id, addresses))

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        return min((session.until for session in self._sessions.values()), default=NEVER)

    def handle_timer(self, *, now: float) -> None:
        """End the rounds whose time is over; who opens begins another one, or gives up."""
        self._pauses = {target: until for target, until in self._pauses.items() if until > now}
        for target, session in [item for item in self._sessions.items() if item[1].until <= now]:
            if session.opens and session.rounds < MAX_ROUNDS and self._sightings().endpoints:
                session.rounds += 1
                session.step, session.until = _Step.WAITS_FOR_ANSWER, now + ROUND_TIME
                if session.answered and session.asked[0] in self._relays():
                    relays = session.asked
                else:
                    relays = self._relays_to(target, session.asked)
                    session.asked = tuple(dict.fromkeys([*session.asked, *relays]))
                self._say_opening(target, relays)
            else:
                self._end(target, session, now)

    def _end(self, target: str, session: _Session, now: float) -> None:
        del self._sessions[target]
        if session.opens:
            # The verdict of who leads alone: the other one cannot know that the leader has given up, too.
            self._pauses[target] = now + PAUSE
            if len(self._pauses) > MAX_PAUSES:
                del self._pauses[next(iter(self._pauses))]
        if session.wanted:
            self.counters["given_up"] += 1
            why = "none of its addresses answered" if session.answered else "nobody passed an answer on"
            seconds = session.rounds * ROUND_TIME
            reason = f"{why} in {session.rounds} rounds of {ROUND_TIME:g} s"
            self._actions.append(GivenUp(target, reason, session.asked, seconds))
