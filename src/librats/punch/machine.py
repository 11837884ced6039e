"""One round of punching, as one side sees it: what it sends, what it answers, and which way counts as found."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from librats._core.stun import StunMessage
from librats.ice.events import IceRole
from librats.ice.messages import (
    CheckRequest,
    Credentials,
    read_message,
    read_request,
    read_response,
    write_response,
)
from librats.punch.plans import PunchReason
from librats.punch.settings import PunchSettings
from librats.punch.shots import Shot
from librats.stun.constants import MessageClass
from librats.types import Address, Entropy

__all__ = ["PathFound", "PunchEvent", "PunchMachine", "PunchOver", "Sent"]

TRANSACTION_ID_SIZE = 12
PRIORITY = 1
RECHECK = 0.03
MAX_ASKED = 8192
MAX_SOURCES = 64
NOMINATIONS = 60


class PathFound(Struct, frozen=True, kw_only=True):
    """A way works both ways, and both sides use it."""

    base: int
    """Number of the socket."""

    address: Address
    """The peer's end."""

    rtt: float | None
    """Seconds there and back; None where only the peer has measured it."""


class PunchOver(Struct, frozen=True, kw_only=True):
    """The round has found no way."""

    reason: PunchReason


PunchEvent = PathFound | PunchOver


class Sent(NamedTuple):
    """A datagram to be sent."""

    base: int
    data: bytes
    address: Address
    hops: int = 0
    """How many routers may pass it on; 0 for the usual number."""


class _Asked(NamedTuple):
    base: int
    address: Address
    at: float
    nominates: bool


class PunchMachine:
    """Sends connectivity checks of ICE by a schedule, and agrees with the peer on one way that works.

    A way counts for the leader once a check was answered over it; it then nominates it, over and over until that is
    answered. For the other side it counts once it is nominated. Whatever is not authenticated changes nothing.

    Args:
        leads: Whether this side decides.
        local: Credentials of this side.
        remote: The peer's.
        entropy: For transaction ids.
        settings: The budget.
        over_streams: Whether each socket is a connection, which loses nothing. Then only the leader checks, it
            nominates once, and a way counts for it when that is answered: what comes then is not for the machine.

    Example:
        >>> from librats.testing.entropy import SeededEntropy
        >>> ours, theirs = Credentials("here", "h" * 22), Credentials("there", "t" * 22)
        >>> leader = PunchMachine(True, ours, theirs, SeededEntropy(1, "a"))
        >>> other = PunchMachine(False, theirs, ours, SeededEntropy(2, "b"))
        >>> leader.start([Shot(0.0, 0, Address("192.0.2.2", 2))], now=0.0, until=1.0)
        >>> for turn in range(4):
        ...     for sent in leader.datagrams_to_send():
        ...         _ = other.receive_datagram(sent.data, Address("192.0.2.1", 1), now=0.0)
        ...     for sent in other.datagrams_to_send():
        ...         _ = leader.receive_datagram(sent.data, Address("192.0.2.2", 2), now=0.1)
        >>> leader.next_event().address, other.next_event().address
        (Address(host='192.0.2.2', port=2), Address(host='192.0.2.1', port=1))
    """

    def __init__(
        self,
        leads: bool,
        local: Credentials,
        remote: Credentials,
        entropy: Entropy,
        *,
        settings: PunchSettings | None = None,
        over_streams: bool = False,
    ) -> None:
        self._leads = leads
        self._local, self._remote = local, remote
        self._entropy = entropy
        self._settings = settings or PunchSettings()
        self._over_streams = over_streams
        self._role = IceRole.CONTROLLING if leads else IceRole.CONTROLLED
        self._tie_breaker = int.from_bytes(entropy.token_bytes(8))
        self._packets_left = self._settings.packets
        self._schedule: Iterator[Shot] = iter(())
        self._next: Shot | None = None
        self._began = 0.0
        self._until: float | None = None
        self._asked: dict[bytes, _Asked] = {}
        self._rechecked: dict[tuple[int, Address], float] = {}
        self._outbox: list[Sent] = []
        self._events: deque[PunchEvent] = deque()
        self._nominate_at: float | None = None
        self._nominations_left = NOMINATIONS
        self.path: tuple[int, Address] | None = None
        """Number of the socket and the peer's end, once there is a way."""
        self._is_settled = False
        self.is_over = False
        """True once the round has found none."""
        self.sent = 0
        """Datagrams that it has sent."""
        self.ignored = 0
        """Datagrams that were no checks of the peer's."""

    # What it does

    def open(self, shots: Iterable[Shot], *, now: float) -> None:
        """Send at once what opens this side's NAT, and is to reach nobody."""
        for shot in shots if self.path is None else ():
            self._check(shot.base, shot.target, now, hops=shot.hops)

    def start(self, schedule: Iterable[Shot], *, now: float, until: float) -> None:
        """Send by a schedule from now on.

        Args:
            schedule: In order of time.
            now: Monotonic seconds.
            until: Seconds after which the round is over where no way was found.
        """
        if self.path is None and not self.is_over:
            self._began, self._until = now, now + until
            self._schedule = iter(schedule)
            self._next = next(self._schedule, None)
            self.handle_timer(now=now)

    def handle_timer(self, *, now: float) -> None:
        """Send what is due."""
        if self.is_over:
            return
        if self._is_settled:
            self._nominate_again(now)
            return
        while self._next is not None and self._began + self._next.after <= now and self._packets_left > 0:
            shot = self._next
            self._check(shot.base, shot.target, now, hops=shot.hops)
            self._next = next(self._schedule, None)
        if self._packets_left <= 0:
            self._end(PunchReason.OUT_OF_BUDGET)
        elif self._until is not None and now >= self._until:
            self._end(PunchReason.NO_ANSWER)

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None for never."""
        if self.is_over:
            return None
        if self._is_settled:
            return self._nominate_at
        if self._next is None or self._until is None:
            return self._until
        return min(self._began + self._next.after, self._until)

    def datagrams_to_send(self) -> list[Sent]:
        """Return what is to be sent, and forget it."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> PunchEvent | None:
        """Return the next thing that has happened; None where there is none."""
        return self._events.popleft() if self._events else None

    def lost(self, base: int) -> None:
        """Take that a connection has ended; where it is the nominated one, and that was not answered, it is over."""
        if self.path is not None and self.path[0] == base and not self._is_settled and not self.is_over:
            self._end(PunchReason.NO_ANSWER)

    def _end(self, reason: PunchReason) -> None:
        self.is_over = True
        self._schedule, self._next = iter(()), None
        self._events.append(PunchOver(reason=reason))

    # Checks

    def _check(self, base: int, target: Address, now: float, *, hops: int = 0, nominates: bool = False) -> None:
        if self._packets_left <= 0:
            return
        self._packets_left -= 1
        transaction_id = self._entropy.token_bytes(TRANSACTION_ID_SIZE)
        if len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[transaction_id] = _Asked(base, target, now, nominates)
        request = CheckRequest(
            transaction_id=transaction_id,
            peer_ufrag=self._local.ufrag,
            priority=PRIORITY,
            role=self._role,
            tie_breaker=self._tie_breaker,
            use_candidate=nominates,
        )
        self._send(Sent(base, request.write(self._remote), target, hops))

    def _send(self, sent: Sent) -> None:
        self.sent += 1
        self._outbox.append(sent)

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, base: int = 0) -> bool:
        """Take what came to a socket.

        Args:
            data: The datagram.
            addr: Where it came from.
            now: Monotonic seconds.
            base: Number of the socket.

        Returns:
            False where it is no check of the peer's and no answer to one of ours.
        """
        message = read_message(data)
        if message is not None and not self.is_over:
            if message.message_class == MessageClass.REQUEST:
                request = read_request(message, self._local)
                if request is not None and request.peer_ufrag == self._remote.ufrag and request.role is not self._role:
                    self._take_request(request, Address(*addr), now, base)
                    return True
            elif message.transaction_id in self._asked and self._take_response(message, Address(*addr), now, base):
                return True
        self.ignored += 1
        return False

    def _take_request(self, request: CheckRequest, addr: Address, now: float, base: int) -> None:
        self._send(Sent(base, write_response(request.transaction_id, addr, self._local), addr))
        if request.use_candidate and not self._leads and self.path is None:
            self._settled(base, addr, None)
        elif self.path is None and not self._over_streams:
            self._check_back(base, addr, now)

    def _take_response(self, message: StunMessage, addr: Address, now: float, base: int) -> bool:
        response = read_response(message, self._remote)
        asked = None if response is None else self._asked[response.transaction_id]
        if response is None or asked is None or asked.base != base or response.code:
            return False
        del self._asked[response.transaction_id]
        if asked.nominates:
            self._nominate_at = None
            if self._over_streams:
                self._settled(base, addr, now - asked.at)
        elif self.path is None and addr != asked.address:
            self._check_back(base, addr, now)  # what is sent to where it came from may work
        elif self.path is None and self._leads:
            self.path = base, addr
            if not self._over_streams:
                self._settled(base, addr, now - asked.at)
            self._nominate_again(now)
        return True

    def _check_back(self, base: int, addr: Address, now: float) -> None:
        """Check the way that something of the peer's came by, unless that was just done."""
        before = self._rechecked.get((base, addr))
        is_known = before is not None or len(self._rechecked) < MAX_SOURCES
        if is_known and (before is None or now - before >= RECHECK):
            self._rechecked[base, addr] = now
            self._check(base, addr, now)

    def _settled(self, base: int, addr: Address, rtt: float | None) -> None:
        self.path = base, addr
        self._is_settled = True
        self._schedule, self._next = iter(()), None
        self._events.append(PathFound(base=base, address=addr, rtt=rtt))

    def _nominate_again(self, now: float) -> None:
        is_due = self._nominate_at is None or now >= self._nominate_at
        if not self._leads or self.path is None or not is_due:
            return
        if self._over_streams and self._nominations_left < NOMINATIONS:
            return
        if self._nominations_left == 0 or (self._nominate_at is None and self._nominations_left < NOMINATIONS):
            self._nominate_at = None
            return
        self._nominations_left -= 1
        self._packets_left += 1  # a way that is there is worth it
        self._check(*self.path, now, nominates=True)
        self._nominate_at = now + self._settings.interval
