"""The machine: two of them over a network that tests choose."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace
from tests.reference.ice_wire import ONE, OTHER, IceNet, assert_same_pair, both_completed, joined, two

from librats._core.stun import parse, serialise
from librats.errors import LocalProtocolError
from librats.ice.candidate_text import parse_candidate
from librats.ice.candidates import CandidateType
from librats.ice.descriptions import MAX_CANDIDATES
from librats.ice.events import IceState, ResolveWanted
from librats.ice.messages import CheckRequest, Credentials, write_error
from librats.ice.pairs import PairState
from librats.stun.constants import Attribute, MessageClass
from librats.types import Address


def test_two_hosts_meet_within_one_round_trip_and_settle_within_two() -> None:
    net = IceNet(delay=0.009)
    one, other = two(net)
    net.introduce()
    assert net.run(1, until=lambda: all(side.machine.path is not None for side in net.sides)) == pytest.approx(0.018)
    assert net.run(1, until=lambda: both_completed(net)) == pytest.approx(0.018)
    assert_same_pair(one, other)
    assert one.states == ["checking", "connected", "completed"]
    assert one.nominated is not None
    assert one.nominated.rtt == pytest.approx(0.018)


def test_the_side_that_begins_first_is_answered_before_the_other_begins() -> None:
    net = IceNet()
    one, other = two(net)
    for side, peer in ((one, other), (other, one)):
        side.machine.end_gathering(now=net.now)
        net.tell(side, peer.machine.description)
    one.machine.start(now=net.now)
    net.run(0.05)
    assert one.machine.path is not None
    assert other.machine.state is IceState.NEW
    other.machine.start(now=net.now)
    net.run(1, until=lambda: both_completed(net))
    assert_same_pair(one, other)


def test_checks_that_come_before_the_description_are_answered_and_taken_up() -> None:
    net = IceNet()
    one, other = two(net)
    net.tell(one, other.machine.description)
    one.machine.start(now=net.now)
    other.machine.start(now=net.now)
    net.run(0.2)
    assert one.machine.path is not None
    assert other.machine.path is None
    # The description names no candidate: it is the early check that tells where the peer is.
    net.tell(other, replace(one.machine.description, candidates=()))
    net.run(1, until=lambda: both_completed(net))
    assert_same_pair(one, other)
    assert other.machine.statistics().remote_candidates[0].type is CandidateType.PEER_REFLEXIVE


@pytest.mark.parametrize("role", ["controlling", "controlled"])
def test_a_conflict_of_roles_is_settled(role: str) -> None:
    for seed in range(20):
        net = IceNet(seed)
        one, other = two(net, (role, role))
        net.introduce()
        net.run(5, until=partial(both_completed, net))
        assert {one.machine.role, other.machine.role} == {"controlling", "controlled"}
        assert_same_pair(one, other)


def tie_breaker_of(data: bytes) -> int:
    message = parse(data)
    found = message.get(Attribute.ICE_CONTROLLING) or message.get(Attribute.ICE_CONTROLLED)
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("role", ["controlling", "controlled"])
def test_the_greater_tie_breaker_controls(role: str) -> None:
    winners = set()
    for seed in range(20):
        net = IceNet(seed)
        one, other = two(net, (role, role))
        net.introduce()
        net.run(0.001)
        tie_breakers = [tie_breaker_of(side.sent[0][2]) for side in (one, other)]
        net.run(5, until=partial(both_completed, net))
        winner = one if tie_breakers[0] > tie_breakers[1] else other
        assert winner.machine.role == "controlling"
        winners.add(winner.name)
    assert len(winners) == 2


def test_who_is_told_to_give_way_draws_another_tie_breaker() -> None:
    net = IceNet(delay=0.1)
    one, other = two(net)
    net.introduce()
    net.run(0.01)
    [(_, base, data, to)] = one.sent
    local = other.machine.description
    refusal = write_error(parse(data).transaction_id, 487, Credentials(local.ufrag, local.password))
    one.machine.receive_datagram(refusal, to, now=net.now, base=base)
    assert one.machine.role == "controlled"
    [(_, again, _)] = one.machine.datagrams_to_send()
    assert parse(again).get(Attribute.ICE_CONTROLLED) is not None
    assert tie_breaker_of(again) != tie_breaker_of(data)


def test_pairs_like_one_that_works_wait_no_longer() -> None:
    net = IceNet()
    one, other = two(net)
    alike = parse_candidate(f"{other.machine.local_candidates[0].foundation} 1 udp 5 198.51.100.9 5000 typ host")
    waiting = parse_candidate("another 1 udp 4 198.51.100.10 5000 typ host")
    told = (*other.machine.local_candidates, alike, waiting)
    net.tell(one, replace(other.machine.description, candidates=told))
    net.tell(other, one.machine.description)
    one.machine.start(now=net.now)
    states = [pair.state for pair in one.machine.statistics().pairs]
    assert states == [PairState.IN_PROGRESS, PairState.FROZEN, PairState.WAITING]
    net.run(0.021)
    assert one.machine.statistics().pairs[1].state is PairState.WAITING


def test_a_check_that_the_peers_has_opened_the_way_for_is_sent_again_at_once() -> None:
    net = IceNet(delay=0.03)
    one, other = net.side("controlling", rto=5.0, longest_rto=5.0), net.side("controlled", rto=5.0, longest_rto=5.0)
    one.host("10.0.0.2:5000", nat="port", public="203.0.113.1")
    other.host("10.0.1.2:5000", nat="port", public="203.0.113.2")
    for side, peer in ((one, other), (other, one)):
        side.machine.end_gathering(now=net.now)
        net.tell(side, peer.machine.description)
    one.machine.start(now=net.now)
    net.run(0.2)  # what it sends is dropped by the other side's NAT
    other.machine.start(now=net.now)
    assert net.run(10, until=partial(both_completed, net)) < 0.3


def test_the_first_check_goes_at_once_and_others_are_paced() -> None:
    net = IceNet()
    one = net.side("controlling")
    one.host(ONE)
    peer = net.side("controlled")
    for number in range(5):
        peer.host(f"198.51.100.{10 + number}:5000")
    net.blocked = lambda _from, _to: True
    net.introduce()
    began = net.now
    net.run(0.26)
    first: dict[Address, float] = {}
    for at, _, _, to in one.sent:
        first.setdefault(to, at - began)
    assert sorted(first.values()) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_a_check_that_the_peer_calls_for_goes_at_once() -> None:
    net = IceNet(delay=0.01)
    one = net.side("controlling")
    one.host("10.0.0.2:5000", nat="symmetric", public="203.0.113.1")
    other = net.side("controlled")
    other.host(OTHER)
    net.introduce()
    net.run(5, until=lambda: other.machine.path is not None)
    learnt = [at for at, _, data, to in other.sent if to.port != 40000 and parse(data).message_class == 0]
    assert learnt[0] - 100.0 == pytest.approx(0.01)


def test_where_nothing_gets_through_both_fail_and_say_why() -> None:
    net = IceNet()
    one, other = two(net)
    net.blocked = lambda _from, _to: True
    net.introduce()
    assert net.run(60, until=lambda: one.machine.state is IceState.FAILED) == pytest.approx(10, abs=0.1)
    net.run(60)
    for side in (one, other):
        assert side.states == ["checking", "failed"]
        [pair] = side.machine.statistics().pairs
        assert (pair.state, pair.problem) == (PairState.FAILED, "no answer")
        assert side.machine.statistics().problem == "no pair works"
        assert side.machine.next_timer() is None


def test_while_candidates_may_come_it_fails_only_when_the_time_is_up() -> None:
    net = IceNet()
    one, other = two(net)
    net.blocked = lambda _from, _to: True
    for side, peer in ((one, other), (other, one)):
        net.tell(side, peer.machine.description)
        side.machine.start(now=net.now)
    assert net.run(60, until=lambda: one.machine.state is IceState.FAILED) == pytest.approx(30)
    assert one.machine.problem == "no pair works after 30 seconds"


def test_a_peer_whose_candidates_are_all_refused_is_told_apart() -> None:
    net = IceNet()
    one = net.side("controlling", strangers=True)
    one.host(ONE)
    other = net.side("controlled")
    other.host("10.0.0.7:5000")
    net.blocked = lambda _from, _to: True
    net.introduce()
    net.run(60)
    found = one.machine.statistics()
    assert found.problem == "no candidate of the peer's may be checked"
    assert found.refused == {"10.0.0.7:5000": "private address, and no sign that both are in one network"}
    assert one.sent == []


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"])  # noqa: S104
def test_nothing_is_sent_to_where_no_peer_is(host: str) -> None:
    net = IceNet()
    one, other = two(net)
    evil = parse_candidate(f"9 1 udp 2130706431 {host} 80 typ host")
    net.tell(one, replace(other.machine.description, candidates=(evil,)))
    one.machine.start(now=net.now)
    net.tell(one, evil)
    net.run(20)
    assert one.sent == []


def test_an_address_of_our_own_is_not_checked() -> None:
    net = IceNet()
    one, other = two(net)
    ours = parse_candidate(f"9 1 udp 2130706431 {ONE.replace(':', ' ')} typ host")
    net.tell(one, replace(other.machine.description, candidates=(*other.machine.local_candidates, ours)))
    assert [str(pair.remote.address) for pair in one.machine.statistics().pairs] == [OTHER]


# Data and strangers


def test_data_is_taken_from_where_the_peer_has_shown_itself_and_from_nowhere_else() -> None:
    net = IceNet()
    one, _ = two(net)
    address = Address.parse(OTHER)
    assert not one.machine.accepts(0, address)
    net.introduce()
    net.run(1)
    assert one.machine.accepts(0, address)
    assert not one.machine.accepts(0, Address(address.host, address.port + 1))
    assert not one.machine.accepts(1, address)
    assert not one.machine.receive_datagram(b"data", address, now=net.now, base=0)


def test_a_check_without_the_password_is_not_answered() -> None:
    net = IceNet()
    one, other = two(net)
    net.introduce()
    net.run(1)
    before = len(one.sent)
    forged = CheckRequest(bytes(12), other.machine.description.ufrag, 1, other.machine.role, 1, True, 99)
    data = forged.write(Credentials(one.machine.description.ufrag, "x" * 24))
    assert one.machine.receive_datagram(data, Address("192.0.2.66", 6666), now=net.now, base=0)
    assert one.machine.datagrams_to_send() == []
    assert (one.machine.ignored, len(one.sent)) == (1, before)
    stranger = forged.write(Credentials("nobody", "x" * 24))
    assert not one.machine.receive_datagram(stranger, Address("192.0.2.66", 6666), now=net.now, base=0)


def test_an_answer_without_the_password_counts_for_nothing() -> None:
    net = IceNet(delay=0.1)
    one, other = two(net)
    net.introduce()
    net.run(0.01)
    [(_, _, request, to)] = one.sent
    answer = CheckRequest(parse(request).transaction_id, "x", 1, other.machine.role, 1).write(
        Credentials("y", "z" * 22)
    )
    forged = bytes([1, 1]) + answer[2:]
    one.machine.receive_datagram(forged, to, now=net.now, base=0)
    assert one.machine.path is None


def test_an_answer_from_elsewhere_fails_the_pair() -> None:
    net = IceNet(delay=0.1)
    one, other = two(net)
    net.introduce()
    net.run(0.11)
    [(_, data)] = [
        (to, data) for _, _, data, to in other.sent if parse(data).message_class == MessageClass.SUCCESS_RESPONSE
    ]
    one.machine.receive_datagram(data, Address("192.0.2.66", 5000), now=net.now, base=0)
    [pair] = one.machine.statistics().pairs
    assert pair.problem == "the answer has come from 192.0.2.66:5000"


def test_floods_of_checks_from_everywhere_are_learnt_of_up_to_a_limit() -> None:
    net = IceNet()
    one, other = two(net, max_pairs=20)
    net.introduce()
    net.run(0.005)
    local, peer = one.machine.description, other.machine.description
    for number in range(1000):
        request = CheckRequest(number.to_bytes(12), peer.ufrag, 2**31 - 1, other.machine.role, 1)
        source = Address(f"203.0.113.{number % 200 + 1}", 1000 + number)
        one.machine.receive_datagram(
            request.write(Credentials(local.ufrag, local.password)), source, now=net.now, base=0
        )
    found = one.machine.statistics()
    assert len(found.remote_candidates) <= 17
    assert len(found.pairs) <= 20
    net.run(2, until=lambda: both_completed(net))
    assert_same_pair(one, other)


def test_a_peer_that_refuses_every_role_is_not_asked_for_ever() -> None:
    net = IceNet()
    one, other = two(net)
    net.introduce()
    net.run(0.005)
    local = other.machine.description
    answered = 0
    for _ in range(100):
        while answered < len(one.sent):
            _, base, data, to = one.sent[answered]
            answered += 1
            refusal = write_error(parse(data).transaction_id, 487, Credentials(local.ufrag, local.password))
            one.machine.receive_datagram(refusal, to, now=net.now, base=base)
        one.sent += [(net.now, *sending) for sending in one.machine.datagrams_to_send()]
    assert len(one.sent) <= 20
    assert one.machine.statistics().pairs[0].problem == "the peer refuses either role"


def test_a_peer_may_not_send_from_everywhere() -> None:
    net = IceNet()
    one, other = joined(net)
    local, peer = one.machine.description, other.machine.description
    for number in range(1000):
        request = CheckRequest(number.to_bytes(12), peer.ufrag, 1, other.machine.role, 1)
        source = Address("203.0.113.1", 1000 + number)
        one.machine.receive_datagram(
            request.write(Credentials(local.ufrag, local.password)), source, now=net.now, base=0
        )
    assert sum(one.machine.accepts(0, Address("203.0.113.1", 1000 + number)) for number in range(1000)) < 256


def test_candidates_of_a_peer_are_taken_up_to_a_limit() -> None:
    net = IceNet()
    one, other = two(net)
    net.tell(one, other.machine.description)
    for number in range(1000):
        net.tell(one, parse_candidate(f"{number} 1 udp 1 192.0.2.{number % 250 + 1} {1000 + number} typ host"))
    found = one.machine.statistics()
    assert len(found.remote_candidates) <= MAX_CANDIDATES + 16
    assert len(found.pairs) <= 100


def test_candidates_of_our_own_have_a_limit() -> None:
    net = IceNet()
    one = net.side("controlling")
    for number in range(MAX_CANDIDATES):
        one.host(f"198.51.100.{number + 1}:5000")
    with pytest.raises(LocalProtocolError):
        one.host("198.51.100.200:5000")
    one.machine.add_mapped(0, Address("203.0.113.1", 1), server="192.0.2.1", now=net.now)
    assert len(one.machine.local_candidates) == MAX_CANDIDATES


def test_a_check_that_asks_for_the_unknown_is_refused() -> None:
    net = IceNet()
    one, other = joined(net)
    local = one.machine.description
    attributes = [
        (Attribute.USERNAME, f"{local.ufrag}:{other.machine.description.ufrag}"),
        (Attribute.PRIORITY, 5),
        (Attribute.ICE_CONTROLLED, 7),
        (0x7000, b"what"),
    ]
    data = serialise(1, 0, bytes(12), attributes, key=local.password.encode(), fingerprint=True)
    one.machine.receive_datagram(data, Address.parse(OTHER), now=net.now, base=0)
    [(_, answer, _)] = one.machine.datagrams_to_send()
    assert parse(answer).get(Attribute.ERROR_CODE)[0] == 420
    assert parse(answer).get(Attribute.UNKNOWN_ATTRIBUTES) == (0x7000,)


# Trickle and names


def test_candidates_may_come_one_by_one_and_before_the_description() -> None:
    net = IceNet()
    one, other = net.side("controlling"), net.side("controlled")
    for side, peer in ((one, other), (other, one)):
        net.tell(side, replace(peer.machine.description, candidates=()))
        side.machine.start(now=net.now)
    net.run(1)
    assert one.sent == []
    one.host(ONE)
    net.tell(other, one.machine.local_candidates[0])
    net.run(1)
    other.host(OTHER)
    net.tell(one, other.machine.local_candidates[0])
    net.tell(one, None)
    net.run(1)
    assert both_completed(net)
    assert_same_pair(one, other)


def test_what_was_learnt_from_a_check_takes_the_name_that_the_peer_gives_it() -> None:
    net = IceNet()
    one, other = two(net)
    net.tell(one, other.machine.description)
    net.tell(other, replace(one.machine.description, candidates=()))
    for side in (one, other):
        side.machine.start(now=net.now)
    net.run(1)
    [candidate] = other.machine.statistics().remote_candidates
    assert candidate.type is CandidateType.PEER_REFLEXIVE
    net.tell(other, one.machine.local_candidates[0])
    assert other.machine.statistics().remote_candidates == tuple(one.machine.local_candidates)
    [pair] = other.machine.statistics().pairs
    assert pair.remote.type is CandidateType.HOST


def test_names_are_asked_for_and_what_is_on_the_link_is_checked() -> None:
    net = IceNet()
    one = net.side("controlling", strangers=True)
    one.host("10.0.0.2:5000")
    other = net.side("controlled")
    other.host("10.0.0.7:5000")
    name = parse_candidate("1 1 udp 2130706431 4c1a8a5e-9c0f.local 5000 typ host")
    server = parse_candidate("2 1 udp 2130706431 www.example.org 5000 typ host")
    net.tell(other, one.machine.description)
    net.tell(one, replace(other.machine.description, candidates=(name, server)))
    for side in (one, other):
        side.machine.start(now=net.now)
    net.run(0.1)
    assert [event.name for event in one.events if isinstance(event, ResolveWanted)] == ["4c1a8a5e-9c0f.local"]
    one.machine.resolved("4c1a8a5e-9c0f.local", ["10.0.0.7", "127.0.0.1"], now=net.now)
    net.run(1)
    assert both_completed(net)
    assert [pair.remote.address.host for pair in one.machine.statistics().pairs] == ["10.0.0.7"]


def test_a_name_that_is_nobodys_is_no_longer_waited_for() -> None:
    net = IceNet()
    one, other = net.side("controlling"), net.side("controlled")
    one.host(ONE)
    one.machine.end_gathering(now=net.now)
    name = parse_candidate("1 1 udp 2130706431 gone.local 5000 typ host")
    net.tell(one, replace(other.machine.description, candidates=(name,), complete=True))
    one.machine.start(now=net.now)
    net.run(12)
    assert one.states == ["checking"]
    one.machine.resolved("gone.local", [], now=net.now)
    net.run(1)
    assert one.states == ["checking", "failed"]


def test_only_so_many_names_are_asked_for() -> None:
    net = IceNet()
    one, _ = two(net)
    for number in range(100):
        net.tell(one, parse_candidate(f"1 1 udp 1 n{number}.local 5000 typ host"))
    net.run(0.1)
    assert sum(isinstance(event, ResolveWanted) for event in one.events) == 8
