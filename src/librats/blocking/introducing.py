"""The blocking client's verbs for offers and answers that the application carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from librats.tickets import Ticket

if TYPE_CHECKING:
    from librats.blocking.bridge import Bridge
    from librats.blocking.peer import Peer, Peers
    from librats.client import RatsClient

__all__ = ["IntroducingVerbs"]


class IntroducingVerbs:
    """Mixed into :class:`librats.blocking.RatsClient`."""

    if TYPE_CHECKING:
        _client: RatsClient
        _bridge: Bridge
        _peers: Peers

        def _running(self) -> RatsClient:
            """See the client."""

    @property
    def introducers(self) -> list[str]:
        """The configured introducers that are connected now; see :attr:`librats.RatsClient.introducers`."""
        return self._bridge.call(lambda: self._client.introducers)

    def ticket(self) -> Ticket:
        """Return all that others need to reach this client; see :meth:`librats.RatsClient.ticket`."""
        return self._bridge.call(self._running().ticket)

    def create_ice_offer(self, peer_id: str) -> dict[str, Any]:
        """Return an offer to be carried to a peer; see :meth:`librats.RatsClient.create_ice_offer`."""
        return self._bridge.wait(self._running().create_ice_offer, peer_id)

    def connect_with_ice(self, peer_id: str, offer: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an offer; see :meth:`librats.RatsClient.connect_with_ice`."""
        return self._bridge.wait(self._running().connect_with_ice, peer_id, offer)

    def handle_ice_answer(self, peer_id: str, answer: Mapping[str, Any], *, timeout: float | None = None) -> Peer:
        """Connect to a peer that has answered; see :meth:`librats.RatsClient.handle_ice_answer`."""
        return self._peers.of(self._bridge.wait(self._running().handle_ice_answer, peer_id, answer, timeout=timeout))

    def coordinate_hole_punching(
        self, ip: str, port: int, data: Mapping[str, Any] | None = None, *, after: float = 2.0
    ) -> dict[str, Any]:
        """Punch a hole at an agreed time; see :meth:`librats.RatsClient.coordinate_hole_punching`."""
        return self._bridge.wait(self._running().coordinate_hole_punching, ip, port, data, after=after)
