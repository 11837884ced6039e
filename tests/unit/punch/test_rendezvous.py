"""The rules of hole punching among librats 2 nodes: machines that talk through one that passes their words on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.punch.rendezvous import Dial, GivenUp, PunchRelay, Rendezvous, Say
from librats.punch.sightings import Sightings
from librats.session.librats2_punch import (
    SYNC,
    Envelope,
    PunchConnect,
    PunchOp,
    PunchRole,
    PunchSync,
    decode_inner,
)
from librats.types import Address

ANN, BOB, CAT, DAN, EVE = (f"{letter}" * 64 for letter in "abcde")
START = 100.0


def place(number: int) -> Address:
    return Address(f"192.0.2.{number}", 5000)


class Node:
    """A machine, and what it has said and done."""

    def __init__(
        self, own_id: str, number: int, relays: Sequence[str] = (CAT,), *, answers_per_minute: float = 600.0
    ) -> None:
        self.own_id = own_id
        self.seen = [place(number)]
        self.relays = list(relays)
        self.machine = Rendezvous(
            lambda: Sightings(self.seen), lambda: self.relays, answers_per_minute=answers_per_minute
        )
        self.done: list[Dial | GivenUp] = []

    def said(self) -> list[Say]:
        actions = self.machine.take_actions()
        self.done += [action for action in actions if not isinstance(action, Say)]
        return [action for action in actions if isinstance(action, Say)]

    def hear(self, source: str, inner: bytes, *, via: str = CAT, now: float = START) -> list[Say]:
        self.machine.take(via, Envelope(PunchOp.FROM_RELAY, source, inner), own_id=self.own_id, now=now)
        return self.said()

    @property
    def dials(self) -> list[Dial]:
        return [action for action in self.done if isinstance(action, Dial)]


def opening(*numbers: int, role: PunchRole = PunchRole.OPENS) -> bytes:
    return PunchConnect(role, tuple(map(place, numbers))).encode()


def carry(nodes: Sequence[Node], *, now: float = START, relay: str = CAT) -> list[str]:
    """Pass everything on until nobody says anything more; returns what was said, in words."""
    by_id = {node.own_id: node for node in nodes}
    passing = PunchRelay(by_id.__contains__)
    told: list[str] = []
    waiting = deque((node, said) for node in nodes for said in node.said())
    while waiting:
        sender, said = waiting.popleft()
        assert said.to == relay
        inner = decode_inner(said.envelope.inner)
        told.append(f"{sender.own_id[0]} {'syncs' if isinstance(inner, PunchSync) else inner.role.name.lower()}")
        passed = passing.take(sender.own_id, said.envelope, own_id=relay, now=now)
        if passed is not None:
            waiting += [(by_id[passed.to], each) for each in _hear(by_id[passed.to], passed, relay, now)]
    return told


def _hear(node: Node, passed: Say, relay: str, now: float) -> list[Say]:
    node.machine.take(relay, passed.envelope, own_id=node.own_id, now=now)
    return node.said()


def test_both_sides_dial_each_other_when_the_opener_says_so() -> None:
    ann, bob = Node(ANN, 1), Node(BOB, 2)
    assert ann.machine.open(BOB, now=START) == ""
    assert carry([ann, bob]) == ["a opens", "b answers", "a syncs"]
    assert ann.done == [Dial(BOB, (place(2),))]
    assert bob.done == [Dial(ANN, (place(1),))]


def test_the_answerer_does_not_dial_before_it_is_told_to() -> None:
    bob = Node(BOB, 2)
    [answer] = bob.hear(ANN, opening(1))
    assert answer == Say(CAT, Envelope(PunchOp.TO_RELAY, ANN, opening(2, role=PunchRole.ANSWERS)))
    assert not bob.done
    assert bob.hear(ANN, SYNC) == []
    assert bob.dials == [Dial(ANN, (place(1),))]
    assert bob.hear(ANN, SYNC) == []
    assert len(bob.dials) == 1


def test_who_opens_says_it_before_it_dials() -> None:
    ann = Node(ANN, 1)
    ann.machine.open(BOB, now=START)
    ann.said()
    ann.machine.take(CAT, Envelope(PunchOp.FROM_RELAY, BOB, opening(2, role=PunchRole.ANSWERS)), own_id=ANN, now=START)
    assert ann.machine.take_actions() == [Say(CAT, Envelope(PunchOp.TO_RELAY, BOB, SYNC)), Dial(BOB, (place(2),))]


def test_three_peers_are_asked_and_the_one_that_answers_carries_the_rest() -> None:
    ann = Node(ANN, 1, relays=[BOB, CAT, DAN, EVE, "f" * 64])
    ann.machine.open(BOB, now=START)
    assert [said.to for said in ann.said()] == [CAT, DAN, EVE]
    assert [said.to for said in ann.hear(BOB, opening(2, role=PunchRole.ANSWERS), via=DAN)] == [DAN]
    assert ann.hear(BOB, opening(2, role=PunchRole.ANSWERS), via=EVE) == []
    assert len(ann.dials) == 1
    ann.machine.handle_timer(now=START + 6)
    assert [said.to for said in ann.said()] == [DAN]
    ann.relays.remove(DAN)
    ann.machine.handle_timer(now=START + 12)
    assert [said.to for said in ann.said()] == [CAT, EVE, "f" * 64]


def test_others_are_asked_in_a_later_round_where_nobody_has_passed_an_answer_on() -> None:
    many = [f"{number:064x}" for number in range(8)]
    ann = Node(ANN, 1, relays=many)
    ann.machine.open(BOB, now=START)
    assert [said.to for said in ann.said()] == many[:3]
    ann.machine.handle_timer(now=START + 6)
    assert [said.to for said in ann.said()] == many[3:6]
    ann.machine.handle_timer(now=START + 12)
    assert [said.to for said in ann.said()] == [*many[6:], many[0]]
    ann.machine.handle_timer(now=START + 18)
    ann.said()
    assert ann.done == [GivenUp(BOB, "nobody passed an answer on in 3 rounds of 6 s", tuple(many), 18.0)]


@pytest.mark.parametrize("first", ["a", "b"])
def test_where_both_open_the_round_of_the_smaller_id_goes_on(first: str) -> None:
    ann, bob = Node(ANN, 1), Node(BOB, 2)
    ann.machine.open(BOB, now=START)
    bob.machine.open(ANN, now=START)
    order = [ann, bob] if first == "a" else [bob, ann]
    told = carry(order)
    assert sorted(told) == ["a opens", "a syncs", "b answers", "b opens"]
    assert ann.done == [Dial(BOB, (place(2),))]
    assert bob.done == [Dial(ANN, (place(1),))]


def test_a_round_takes_6_seconds_and_there_are_three_of_them_and_then_a_minute_of_quiet() -> None:
    ann = Node(ANN, 1)
    ann.machine.open(BOB, now=START)
    assert len(ann.said()) == 1
    for number in (1, 2):
        assert ann.machine.next_timer() == START + 6 * number
        ann.machine.handle_timer(now=START + 6 * number - 0.1)
        assert ann.said() == []
        ann.machine.handle_timer(now=START + 6 * number)
        assert len(ann.said()) == 1
    ann.machine.handle_timer(now=START + 18)
    assert ann.said() == []
    assert ann.done == [GivenUp(BOB, "nobody passed an answer on in 3 rounds of 6 s", (CAT,), 18.0)]
    assert len(ann.machine) == 0
    assert ann.machine.next_timer() == float("inf")
    assert "left alone for 60 s" in ann.machine.open(BOB, now=START + 18)
    assert "left alone for 1 s" in ann.machine.open(BOB, now=START + 77)
    assert ann.machine.open(EVE, now=START + 18) == ""
    assert ann.machine.open(BOB, now=START + 78) == ""


def test_what_was_answered_and_not_reached_is_told_apart() -> None:
    ann, bob = Node(ANN, 1), Node(BOB, 2)
    ann.machine.open(BOB, now=START)
    for number in range(3):
        assert carry([ann, bob], now=START + 6 * number) == ["a opens", "b answers", "a syncs"]
        for node in (ann, bob):
            node.machine.handle_timer(now=START + 6 * number + 6)
    ann.said()
    assert len(ann.dials) == len(bob.dials) == 3
    assert ann.done[-1] == GivenUp(BOB, "none of its addresses answered in 3 rounds of 6 s", (CAT,), 18.0)
    assert not any(isinstance(action, GivenUp) for action in bob.done)


def test_who_only_answers_forgets_the_round_and_answers_the_next_one() -> None:
    bob = Node(BOB, 2)
    assert len(bob.hear(ANN, opening(1))) == 1
    bob.machine.handle_timer(now=START + 6)
    assert len(bob.machine) == 0
    assert bob.done == []
    assert bob.hear(ANN, SYNC, now=START + 6) == []
    assert bob.dials == []
    assert len(bob.hear(ANN, opening(1), now=START + 6)) == 1
    assert bob.machine.open(ANN, now=START + 7) == ""


def test_who_stood_down_and_was_not_reached_tells_who_waits() -> None:
    bob = Node(BOB, 2)
    bob.machine.open(ANN, now=START)
    bob.said()
    assert len(bob.hear(ANN, opening(1))) == 1
    bob.machine.handle_timer(now=START + 6)
    bob.said()
    [given_up] = bob.done
    assert isinstance(given_up, GivenUp)
    assert given_up.peer_id == ANN
    assert bob.machine.open(ANN, now=START + 6) == ""


def test_who_comes_to_want_a_peer_that_has_opened_joins_its_round() -> None:
    bob = Node(BOB, 2)
    bob.hear(ANN, opening(1))
    assert bob.machine.open(ANN, now=START) == ""
    assert bob.said() == []
    bob.machine.handle_timer(now=START + 6)
    bob.said()
    assert [type(action) for action in bob.done] == [GivenUp]


def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    ann, answer = Node(ANN, 1), opening(2, role=PunchRole.ANSWERS)
    assert ann.hear(BOB, answer) == []
    ann.machine.open(BOB, now=START)
    ann.said()
    assert ann.hear(EVE, answer) == []
    assert ann.dials == []
    assert len(ann.hear(BOB, answer)) == 1
    assert ann.hear(BOB, answer) == []
    assert len(ann.dials) == 1
    assert ann.machine.counters["ignored"] == 3


@pytest.mark.parametrize(
    "inner",
    [b"\2", b"\0", b"\0\2\1\4\1\2\3\4\0\1", b"\0\0\0", b"\0\0\x09" + b"\4\1\2\3\4\0\1" * 9, b"\0\0\1\5\1\2\3\4\5\0\1"],
)
def test_what_is_not_understood_is_ignored(inner: bytes) -> None:
    bob = Node(BOB, 2)
    assert bob.hear(ANN, inner) == []
    assert (bob.machine.counters["ignored"], len(bob.machine)) == (1, 0)


def test_what_looks_like_our_own_message_is_ignored() -> None:
    bob = Node(BOB, 2)
    assert bob.hear(BOB, opening(1)) == []
    assert bob.machine.counters["ignored"] == 1


def test_four_addresses_are_told_and_dialled() -> None:
    ann = Node(ANN, 1)
    bob = Node(BOB, 2)
    bob.seen = [Address("192.0.2.2", port) for port in range(5000, 5009)]
    ann.machine.open(BOB, now=START)
    ann.said()
    [answer] = bob.hear(ANN, opening(*range(1, 9)))
    told = decode_inner(answer.envelope.inner)
    assert isinstance(told, PunchConnect)
    assert told.addresses == tuple(bob.seen[:4])
    bob.hear(ANN, SYNC)
    assert bob.dials == [Dial(ANN, tuple(map(place, range(1, 5))))]
    ann.hear(BOB, opening(*range(1, 9), role=PunchRole.ANSWERS))
    assert len(ann.dials[0].addresses) == 4


def test_it_is_not_begun_where_it_could_not_work() -> None:
    ann = Node(ANN, 1)
    ann.relays = [BOB]
    assert "no librats 2 peer" in ann.machine.open(BOB, now=START)
    ann.relays, ann.seen = [CAT], []
    assert "where it sees us" in ann.machine.open(BOB, now=START)
    assert ann.hear(BOB, opening(2)) == []
    ann.seen = [Address("192.0.2.1", 1), Address("192.0.2.1", 2)]
    assert "different endpoints" in ann.machine.open(BOB, now=START)
    assert len(ann.hear(BOB, opening(2))) == 1
    assert ann.said() == []


def test_32_rounds_are_under_way_at_once() -> None:
    ann = Node(ANN, 1, answers_per_minute=6000.0)
    for number in range(31):
        assert ann.machine.open(f"{number:064x}", now=START) == ""
    ann.said()
    assert len(ann.hear(BOB, opening(2))) == 1
    assert "32 peers" in ann.machine.open(EVE, now=START)
    assert ann.hear(DAN, opening(3)) == []
    ann.machine.arrived(BOB)
    assert len(ann.hear(DAN, opening(3))) == 1


def test_strangers_are_answered_so_often_and_no_more() -> None:
    bob = Node(BOB, 2, answers_per_minute=30.0)
    answered = 0
    for number in range(600):
        now = START + number / 10
        bob.machine.handle_timer(now=now)
        answered += len(bob.hear(f"{number:064x}", opening(1), via=(CAT, DAN, EVE)[number % 3], now=now))
    assert 30 <= answered <= 30 + 8
    alone = Node(BOB, 2, answers_per_minute=30.0)
    through_one = 0
    for number in range(600):
        now = START + number / 10
        alone.machine.handle_timer(now=now)
        through_one += len(alone.hear(f"{number:064x}", opening(1), now=now))
    assert 15 <= through_one <= 15 + 4


def test_a_peer_through_which_strangers_are_refused_for_the_sake_of_all_has_used_up_nothing_of_its_own() -> None:
    bob = Node(BOB, 2, answers_per_minute=32.0)
    for number in range(8):
        bob.hear(f"{number:064x}", opening(1), via=f"{number}", now=START)
    assert not any(bob.hear(f"{100 + number:064x}", opening(1), now=START) for number in range(20))
    later = START + 7.5  # four may be answered again, by the rate of all
    bob.machine.handle_timer(now=later)
    answered = [bool(bob.hear(f"{200 + number:064x}", opening(1), now=later)) for number in range(5)]
    assert answered == [True] * 4 + [False]


def test_one_stranger_has_us_dial_so_often_and_no_more() -> None:
    bob = Node(BOB, 2)
    for number in range(600):
        now = START + number / 10
        bob.hear(ANN, opening(1, 2, 3, 4), now=now)
        bob.hear(ANN, SYNC, now=now)
    assert 60 <= sum(len(dial.addresses) for dial in bob.dials) <= 60 + 16
    assert bob.machine.counters["dials_refused"] > 2000


def test_a_peer_that_arrives_ends_the_round_and_the_pause() -> None:
    ann = Node(ANN, 1)
    ann.machine.open(BOB, now=START)
    ann.machine.arrived(BOB)
    ann.machine.handle_timer(now=START + 6)
    assert (len(ann.machine), ann.done, ann.machine.counters["reached"]) == (0, [], 1)
    ann.machine.open(EVE, now=START)
    for seconds in (6, 12, 18):
        ann.machine.handle_timer(now=START + seconds)
    ann.machine.arrived(EVE)
    assert ann.machine.open(EVE, now=START + 19) == ""


def test_who_is_wanted_no_longer_is_let_go_without_a_pause() -> None:
    ann = Node(ANN, 1)
    ann.machine.open(BOB, now=START)
    assert ann.machine.asked(BOB) == [CAT]
    ann.machine.close(BOB)
    ann.machine.close(EVE)
    assert (len(ann.machine), ann.machine.asked(BOB)) == (0, ())
    assert ann.machine.open(BOB, now=START) == ""
    ann.hear(EVE, opening(3))
    ann.machine.open(EVE, now=START)
    ann.machine.close(EVE)
    ann.machine.handle_timer(now=START + 6)
    assert not any(isinstance(action, GivenUp) for action in ann.done)


class TestRelay:
    def test_a_word_goes_on_unread_with_who_has_said_it(self) -> None:
        relay = PunchRelay([ANN, BOB].__contains__)
        for inner in (SYNC, b"\x63payload", bytes(155)):
            said = relay.take(ANN, Envelope(PunchOp.TO_RELAY, BOB, inner), own_id=CAT, now=START)
            assert said == Say(BOB, Envelope(PunchOp.FROM_RELAY, ANN, inner))

    @pytest.mark.parametrize("target", [ANN, CAT, DAN])
    def test_nothing_goes_back_or_to_the_relay_or_to_who_is_not_there(self, target: str) -> None:
        relay = PunchRelay([ANN, BOB, CAT].__contains__)
        assert relay.take(ANN, Envelope(PunchOp.TO_RELAY, target, SYNC), own_id=CAT, now=START) is None

    def test_12_words_of_one_sender_go_on_in_a_second(self) -> None:
        relay = PunchRelay([ANN, BOB, EVE].__contains__)

        def passed(sender: str, target: str, now: float) -> bool:
            return relay.take(sender, Envelope(PunchOp.TO_RELAY, target, SYNC), own_id=CAT, now=now) is not None

        assert [passed(ANN, DAN, START) for _ in range(20)] == [False] * 20
        assert [passed(ANN, BOB, START + number / 50) for number in range(20)] == [True] * 12 + [False] * 8
        assert passed(EVE, BOB, START + 0.9)
        assert not passed(ANN, BOB, START + 0.9)
        assert passed(ANN, BOB, START + 1.0)
        assert sum(passed(ANN, BOB, START + 1.5) for _ in range(20)) == 11
        relay.left(ANN)
        assert passed(ANN, BOB, START + 1.5)


class TestSightings:
    def test_who_sees_us_at_our_own_address_tells_nothing_of_a_nat(self) -> None:
        near, far = Address("10.0.0.7", 5000), Address("192.0.2.7", 6000)
        assert not Sightings([near, far], ["10.0.0.7"]).differ
        assert Sightings([near, far], []).differ
        assert Sightings([near, far], ["10.0.0.7"]).endpoints == (near, far)

    def test_ipv4_and_ipv6_are_not_compared(self) -> None:
        assert not Sightings([Address("192.0.2.7", 1), Address("2001:db8::7", 2)]).differ
        assert Sightings([Address("2001:db8::7", 1), Address("2001:db8::7", 2), Address("192.0.2.7", 1)]).differ

    def test_nobody_sees_us_differently_where_nobody_sees_us(self) -> None:
        assert not Sightings().differ
        assert Sightings().endpoints == ()


word = st.one_of(
    st.sampled_from([SYNC, opening(2), opening(2, 3), opening(2, role=PunchRole.ANSWERS), b"\7"]),
    st.binary(min_size=1, max_size=155),
)
happening = st.one_of(
    st.tuples(st.just("open"), st.sampled_from([BOB, DAN, EVE]), st.just(b"")),
    st.tuples(st.just("close"), st.sampled_from([BOB, DAN, EVE]), st.just(b"")),
    st.tuples(st.just("arrived"), st.sampled_from([BOB, DAN, EVE]), st.just(b"")),
    st.tuples(st.just("later"), st.just(""), st.just(b"")),
    st.tuples(st.just("heard"), st.sampled_from([ANN, BOB, DAN, EVE]), word),
)


@given(st.lists(happening, max_size=60))
def test_whatever_happens_nobody_is_dialled_unasked_and_every_round_ends(
    happenings: list[tuple[str, str, bytes]],
) -> None:
    ann = Node(ANN, 1)
    now = START
    for what, who, inner in happenings:
        now += 0.5
        if what == "open":
            ann.machine.open(who, now=now)
        elif what == "heard":
            before = len(ann.dials)
            said = ann.hear(who, inner, now=now)
            assert len(ann.dials) - before <= 1
            assert all(each.to == CAT and each.envelope.op is PunchOp.TO_RELAY for each in said)
        elif what == "later":
            now += 5.0
            ann.machine.handle_timer(now=now)
        else:
            getattr(ann.machine, what)(who)
        ann.said()
        assert all(len(dial.addresses) <= 4 and dial.peer_id != ANN for dial in ann.dials)
    for _ in range(4):
        now += 6.0
        ann.machine.handle_timer(now=now)
        ann.said()
    assert len(ann.machine) == 0
