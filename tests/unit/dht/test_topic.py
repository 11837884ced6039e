"""When a topic is announced and searched, and who of those found is dialled, and how often."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librats import Address
from librats.dht.topic import MOST_ENDPOINTS, MOST_PER_HOST, Deed, Dialled, Topic, topic_hash
from librats.session.dial_budget import DialBudget

WALL = 1_700_000_000.0
A, B, C = (Address(f"192.0.2.{number}", 8080) for number in (1, 2, 3))


class Chance(Random):
    def token_bytes(self, size: int) -> bytes:
        return self.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self.randrange(limit)


class Run:
    """A topic with a clock, whose announcements and searches come to their ends at once."""

    def __init__(self, *, target: int = 16, at_once: int = 8, per_minute: int = 30, dials: bool = True) -> None:
        self.now = 0.0
        budget = DialBudget(at_once=at_once, per_minute=per_minute)
        self.topic = Topic(
            Chance(1), b"\1" * 20, now=0.0, budget=budget, search_interval=30.0, peer_target=target, dials=dials
        )
        self.connected: set[str] = set()
        self.there: list[Address] = []
        self.outcomes: dict[Address, tuple[Dialled, str]] = {}
        self.times: dict[Deed, list[float]] = {deed: [] for deed in Deed}
        self.dialled: list[tuple[float, Address]] = []
        self.new: list[Address] = []
        self.takes = 1.0
        self.ending: list[tuple[float, Address]] = []

    def step(self) -> None:
        """Do what there is to do now."""
        for at, address in [one for one in self.ending if one[0] <= self.now]:
            self.ending.remove((at, address))
            what, peer_id = self.outcomes.get(address, (Dialled.FAILED, ""))
            self.topic.dialled(address, what, now=self.now, wall=WALL + self.now, peer_id=peer_id)
            if what is Dialled.MET:
                self.connected.add(peer_id)
        self.topic.handle_timer(now=self.now, connected=self.connected)
        while (todo := self.topic.next_event()) is not None:
            self.times[todo.deed].append(self.now)
            if todo.deed is Deed.ANNOUNCE:
                self.topic.announced(8, now=self.now)
                self.topic.handle_timer(now=self.now, connected=self.connected)
            elif todo.deed is Deed.SEARCH:
                self.new += self.topic.found(self.there, now=self.now)
                self.topic.handle_timer(now=self.now, connected=self.connected)
            elif todo.address is not None:
                self.dialled.append((self.now, todo.address))
                self.ending.append((self.now + self.takes, todo.address))

    def until(self, end: float) -> None:
        while self.now < end:
            self.step()
            times = [self.topic.next_timer(), *(at for at, _ in self.ending), end]
            after = min(times)
            assert after > self.now or after == end
            self.now = after
        self.step()

    def dials_of(self, address: Address) -> list[float]:
        return [at for at, one in self.dialled if one == address]


def test_it_is_announced_before_others_are_looked_for_and_again_in_ten_minutes() -> None:
    run = Run()
    run.topic.handle_timer(now=0.0, connected=())
    assert [run.topic.next_event(), run.topic.next_event()][0].deed is Deed.ANNOUNCE  # type: ignore[union-attr]
    run = Run()
    run.until(1300.0)
    assert run.times[Deed.ANNOUNCE] == [0.0, 600.0, 1200.0]


def test_nobody_is_looked_for_while_the_first_announcement_is_under_way() -> None:
    run = Run()
    run.topic.handle_timer(now=0.0, connected=())
    run.topic.next_event()
    run.topic.handle_timer(now=100.0, connected=())
    assert run.topic.next_event() is None
    assert run.topic.next_timer() == float("inf")


def test_an_announcement_that_fails_is_tried_again_soon_and_others_are_looked_for_all_the_same() -> None:
    run = Run()
    run.topic.handle_timer(now=0.0, connected=())
    run.topic.announced(0, now=1.0)
    run.topic.handle_timer(now=1.0, connected=())
    assert run.topic.next_event() is not None
    found = run.topic.next_event()
    assert found is not None
    assert found.deed is Deed.SEARCH
    run.topic.handle_timer(now=31.0, connected=())
    again = run.topic.next_event()
    assert again is not None
    assert again.deed is Deed.ANNOUNCE


def pauses(run: Run) -> list[float]:
    times = run.times[Deed.SEARCH]
    return [after - before for before, after in itertools.pairwise(times)]


def test_searches_come_quickly_at_first_and_every_thirty_seconds_then() -> None:
    run = Run()
    run.until(300.0)
    assert pauses(run)[:3] == pytest.approx([5.0, 10.0, 20.0], rel=0.101)
    assert all(27 <= pause <= 33 for pause in pauses(run)[3:])


def test_searches_become_seldom_while_there_are_peers_enough_and_frequent_when_there_are_not() -> None:
    run = Run(target=1)
    run.there, run.outcomes = [A], {A: (Dialled.MET, "ann")}
    run.until(2000.0)
    assert 270 <= pauses(run)[-1] <= 330
    run.connected.clear()
    run.step()
    assert run.topic.next_timer() <= 2030.0
    run.outcomes = {}
    run.until(2400.0)
    assert pauses(run)[-1] <= 33


def test_an_endpoint_is_told_of_once_and_dialled_once_while_its_peer_is_there() -> None:
    run = Run()
    run.there, run.outcomes = [A], {A: (Dialled.MET, "ann")}
    run.until(3600.0)
    assert run.new == [A]
    assert len(run.dials_of(A)) == 1
    assert run.topic.met({"ann", "bob"}) == 1


def test_an_endpoint_that_fails_is_dialled_after_pauses_that_grow_up_to_sixteen_minutes() -> None:
    run = Run()
    run.there = [A]
    run.until(4 * 3600.0)
    times = run.dials_of(A)
    grown = [after - before for before, after in itertools.pairwise(times)]
    assert all(15 <= pause <= 47 for pause in grown[:1])
    assert grown[-1] == pytest.approx(960)
    assert len(times) < 24


def test_two_that_fail_at_different_times_dial_each_other_at_the_same_time_later() -> None:
    one, other = Run(), Run()
    one.there = other.there = [A]
    other.now = 137.0
    one.until(7200.0)
    other.until(7200.0)
    assert set(one.dials_of(A)) & set(other.dials_of(A))


@pytest.mark.parametrize(("what", "dials"), [(Dialled.OURSELVES, 1), (Dialled.STRANGE, 2)])
def test_this_client_itself_and_strangers_are_not_dialled_again(what: Dialled, dials: int) -> None:
    run = Run()
    run.there, run.outcomes = [A], {A: (what, "")}
    run.until(4 * 3600.0)
    assert len(run.dials_of(A)) == dials


def test_where_a_peer_was_met_before_comes_first_then_whom_most_nodes_tell_of() -> None:
    topic = Run(at_once=3).topic
    topic.found([A, B, C], now=0.0, known={C})
    topic.handle_timer(now=0.0, connected=())
    events = [topic.next_event() for _ in range(4)]
    assert [event.address for event in events if event is not None and event.address] == [C, A, B]


def test_nobody_is_dialled_once_there_are_peers_enough() -> None:
    run = Run(target=2, at_once=1)
    run.there = [A, B, C]
    run.outcomes = {A: (Dialled.MET, "ann"), B: (Dialled.MET, "bob"), C: (Dialled.MET, "eve")}
    run.until(600.0)
    assert [address for _, address in run.dialled] == [A, B]
    run.connected.discard("ann")
    run.step()
    assert run.dialled[-1][1] == A  # where somebody was met before comes first


def test_nobody_is_dialled_where_that_is_not_wanted() -> None:
    run = Run(dials=False)
    run.there = [A]
    run.until(600.0)
    assert (run.new, run.dialled) == ([A], [])


def test_what_nobody_tells_of_for_an_hour_is_forgotten() -> None:
    run = Run()
    run.there, run.outcomes = [A, B], {A: (Dialled.OURSELVES, "")}
    run.until(60.0)
    run.there = [B]
    run.until(3600.0 + 120)
    run.there = [A, B]
    run.until(3600.0 + 180)
    assert run.new == [A, B, A]


def test_a_host_counts_only_so_often_whatever_ports_it_is_told_at() -> None:
    run = Run()
    run.there = [Address("192.0.2.9", port) for port in range(1, 100)]
    run.there += [Address(f"2001:db8::{number:x}", 7) for number in range(1, 100)]
    run.until(60.0)
    assert len(run.new) == 2 * MOST_PER_HOST


def test_an_address_without_a_port_is_none() -> None:
    run = Run()
    run.there = [Address("192.0.2.9", 0)]
    run.until(1.0)
    assert run.new == []


def test_of_too_many_those_that_failed_make_room() -> None:
    run = Run(at_once=1)
    many = [Address(f"10.{number >> 8}.{number & 255}.1", 9) for number in range(MOST_ENDPOINTS + 5)]
    run.there = many[:MOST_ENDPOINTS]
    run.until(1.5)
    assert run.topic.statistics()["endpoints"] == MOST_ENDPOINTS
    failed = run.dialled[0][1]
    assert run.topic.found(many[MOST_ENDPOINTS:], now=run.now) == [many[MOST_ENDPOINTS]]
    assert failed not in run.topic.found([failed], now=run.now)
    assert run.topic.statistics()["endpoints"] == MOST_ENDPOINTS


def test_topics_of_one_client_share_their_dials() -> None:
    budget = DialBudget(at_once=8, per_minute=3)
    topics = [Topic(Chance(1), bytes(20), now=0.0, budget=budget) for _ in range(2)]
    begun = 0
    for topic in topics:
        topic.found([A, B], now=0.0)
        topic.handle_timer(now=0.0, connected=())
        while (todo := topic.next_event()) is not None:
            begun += todo.deed is Deed.DIAL
    assert begun == 3
    assert budget.free_at(now=1.0) == 60.0
    assert budget.under_way == 3


def test_topics_of_one_protocol_and_protocols_have_hashes_of_their_own() -> None:
    told = {topic_hash("a/1"), topic_hash("a/1", "b"), topic_hash("a/1", "c"), topic_hash("a/1b"), topic_hash("a/2")}
    assert len(told) == 5


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    target=st.integers(1, 6),
    at_once=st.integers(1, 4),
    per_minute=st.integers(1, 10),
    takes=st.floats(0.0, 40.0),
)
def test_whatever_is_found_and_comes_of_it_the_limits_hold(
    seed: int, target: int, at_once: int, per_minute: int, takes: float
) -> None:
    chance = Chance(seed)
    run = Run(target=target, at_once=at_once, per_minute=per_minute)
    run.takes = takes + 0.001
    for _ in range(20):
        run.there = [Address(f"192.0.2.{chance.randbelow(60)}", 1 + chance.randbelow(4)) for _ in range(40)]
        run.outcomes = {
            address: (chance.choice(list(Dialled)), f"peer {chance.randbelow(12)}") for address in run.there
        }
        if run.connected and chance.randbelow(2):
            run.connected.remove(chance.choice(sorted(run.connected)))
        run.until(run.now + chance.uniform(1.0, 200.0))
        assert len(run.ending) <= at_once
    times = [at for at, _ in run.dialled]
    assert all(times[index + per_minute] - at > 59.999 for index, at in enumerate(times[:-per_minute]))
    for address in {one for _, one in run.dialled}:
        dials = run.dials_of(address)
        assert all(after - before > 14.999 for before, after in itertools.pairwise(dials))
    assert all(after - before >= 4 for before, after in itertools.pairwise(run.times[Deed.SEARCH]))
