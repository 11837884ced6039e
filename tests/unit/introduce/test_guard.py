"""What a peer that is called makes of offers."""

from __future__ import annotations

from librats.introduce.guard import MAX_SEEN, MAX_SKEW, OfferGuard, OfferHosts
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal

WALL = 1_700_000_000.0


def letter(number: int = 0, at: float = WALL) -> Letter:
    return Letter(id=f"{number:032x}", time=int(at * 1000))


def test_an_offer_is_accepted_once_whatever_has_happened_since() -> None:
    guard = OfferGuard(per_minute=600)
    assert guard.judge("ann", letter(), now=0, wall=WALL) is None
    for later in (0.0, 1.0, 2 * MAX_SKEW - 1):
        assert guard.judge("ann", letter(), now=later, wall=WALL) is Refusal.REPLAYED
    assert guard.counters["replayed"] == 3


def test_an_offer_from_ahead_of_our_clock_is_not_accepted_again_while_its_time_is_right() -> None:
    guard = OfferGuard(per_minute=600)
    assert guard.judge("ann", letter(at=WALL + MAX_SKEW), now=0, wall=WALL) is None
    for later in range(0, int(3 * MAX_SKEW), 10):
        assert guard.judge("ann", letter(at=WALL + MAX_SKEW), now=later, wall=WALL + later) is not None


def test_an_offer_of_another_time_is_stale_and_another_callers_letter_is_another_one() -> None:
    guard = OfferGuard(per_minute=600)
    assert guard.judge("ann", letter(at=WALL - MAX_SKEW - 1), now=0, wall=WALL) is Refusal.STALE
    assert guard.judge("ann", letter(at=WALL + MAX_SKEW + 1), now=0, wall=WALL) is Refusal.STALE
    assert guard.judge("ann", letter(at=WALL - MAX_SKEW), now=0, wall=WALL) is None
    assert guard.judge("bob", letter(at=WALL - MAX_SKEW), now=0, wall=WALL) is None
    assert guard.counters["stale"] == 2


def test_no_more_offers_are_answered_in_a_minute_than_configured() -> None:
    guard = OfferGuard(per_minute=12)
    verdicts = [guard.judge("ann", letter(number), now=0, wall=WALL) for number in range(5)]
    assert verdicts == [None] * 3 + [Refusal.LIMIT] * 2
    accepted = sum(guard.judge("ann", letter(100 + s), now=s, wall=WALL) is None for s in range(1, 601))
    assert accepted == 120


def test_one_that_was_refused_for_the_limit_may_come_again() -> None:
    guard = OfferGuard(per_minute=4)
    assert guard.judge("ann", letter(1), now=0, wall=WALL) is None
    assert guard.judge("ann", letter(2), now=0, wall=WALL) is Refusal.LIMIT
    assert guard.judge("ann", letter(2), now=15, wall=WALL) is None


def test_a_flood_of_one_caller_and_of_one_introducer_is_not_looked_at_and_others_are() -> None:
    guard = OfferGuard(per_minute=600)
    assert [guard.hears("relay", "eve", now=0) for _ in range(8)] == [True] * 6 + [False] * 2
    heard = sum(guard.hears("relay", f"eve {number}", now=0) for number in range(1000))
    assert heard == 54
    assert guard.hears("another relay", "ann", now=0)
    assert guard.counters["flooded"] == 948


def test_a_caller_whose_introducer_floods_has_used_up_nothing_of_its_own() -> None:
    guard = OfferGuard(per_minute=600)
    for number in range(60):
        guard.hears("relay", f"eve {number}", now=0)
    assert not any(guard.hears("relay", "ann", now=0) for _ in range(100))
    assert [guard.hears("relay", "ann", now=10) for _ in range(7)] == [True] * 6 + [False]


def test_one_host_is_checked_no_more_than_so_often() -> None:
    guard = OfferGuard(per_minute=600)
    allowed = [guard.hosts_within(["192.0.2.7", "192.0.2.7"], now=0) for _ in range(8)]
    assert allowed == [{"192.0.2.7"}] * 6 + [set()] * 2
    assert guard.hosts_within(["192.0.2.7", "192.0.2.8"], now=0) == {"192.0.2.8"}
    assert guard.hosts_within(["192.0.2.7"], now=10) == {"192.0.2.7"}
    assert guard.counters["hosts_refused"] == 3


def test_holes_are_punched_for_others_only_so_often() -> None:
    guard = OfferGuard(per_minute=600)
    assert [guard.punches(now=0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert sum(guard.punches(now=second) for second in range(1, 601)) == 200
    assert guard.counters["punches"] == 210
    assert guard.counters["punches_refused"] == 402


def test_a_host_counts_once_in_one_offer() -> None:
    guard = OfferGuard(per_minute=600)
    for _ in range(6):
        hosts = OfferHosts(guard)
        for _ in range(10):
            assert hosts.within(["192.0.2.7", "192.0.2.7"], now=0) == {"192.0.2.7"}
    refused = OfferHosts(guard)
    for now in (0, 1000):
        assert refused.within(["192.0.2.7", "192.0.2.8"], now=now) == {"192.0.2.8"}
    assert guard.counters["hosts_refused"] == 1


def test_offers_that_cannot_be_opened_are_counted_and_answered_so() -> None:
    guard = OfferGuard(per_minute=600)
    assert [guard.tampered(), guard.tampered()] == [Refusal.TAMPERED] * 2
    assert guard.counters["tampered"] == 2


def test_what_was_heard_long_ago_is_forgotten_and_takes_no_room() -> None:
    guard = OfferGuard(per_minute=600)
    assert guard.judge("ann", letter(1), now=0, wall=WALL) is None
    later = 2 * MAX_SKEW + 2
    assert guard.judge("ann", letter(1, at=WALL + later), now=later, wall=WALL + later) is None


def test_no_more_letters_are_remembered_than_the_limit_and_none_is_forgotten_for_another() -> None:
    guard = OfferGuard(per_minute=1e9)
    for number in range(MAX_SEEN):
        assert guard.judge("ann", letter(number), now=0, wall=WALL) is None
    assert guard.judge("ann", letter(MAX_SEEN), now=0, wall=WALL) is Refusal.LIMIT
    assert guard.judge("ann", letter(0), now=0, wall=WALL) is Refusal.REPLAYED
    assert guard.judge("ann", letter(MAX_SEEN), now=2 * MAX_SKEW + 2, wall=WALL) is None
