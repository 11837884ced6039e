"""What NAT or firewall stands in front of us, asked of STUN servers: a pure machine (RFC 5780)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import Enum, auto

from librats.stun.client import Answered, Refused, Returned, StunClient, StunEvent, plain_host
from librats.stun.constants import Attribute, ChangeRequest
from librats.stun.transaction import Retransmission
from librats.stun.verdicts import allocation_of, mapping_of, nat_type_of
from librats.types import Address, Entropy, FilteringBehavior, MappingBehavior, NatType, NatTypeInfo

__all__ = ["BehaviourDiscovery", "pace_within", "usable_other"]

FIRST_RTO = 0.25
"""Seconds after which a first request is sent again: within the deadline of a first answer."""

MIN_RTO, MAX_RTO = 0.1, 0.5
PROBES = 5
"""How often a test is sent whose answer may never come: with a fifth of all packets lost, one in 150 is missed."""

LONGER = 3
"""How many deadlines of a first answer a second server is waited for, without which there is nothing to compare."""

ALLOCATION_SOCKETS = 5


class Probe(Enum):
    """What a request is sent for."""

    OTHER_HOST = auto()  # RFC 5780, 4.3, test II
    OTHER_HOST_AND_PORT = auto()  # RFC 5780, 4.3, test III
    OPENING = auto()  # RFC 5780, 4.4, test I
    FROM_OTHER_HOST = auto()  # RFC 5780, 4.4, test II
    FROM_OTHER_PORT = auto()  # RFC 5780, 4.4, test III
    ALLOCATION = auto()
    HAIRPIN = auto()  # RFC 5780, 4.5


MAPPING_PROBES = frozenset({Probe.OTHER_HOST, Probe.OTHER_HOST_AND_PORT, Probe.ALLOCATION})


def pace_within(seconds: float) -> Retransmission:
    """Return how often to ask a server that is given up after that many seconds."""
    rc = 1
    while rc < 7 and FIRST_RTO * (2**rc - 1) < seconds:  # noqa: PLR2004 - RFC 8489, 6.2.1
        rc += 1
    last = FIRST_RTO * (2 ** (rc - 1) - 1)
    return Retransmission(rto=FIRST_RTO, rc=rc, rm=(seconds - last) / FIRST_RTO)


def usable_other(answer: Answered) -> Address | None:
    """Return the server's second address where it has one that may be asked.

    It is of the same family on another host and port, and reaches no deeper into this network than the server itself:
    a server on the internet must not make us send to hosts in here.
    """
    other = answer.other
    if other is None or not other.port or other.port == answer.server.port:
        return None
    try:
        first, second = (ipaddress.ip_address(plain_host(a.host.partition("%")[0])) for a in (answer.server, other))
    except ValueError:
        return None
    if first.version != second.version or first == second or second.is_multicast or second.is_unspecified:
        return None
    inward = (
        (second.is_loopback and not first.is_loopback)
        or (second.is_link_local and not first.is_link_local)
        or (second.is_private and not first.is_private)
    )
    return None if inward or str(second) == "255.255.255.255" else other


class BehaviourDiscovery:
    """Finds out mapping, filtering, port allocation and hairpinning of one address family, within seconds.

    All servers are asked at once. The first one with a second address is measured with; where there is none, the
    answers of two servers are compared, which tells less. What was not found out stays unknown.

    Sockets are numbered from 0 up to, not including, :attr:`sockets`: 0 is what mapping is measured with, 1 has its own
    mapping that only the filtering tests use, so that it has sent to nobody but the server's first address, the others
    show how ports are chosen.

    Args:
        servers: IP addresses and ports, all of one family, at least one.
        local_ports: Port of each of our sockets.
        local_hosts: Our own IP addresses.
        entropy: For transaction ids.
        now: Monotonic seconds.
        first_answer: Seconds after which the answers that are there are made do with.
        timeout: Seconds after which a server that has not answered is given up.
    """

    sockets = 2 + ALLOCATION_SOCKETS
    """How many sockets it needs."""

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        local_ports: Sequence[int],
        local_hosts: Collection[str],
        entropy: Entropy,
        now: float,
        first_answer: float = 0.5,
        timeout: float = 5.0,
    ) -> None:
        self._client = StunClient(entropy)
        self._local_ports = tuple(local_ports)
        self._local_hosts = frozenset(plain_host(host) for host in local_hosts)
        self._began = now
        self._first_answer = first_answer
        self._answers: list[Answered] = []
        self._probes: dict[bytes, Probe] = {}
        self._outcomes: dict[Probe, Answered | None] = {}
        self._allocated: dict[int, Address] = {}
        self._seen: dict[Address, Address] = {}
        self._hairpin: bool | None = None
        self._server: Answered | None = None
        self._other: Address | None = None
        self._pace = Retransmission()
        self.result: NatTypeInfo | None = None
        """What was found, once it is over."""
        self.early: NatTypeInfo | None = None
        """What was found so far, once mapping and ports are known: filtering is told by silence, and takes longer."""
        for server in dict.fromkeys(servers):
            self._client.ask(server, now=now, pace=pace_within(timeout))

    # The verbs of every machine

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int) -> None:
        """Take what came to a socket."""
        self._client.receive_datagram(data, addr, now=now, socket=socket)
        self._go_on(now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._client.handle_timer(now=now)
        self._go_on(now)

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None where it is over."""
        if self.result is not None:
            return None
        times = [self._client.next_timer()]
        if self._server is None and self._answers:
            times.append(self._patience_ends())
        return min((time for time in times if time is not None), default=None)

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent, in order: number of the socket, datagram, address."""
        return self._client.datagrams_to_send()

    # From event to event

    def _go_on(self, now: float) -> None:
        while self.result is None and (event := self._client.next_event()) is not None:
            probe = self._probes.get(event.transaction_id)
            if probe is None:
                self._hear(event)
            else:
                self._conclude(probe, event, now)
        if self._server is None and self.result is None:
            self._choose_server(now)
        if self._server is None or self.result is not None:
            return
        if not self._probes:
            self.result = self._sum_up(self._server, now)
        if self.early is None and MAPPING_PROBES.isdisjoint(self._probes.values()):
            self.early = replace(self._sum_up(self._server, now), problem="")

    def _hear(self, event: StunEvent) -> None:
        """Take a first answer, or note that there is none."""
        if isinstance(event, Answered):
            self._answers.append(event)
            self._seen[event.server] = event.mapped

    def _patience_ends(self) -> float:
        can_compare = len({answer.server.host for answer in self._answers}) > 1
        return self._began + self._first_answer * (1 if can_compare else LONGER)

    def _choose_server(self, now: float) -> None:
        able = next((answer for answer in self._answers if usable_other(answer)), None)
        if able is not None:
            self._begin_tests(able, now)
        elif self._answers and (not len(self._client) or now >= self._patience_ends()):
            self._begin_tests(self._answers[0], now)
        elif not len(self._client):
            self.result = NatTypeInfo(
                type=NatType.BLOCKED,
                duration=now - self._began,
                problem="no STUN server has answered: UDP is blocked, or none of them lives",
            )

    def _begin_tests(self, server: Answered, now: float) -> None:
        self._server = server
        rto = FIRST_RTO if server.rtt is None else min(max(2 * server.rtt, MIN_RTO), MAX_RTO)
        self._pace = Retransmission(rto=rto, rc=PROBES, rm=4)
        other = self._other = usable_other(server)
        if other is not None:
            self._probe(Probe.OTHER_HOST, now, to=Address(other.host, server.server.port))
            self._probe(Probe.OTHER_HOST_AND_PORT, now, to=other)
            self._probe(Probe.OPENING, now, socket=1)
        for socket in range(2, self.sockets):
            self._probe(Probe.ALLOCATION, now, socket=socket)

    def _probe(
        self,
        probe: Probe,
        now: float,
        *,
        socket: int = 0,
        to: Address | None = None,
        change: ChangeRequest | None = None,
    ) -> None:
        assert self._server is not None  # noqa: S101 - tests begin when a server is chosen
        server = to or self._server.server
        attributes = [] if change is None else [(Attribute.CHANGE_REQUEST, change)]
        # A server that does not know CHANGE-REQUEST answers from where it was asked: no result, but worth knowing.
        sources = (server,) if change is None else (self._source_of(change), server)
        transaction_id = self._client.ask(
            server, now=now, socket=socket, attributes=attributes, sources=sources, pace=self._pace
        )
        self._probes[transaction_id] = probe

    def _source_of(self, change: ChangeRequest) -> Address:
        assert self._server is not None  # noqa: S101 - likewise
        assert self._other is not None  # noqa: S101 - nothing is asked of a server that has one address
        host = self._other.host if change & ChangeRequest.IP else self._server.server.host
        return Address(host, self._other.port)

    def _conclude(self, probe: Probe, event: StunEvent, now: float) -> None:
        if isinstance(event, Returned) and probe is not Probe.HAIRPIN:
            return
        del self._probes[event.transaction_id]
        answer = event if isinstance(event, Answered) else None
        if not isinstance(event, Refused):  # of a refusal nothing can be concluded
            self._outcomes[probe] = answer
        if probe is Probe.HAIRPIN:
            self._hear_hairpin(event)
        elif probe is Probe.ALLOCATION:
            self._note_allocation(answer, now)
        elif answer is not None and probe is Probe.OPENING:
            self._begin_filtering(now)
        elif answer is not None and probe is Probe.FROM_OTHER_HOST:
            self._drop(Probe.FROM_OTHER_PORT)  # it would tell nothing new
        elif answer is not None and probe in (Probe.OTHER_HOST, Probe.OTHER_HOST_AND_PORT):
            self._seen[answer.server] = answer.mapped

    def _note_allocation(self, answer: Answered | None, now: float) -> None:
        if answer is not None:
            self._allocated[answer.socket] = answer.mapped
        if Probe.ALLOCATION not in self._probes.values():
            self._begin_hairpin(now)

    def _begin_filtering(self, now: float) -> None:
        self._probe(Probe.FROM_OTHER_HOST, now, socket=1, change=ChangeRequest.IP | ChangeRequest.PORT)
        self._probe(Probe.FROM_OTHER_PORT, now, socket=1, change=ChangeRequest.PORT)

    def _drop(self, probe: Probe) -> None:
        for transaction_id in [key for key, value in self._probes.items() if value is probe]:
            self._client.cancel(transaction_id)
            del self._probes[transaction_id]

    def _begin_hairpin(self, now: float) -> None:
        """Let two sockets send to each other's public address, so that no filter keeps them apart."""
        if not self._has_nat() or len(self._allocated) < 2:  # noqa: PLR2004 - two sockets
            return
        (one, its_address), (two, other_address) = list(self._allocated.items())[:2]
        self._probe(Probe.HAIRPIN, now, socket=one, to=other_address)
        self._probe(Probe.HAIRPIN, now, socket=two, to=its_address)

    def _hear_hairpin(self, event: StunEvent) -> None:
        if isinstance(event, Returned):
            self._hairpin = True
            self._client.cancel(event.transaction_id)
            self._drop(Probe.HAIRPIN)
        elif self._hairpin is None:
            self._hairpin = False

    # What it means

    def _has_nat(self) -> bool:
        mapped = self._answers[0].mapped
        return plain_host(mapped.host) not in self._local_hosts or mapped.port != self._local_ports[0]

    def _filtering(self) -> FilteringBehavior:
        if self._outcomes.get(Probe.OPENING) is None or self._other is None:
            return FilteringBehavior.UNKNOWN
        found = {}
        for probe, change in (
            (Probe.FROM_OTHER_HOST, ChangeRequest.IP | ChangeRequest.PORT),
            (Probe.FROM_OTHER_PORT, ChangeRequest.PORT),
        ):
            answer = self._outcomes.get(probe)
            found[probe] = answer is not None and answer.source == self._source_of(change)
            if answer is not None and not found[probe]:
                return FilteringBehavior.UNKNOWN
        if found[Probe.FROM_OTHER_HOST]:
            return FilteringBehavior.ENDPOINT_INDEPENDENT
        # Silence says something only where the second address does answer when it is asked, and nothing was refused.
        is_alive = self._outcomes.get(Probe.OTHER_HOST_AND_PORT) is not None
        if not is_alive or Probe.FROM_OTHER_HOST not in self._outcomes or Probe.FROM_OTHER_PORT not in self._outcomes:
            return FilteringBehavior.UNKNOWN
        if found[Probe.FROM_OTHER_PORT]:
            return FilteringBehavior.ADDRESS_DEPENDENT
        return FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT

    def _sum_up(self, server: Answered, now: float) -> NatTypeInfo:
        has_nat = self._has_nat()
        mapping, filtering = mapping_of(self._seen), self._filtering()
        if not has_nat and mapping is MappingBehavior.UNKNOWN:
            mapping = MappingBehavior.ENDPOINT_INDEPENDENT
        allocation = allocation_of([(self._local_ports[n], self._allocated[n].port) for n in sorted(self._allocated)])
        return NatTypeInfo(
            type=nat_type_of(has_nat, mapping, filtering),
            has_nat=has_nat,
            mapping=mapping,
            filtering=filtering,
            port_allocation=allocation.kind,
            port_step=allocation.step,
            hairpin=self._hairpin,
            public_address=self._answers[0].mapped,
            server=server.server,
            duration=now - self._began,
            problem=self._problem(mapping, filtering),
        )

    def _problem(self, mapping: MappingBehavior, filtering: FilteringBehavior) -> str:
        if self._other is not None:
            return "" if filtering is not FilteringBehavior.UNKNOWN else "the server's second address does not answer"
        if mapping is MappingBehavior.UNKNOWN:
            return (
                "only one plain STUN server has answered: mapping takes two of them, filtering one with two addresses"
            )
        return "no STUN server with a second address has answered: filtering takes one"
