"""Relayed TCP connections (RFC 6062): asking for them, hearing of them, and binding one of ours to each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from librats._core.stun import StunMessage, parse
from librats.errors import LocalProtocolError, OperationTimeout, RatsError, StunError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.allocation_events import TurnCounters
from librats.turn.client_auth import Authentication
from librats.turn.client_events import Connected, Event, IncomingConnection, RequestFailed, turn_error
from librats.turn.client_relaying import is_lost
from librats.turn.client_requests import Request, Requester
from librats.turn.client_stream import FrameSplitter
from librats.types import Address, Entropy

__all__ = ["ConnectionBinding", "Connections"]

BINDING_TIME = 30.0  # RFC 6062, 4.3: the server waits no longer


class Connections:
    """Connections that the server was asked for.

    Args:
        events: Where events go.
        lost: Called with a reason and the time where the server knows of no allocation.
    """

    def __init__(self, events: deque[Event], lost: Callable[[str, float], None]) -> None:
        self._events = events
        self._lost = lost
        self._asked: dict[int, Address] = {}

    def ask(self, number: int, peer: Address, requester: Requester, now: float) -> None:
        """Let the server connect to a peer; Connected or RequestFailed with that number follows."""
        self._asked[number] = peer

        def done(message: StunMessage, now: float) -> None:
            connection_id = message.get(Attribute.CONNECTION_ID)
            if connection_id is None:
                failed(turn_error(400, "a connection without a number"), message, now)
            elif self._asked.pop(number, None) is not None:
                self._events.append(Connected(number, connection_id, peer))

        def failed(error: RatsError, _message: StunMessage | None, now: float) -> None:
            if self._asked.pop(number, None) is not None:
                self._events.append(RequestFailed(number, error))
            if is_lost(error) and not isinstance(error, OperationTimeout):
                self._lost(str(error), now)

        requester.send(Request(Method.CONNECT, [(Attribute.XOR_PEER_ADDRESS, peer)], done, failed), now)

    def fail(self, error: RatsError) -> None:
        """None of those asked for will come."""
        self._events.extend(RequestFailed(number, error) for number in self._asked)
        self._asked.clear()

    def read_attempt(self, message: StunMessage) -> IncomingConnection | None:
        """Read a ConnectionAttempt indication; None where something is missing.

        Raises:
            StunError: A value does not parse.
        """
        peer, connection_id = message.get(Attribute.XOR_PEER_ADDRESS), message.get(Attribute.CONNECTION_ID)
        if peer is None or connection_id is None:
            return None
        return IncomingConnection(connection_id, Address(*peer))


class ConnectionBinding:
    """The beginning of a connection to the server that is to be bound to one of a peer (RFC 6062, 4.3 and 5.4).

    Args:
        connection_id: The server's number of the peer's connection.
        authentication: How requests to the server are signed.
        entropy: Makes transaction ids.
        now: The time.
    """

    def __init__(self, connection_id: int, authentication: Authentication, entropy: Entropy, *, now: float) -> None:
        self.is_bound = False
        """True once what comes is of the peer."""
        self.error: RatsError | None = None
        """Why it cannot be bound; the connection is of no use then."""
        self._frames = FrameSplitter()
        self._requester = Requester(
            authentication, entropy, TurnCounters(), reliable=True, want_login=self._without_login
        )
        attributes = [(Attribute.CONNECTION_ID, connection_id)]
        self._requester.send(Request(Method.CONNECTION_BIND, attributes, self._done, self._failed, BINDING_TIME), now)

    def _without_login(self, _rejected: bool, now: float) -> None:
        self._requester.give_up(turn_error(401), now)

    def _done(self, _message: StunMessage, _now: float) -> None:
        self.is_bound = True

    def _failed(self, error: RatsError, _message: StunMessage | None, _now: float) -> None:
        self.error = error

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        return b"".join(self._requester.data_to_send())

    def receive_data(self, data: bytes, *, now: float) -> bytes:
        """Take bytes of the connection.

        Returns:
            The peer's first bytes, where they came together with the server's answer.

        Raises:
            LocalProtocolError: The connection is bound, or cannot be.
        """
        if self._is_over:
            raise LocalProtocolError("this connection's beginning is over")
        try:
            while not self._is_over and (frame := self._frames.feed_one(data)) is not None:
                data = b""
                message = parse(frame)
                if message.message_class not in (MessageClass.REQUEST, MessageClass.INDICATION):
                    self._requester.receive(message, now)
        except StunError as error:
            self.error = error
        return self._frames.rest() if self.is_bound else b""

    @property
    def _is_over(self) -> bool:
        return self.is_bound or self.error is not None
