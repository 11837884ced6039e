"""The server of STUN and TURN as a machine: requests in, answers and changes of tables out.

It holds no socket and reads no clock. What relays are opened with, and what forwards, is handed in
(:class:`~librats.turn.serving.allocation.RelayPorts`, :class:`~librats.turn.serving.tables.DataPlane`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from librats._core.gate import Gate
from librats._core.relay import pack_address
from librats._core.stun import StunMessage, parse, serialise
from librats.errors import StunError
from librats.stun.constants import REASONS, Attribute, ErrorCode, MessageClass, Method
from librats.turn.serving.allocating import Allocating
from librats.turn.serving.allocation import TCP, Allocation, Client, Moving
from librats.turn.serving.answers import Full, Refused, refuse_unknown, refuse_unless
from librats.turn.serving.authentication import Authenticator, Login
from librats.turn.serving.binding import Corner, answer_binding
from librats.turn.serving.mobility import Mobility, Ticket
from librats.turn.serving.permitting import Permitting
from librats.turn.serving.request import Answer, Request
from librats.turn.serving.source_limit import SourceLimit
from librats.turn.serving.tables import Tables, family_of, host_of
from librats.types import Entropy

__all__ = ["Machine", "Streams"]

AMPLIFICATION = 2.4
"""How many times the bytes of a datagram an answer to a stranger has at most."""

_REMEMBERED, _REMEMBERED_FOR = 4096, 40.0
_REQUEST = int(MessageClass.REQUEST)
_SUCCESS, _ERROR = int(MessageClass.SUCCESS_RESPONSE), int(MessageClass.ERROR_RESPONSE)
_BINDING, _ALLOCATE, _REFRESH = int(Method.BINDING), int(Method.ALLOCATE), int(Method.REFRESH)
_CONNECT, _CONNECTION_BIND = int(Method.CONNECT), int(Method.CONNECTION_BIND)
_ERROR_CODE = int(Attribute.ERROR_CODE)
_MOBILITY_TICKET = int(Attribute.MOBILITY_TICKET)
_UNAUTHENTICATED, _STALE_NONCE = int(ErrorCode.UNAUTHENTICATED), int(ErrorCode.STALE_NONCE)
_CHALLENGES = (_UNAUTHENTICATED, _STALE_NONCE)
_SHA1 = int(Attribute.MESSAGE_INTEGRITY)
_MD5_SIZE = 16
_LOOPBACK = pack_address("::1", 0)
_Attributes = list[tuple[int, Any]]


class Streams(Protocol):
    """Makes the connections of TCP allocations (RFC 6062); answers later, by :meth:`Machine.succeed` or `fail`."""

    def connect(self, request: Request, allocation: Allocation, peer: tuple[str, int]) -> None:
        """Connect to a peer."""

    def bind(self, request: Request) -> None:
        """Join the client's connection, on which the request came, with the peer's."""

    def is_connected(self, client: Client) -> bool:
        """Tell whether a client's connection is there."""

    def is_encrypted(self, client: Client) -> bool:
        """Tell whether a client is connected by TLS."""


class Machine:
    """Answers the STUN and TURN requests that come to one worker.

    Args:
        tables: The worker's allocations.
        authenticator: Checks credentials; None where nobody is asked for any.
        mobility: Makes and reads the tickets of clients that move.
        entropy: Where tokens come from.
        corners: By listener, where the server stands in RFC 5780's square of addresses.
        streams: Makes connections to peers; None where the clients come by UDP only.
        hand_over: Called with a worker's number, a ticket and the request that brought it, where the allocation
            that is to be moved is another worker's. That worker gives it up (:meth:`give_up`), and this one takes
            it over (:meth:`take_over`).
        gate: Answers strangers before their requests come here (:func:`~librats.turn.serving.strangers.new_gate`), and
            is told who has proven who they are.
    """

    def __init__(
        self,
        tables: Tables,
        authenticator: Authenticator | None,
        mobility: Mobility,
        *,
        entropy: Entropy,
        corners: dict[int, Corner] | None = None,
        streams: Streams | None = None,
        hand_over: Callable[[Ticket, Request], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.tables = tables
        self.answers: dict[tuple[int, int], int] = {}
        """How many answers were given, by method and error code; 0 is success."""
        self.malformed = 0
        """Datagrams that were no STUN message, or whose fingerprint was wrong."""
        self.unanswered = 0
        """Requests that got no answer because their source had had enough."""
        self.time_difference = 0.0
        """Unix time less monotonic time, in seconds; whoever knows sets it, and again from time to time."""
        self._ended: dict[Client, bytes] = {}
        """The answers that ended allocations lately."""
        self._forget_at = 0.0
        self._authenticator = authenticator
        self._mobility = mobility
        self._corners = corners or {}
        self._streams = streams
        self._hand_over = hand_over
        self._gate = gate
        self._sources = gate or SourceLimit(tables.shared.settings.source_answers)
        self._allocating = Allocating(tables, mobility, entropy=entropy)
        self._permitting = Permitting(tables)
        self._handlers: dict[int, Callable[[Request], _Attributes | None]] = {
            _ALLOCATE: self._allocate,
            _REFRESH: self._refresh,
            int(Method.CREATE_PERMISSION): self._permitting.create_permission,
            int(Method.CHANNEL_BIND): self._permitting.bind_channel,
            _CONNECT: self._connect,
            _CONNECTION_BIND: self._connection_bind,
        }

    def receive(  # noqa: PLR0911 - early answers
        self, client: Client, data: bytes, *, now: float, login: Login | None = None
    ) -> Answer | None:
        """Take a message from a client.

        Args:
            client: Who sent it.
            data: The message.
            now: Monotonic seconds.
            login: The user who sent it, where the gate has checked that.

        Returns:
            What to send; None where there is no answer, or where it comes later.
        """
        message = self._read(data) if login is None else parse(data)
        if message is None:
            return None
        try:
            if login is None:
                if message.method == _BINDING:
                    return self._bind(message, client, now=now)
                if message.method not in self._handlers:
                    raise Refused(ErrorCode.BAD_REQUEST)
                if self._authenticator is not None:
                    if message.integrity_type is None:  # what most first requests lack is asked for without a detour
                        return self._challenge(message, client, _UNAUTHENTICATED, now=now)
                    login = self._authenticator.check(message, host_of(client.address), now=now)
                    self._introduce(login)
                refuse_unknown(message)
            answer = self.tables.plane.answer(*client)
            if answer is None:
                answer = self._ended.get(client, b"")
            if answer[8:20] == message.transaction_id:  # it is sent again, as the answer was lost
                return Answer(*client, answer)
            request = Request(message, client, login, now)
            attributes = self._handlers[message.method](request)
        except Refused as refusal:
            return self._refuse(message, client, refusal, login, now=now)
        except StunError:  # a value does not decode
            return self._refuse(message, client, Refused(ErrorCode.BAD_REQUEST), login, now=now)
        return None if attributes is None else self.succeed(request, attributes)

    def _introduce(self, login: Login) -> None:
        """Let the gate know a user by what most requests are protected with."""
        if self._gate is not None and login.integrity == _SHA1 and len(login.key) == _MD5_SIZE:
            account = login.account
            self._gate.remember(account.username, login.key, login, sole=len(account.keys) == 1)

    def _read(self, data: bytes) -> StunMessage | None:
        """Return a request; None where it is something else."""
        try:
            message = parse(data)
        except StunError:
            self.malformed += 1
            return None
        if message.message_class != _REQUEST:
            return None
        if message.has_fingerprint and not message.check_fingerprint():
            self.malformed += 1
            return None
        return message

    def succeed(self, request: Request, attributes: _Attributes) -> Answer:
        """Return a success response, and remember it for the case that it is lost on the way."""
        message, client, login, now = request
        data = _respond(message, _SUCCESS, attributes, login)
        method = message.method
        self._count(method, 0)
        if not self.tables.plane.keep_answer(*client, data, now) and method == _REFRESH:
            if len(self._ended) >= _REMEMBERED:
                self._ended.clear()
            self._ended[client] = data
        return Answer(*client, data)

    def fail(self, request: Request, code: int) -> Answer:
        """Return an error response."""
        refusal = Refused(code)
        return self._answer_refusal(request.message, request.client, refusal, request.login)

    def handle_timer(self, *, now: float) -> None:
        """End what is over. To be called about once a second."""
        self.tables.expire(now=now)
        self._allocating.forget_reservations(now=now)
        if now >= self._forget_at:
            self._forget_at = now + _REMEMBERED_FOR
            self._ended.clear()

    def disconnect(self, client: Client) -> None:
        """End the allocation of a client whose connection is gone."""
        allocation = self.tables.find(client)
        if allocation is not None:
            self.tables.release(allocation, "disconnected")

    def give_up(self, ticket: Ticket, login: Login | None) -> Moving:
        """Let an allocation go to wherever its client has moved.

        Raises:
            Refused: 437 where it is gone or the ticket void, 441 where it is another user's.
        """
        allocation = self.tables.get(ticket.number)
        if allocation is None or allocation.ticket != ticket.moves or allocation.transport == TCP:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        allocation.check_owner(login)
        return self.tables.let_go(allocation)

    def take_over(self, request: Request, moving: Moving) -> Answer:
        """Take an allocation in whose client has moved here, and answer the client.

        It ends where the client has made another one meanwhile, or is gone.
        """
        client, streams = request.client, self._streams
        if client in self.tables or (client.is_stream and streams is not None and not streams.is_connected(client)):
            self.tables.abandon(moving)
            return self.fail(request, ErrorCode.ALLOCATION_MISMATCH)
        self.tables.adopt(moving, request.client, now=request.now)
        try:
            attributes = self._allocating.refresh(request)
        except Refused as refusal:
            return self._answer_refusal(request.message, request.client, refusal, request.login)
        return self.succeed(request, attributes)

    def _bind(self, message: StunMessage, client: Client, *, now: float) -> Answer | None:
        if not self._admits(client, now=now):
            return None
        refuse_unknown(message)
        answer = answer_binding(message, client, self._corners.get(client.listener))
        self._count(_BINDING, 0)
        return answer

    def _allocate(self, request: Request) -> _Attributes:
        login = request.login
        if login is not None and login.account.expires is not None:
            # What was allocated before may go on: a call does not end because its credentials did.
            refuse_unless(request.now + self.time_difference <= login.account.expires, ErrorCode.UNAUTHENTICATED)
        try:
            return self._allocating.allocate(request)
        except Full:
            other = self._name_another(request.client)
            if not other:
                raise
            raise Refused(ErrorCode.TRY_ALTERNATE, *other) from None

    def _name_another(self, client: Client) -> _Attributes:
        """Return the attributes that name another server for a client; none where there is none."""
        encrypted = client.is_stream and self._streams is not None and self._streams.is_encrypted(client)
        return self.tables.shared.alternates.name(family_of(client.address), encrypted=encrypted)

    def _refresh(self, request: Request) -> _Attributes | None:
        raw = request.message.raw(_MOBILITY_TICKET)
        if not raw:
            return self._allocating.refresh(request)
        refuse_unless(self.tables.shared.settings.mobility, ErrorCode.MOBILITY_FORBIDDEN)
        ticket = self._mobility.read(raw)
        if ticket is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        here = ticket.worker == self._mobility.worker
        present = self.tables.find(request.client)
        if present is not None:
            refuse_unless(here and present.number == ticket.number, ErrorCode.ALLOCATION_MISMATCH)
            return self._allocating.refresh(request)
        if not here:
            if self._hand_over is None:
                raise Refused(ErrorCode.ALLOCATION_MISMATCH)
            self._hand_over(ticket, request)
            return None
        self.tables.adopt(self.give_up(ticket, request.login), request.client, now=request.now)
        return self._allocating.refresh(request)

    def _connect(self, request: Request) -> None:
        allocation = self._permitting.allocation_of(request)
        if self._streams is None or allocation.transport != TCP:
            raise Refused(ErrorCode.BAD_REQUEST)
        peer = request.message.get(Attribute.XOR_PEER_ADDRESS)
        refuse_unless(peer is not None and peer[1])
        self._permitting.check_peer(allocation, *peer)
        self._streams.connect(request, allocation, peer)

    def _connection_bind(self, request: Request) -> None:
        if self._streams is None or request.client in self.tables:
            raise Refused(ErrorCode.BAD_REQUEST)
        self._streams.bind(request)

    def _refuse(
        self,
        message: StunMessage,
        client: Client,
        refusal: Refused,
        login: Login | None,
        *,
        now: float,
    ) -> Answer | None:
        if refusal.code in _CHALLENGES and self._authenticator is not None:
            return self._challenge(message, client, refusal.code, now=now)
        if login is None and message.method != _BINDING and not self._admits(client, now=now):
            return None
        return self._answer_refusal(message, client, refusal, login)

    def _answer_refusal(self, message: StunMessage, client: Client, refusal: Refused, login: Login | None) -> Answer:
        reason = REASONS.get(refusal.code, "") if login is not None else ""  # strangers get short answers
        attributes = [(_ERROR_CODE, (refusal.code, reason)), *refusal.attributes]
        self._count(message.method, refusal.code)
        data = _respond(message, _ERROR, attributes, login)
        return Answer(*client, data)

    def _challenge(self, message: StunMessage, client: Client, code: int, *, now: float) -> Answer | None:
        """Ask for credentials, with all that the server knows where the answer stays short enough."""
        if self._authenticator is None or not self._admits(client, now=now):
            return None
        room = math.inf if client.is_stream else AMPLIFICATION * message.size
        attributes = self._authenticator.challenge(code, host_of(client.address), now=now, room=room)
        data = serialise(message.method, _ERROR, message.transaction_id, attributes)
        self._count(message.method, code)
        return Answer(*client, data)

    def _admits(self, client: Client, *, now: float) -> bool:
        """Tell whether a stranger is answered: connections prove where they come from, as does the loopback."""
        if client.is_stream:
            return True
        host = host_of(client.address)
        if (host[0] == 127 and len(host) == 4) or host == _LOOPBACK_HOST:  # noqa: PLR2004 - 127.0.0.0/8
            return True
        if self._sources.admits(host[:8], now=now):
            return True
        self.unanswered += 1
        return False

    def _count(self, method: int, code: int) -> None:
        key = method, code
        try:
            self.answers[key] += 1
        except KeyError:
            self.answers[key] = 1


_LOOPBACK_HOST = host_of(_LOOPBACK)


def _respond(message: StunMessage, class_: int, attributes: _Attributes, login: Login | None) -> bytes:
    key, integrity = (None, _SHA1) if login is None else login[1:]
    return serialise(
        message.method,
        class_,
        message.transaction_id,
        attributes,
        key=key,
        integrity=integrity,
        fingerprint=message.has_fingerprint,
    )
