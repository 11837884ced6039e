"""The client's verbs for reaching a peer by an offer and an answer of ICE that the application carries itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from librats.attempts.reaching import ReachRace
from librats.config import RatsConfig
from librats.connector import Connector
from librats.errors import ConnectError, DecodeError, UsageError
from librats.ice.descriptions import IceDescription
from librats.introductions.introduced import IntroducedPeers
from librats.peer_ids import check_peer_id
from librats.peers.arguments import check_timeout
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.services.session import Link
from librats.types import AttemptReason, ConnectionAttempt

__all__ = ["OfferingVerbs"]


class OfferingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _connector: Connector | None
        _introduced: IntroducedPeers | None
        _tasks: TaskSet

        def _running(self) -> PeerManager:
            """See the client."""

    async def create_ice_offer(self, peer_id: str) -> dict[str, Any]:
        """Return an offer to be carried to a peer by the application: a dictionary that JSON can hold.

        The peer gives it to :meth:`connect_with_ice`, and what that returns goes back, to :meth:`handle_ice_answer`.
        Whoever carries the two learns the addresses of both sides, but cannot be one of them. An offer is good for two
        minutes, and the last one for a peer is the only one.

        Args:
            peer_id: The peer.

        Returns:
            The offer.

        Raises:
            UsageError: The client is not running, that is no peer id, or ICE or encryption is switched off.
            IntroductionError: The client has no UDP port and no relay.

        Example:
            .. code-block:: python

                offer = await alice.create_ice_offer(bob_id)
                answer = ...  # from Bob's program, which calls `await bob.connect_with_ice(alice_id, offer)`
                peer = await alice.handle_ice_answer(bob_id, answer)
        """
        introduced = self._ice_for(peer_id)
        return {"from": self._running().identity.peer_id, "to": peer_id, "ice": await introduced.make_offer(peer_id)}

    async def connect_with_ice(self, peer_id: str, offer: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an offer that the application has received, and let its maker in.

        Args:
            peer_id: Who has made it.
            offer: What :meth:`create_ice_offer` has returned there.

        Returns:
            The answer, to be carried back at once. :meth:`on_connect` tells when the peer is there.

        Raises:
            DecodeError: It is no offer of that peer's for this client.
            UsageError: The client is not running, that is no peer id, or ICE or encryption is switched off.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: The allow or deny list does not let this client talk to the peer.
            IntroductionError: The client has no UDP port and no relay.
        """
        introduced = self._ice_for(peer_id)
        description = self._description(peer_id, offer)
        if self._connector is not None:
            self._connector.check_limits(peer_id)
        answer = await introduced.answer_offer(peer_id, description)
        return {"from": self._running().identity.peer_id, "to": peer_id, "ice": answer}

    async def handle_ice_answer(self, peer_id: str, answer: Mapping[str, Any], *, timeout: float | None = None) -> Peer:
        """Connect to a peer that has answered an offer.

        Args:
            peer_id: Who has answered.
            answer: What :meth:`connect_with_ice` has returned there.
            timeout: Seconds for everything, above 0; the configured ``connect_timeout`` where it is None.

        Returns:
            The peer.

        Raises:
            ConnectError: There is no way to it; ``attempts`` tells everything that was tried.
            DecodeError: It is no answer of that peer's for this client.
            UsageError: The client is not running, there is no offer for that peer, or not any more, or the timeout
                makes no sense.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: The allow or deny list does not let this client talk to the peer.
        """
        check_timeout(timeout)
        introduced = self._ice_for(peer_id)
        description = self._description(peer_id, answer)
        if self._connector is not None:
            self._connector.check_limits(peer_id)
        attempts: list[ConnectionAttempt] = []

        async def by_answer() -> Peer:
            try:
                link = await introduced.take_answer(peer_id, description)
            except ConnectError as error:
                attempts.extend(error.attempts)
                raise
            return self._peer_of(link, peer_id, attempts)

        seconds = self._config.connect_timeout if timeout is None else timeout
        return await ReachRace(self._tasks, peer_id, attempts).run(
            {"with help": by_answer}, head_start=0.0, seconds=seconds
        )

    def _ice_for(self, peer_id: str) -> IntroducedPeers:
        self._running()
        check_peer_id(peer_id)
        if self._introduced is None:
            raise UsageError("enable_ice or encryption is off")
        return self._introduced

    def _description(self, peer_id: str, told: Mapping[str, Any]) -> IceDescription:
        """Read an offer or an answer.

        Raises:
            DecodeError: It is none of that peer's for this client.
        """
        own_id = self._running().identity.peer_id
        if not isinstance(told, Mapping) or told.get("from") != peer_id or told.get("to") != own_id:
            raise DecodeError("no offer or answer of that peer's for this client")
        return IceDescription.from_json(told.get("ice"))

    def _peer_of(self, link: Link, text: str, attempts: Sequence[ConnectionAttempt]) -> Peer:
        peer = self._running().peers.get(link.peer_id)
        if peer is None:
            words = f"the session ended at once: {link.reason[1]}"
            raise ConnectError(text, attempts, words, AttemptReason.HANDSHAKE_FAILED)
        return peer
