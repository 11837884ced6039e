"""What an introducer does, and what it does not bear."""

from __future__ import annotations

import pytest

from librats.introduce.notices import Notice, Op, Refusal
from librats.introduce.passing import Passing, PassingLimits

ANN, BOB, CAT, EVE = "aa" * 32, "bb" * 32, "cc" * 32, "ee" * 32
KEYS = {ANN: b"A" * 32, BOB: b"B" * 32, CAT: b"C" * 32}


def passing(**limits: float) -> Passing:
    return Passing(KEYS.get, PassingLimits(**limits), first=100)  # type: ignore[arg-type]


def offer(number: int = 1, to: str = BOB, letter: bytes = b"sealed") -> Notice:
    return Notice(Op.OFFER, number, peer=bytes.fromhex(to), letter=letter)


def refusal(told: list[tuple[str, Notice]]) -> str:
    [(_, notice)] = told
    assert notice.op is Op.REFUSED
    return notice.code


def test_a_key_is_told_of_a_peer_that_is_here_and_of_nobody_else() -> None:
    here = passing()
    assert here.take(ANN, Notice(Op.ASK, 5, peer=bytes.fromhex(BOB)), now=0) == [
        (ANN, Notice(Op.KEY, 5, peer=KEYS[BOB]))
    ]
    assert refusal(here.take(ANN, Notice(Op.ASK, 6, peer=bytes.fromhex(EVE)), now=0)) == Refusal.UNKNOWN_PEER
    assert here.counters["keys_told"] == here.counters["unknown_peers"] == 1


def test_letters_are_passed_both_ways_under_each_sides_number() -> None:
    here = passing()
    caller = bytes.fromhex(ANN)
    assert here.take(ANN, offer(7), now=0) == [(BOB, Notice(Op.PASSED, 100, peer=caller, letter=b"sealed"))]
    assert here.take(ANN, Notice(Op.ADD, 7, letter=b"+"), now=0) == [(BOB, Notice(Op.PASSED_ADD, 100, letter=b"+"))]
    assert here.take(BOB, Notice(Op.ANSWER, 100, letter=b"yes"), now=0) == [
        (ANN, Notice(Op.ANSWERED, 7, letter=b"yes"))
    ]
    assert here.take(BOB, Notice(Op.MORE, 100, letter=b"-"), now=0) == [(ANN, Notice(Op.ADDED, 7, letter=b"-"))]
    assert here.counters["offers_passed"] == here.counters["answers_passed"] == 1
    assert here.counters["further_passed"] == 2


def test_a_target_declines_and_the_caller_hears_why() -> None:
    here = passing()
    here.take(ANN, offer(), now=0)
    declined = Notice(Op.DECLINE, 100, code=Refusal.REPLAYED, words="again")
    assert here.take(BOB, declined, now=0) == [(ANN, Notice(Op.REFUSED, 1, code=Refusal.REPLAYED, words="again"))]
    assert len(here) == 0


def test_nobody_takes_part_in_an_introduction_of_others() -> None:
    here = passing()
    here.take(ANN, offer(), now=0)
    for stranger in (EVE, ANN):
        assert here.take(stranger, Notice(Op.ANSWER, 100, letter=b"x"), now=0) == []
    assert here.take(EVE, Notice(Op.ADD, 1, letter=b"x"), now=0) == []
    assert here.take(BOB, Notice(Op.ANSWER, 101, letter=b"x"), now=0) == []
    assert here.counters["unexpected"] == 4


def test_an_answer_comes_once_and_further_letters_behind_it() -> None:
    here = passing()
    here.take(ANN, offer(), now=0)
    assert here.take(BOB, Notice(Op.MORE, 100, letter=b"x"), now=0) == []
    assert len(here.take(BOB, Notice(Op.ANSWER, 100, letter=b"x"), now=0)) == 1
    assert here.take(BOB, Notice(Op.ANSWER, 100, letter=b"x"), now=0) == []
    assert here.take(BOB, Notice(Op.DECLINE, 100, code="gone"), now=0) == []


def test_a_number_that_is_in_use_and_an_offer_to_oneself_lead_nowhere() -> None:
    here = passing()
    here.take(ANN, offer(), now=0)
    assert here.take(ANN, offer(), now=0) == []
    assert refusal(here.take(ANN, offer(2, ANN), now=0)) == Refusal.UNKNOWN_PEER


@pytest.mark.parametrize("op", [Op.KEY, Op.ANSWERED, Op.ADDED, Op.PASSED, Op.PASSED_ADD, Op.REFUSED])
def test_what_only_an_introducer_says_is_ignored(op: Op) -> None:
    here = passing()
    assert here.take(ANN, Notice(op, 1, peer=bytes(32), letter=b"x"), now=0) == []
    assert here.counters["unexpected"] == 1


def test_who_waits_is_told_that_the_target_has_left_and_a_caller_that_left_is_forgotten() -> None:
    here = passing()
    here.take(ANN, offer(1), now=0)
    assert refusal(here.left(BOB)) == Refusal.GONE
    here.take(ANN, offer(2), now=0)
    assert here.left(ANN) == []
    assert len(here) == 0


def test_an_introduction_is_over_after_a_while() -> None:
    here = passing(lifetime=10)
    here.take(ANN, offer(), now=0)
    assert here.take(BOB, Notice(Op.ANSWER, 100, letter=b"x"), now=10) == []
    assert len(here) == 0


def test_a_caller_that_asks_too_much_is_refused_and_another_is_not() -> None:
    here = passing(asks_per_minute=6)
    ask = Notice(Op.ASK, 1, peer=bytes.fromhex(BOB))
    told = [here.take(EVE, ask, now=0)[0][1].op for _ in range(5)]
    assert told == [Op.KEY] * 3 + [Op.REFUSED] * 2
    assert here.take(ANN, ask, now=0)[0][1].op is Op.KEY
    assert here.take(EVE, ask, now=60)[0][1].op is Op.KEY
    assert here.counters["limited"] == 2


def test_one_source_of_many_identities_is_limited() -> None:
    here = passing(offers_per_source=8)
    ask = Notice(Op.ASK, 1, peer=bytes.fromhex(BOB))
    told = [here.take(f"{number:064x}", ask, now=0, source="192.0.2.7")[0][1].op for number in range(6)]
    assert told == [Op.KEY] * 4 + [Op.REFUSED] * 2
    assert here.take(ANN, ask, now=0, source="192.0.2.8")[0][1].op is Op.KEY


def test_one_target_is_not_flooded_by_many_callers() -> None:
    here = passing(offers_per_target=8)
    codes = [here.take(f"{number:064x}", offer(), now=0)[0][1].op for number in range(6)]
    assert codes == [Op.PASSED] * 4 + [Op.REFUSED] * 2


def test_who_is_refused_for_the_sake_of_others_has_used_up_nothing_of_its_own() -> None:
    here = passing(offers_per_target=8, offers_per_minute=6, offers_per_source=12)
    for number in range(4):
        here.take(f"{number:064x}", offer(), now=0)
    for number in range(20):
        assert refusal(here.take(ANN, offer(number), now=0, source="192.0.2.7")) == Refusal.LIMIT
    to_another = [here.take(ANN, offer(100 + number, to=CAT), now=0, source="192.0.2.7") for number in range(4)]
    assert [told[0][1].op for told in to_another] == [Op.PASSED] * 3 + [Op.REFUSED]
    assert here.counters["limited"] == 21


def test_a_refused_offer_says_whose_introductions_are_too_many() -> None:
    here = passing(offers_per_target=4, offers_per_minute=2)
    words = [here.take(ANN, offer(number), now=0)[0][1].words for number in (1, 2)]
    assert words == ["", "too many introductions of the caller's"]
    here.take(CAT, offer(), now=0)
    assert here.take(EVE, offer(), now=0)[0][1].words == "too many introductions to that peer"


def test_a_source_that_is_refused_has_used_up_nothing_of_its_peers() -> None:
    here = passing(offers_per_source=4, asks_per_minute=6)
    ask = Notice(Op.ASK, 1, peer=bytes.fromhex(BOB))
    told = [here.take(ANN, ask, now=0, source="192.0.2.7")[0][1].op for _ in range(9)]
    assert told == [Op.KEY] * 2 + [Op.REFUSED] * 7
    assert here.take(ANN, ask, now=0, source="192.0.2.8")[0][1].op is Op.KEY


def test_introductions_under_way_and_further_letters_are_limited() -> None:
    here = passing(under_way=2, further=1)
    assert [here.take(ANN, offer(number), now=0)[0][1].op for number in (1, 2, 3)] == [Op.PASSED, Op.PASSED, Op.REFUSED]
    assert len(here.take(ANN, Notice(Op.ADD, 1, letter=b"x"), now=0)) == 1
    assert here.take(ANN, Notice(Op.ADD, 1, letter=b"x"), now=0) == []
    here.take(BOB, Notice(Op.ANSWER, 100, letter=b"x"), now=0)
    assert len(here.take(BOB, Notice(Op.MORE, 100, letter=b"x"), now=0)) == 1
    assert here.take(BOB, Notice(Op.MORE, 100, letter=b"x"), now=0) == []
    here.left(ANN)
    assert here.take(ANN, offer(9), now=0)[0][1].op is Op.PASSED
    assert refusal(passing(total_under_way=0).take(ANN, offer(), now=0)) == Refusal.LIMIT


def test_an_introduction_is_carried_once_and_only_for_its_caller() -> None:
    here = passing()
    here.take(ANN, offer(7), now=0)
    assert here.carriage(EVE, 7) is here.carriage(ANN, 8) is None
    assert here.carriage(ANN, 7) == (BOB, 100)
    assert here.carriage(ANN, 7) is None
