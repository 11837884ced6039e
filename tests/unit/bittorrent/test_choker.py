"""Whose requests are served: those who give most, and one more by turns; and addresses to dial."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.unit.bittorrent.joined_swarms import Dice

from librats.bittorrent.candidates import MAX_CANDIDATES, Candidates
from librats.bittorrent.choker import NEW_ROUNDS, Choker
from librats.bittorrent.rates import Rate
from librats.types import Address


@dataclass(eq=False)
class Peer:
    gives: float = 0.0
    takes: float = 0.0
    is_interested: bool = True
    is_snubbing: bool = False


def test_those_who_give_most_are_served_and_one_more_by_turns() -> None:
    peers = [Peer(gives=float(number)) for number in range(10)]
    choker = Choker(Dice(), slots=4)
    turns = set()
    for _ in range(300):
        served = choker.decide(peers, is_seed=False)
        assert {peer.gives for peer in served[:4]} == {6.0, 7.0, 8.0, 9.0}
        assert len(served) == 5
        turns.add(served[4].gives)
    assert turns == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def test_new_peers_have_their_turn_three_times_as_often_for_a_minute() -> None:
    old = [Peer(gives=float(number)) for number in range(10)]
    choker, turns = Choker(Dice(), slots=4), Counter[bool]()
    for _ in range(NEW_ROUNDS):
        choker.decide(old, is_seed=False)
    for _ in range(1000):
        new = Peer()
        served = choker.decide([*old, new], is_seed=False)
        turns[served[4] is new] += 1
        choker.decide(old, is_seed=False)
        choker.decide(old, is_seed=False)
    assert 280 < turns[True] < 390  # 3 lots of 9: 333


def test_whose_turn_it_is_stays_for_three_decisions() -> None:
    peers = [Peer(gives=float(number)) for number in range(50)]
    choker = Choker(Dice(), slots=4)
    turns = [choker.decide(peers, is_seed=False)[4] for _ in range(9)]
    assert [turns[0]] * 3 + [turns[3]] * 3 + [turns[6]] * 3 == turns
    assert len(set(map(id, turns))) == 3


def test_a_seed_serves_those_who_take_most_and_nobody_who_wants_nothing() -> None:
    peers = [Peer(gives=9.0, takes=float(n), is_interested=n != 4) for n in range(6)]
    served = Choker(Dice(), slots=2).decide(peers, is_seed=True)
    assert [peer.takes for peer in served[:2]] == [5.0, 3.0]


def test_who_gives_nothing_though_asked_comes_last() -> None:
    peers = [Peer(gives=5.0, is_snubbing=True), Peer(gives=1.0)]
    assert Choker(Dice(), slots=1).decide(peers, is_seed=False)[0] is peers[1]


def test_rates_follow_what_is_added() -> None:
    rate = Rate(now=0.0)
    for second in range(1, 20):
        rate.total += 1000
        rate.update(float(second))
        assert rate.value == 1000
    for second in range(20, 60):
        rate.update(float(second))
    assert rate.value < 1


def test_an_address_that_fails_is_tried_ever_later_and_then_no_more() -> None:
    candidates, address = Candidates(), Address("192.0.2.1", 5)
    candidates.add([address], now=0.0)
    now, waits = 0.0, []
    while len(candidates):
        assert candidates.take(now) == address
        candidates.fail(address, now)
        begun = now
        while len(candidates) and candidates.take(now) is None:
            now += 1.0
        candidates.lose(address, now - 15.0)
        waits.append(now - begun)
        candidates.fail(Address("192.0.2.2", 5), now)
        if waits[-1] == 40.0:
            break
    assert waits == [40.0]
    for _ in range(6):
        candidates.fail(address, now)
    assert len(candidates) == 0


def test_banned_hosts_and_ports_of_0_are_not_dialled_and_no_more_kept_than_a_limit() -> None:
    candidates = Candidates()
    candidates.ban(Address("192.0.2.1", 5))
    assert candidates.add([Address("192.0.2.1", 6), Address("192.0.2.2", 0)], now=0.0) == 0
    assert candidates.is_banned("192.0.2.1")
    many = [Address(f"10.0.{n >> 8}.{n & 255}", 1) for n in range(MAX_CANDIDATES + 5)]
    assert candidates.add(many, now=0.0) == MAX_CANDIDATES


def test_seeds_are_passed_over_where_they_are_of_no_use() -> None:
    candidates, seed, other = Candidates(), Address("192.0.2.1", 5), Address("192.0.2.2", 5)
    candidates.add([seed, other], now=-100.0)
    candidates.lose(seed, -100.0, is_seed=True)
    assert candidates.take(0.0, seeds=False) == other
    assert candidates.take(0.0, seeds=False) is None
    assert candidates.take(0.0) == seed


def test_those_that_others_call_seeds_come_last_where_seeds_are_of_no_use_and_what_they_do_counts_then() -> None:
    candidates, said, other, liar = Candidates(), *(Address(f"192.0.2.{number}", 5) for number in (1, 2, 3))
    candidates.add([said, liar, other], now=0.0, seeds=[said, liar])
    assert [candidates.take(0.0, seeds=False) for _ in range(4)] == [other, said, liar, None]
    candidates.lose(said, 0.0, is_seed=True)
    candidates.lose(liar, 0.0)  # it was none
    candidates.fail(other, 0.0)
    assert [candidates.take(100.0, seeds=False) for _ in range(3)] == [liar, other, None]


def test_seeds_are_as_good_as_others_for_those_who_lack_something() -> None:
    candidates, said, other = Candidates(), Address("192.0.2.1", 5), Address("192.0.2.2", 5)
    candidates.add([said, other], now=0.0, seeds=[said])
    assert [candidates.take(0.0) for _ in range(3)] == [said, other, None]


def test_one_that_was_a_seed_when_it_went_counts_as_one_until_it_was_none() -> None:
    candidates, address = Candidates(), Address("192.0.2.1", 5)
    candidates.add([address], now=0.0)
    candidates.lose(address, 0.0, is_seed=True)
    assert candidates.take(100.0, seeds=False) is None
    candidates.lose(address, 100.0)
    assert candidates.take(200.0, seeds=False) == address
