"""What both sides of an introduction have: ICE agents, hole punching, and an application that is told how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from librats.config import NatTraversalConfig
from librats.hole_punching.punching import Punching
from librats.ice.candidates import IceCandidate
from librats.introduce.letters import Letter
from librats.introductions.ice_agents import IceAgents
from librats.peers.events import IceCandidateFound, NatTraversalProgress, TraversalStep
from librats.peers.manager import PeerManager
from librats.runtime.tasks import TaskSet
from librats.types import NatType

__all__ = ["IntroductionWays"]

OFFER_DELAY = 0.05
"""Seconds that STUN servers have beyond the time that an introducer takes to tell a key; later candidates follow."""


class IntroductionWays(IceAgents):
    """The ways to peers to which somebody introduces this client.

    Args:
        options: As for :class:`~librats.introductions.ice_agents.IceAgents`.
    """

    def __init__(self, manager: PeerManager, settings: NatTraversalConfig, tasks: TaskSet, **options: Any) -> None:
        super().__init__(manager, settings, tasks, **options)
        self.nat_type: Callable[[], str] = lambda: NatType.UNKNOWN
        """Returns what stands in front of this client, which peers are told."""
        self.punching: Punching | None = None
        """Who punches holes where ICE does not do; None where nobody does."""

    @property
    def gathering_patience(self) -> float:
        """Seconds that servers have to tell where they see this side before it is offered."""
        facts = None if self.punching is None else self.punching.facts
        return OFFER_DELAY if facts is None or facts.udp else 0.0

    def tell(self, peer_id: str, step: TraversalStep, words: str = "") -> None:
        """Let the application know how far the way to a peer is."""
        self._manager.dispatcher.announce(NatTraversalProgress(peer_id, step, words))

    def found(self, peer_id: str, candidate: IceCandidate | None) -> None:
        """Let the application know of a candidate."""
        if candidate is not None:
            self._manager.dispatcher.announce(IceCandidateFound(peer_id, candidate))

    def note_nat(self, peer_id: str, letter: Letter) -> None:
        """Take what stands in front of a peer, as it says."""
        peer = self._manager.peers.get(peer_id)
        if peer is not None and letter.nat in list(NatType):
            peer.nat_type = NatType(letter.nat)
