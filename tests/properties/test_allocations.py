"""The compiled tables of allocations against plain dictionaries: the same questions, the same answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.reference.allocations import Client, Held, ReferenceAllocations

from librats._core.allocations import Allocations
from librats._core.relay import pack_address
from librats.errors import UsageError

MOST = 6
SERVER, OTHER = pack_address("198.51.100.1", 3478), pack_address("2001:db8::1", 3478)
HOSTS = ["203.0.113.7", "203.0.113.8", "2001:db8:7::7", "2001:db8:7::8"]
NUMBERS = st.integers(1, 8)
CLIENTS = st.builds(
    lambda listener, host, port, local: (listener, pack_address(host, port), local),
    st.integers(0, 1),
    st.sampled_from(HOSTS[1:3]),
    st.integers(6000, 6002),
    st.sampled_from([SERVER, OTHER]),
)
PEERS = st.builds(pack_address, st.sampled_from(HOSTS), st.integers(1, 3))
CHANNELS = st.integers(0x4000, 0x4005)
SECONDS = st.integers(0, 60).map(float)


def said(ask: Callable[[], Any]) -> Any:
    """What a question gives: its answer, or that it was a bad one."""
    try:
        return ask()
    except UsageError:
        return UsageError


def host_in(peer: bytes) -> bytes:
    return peer[8:12] if peer[:2] == SERVER[:2] else peer[8:24]


class Tables(RuleBasedStateMachine):
    """Both, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.slow = ReferenceAllocations(MOST)
        self.quick = Allocations(max_allocations=MOST, seed=bytes(16))

    @rule(number=NUMBERS, client=CLIENTS, lasts=SECONDS, name=st.sampled_from(["ann", "bob"]), two=st.booleans())
    def add(self, number: int, client: Client, lasts: float, name: str, two: bool) -> None:
        relays = [(30 + number, "192.0.2.1", 50_000 + number, 1, "10.0.0.1")]
        if two:
            relays.append((60 + number, "2001:db8::1", 65_535 - number, 2, "2001:db8::1"))
        made = Held(client, self.now + lasts, name, relays, 17, int(lasts))
        listener, address, local = client

        def add() -> None:
            self.quick.add_allocation(number, listener, address, relays[0][0], made.expires, local)
            self.quick.describe(number, name, f"{name}'s", relays, made.lifetime)

        assert said(add) == said(lambda: self.slow.add(number, made))

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        assert said(lambda: self.quick.remove(number)) == said(lambda: self.slow.remove(number))

    @rule(number=NUMBERS, lasts=SECONDS)
    def refresh(self, number: int, lasts: float) -> None:
        expires = self.now + lasts
        if said(lambda: self.quick.refresh(number, expires, 7)) is not UsageError:
            held = self.slow.find(number)
            held.expires, held.lifetime = expires, 7

    @rule(number=NUMBERS, peer=PEERS, lasts=SECONDS, exact=st.booleans())
    def permit(self, number: int, peer: bytes, lasts: float, exact: bool) -> None:
        expires, now = self.now + lasts, self.now
        key = peer if exact else host_in(peer)
        assert said(lambda: self.quick.set_permission(number, key, expires, exact=exact, now=now)) == said(
            lambda: self.slow.permit(number, key, expires)
        )

    @rule(number=NUMBERS, channel=CHANNELS, peer=PEERS, lasts=SECONDS)
    def bind(self, number: int, channel: int, peer: bytes, lasts: float) -> None:
        expires, now = self.now + lasts, self.now
        assert said(lambda: self.quick.bind_channel(number, channel, peer, expires, now=now)) == said(
            lambda: self.slow.bind(number, channel, peer, expires, now)
        )

    @rule(client=CLIENTS, answer=st.binary(min_size=1, max_size=80))
    def answer(self, client: Client, answer: bytes) -> None:
        assert self.quick.keep_answer(*client, answer, self.now) == self.slow.answer(client, answer, self.now)

    @rule(number=NUMBERS)
    def count_a_ticket(self, number: int) -> None:
        counted = said(lambda: self.quick.next_ticket(number))
        if counted is not UsageError:
            self.slow.find(number).ticket += 1
            assert counted == self.slow.find(number).ticket

    @rule(number=NUMBERS, rate=st.sampled_from([0, 1000]))
    def limit(self, number: int, rate: int) -> None:
        if said(lambda: self.quick.limit(number, rate)) is not UsageError:
            self.slow.find(number).rate = rate

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = {number for number, held in self.slow.held.items() if held.expires <= self.now}
        assert set(self.quick.numbers(self.now)) == due
        assert set(self.quick.expire(self.now)) == self.slow.expire(self.now) == due

    @invariant()
    def both_hold_the_same(self) -> None:
        quick = self.quick
        assert len(quick) == len(self.slow.held)
        assert sorted(quick.numbers()) == sorted(self.slow.held)
        for number, held in self.slow.held.items():
            told = quick.get(number)
            assert told == (
                number,
                held.client,
                held.username,
                f"{held.username}'s",
                held.relays,
                held.transport,
                held.lifetime,
                held.expires,
                held.ticket,
            )
            assert quick.find(*held.client) == told
            assert quick.answer(*held.client) == held.answer
            assert (quick.permissions(number), quick.channels(number)) == (held.permissions, held.channels)
            assert quick.rate(number) == held.rate

    @rule(client=CLIENTS)
    def look_for(self, client: Client) -> None:
        present = any(held.client == client for held in self.slow.held.values())
        assert self.quick.has_client(*client) == present
        assert (self.quick.find(*client) is not None) == present
        assert (self.quick.answer(*client) is not None) == present


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 2000))
def test_any_number_of_allocations_is_found_whatever_was_removed(order: Any, count: int) -> None:
    held = Allocations(seed=bytes(16))
    clients = {number: (0, pack_address("203.0.113.7", number), SERVER) for number in range(1, count + 1)}
    peer = pack_address("2001:db8:7::7", 4000)
    for number, (listener, address, local) in clients.items():
        held.add_allocation(number, listener, address, 0, 600.0, local)
        held.set_permission(number, peer, 600.0, exact=True, now=0.0)
        held.bind_channel(number, 0x4000, peer, 600.0, now=0.0)
    for number in order.sample(sorted(clients), count - count // 20):
        held.remove(number)
        assert not held.has_client(*clients.pop(number))
    for number, client in clients.items():
        assert held.has_client(*client)
        assert (held.permissions(number), held.channels(number)) == ({peer: 600.0}, {0x4000: (peer, 600.0)})


@pytest.mark.parametrize(("count", "most"), [(2_400, 350), (20_000, 320)])
def test_an_allocation_with_a_permission_and_a_channel_takes_few_bytes(count: int, most: int) -> None:
    held = Allocations(seed=bytes(16))
    for number in range(count):
        client = pack_address("203.0.113.7", 1 + number)
        held.add_allocation(number, 0, client, 3, 600.0, SERVER)
        held.set_permission(number, host_in(client), 300.0, now=0.0)
        held.bind_channel(number, 0x4000, client, 600.0, now=0.0)
    assert sys.getsizeof(held) / count < most
    for number in range(count):
        held.remove(number)
    assert sys.getsizeof(held) / count < most  # kept for the next ones


def test_names_and_answers_are_let_go_with_their_allocation() -> None:
    name, answer = "".join(["a", " user"]), bytes(range(100))
    before = sys.getrefcount(name), sys.getrefcount(answer)
    held = Allocations(seed=bytes(16))
    client = (0, pack_address("203.0.113.7", 6000), SERVER)
    for end in (lambda of: of.remove(1), lambda of: of.expire(600.0), len):
        held.add_allocation(1, client[0], client[1], 3, 600.0, client[2])
        held.describe(1, name, name, [(3, "192.0.2.1", 50_000, 1, "192.0.2.1")], 600)
        held.keep_answer(*client, answer, 0.0)
        assert sys.getrefcount(name) > before[0]
        end(held)
    del held
    assert (sys.getrefcount(name), sys.getrefcount(answer)) == before


@pytest.mark.parametrize(
    "use",
    [
        lambda held: held.add_allocation(1, 0, b"short", 3, 600.0),
        lambda held: held.describe(1, "bob", "bob", [], 600),
        lambda held: held.bind_channel(1, 0x3FFF, SERVER, 600.0),
        lambda held: held.bind_channel(1, 0x4000, b"", 600.0),
        lambda held: held.set_permission(1, bytes(5), 600.0),
        lambda held: held.limit(1, -1),
        lambda held: held.next_ticket(2),
        lambda held: Allocations(seed=b"short"),
        lambda held: Allocations(max_allocations=0),
    ],
)
def test_bad_use_is_a_usage_error(use: Callable[[Allocations], object]) -> None:
    held = Allocations(seed=bytes(16))
    held.add_allocation(1, 0, SERVER, 3, 600.0)
    with pytest.raises(UsageError):
        use(held)
