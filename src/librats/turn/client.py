"""The TURN client (RFC 8656): an allocation on a server, kept alive, and made again where it is lost. A pure machine.

The machine asks for its way to the server by :class:`ConnectWanted`; whoever drives it opens a socket or a connection,
and calls :meth:`TurnClient.transport_ready`. That is so for the first time, where the server wants a fresh port or
names another server, after the server or a connection was lost, and for a change of the local address.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum

from librats._core.stun import StunMessage
from librats.errors import (
    ClosedError,
    ConnectError,
    LocalProtocolError,
    RatsError,
    StunError,
)
from librats.stun.constants import Attribute, ErrorCode, Method
from librats.turn.allocation_events import TurnAllocated, TurnCounters, TurnLost
from librats.turn.client_answers import allocate_attributes, read_answer
from librats.turn.client_attempts import Attempts
from librats.turn.client_auth import Authentication, Login
from librats.turn.client_connections import Connections
from librats.turn.client_events import (
    AllocationFailed,
    Closed,
    ConnectWanted,
    Event,
    turn_error,
)
from librats.turn.client_incoming import Incoming
from librats.turn.client_keeping import Keeping
from librats.turn.client_logins import Logins
from librats.turn.client_redirects import Redirects
from librats.turn.client_relaying import Relaying, canonical_host
from librats.turn.client_requests import Request, Requester
from librats.turn.client_settings import ClientSettings
from librats.types import Address, Entropy

__all__ = ["TurnClient"]

CLOSING_TIME = 1.0


class _State(StrEnum):
    NEW = "new"
    CONNECTING = "connecting"
    ALLOCATING = "allocating"
    ALLOCATED = "allocated"
    WAITING = "waiting"
    CLOSING = "closing"
    CLOSED = "closed"


class TurnClient:
    """An allocation on a TURN server.

    Args:
        settings: What is wanted.
        entropy: Makes transaction ids and delays.
        login: Who we are; None where the server wants to know nobody, or ``settings.asks``.
    """

    def __init__(self, settings: ClientSettings, entropy: Entropy, login: Login | None = None) -> None:
        self._settings = settings
        self._entropy = entropy
        self.counters = TurnCounters()
        """What was seen so far."""
        self._events: deque[Event] = deque()
        self._logins = Logins(login, asks=settings.asks, events=self._events)
        self._relaying = Relaying(
            entropy, self.counters, self._events, self._cut_off, padded=settings.reliable, channels=settings.channels
        )
        self._redirects = Redirects()
        self._state = _State.NEW
        self._is_cut_off = False
        self._out: list[bytes] = []
        self._server: Address | None = None
        self._domain = ""
        self._mobility = settings.mobility
        self._was_allocated = False
        self._attempts = Attempts(entropy)
        self._keeping = Keeping(settings, self._events, self._lose, self._cut_off, self._relaying.move, self._want_path)
        self._close_by = 0.0
        self._numbers = 0
        self._connections = Connections(self._events, self._lose)
        self._requester = self._new_requester()
        self._incoming = Incoming(
            self._requester, self._relaying, self._connections, self._keeping.vigil, self.counters, self._events
        )

    def _new_requester(self) -> Requester:
        return Requester(
            self._logins.authentication,
            self._entropy,
            self.counters,
            reliable=self._settings.reliable,
            want_login=self._want_login,
        )

    @property
    def is_allocated(self) -> bool:
        """True while the server relays for us."""
        return self._state is _State.ALLOCATED

    @property
    def is_movable(self) -> bool:
        """True where the server has given a ticket (RFC 8016)."""
        return bool(self._keeping.ticket)

    @property
    def authentication(self) -> Authentication:
        """How requests are signed; connections of RFC 6062 are bound with the same."""
        return self._logins.authentication

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # The way to the server

    def start(self) -> None:
        """Begin: ask for a way to the server."""
        self._connect(None, "", "a relayed address is wanted")

    def _connect(self, server: Address | None, domain: str, reason: str) -> None:
        self._state = _State.CONNECTING
        self._domain = domain
        self._requester.abandon()
        self._events.append(ConnectWanted(server, domain, reason))

    def transport_ready(self, server: Address, *, now: float) -> bool:
        """The way that was asked for is there: send over it from now on.

        Args:
            server: The server's address, over UDP nobody else is listened to; its name where a proxy knows the address.
            now: Monotonic seconds, as everywhere.

        Returns:
            False where it came too late, and is not used.
        """
        resumes = self._state is _State.ALLOCATED and self._keeping.waits_for_path
        if not resumes and self._state is not _State.CONNECTING:
            return False
        if server.is_literal:
            server = Address(canonical_host(server.host), server.port)
        if server != self._server:
            self._logins.authentication.forget_server()
        self._server = server
        self._requester.abandon()
        self._requester = self._new_requester()
        self._incoming.begin(self._requester)
        self._is_cut_off = False
        self._keeping.vigil.connected(now)
        if resumes:
            self._keeping.resume(self._requester, now)
        else:
            self._allocate(now)
        return True

    def transport_failed(self, error: RatsError, *, now: float) -> None:
        """The way that was asked for does not come about."""
        if self._state is _State.CONNECTING:
            self._attempt_failed(error, now)
        elif self._state is _State.ALLOCATED and self._keeping.waits_for_path:
            if self._is_cut_off:
                self._lose(str(error), now)
            else:
                self._keeping.stay(error)

    def transport_lost(self, reason: str, *, now: float) -> None:
        """The connection to the server is closed, by the other side or by the network."""
        if self._state is _State.ALLOCATED:
            self._is_cut_off = True
            if self._keeping.waits_for_path:
                return
            if self._keeping.ticket and not self._keeping.moving:
                self._keeping.move(None)
                self._want_path(reason)
            else:
                self._lose(reason, now)
        elif self._state is _State.ALLOCATING:
            self._attempt_failed(ConnectError(str(self._server), reason=reason), now)
        elif self._state is _State.CLOSING:
            self._closed()

    def _cut_off(self, reason: str, now: float) -> None:
        self.transport_lost(reason, now=now)

    # Allocating

    def _allocate(self, now: float) -> None:
        self._state = _State.ALLOCATING
        attributes = allocate_attributes(self._settings, mobility=self._mobility)
        patience = self._settings.patience
        request = Request(Method.ALLOCATE, attributes, self._allocated, self._allocate_failed, patience)
        self._requester.send(request, now)

    def _allocated(self, message: StunMessage, now: float) -> None:
        try:
            answer = read_answer(message, self._settings.family)
        except StunError as error:
            self._allocate_failed(error, None, now)
            return
        again, self._was_allocated = self._was_allocated, True
        self._state = _State.ALLOCATED
        self._attempts.succeeded(now)
        self._redirects.arrived()
        self.counters.allocations += 1
        self._events.append(TurnAllocated(answer.relayed, answer.mapped, float(answer.lifetime), again, answer.missing))
        self._keeping.begin(self._requester, answer, now)
        self._relaying.begin(self._requester, answer.relayed, now)

    def _allocate_failed(self, error: RatsError, message: StunMessage | None, now: float) -> None:
        code = error.code if isinstance(error, StunError) else 0
        if code == ErrorCode.TRY_ALTERNATE and message is not None and self._server is not None:
            try:
                server, domain = self._redirects.follow(self._server, message)
            except StunError as refused:
                self._attempt_failed(refused, now)
            else:
                self._connect(server, domain, "the server names another one")
        elif code in (ErrorCode.ALLOCATION_MISMATCH, ErrorCode.WRONG_CREDENTIALS):
            # RFC 8656, 7.4: somebody else's allocation, or an old one of ours, is on this port.
            if self._attempts.takes_fresh_port():
                self._connect(self._server, self._domain, str(error))
            else:
                self._attempt_failed(error, now)
        elif code == ErrorCode.MOBILITY_FORBIDDEN and self._mobility:
            self._mobility = False
            self._allocate(now)
        else:
            self._attempt_failed(error, now)

    def _attempt_failed(self, error: RatsError, now: float) -> None:
        self._requester.abandon()
        self._redirects.arrived()
        if not self._was_allocated:
            self._state = _State.CLOSED
            self._end_requests(error)
            self._events.append(AllocationFailed(error))
            return
        # What went wrong may pass, and an application that was told an address counts on the client to go on.
        self._attempts.failed(now)
        self._state = _State.WAITING

    def _lose(self, reason: str, now: float) -> None:
        """The allocation is gone: make another one, over a fresh port or connection."""
        if self._state is not _State.ALLOCATED:
            return
        self._requester.abandon()
        self._keeping.pause()
        self._relaying.pause()
        self._connections.fail(turn_error(ErrorCode.ALLOCATION_MISMATCH, reason))
        self._events.append(TurnLost(reason))
        self._logins.use_next()
        if self._attempts.lost(now):
            self._connect(None, "", reason)
        else:
            self._state = _State.WAITING

    def _want_path(self, reason: str) -> None:
        self._events.append(ConnectWanted(self._server, self._domain, reason))

    # Time

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is due, in the seconds of ``now``; None where nothing is."""
        times = [self._requester.next_timer(), self._relaying.next_timer()]
        if self._state is _State.WAITING:
            times.append(self._attempts.retry_at)
        elif self._state is _State.CLOSING:
            times.append(self._close_by)
        elif self._state is _State.ALLOCATED:
            times.append(self._keeping.next_timer())
        if not self._is_over:
            times.append(self._logins.next_timer())
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._requester.handle_timer(now)
        if self._state is _State.WAITING and now >= self._attempts.retry_at:
            self._connect(None, "", "another attempt")
        elif self._state is _State.CLOSING and now >= self._close_by:
            self._closed()
        elif self._state is _State.ALLOCATED:
            self._relaying.handle_timer(now)
            self._keeping.handle_timer(now)
        if not self._is_over:
            self._logins.handle_timer(now)

    # Who we are

    def set_login(self, login: Login, *, expires: float | None, now: float) -> None:
        """Say who we are; from :class:`CredentialsWanted` or unasked.

        An allocation belongs to the username that made it: another one is kept for when that is rejected, and for the
        next allocation.

        Args:
            login: Username and password.
            expires: When they do, in the seconds of ``now``; asked for in time. None: never.
            now: The time.

        Raises:
            UsageError: Username or password has characters that are not allowed.
        """
        keeps = self._state is _State.ALLOCATED and not self._requester.waits_for_login
        self._logins.set(login, expires=expires, keep_name=keeps, now=now)
        self._requester.go_on(now)

    def refuse_login(self, error: RatsError, *, now: float) -> None:
        """Say that nobody can tell who we are."""
        self._logins.refused(now)
        self._requester.give_up(error, now)

    def _want_login(self, rejected: bool, now: float) -> None:
        if rejected and self._logins.use_next():
            self._requester.go_on(now)
        elif not self._logins.ask(rejected=rejected):
            words = "" if rejected else "it wants a username and a password"
            self._requester.give_up(turn_error(ErrorCode.UNAUTHENTICATED, words), now)

    # What is asked for

    def create_permission(self, hosts: Iterable[str], *, now: float) -> int:
        """Let peers in, and keep letting them in; waits for the next allocation where there is none.

        Args:
            hosts: IP addresses.
            now: The time.

        Returns:
            The number of the RequestDone or RequestFailed to come.

        Raises:
            UsageError: A host is no IP address.
            TurnError: The allocation has no address of a peer's family; code 443.
            ClosedError: The client is closed.
        """
        self._check_open()
        number = self._number()
        self._relaying.want_permissions(number, [canonical_host(host) for host in hosts], now)
        return number

    def drop_permission(self, hosts: Iterable[str]) -> None:
        """Renew permissions no more: the server lets the peers in for at most 5 minutes more."""
        self._relaying.drop_permissions([canonical_host(host) for host in hosts])

    def bind_channel(self, peer: Address, *, now: float) -> int:
        """Bind a channel to a peer, and let it in; as :meth:`create_permission`."""
        self._check_open()
        number = self._number()
        self._relaying.want_channel(number, Address(canonical_host(peer.host), peer.port), now)
        return number

    def drop_channel(self, peer: Address) -> None:
        """Renew the channel of a peer no more."""
        self._relaying.drop_channel(Address(canonical_host(peer.host), peer.port))

    def refresh(self, lifetime: int | None = None, *, now: float) -> int:
        """Ask for a lifetime in seconds, from now on; a number as :meth:`create_permission` returns it."""
        self._check_open()
        number = self._number()
        self._keeping.refresh(number, lifetime, now)
        return number

    def move(self, *, now: float) -> int:
        """Go on over another local address, for which :class:`ConnectWanted` asks.

        With a ticket of the server (RFC 8016) it is the same allocation; without, another one is made.

        Returns:
            The number of a RequestDone or RequestFailed; the latter where there is no other way, and the old one is
            used on.

        Raises:
            ClosedError: The client is closed.
        """
        self._check_open()
        number = self._number()
        waits = self._keeping.waits_for_path
        self._keeping.move(number)
        if self._state is _State.ALLOCATED and not self._keeping.ticket:
            self._lose("the local address changes", now)
        elif self._state is _State.ALLOCATED and not waits:
            self._want_path("the local address changes")
        elif self._state in (_State.WAITING, _State.ALLOCATING):
            self._connect(None, "", "the local address changes")
        return number

    def connect(self, peer: Address, *, now: float) -> int:
        """Let the server connect to a peer (RFC 6062, 4.3); :class:`Connected` or RequestFailed follows.

        Raises:
            LocalProtocolError: The allocation relays datagrams, or there is none now.
            UsageError: The host is no IP address.
            ClosedError: The client is closed.
        """
        self._check_open()
        if not self._settings.relays_tcp or self._state is not _State.ALLOCATED:
            raise LocalProtocolError("there is no allocation that relays TCP now")
        peer = Address(canonical_host(peer.host), peer.port)
        number = self._number()
        self._connections.ask(number, peer, self._requester, now)
        return number

    @property
    def _is_over(self) -> bool:
        return self._state in (_State.CLOSING, _State.CLOSED)

    def _check_open(self) -> None:
        if self._is_over:
            raise ClosedError("the allocation is closed")

    # The end

    def close(self, *, now: float) -> None:
        """Give the allocation back; :class:`Closed` follows, after a second at the latest."""
        if self._is_over:
            return
        had_one = self._state is _State.ALLOCATED
        self._end_requests(ClosedError("the allocation is closed"))
        self._requester.abandon()
        if not had_one:
            self._closed()
            return
        self._state = _State.CLOSING
        self._close_by = now + CLOSING_TIME
        attributes = [(Attribute.LIFETIME, 0)]
        self._requester.send(
            Request(Method.REFRESH, attributes, lambda *_: self._closed(), lambda *_: self._closed(), CLOSING_TIME),
            now,
        )

    def _end_requests(self, error: RatsError) -> None:
        self._keeping.end(error)
        self._relaying.end(error)
        self._connections.fail(error)

    def _closed(self) -> None:
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self._requester.abandon()
            self._events.append(Closed())

    # Bytes and events

    def send(self, data: bytes, peer: Address, *, now: float) -> bool:
        """Send a datagram to a peer; :meth:`data_to_send` has it, at once or once the peer is let in.

        Returns:
            False where it was dropped: there is no allocation at the moment, the server refuses the peer, or too much
            waits for its permission.

        Raises:
            UsageError: The peer's host is no IP address.
        """
        taken, message = self._relaying.send(data, peer, now)
        if message is not None:
            self._out.append(message)
            self._keeping.vigil.said(now)
        return taken

    def data_to_send(self) -> list[bytes]:
        """Return the messages for the server, one datagram each over UDP."""
        control = self._requester.data_to_send()
        out, self._out = self._out, []
        return control + out if control else out

    def take_data(self) -> list[tuple[bytes, Address]]:
        """Return what peers have sent, and from where."""
        return self._relaying.take_data()

    def next_event(self) -> Event | None:
        """Return what happened next; None where that was all."""
        return self._events.popleft() if self._events else None

    def receive_datagrams(self, batch: Iterable[tuple[bytes, Address]], *, now: float) -> None:
        """Take what has come to the socket; what is not of the server is counted and ignored."""
        server, take = self._server, self._incoming.take
        for data, source in batch:
            if source != server:
                self.counters.foreign += 1
            else:
                take(data, now)

    def receive_data(self, data: bytes, *, now: float) -> bool:
        """Take bytes of the connection.

        Returns:
            False where they are neither STUN nor ChannelData: the connection is of no use any more.
        """
        return self._incoming.take_stream(data, now)
