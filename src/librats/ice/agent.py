"""An ICE agent (RFC 8445) as a pure machine: candidates and datagrams in, datagrams and a path out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from librats._core.stun import StunMessage
from librats.ice.addresses import AddressPolicy
from librats.ice.bases import LocalCandidates
from librats.ice.candidates import IceCandidate, TcpType
from librats.ice.descriptions import OPTIONS, IceDescription, new_credentials
from librats.ice.events import (
    IceEvent,
    IceRole,
    IceState,
    LocalFound,
    Path,
    PathChosen,
    ResolveWanted,
    Restarted,
    StateChanged,
)
from librats.ice.messages import Credentials, local_ufrag_of, read_message, read_request, read_response
from librats.ice.round import IceRound, Sending
from librats.ice.settings import IceSettings
from librats.ice.statistics import IceStatistics
from librats.stun.constants import MessageClass
from librats.types import Address, Entropy

__all__ = ["IceMachine"]

LOCAL_NAME = ".local"


class IceMachine:
    """An ICE agent for one stream of datagrams.

    It knows sockets by numbers, its bases: whoever drives it adds them, and tells with every datagram which one it came
    to. Its datagrams are those of checks alone; data goes over :attr:`path` beside it.

    Args:
        role: Who decides which pair is used.
        entropy: For credentials, transaction ids and times.
        settings: Times and limits.
        policy: Says which addresses of the peer's are checked.
    """

    def __init__(
        self,
        role: IceRole,
        entropy: Entropy,
        *,
        settings: IceSettings | None = None,
        policy: AddressPolicy | None = None,
    ) -> None:
        self._entropy = entropy
        self._settings = settings or IceSettings()
        self._policy = policy or AddressPolicy()
        self._local = LocalCandidates()
        self._outbox: list[Sending] = []
        self._events: deque[IceEvent] = deque()
        self.is_gathering = True
        """Whether this side may yet have more candidates."""
        self._is_started = self._is_closed = False
        self._names: dict[str, list[IceCandidate]] = {}
        self._round = self._new_round(role)
        self._previous: IceRound | None = None
        self._previous_until: float | None = None
        self._told = IceState.NEW
        self._told_path: Path | None = None
        self.ignored = 0
        """Datagrams that claimed to belong to this agent and did not."""

    def _new_round(self, role: IceRole) -> IceRound:
        return IceRound(
            Credentials(*new_credentials(self._entropy)),
            self._local,
            role=role,
            policy=self._policy,
            settings=self._settings,
            entropy=self._entropy,
        )

    # What it is

    @property
    def role(self) -> IceRole:
        """Who decides, which a conflict may have changed."""
        return self._round.role

    @property
    def state(self) -> IceState:
        """How far it is."""
        if self._is_closed:
            return IceState.CLOSED
        if self._round.in_use is not None:
            return IceState.COMPLETED if self._round.nomination.selected is not None else IceState.CONNECTED
        if self._previous is not None and self._previous.in_use is not None:
            return IceState.CONNECTED
        if self._round.problem:
            return IceState.FAILED
        return IceState.NEW if self._round.began is None else IceState.CHECKING

    @property
    def has_remote(self) -> bool:
        """Whether the peer's description is there."""
        return self._round.remote is not None

    @property
    def path(self) -> Path | None:
        """Where data goes; None while nothing works. While a restart has found nothing yet, that is the old path."""
        for each in (self._round, self._previous):
            pair = None if each is None or self._is_closed else each.in_use
            if pair is not None:
                return pair.path
        return None

    @property
    def problem(self) -> str:
        """Why it has failed; empty where it has not."""
        return self._round.problem

    @property
    def local_candidates(self) -> list[IceCandidate]:
        """This side's candidates."""
        return self._local.candidates

    @property
    def description(self) -> IceDescription:
        """What the peer has to be told."""
        ufrag, password = self._round.local
        return IceDescription(
            ufrag=ufrag,
            password=password,
            candidates=tuple(self._local.candidates),
            complete=not self.is_gathering,
            options=OPTIONS,
        )

    def accepts(self, base: int, address: Address) -> bool:
        """Tell whether data that came from an address is the peer's: it has shown that it sends from there."""
        return any(each is not None and each.knows(base, address) for each in (self._round, self._previous))

    def statistics(self) -> IceStatistics:
        """Return what was seen so far."""
        current = self._round
        return IceStatistics(
            state=self.state,
            role=current.role,
            problem=current.problem,
            pairs=tuple(pair.statistics(current.in_use) for pair in current.pairs),
            local_candidates=tuple(self._local.candidates),
            remote_candidates=tuple(current.remotes),
            refused={str(address): reason for address, reason in current.remotes.refused.items()},
            pairs_left_out=current.pairs.left_out,
            ignored=self.ignored,
        )

    # This side's candidates

    def add_hosts(
        self,
        addresses: Sequence[Address],
        *,
        now: float,
        transport: str = "udp",
        tcp_type: TcpType | None = None,
    ) -> int:
        """Add a socket, and return the number that it is known by.

        Args:
            addresses: Of the interface that it sends from; several where it is on several.
            now: Monotonic seconds.
            transport: ``"udp"`` or ``"tcp"``.
            tcp_type: Who opens connections, where it is of TCP.

        Raises:
            LocalProtocolError: There are too many candidates.
        """
        base = self._local.add_hosts(addresses, transport=transport, tcp_type=tcp_type)
        for address in addresses:
            self._policy.note_base(address.host)
        self._found([base.candidate, *base.others], now)
        return base.number

    def add_relayed(self, address: Address, *, server: str, mapped: Address | None, now: float) -> int:
        """Add an allocation on a TURN server, and return the number that it is known by.

        Args:
            address: The relayed address.
            server: IP address of the server.
            mapped: Where the server sees us.
            now: Monotonic seconds.

        Raises:
            LocalProtocolError: There are too many candidates.
        """
        base = self._local.add_relayed(address, server=server, mapped=mapped)
        if mapped is not None:
            self._policy.note_own(mapped.host)
        self._found([base.candidate], now)
        return base.number

    def add_mapped(self, base: int, address: Address, *, server: str, now: float) -> None:
        """Take where a STUN server sees a base."""
        self._policy.note_own(address.host)
        found = self._local.add_mapped(base, address, server=server)
        self._found([] if found is None else [found], now)

    def replace_mapped(self, base: int, old: Address, new: Address, *, server: str, now: float) -> None:
        """Take that a STUN server sees a base at another address than before."""
        self._policy.note_own(new.host)
        found = self._local.replace_mapped(base, old, new, server=server)
        self._found([] if found is None else [found], now)

    def _found(self, candidates: list[IceCandidate], now: float) -> None:
        for candidate in candidates:
            marked = replace(candidate, extensions=(*candidate.extensions, ("ufrag", self._round.local.ufrag)))
            self._events.append(LocalFound(candidate=marked))
        self._round.form()
        self._go_on(now)

    def remove_base(self, number: int, *, now: float) -> None:
        """Give up a base that is there no more, an interface that has gone for example."""
        for each in (self._round, self._previous):
            if each is not None:
                each.remove_base(number)
        self._local.remove(number)
        self._go_on(now)

    def way_failed(self, number: int, address: Address, problem: str, *, now: float) -> None:
        """Take that a connection of a TCP base did not come about, or has ended.

        Args:
            number: The base's.
            address: The peer's end of the connection.
            problem: Why, in words.
            now: Monotonic seconds.
        """
        for each in (self._round, self._previous):
            if each is not None:
                each.way_failed(number, address, problem)
        self._go_on(now)

    def end_gathering(self, *, now: float) -> None:
        """Take that this side will have no more candidates."""
        self.is_gathering = False
        self._go_on(now)

    def resume_gathering(self) -> None:
        """Take that this side may have more candidates again."""
        self.is_gathering = True

    # The peer's

    def set_remote(self, description: IceDescription, *, now: float) -> None:
        """Take the peer's description.

        Other credentials than before mean that the peer has restarted: then this side does, too, and an event says so.
        Those of a round that is over are ignored.
        """
        current, previous = self._round, self._previous
        if previous is not None and previous.remote is not None and previous.remote.ufrag == description.ufrag:
            return
        if current.remote is not None and current.remote.ufrag != description.ufrag:
            self.restart(now=now)
            self._events.append(Restarted())
            current = self._round
        names = [candidate for candidate in description.candidates if candidate.is_name]
        plain = tuple(candidate for candidate in description.candidates if not candidate.is_name)
        if current.remote is None:
            current.set_remote(structs.replace(description, candidates=plain), now=now)
        else:
            for candidate in plain:
                current.add_remote(candidate)
            current.remotes.are_complete = current.remotes.are_complete or description.complete
        for candidate in names:
            self._ask_for(candidate)
        self._go_on(now)

    def add_remote(self, candidate: IceCandidate | None, *, now: float) -> None:
        """Take another candidate of the peer's, before or after its description; None says that no more will come."""
        current = self._round
        if candidate is None:
            current.remotes.are_complete = True
        elif candidate.is_name:
            self._ask_for(candidate)
        else:
            ufrag = candidate.extension("ufrag")
            if not ufrag or current.remote is None or ufrag == current.remote.ufrag:
                current.add_remote(candidate)
        self._go_on(now)

    def _ask_for(self, candidate: IceCandidate) -> None:
        name = candidate.address.host
        if not name.endswith(LOCAL_NAME) or len(self._names) >= self._settings.max_names:
            return  # other names are those of servers (RFC 8839, 5.1); of the many there is no end
        if name not in self._names:
            self._events.append(ResolveWanted(name=name))
        waiting = self._names.setdefault(name, [])
        if len(waiting) < self._settings.max_names:
            waiting.append(candidate)
        self._round.remotes.waits_for_names = True

    def resolved(self, name: str, hosts: Sequence[str], *, now: float) -> None:
        """Take the addresses of a name that was asked for; none where it has none."""
        for candidate in self._names.pop(name, []):
            for host in hosts[:2]:
                self._round.add_remote(candidate.at(host), proven=True)
        self._round.remotes.waits_for_names = bool(self._names)
        self._go_on(now)

    # From beginning to end

    def start(self, *, now: float) -> None:
        """Check, as soon as the peer's description is there."""
        self._is_started = True
        self._round.start(now=now)
        self._go_on(now)

    def restart(self, *, now: float) -> None:
        """Begin again with other credentials; what works goes on until something else does (RFC 8445, 9)."""
        if self._is_closed:
            return
        # Of several restarts in a row, the last round that worked is the one to keep.
        if self._round.in_use is not None:
            self._previous = self._round
            self._previous.retire()
        self._previous_until = None
        self._names.clear()
        self._round = self._new_round(self._round.role)
        if self._is_started:
            self._round.start(now=now)
        self._go_on(now)

    def close(self) -> None:
        """End: nothing is sent or answered any more."""
        self._is_closed = True
        self._outbox.clear()
        self._tell()

    # The verbs of every machine

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, base: int) -> bool:
        """Take what came to a base.

        Returns:
            False where it is not a check's: data of the peer, or somebody else's.
        """
        message = read_message(data)
        if message is None or self._is_closed:
            return False
        rounds = [each for each in (self._round, self._previous) if each is not None]
        if message.message_class == MessageClass.REQUEST:
            ours = local_ufrag_of(message)[0]
            taken = next((each for each in rounds if each.local.ufrag == ours), None)
            if taken is not None:
                self._take_request(taken, message, addr, now, base)
        elif message.message_class == MessageClass.INDICATION:
            return self.accepts(base, addr)
        else:
            taken = next((each for each in rounds if each.waits_for(message.transaction_id)), None)
            if taken is not None:
                self._take_response(taken, message, addr, now, base)
        if taken is not None:
            self._go_on(now)
        return taken is not None

    def _take_request(self, to: IceRound, message: StunMessage, addr: Address, now: float, base: int) -> None:
        request = read_request(message, to.local)
        if request is None:
            self.ignored += 1
        else:
            to.receive_request(request, message.unknown_required(), base, addr, now=now)

    def _take_response(self, to: IceRound, message: StunMessage, addr: Address, now: float, base: int) -> None:
        response = None if to.remote is None else read_response(message, to.remote)
        if response is None:
            self.ignored += 1
        else:
            to.receive_response(response, base, addr, now=now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._is_closed:
            return
        self._round.advance(now=now, gathers=self.is_gathering)
        self._outbox += self._round.take_datagrams()
        previous = self._previous
        if previous is not None:
            previous.advance(now=now, gathers=False)
            self._outbox += previous.take_datagrams()
            self._part_with(previous, now)
        self._tell()

    def _part_with(self, previous: IceRound, now: float) -> None:
        """Forget the round before once another one works, but answer its checks for a while."""
        if previous.in_use is None:
            self._previous = None
        elif self._round.in_use is None:
            self._previous_until = None
        elif self._previous_until is None:
            self._previous_until = now + self._settings.overlap
        elif now >= self._previous_until:
            self._previous = None

    def _tell(self) -> None:
        path = self.path
        if path != self._told_path:
            self._told_path = path
            if path is not None:
                self._events.append(PathChosen(path=path))
        if self.state is not self._told:
            self._told = self.state
            self._events.append(StateChanged(state=self._told, reason=self._round.problem))

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None where nothing is waited for."""
        if self._is_closed:
            return None
        times = [self._round.next_timer(gathers=self.is_gathering)]
        if self._previous is not None:
            times += [self._previous.next_timer(gathers=False), self._previous_until]
        return min((time for time in times if time is not None), default=None)

    def datagrams_to_send(self) -> list[Sending]:
        """Take what is to be sent, in order: number of the base, datagram, address."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> IceEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None
