"""What is told to a peer to which somebody introduces us: where this side is, and what is found of that later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from librats.ice.candidate_text import format_candidate
from librats.ice.candidates import IceCandidate
from librats.ice.events import IceState
from librats.introduce.letters import Letter
from librats.services.ice.agent import IceAgent
from librats.services.introducer import Introductions
from librats.services.introduction.ends import Sealing
from librats.types import Address, ConnectionMethod

__all__ = ["Introducer", "Trickle", "answer_to", "has_relay", "is_relayed", "note_seen", "offer_of"]


class Introducer(Struct, frozen=True):
    """A session with somebody who introduces."""

    circle: Introductions
    """The sessions that it is one of."""

    peer_id: str
    """Who it is."""

    address: Address
    """Where it is."""

    method: ConnectionMethod
    """How the session goes there."""

    round_trip: float | None = None
    """Seconds, where it was measured."""

    observed: Address | None = None
    """Where it sees us; port 0 where that is not the port of the shared socket."""

    carries: bool = False
    """Whether it carries sessions, or their beginnings at least."""

    key: bytes | None = None
    """The X25519 key of the peer that is looked for, where it has told that already."""


class Trickle:
    """Sends candidates that were found after the description had been sent."""

    def __init__(self, letter_id: str) -> None:
        self._letter_id = letter_id
        self._known: set[str] = set()
        self._waiting: list[IceCandidate | None] = []
        self._send: Callable[[Letter], object] | None = None

    def found(self, candidate: IceCandidate | None) -> None:
        """Take a candidate, or that there will be no more."""
        self._waiting.append(candidate)
        self._flush()

    def told(self, agent: IceAgent) -> None:
        """Take that the candidates so far are told."""
        self._known.update(_key(candidate) for candidate in agent.local_candidates)

    def begin(self, send: Callable[[Letter], object]) -> None:
        """Send from now on."""
        self._send = send
        self._flush()

    def _flush(self) -> None:
        if self._send is None or not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        new = [one for one in waiting if one is not None and _key(one) not in self._known]
        self._known.update(_key(one) for one in new)
        is_end = None in waiting
        if new or is_end:
            lines = [format_candidate(one) for one in new]
            self._send(Letter(id=self._letter_id, candidates=lines, end_of_candidates=is_end))


def _key(candidate: IceCandidate) -> str:
    return f"{candidate.transport} {candidate.address} {candidate.type}"


def is_relayed(agent: IceAgent) -> bool:
    """Tell whether the way that an agent uses goes through a relay, of either side."""
    remote = agent.remote_address
    if agent.uses_relay or remote is None or agent.state not in (IceState.CONNECTED, IceState.COMPLETED):
        return agent.uses_relay
    return any(pair.remote.address == remote and pair.remote.is_relayed for pair in agent.statistics().pairs)


def has_relay(agent: IceAgent) -> bool:
    """Tell whether a relayed address of either side is known, so that there may be a way through it."""
    found = agent.statistics()
    return any(one.is_relayed for one in (*found.local_candidates, *found.remote_candidates))


def note_seen(agent: IceAgent, introducer: Introducer | None, letter: Letter | None) -> None:
    """Tell an agent where the introducer sees this side, and the other one."""
    if introducer is not None and introducer.observed is not None:
        agent.note_seen(introducer.observed, introducer.address.host)
    if letter is not None and letter.seen:
        agent.note_peer_seen(letter.seen)


def offer_of(
    agent: IceAgent,
    letter_id: str,
    sealing: Sealing,
    introducer: Introducer | None,
    *,
    nat: str = "",
    no_relay: bool = False,
    carried: bool = False,
    moves: bool = False,
    punch: dict[str, Any] | None = None,
) -> Letter:
    """Return an offer with what an agent has gathered so far, and what goes with it of hole punching."""
    return Letter(
        id=letter_id,
        time=sealing.now_ms(),
        ice=agent.local_description,
        rtt_ms=_milliseconds(introducer),
        seen=_seen(introducer),
        nat=nat,
        no_relay=no_relay,
        carried=carried,
        moves=moves,
        punch=punch,
    )


def answer_to(
    offer: Letter,
    agent: IceAgent | None,
    introducer: Introducer | None,
    *,
    nat: str = "",
    punch: dict[str, Any] | None = None,
    hello: dict[str, Any] | None = None,
) -> Letter:
    """Return the answer to an offer with what an agent has gathered so far, and what goes with it of hole punching.

    Where there is no agent yet, what it gathers goes in the next letter.
    """
    return Letter(
        id=offer.id,
        ice=None if agent is None else agent.local_description,
        rtt_ms=_milliseconds(introducer),
        seen=_seen(introducer),
        punch=punch,
        nat=nat,
        hello=hello,
    )


def _milliseconds(introducer: Introducer | None) -> float | None:
    if introducer is None or introducer.round_trip is None:
        return None
    return round(introducer.round_trip * 1000, 3)


def _seen(introducer: Introducer | None) -> str:
    return "" if introducer is None or introducer.observed is None else introducer.observed.host
