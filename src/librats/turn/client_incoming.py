"""What comes from the TURN server: which part of the client each message is for."""

from __future__ import annotations

from collections import deque

from librats._core.stun import StunMessage, parse
from librats.errors import StunError
from librats.stun.constants import MessageClass, Method
from librats.turn.allocation_events import TurnCounters
from librats.turn.client_connections import Connections
from librats.turn.client_events import Event
from librats.turn.client_relaying import Relaying
from librats.turn.client_requests import Requester
from librats.turn.client_stream import FrameSplitter
from librats.turn.client_vigil import Vigil

__all__ = ["Incoming"]

FIRST_CHANNEL_BYTE, LAST_CHANNEL_BYTE = 0x40, 0x4F


class Incoming:
    """Hands on what the server sends.

    Args:
        requester: Waits for answers.
        relaying: Takes what peers have sent.
        connections: Reads of peers that connect.
        vigil: Is told when the server was heard.
        counters: Counts what is of no use.
        events: Where peers that connect are told.
    """

    def __init__(
        self,
        requester: Requester,
        relaying: Relaying,
        connections: Connections,
        vigil: Vigil,
        counters: TurnCounters,
        events: deque[Event],
    ) -> None:
        self._requester = requester
        self._relaying = relaying
        self._connections = connections
        self._vigil = vigil
        self._counters = counters
        self._events = events
        self._frames = FrameSplitter()

    def begin(self, requester: Requester) -> None:
        """Take what comes over a new way to the server, and answers to what is asked there."""
        self._requester = requester
        self._frames = FrameSplitter()

    def take_stream(self, data: bytes, now: float) -> bool:
        """Take bytes of a connection; False where they are neither STUN nor ChannelData."""
        try:
            frames = self._frames.feed(data)
        except StunError:
            self._counters.malformed += 1
            return False
        for frame in frames:
            self.take(frame, now)
        return True

    def take(self, data: bytes, now: float) -> None:
        """Take one message, or what a channel carries."""
        try:
            if data and FIRST_CHANNEL_BYTE <= data[0] <= LAST_CHANNEL_BYTE:
                self._relaying.receive_channel_data(data, now)
                self._vigil.received(now)
                return
            message = parse(data)
            if message.message_class == MessageClass.INDICATION:
                self._receive_indication(message, now)
            elif message.message_class != MessageClass.REQUEST:
                if not self._requester.receive(message, now):
                    return
            else:
                self._counters.unmatched += 1
                return
        except StunError:
            self._counters.malformed += 1
            return
        self._vigil.received(now)

    def _receive_indication(self, message: StunMessage, now: float) -> None:
        if message.unknown_required():
            self._counters.malformed += 1  # RFC 8489, 6.3.2: such an indication is discarded
        elif message.method == Method.DATA:
            self._relaying.receive_indication(message, now)
        elif message.method == Method.CONNECTION_ATTEMPT:
            attempt = self._connections.read_attempt(message)
            if attempt is None:
                self._counters.malformed += 1
            elif not self._relaying.is_permitted(attempt.peer.host, now):
                self._counters.uninvited += 1
            else:
                self._events.append(attempt)
