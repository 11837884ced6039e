from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats import Address
from librats.ice.events import IceRole
from librats.ice.messages import CheckRequest, Credentials, read_message, write_response
from librats.punch import PunchReason, PunchSettings
from librats.punch.machine import RECHECK, PathFound, PunchMachine, PunchOver
from librats.punch.shots import Shot, at_each
from librats.testing.entropy import SeededEntropy

OURS, THEIRS = Credentials("here", "h" * 22), Credentials("there", "t" * 22)
A, B = Address("192.0.2.1", 1111), Address("192.0.2.2", 2222)
ELSEWHERE = Address("192.0.2.2", 3333)


def machine(*, leads: bool = True, over_streams: bool = False, **settings: float) -> PunchMachine:
    local, remote = (OURS, THEIRS) if leads else (THEIRS, OURS)
    chosen = PunchSettings(**settings)  # type: ignore[arg-type]
    return PunchMachine(leads, local, remote, SeededEntropy(1, str(leads)), settings=chosen, over_streams=over_streams)


def check(to: Credentials, sender: str, role: IceRole, *, nominates: bool = False) -> bytes:
    request = CheckRequest(
        transaction_id=b"t" * 12, peer_ufrag=sender, priority=1, role=role, tie_breaker=1, use_candidate=nominates
    )
    return request.write(to)


def is_request(data: bytes) -> bool:
    message = read_message(data)
    return message is not None and message.message_class == 0


@dataclass
class Link:
    """Carries datagrams between a leader at A and another one at B, each with one socket."""

    leader: PunchMachine
    other: PunchMachine
    carries: Callable[[bool, bytes], bool] = lambda _from_leader, _data: True
    now: float = 0.0
    found: dict[bool, PathFound | PunchOver] = field(default_factory=dict)

    def run(self, until: float) -> None:
        while self.now < until:
            for is_leader, here, there, source in (
                (True, self.leader, self.other, A),
                (False, self.other, self.leader, B),
            ):
                here.handle_timer(now=self.now)
                for sent in here.datagrams_to_send():
                    if not sent.hops and sent.address in (A, B) and self.carries(is_leader, sent.data):
                        there.receive_datagram(sent.data, source, now=self.now + 0.01)
                while (event := here.next_event()) is not None:
                    assert is_leader not in self.found
                    self.found[is_leader] = event
            self.now += 0.01


def carries_of(leaders: bool, from_leader: bool, _data: bytes) -> bool:
    """Carry what one side sends, and nothing of the other's."""
    return from_leader is leaders


def start_both(link: Link, until: float = 1.0) -> Link:
    link.leader.start(at_each([B], interval=0.05, until=until), now=0.0, until=until)
    link.other.start(at_each([A], interval=0.05, until=until), now=0.0, until=until)
    return link


def test_both_find_the_way_and_measure_it() -> None:
    link = start_both(Link(machine(), machine(leads=False)))
    link.run(0.5)
    assert link.found[True] == PathFound(base=0, address=B, rtt=0.01)
    assert link.found[False] == PathFound(base=0, address=A, rtt=None)


def test_a_way_that_works_one_way_only_is_none() -> None:
    for heard in (True, False):
        link = start_both(Link(machine(), machine(leads=False), partial(carries_of, heard)))
        link.run(2.0)
        assert link.found == {side: PunchOver(reason=PunchReason.NO_ANSWER) for side in (True, False)}


@given(st.integers(0, 2**32))
def test_losses_delay_it_and_leave_nobody_alone(seed: int) -> None:
    entropy = SeededEntropy(seed, "losses")
    link = start_both(Link(machine(), machine(leads=False), lambda _from, _data: entropy.randbelow(10) >= 3), until=2.0)
    link.run(3.0)
    assert isinstance(link.found[True], PathFound)
    assert isinstance(link.found[False], PathFound)


def test_the_nomination_is_sent_until_it_is_answered() -> None:
    link = Link(machine(), machine(leads=False))
    lost = 0

    def lose_four_nominations(from_leader: bool, data: bytes) -> bool:
        nonlocal lost
        message = read_message(data)
        if from_leader and message is not None and message.raw(0x0025) is not None and lost < 4:
            lost += 1
            return False
        return True

    link.carries = lose_four_nominations
    start_both(link).run(1.0)
    assert lost == 4
    assert isinstance(link.found[False], PathFound)
    assert link.leader.next_timer() is None


def test_who_follows_waits_for_the_nomination() -> None:
    follower = machine(leads=False)
    follower.receive_datagram(check(THEIRS, "here", IceRole.CONTROLLING), A, now=0.0)
    assert follower.path is None
    follower.receive_datagram(check(THEIRS, "here", IceRole.CONTROLLING, nominates=True), A, now=0.1)
    assert follower.path == (0, A)


def test_late_checks_are_answered_when_the_way_is_there() -> None:
    follower = machine(leads=False)
    for now in (0.0, 0.1):
        assert follower.receive_datagram(check(THEIRS, "here", IceRole.CONTROLLING, nominates=True), A, now=now, base=3)
        assert [(sent.base, is_request(sent.data)) for sent in follower.datagrams_to_send()] == [(3, False)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data",
        check(Credentials("here", "wrong" * 5), "there", IceRole.CONTROLLED),
        check(Credentials("other", OURS.password), "there", IceRole.CONTROLLED),
        check(OURS, "stranger", IceRole.CONTROLLED),
        check(OURS, "there", IceRole.CONTROLLING),
        write_response(b"t" * 12, A, THEIRS),
        check(OURS, "there", IceRole.CONTROLLED)[:-1],
    ],
)
def test_what_is_not_the_peers_changes_nothing(data: bytes) -> None:
    leader = machine()
    leader.start([], now=0.0, until=1.0)
    assert leader.receive_datagram(data, B, now=0.0) is False
    assert leader.datagrams_to_send() == []
    assert leader.ignored == 1


def test_an_answer_that_nobody_could_forge_is_needed() -> None:
    leader = machine()
    leader.start([Shot(0.0, 0, B)], now=0.0, until=1.0)
    request = read_message(leader.datagrams_to_send()[0].data)
    assert request is not None
    forged = write_response(request.transaction_id, A, Credentials("there", "f" * 22))
    assert leader.receive_datagram(forged, B, now=0.1) is False
    genuine = write_response(request.transaction_id, A, THEIRS)
    assert leader.receive_datagram(genuine, B, now=0.1, base=1) is False  # came to another socket
    assert leader.receive_datagram(genuine, B, now=0.1) is True
    assert leader.path == (0, B)


def test_an_answer_from_elsewhere_is_checked_first() -> None:
    leader = machine()
    leader.start([Shot(0.0, 0, B)], now=0.0, until=1.0)
    request = read_message(leader.datagrams_to_send()[0].data)
    assert request is not None
    leader.receive_datagram(write_response(request.transaction_id, A, THEIRS), ELSEWHERE, now=0.1)
    assert leader.path is None
    assert [sent.address for sent in leader.datagrams_to_send()] == [ELSEWHERE]


def test_where_a_check_came_from_is_checked_but_not_for_each_of_a_flood() -> None:
    leader = machine()
    data = check(OURS, "there", IceRole.CONTROLLED)
    for number in range(100):
        leader.receive_datagram(data, ELSEWHERE, now=number * RECHECK / 100)
    sent = leader.datagrams_to_send()
    assert sum(is_request(each.data) for each in sent) == 1
    for port in range(1, 1000):
        leader.receive_datagram(data, Address("192.0.2.2", port), now=0.0)
    assert sum(is_request(each.data) for each in leader.datagrams_to_send()) < 100


def test_the_schedule_is_kept() -> None:
    leader = machine()
    leader.start([Shot(0.0, 0, B, 2), Shot(0.1, 1, A), Shot(0.1, 2, A), Shot(5.0, 0, B)], now=10.0, until=1.0)
    assert [(sent.base, sent.address, sent.hops) for sent in leader.datagrams_to_send()] == [(0, B, 2)]
    assert leader.next_timer() == pytest.approx(10.1)
    leader.handle_timer(now=10.1)
    assert [sent.base for sent in leader.datagrams_to_send()] == [1, 2]
    assert leader.next_timer() == 11.0
    leader.handle_timer(now=11.0)
    assert leader.next_event() == PunchOver(reason=PunchReason.NO_ANSWER)
    assert leader.next_timer() is None
    assert leader.is_over


def test_the_budget_is_an_end() -> None:
    leader = machine(packets=5)
    leader.start(at_each([B], interval=0.01, until=10.0), now=0.0, until=10.0)
    for number in range(100):
        leader.handle_timer(now=number / 100)
    assert leader.sent == 5
    assert leader.next_event() == PunchOver(reason=PunchReason.OUT_OF_BUDGET)
    assert leader.next_event() is None


@given(st.binary(max_size=200))
def test_no_datagram_raises(data: bytes) -> None:
    leader = machine()
    leader.start([Shot(0.0, 0, B)], now=0.0, until=1.0)
    request = leader.datagrams_to_send()[0].data
    for hostile in (data, request[:8] + data, request[: len(data)] + data):
        leader.receive_datagram(hostile, B, now=0.1)
    assert leader.path is None


# Over connections


def test_over_connections_only_the_leader_asks_and_waits_for_the_last_answer() -> None:
    leader, other = (machine(leads=leads, over_streams=True) for leads in (True, False))
    for each in (leader, other):
        each.start([], now=0.0, until=1.0)
    leader.open([Shot(0.0, 7, B), Shot(0.0, 8, B)], now=0.0)
    first, second = leader.datagrams_to_send()
    assert other.receive_datagram(first.data, A, now=0.1, base=3)
    (answer,) = other.datagrams_to_send()
    assert not is_request(answer.data)
    assert leader.receive_datagram(answer.data, B, now=0.2, base=7)
    assert leader.next_event() is None
    (nomination,) = leader.datagrams_to_send()
    leader.handle_timer(now=0.5)
    assert leader.datagrams_to_send() == []
    other.receive_datagram(nomination.data, A, now=0.3, base=3)
    assert other.next_event() == PathFound(base=3, address=A, rtt=None)
    (last,) = other.datagrams_to_send()
    leader.receive_datagram(last.data, B, now=0.4, base=7)
    found = leader.next_event()
    assert isinstance(found, PathFound)
    assert (found.base, found.address) == (7, B)
    assert leader.next_timer() is None
    other.receive_datagram(second.data, A, now=0.5, base=4)
    assert other.next_event() is None


def test_over_connections_a_nomination_that_is_never_answered_is_no_way() -> None:
    for ends_early in (True, False):
        leader = machine(over_streams=True)
        leader.start([], now=0.0, until=1.0)
        leader.open([Shot(0.0, 7, B)], now=0.0)
        request = read_message(leader.datagrams_to_send()[0].data)
        assert request is not None
        leader.receive_datagram(write_response(request.transaction_id, A, THEIRS), B, now=0.1, base=7)
        leader.lost(6)
        assert leader.next_event() is None
        if ends_early:
            leader.lost(7)
        else:
            assert leader.next_timer() == 1.0
            leader.handle_timer(now=1.0)
        assert leader.next_event() == PunchOver(reason=PunchReason.NO_ANSWER)
