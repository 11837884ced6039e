"""ICE over networks of every kind: two agents end alike, and nothing that a peer writes breaks one."""

from __future__ import annotations

import json
from functools import partial
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.hostile.mutations import Mutator
from tests.reference.ice_wire import IceNet, Side

from librats.errors import DecodeError
from librats.ice.candidate_text import candidate_from_json, format_candidate, parse_candidate
from librats.ice.descriptions import OPTIONS, IceDescription
from librats.ice.events import IceState

ROLES = st.sampled_from(["controlling", "controlled"])
NATS = st.sampled_from(["", "full", "restricted", "port", "symmetric"])
LONG = 80.0


def place(side: Side, number: int, nats: list[str], relayed: bool) -> None:
    for index, nat in enumerate(nats):
        public = f"198.51.{number}.{index + 1}"
        if nat:
            side.host(f"10.{number}.{index}.2:5000", nat=nat, public=public)
        else:
            side.host(f"{public}:5000")
    if relayed:
        side.relay(f"192.0.2.{50 + number}:50000")


def assert_alike(one: Side, other: Side) -> None:
    """Both have failed, or both have agreed on one pair."""
    states = {one.machine.state, other.machine.state}
    assert states in ({IceState.COMPLETED}, {IceState.FAILED})
    if states == {IceState.COMPLETED}:
        assert one.ends is not None
        assert other.ends is not None
        assert one.ends == other.ends[::-1]
        assert {one.machine.role, other.machine.role} == {"controlling", "controlled"}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    roles=st.tuples(ROLES, ROLES),
    nats=st.tuples(st.lists(NATS, min_size=1, max_size=3), st.lists(NATS, min_size=1, max_size=3)),
    relayed=st.tuples(st.booleans(), st.booleans()),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.5]),
    jitter=st.sampled_from([0.0, 0.05, 0.3]),
    late=st.sampled_from([0.0, 0.05, 1.0, 5.0]),
    plain=st.booleans(),
)
@example(
    seed=1,
    roles=("controlled", "controlling"),
    nats=(["", "", ""], ["", "", ""]),
    relayed=(True, True),
    loss=0.5,
    jitter=0.0,
    late=5.0,
    plain=False,
)
@example(  # every answer to the first nomination is lost, and the next one is of a pair that counts for less
    seed=636231,
    roles=("controlling", "controlling"),
    nats=(["", "full"], ["restricted", "symmetric"]),
    relayed=(True, True),
    loss=0.5,
    jitter=0.0,
    late=0.05,
    plain=True,
)
@example(  # the pair in use is lost on one side only, and comes back
    seed=636231,
    roles=("controlling", "controlling"),
    nats=(["", "restricted"], ["symmetric", "symmetric"]),
    relayed=(True, True),
    loss=0.5,
    jitter=0.0,
    late=0.05,
    plain=True,
)
def test_two_agents_end_with_the_same_pair_or_both_without_one(
    *,
    seed: int,
    roles: tuple[str, str],
    nats: tuple[list[str], list[str]],
    relayed: tuple[bool, bool],
    loss: float,
    jitter: float,
    late: float,
    plain: bool,
) -> None:
    net = IceNet(seed, loss=loss, jitter=jitter)
    one, other = (net.side(role) for role in roles)
    for number, side in enumerate((one, other)):
        place(side, number, nats[number], relayed[number])
        side.machine.end_gathering(now=net.now)
    options = () if plain else OPTIONS
    net.tell(other, replace(one.machine.description, options=options))
    other.machine.start(now=net.now)
    net.run(late)
    net.tell(one, replace(other.machine.description, options=options))
    one.machine.start(now=net.now)
    net.run(LONG)
    net.loss = net.jitter = 0.0
    net.run(LONG)
    assert_alike(one, other)


TOLD = ["description", "host", "relay", "end"]


@pytest.mark.parametrize("order", list(permutations(TOLD)), ids="-".join)
def test_it_does_not_matter_in_which_order_candidates_come(order: tuple[str, ...]) -> None:
    for starts_first, roles in product((False, True), (("controlling", "controlled"), ("controlled", "controlling"))):
        net = IceNet()
        one, other = (net.side(role) for role in roles)
        place(one, 0, ["port"], relayed=True)
        place(other, 1, ["port"], relayed=True)
        for side in (one, other):
            side.machine.end_gathering(now=net.now)
            if starts_first:
                side.machine.start(now=net.now)
        for what in order:
            for here, there in ((one, other), (other, one)):
                tell(net, there, here, what)
            net.run(0.02)
        for side in (one, other):
            side.machine.start(now=net.now)
        net.run(5)
        assert_alike(one, other)
        assert one.machine.state is IceState.COMPLETED
        assert one.ends is not None
        assert one.ends[0].host == "198.51.0.1"


def tell(net: IceNet, to: Side, of: Side, what: str) -> None:
    candidates = of.machine.local_candidates
    if what == "description":
        net.tell(to, replace(of.machine.description, candidates=(), complete=False))
    elif what == "end":
        net.tell(to, None)
    else:
        for candidate in candidates:
            if candidate.is_relayed is (what == "relay"):
                net.tell(to, candidate)


@pytest.mark.parametrize("with_description", list(product((False, True), repeat=5)), ids=str)
def test_every_choice_of_what_is_told_at_once_and_what_later(with_description: tuple[bool, ...]) -> None:
    net = IceNet(jitter=0.05)
    one, other = net.side("controlling"), net.side("controlled")
    place(one, 0, ["port", ""], relayed=True)
    place(other, 1, ["symmetric"], relayed=True)
    for side in (one, other):
        side.machine.end_gathering(now=net.now)
        side.machine.start(now=net.now)
    for here, there in ((one, other), (other, one)):
        told = list(zip(here.machine.local_candidates, with_description, strict=False))
        first = tuple(candidate for candidate, at_once in told if at_once)
        net.tell(there, replace(here.machine.description, candidates=first, complete=False))
        later = [candidate for candidate, at_once in told if not at_once]
        for number, candidate in enumerate([*later, None]):
            net.at(net.now + 0.03 * number, partial(net.tell, there, candidate))
    net.run(10)
    assert_alike(one, other)
    assert one.machine.state is IceState.COMPLETED


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), restarts=st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=4))
def test_restarts_at_any_time_end_with_the_same_pair(seed: int, restarts: list[tuple[bool, float]]) -> None:
    net = IceNet(seed, loss=0.1, jitter=0.1)
    one, other = net.side("controlling"), net.side("controlled")
    place(one, 0, ["port"], relayed=True)
    place(other, 1, [""], relayed=False)
    net.introduce()

    def exchange(side: Side, peer: Side) -> None:
        net.tell(peer, side.machine.description)

    for first, pause in restarts:
        net.run(pause)
        side, peer = (one, other) if first else (other, one)
        side.restart()
        exchange(side, peer)
        exchange(peer, side)
    net.run(LONG)
    assert_alike(one, other)
    assert one.machine.state is IceState.COMPLETED


LINES = [
    "candidate:1 1 udp 2130706431 192.0.2.7 8998 typ host",
    "a=candidate:2 1 UDP 1694498815 2001:db8::7 5000 typ srflx raddr 10.0.0.1 rport 8998 generation 0 ufrag abcd",
    "3 1 tcp 1518280447 4c1a8a5e-9c0f.local 9 typ host tcptype active",
]


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_candidate_or_refused(text: str) -> None:
    try:
        candidate = parse_candidate(text)
    except DecodeError:
        return
    assert parse_candidate(format_candidate(candidate)) == candidate


@pytest.mark.parametrize("line", LINES)
def test_damaged_lines_are_candidates_or_refused(line: str) -> None:
    mutator = Mutator(7)
    for _ in range(3000):
        text = mutator.mutate(line.encode()).decode("utf-8", "replace")
        try:
            candidate = parse_candidate(text)
        except DecodeError:
            continue
        assert parse_candidate(format_candidate(candidate)) == candidate
        assert candidate_from_json(json.loads(json.dumps(candidate.to_json()))) == candidate


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(LINES),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["ufrag", "pwd", "candidates", "options", "end_of_candidates", "candidate", "port", "type"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_a_description_or_refused(value: Any) -> None:
    for whole in (value, {"ufrag": "abcd", "pwd": "x" * 22, **value} if isinstance(value, dict) else value):
        try:
            found = IceDescription.from_json(whole)
        except DecodeError:
            continue
        assert IceDescription.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert IceDescription.from_attributes(found.to_attributes()) == found


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_damaged_datagrams_break_nothing(seed: int) -> None:
    net = IceNet(seed)
    one, other = net.side("controlling"), net.side("controlled")
    place(one, 0, [""], relayed=False)
    place(other, 1, [""], relayed=False)
    net.introduce()
    mutator = Mutator(seed)
    for _ in range(5):
        net.run(0.005)
        for side, peer in ((one, other), (other, one)):
            for _, _, data, _ in list(side.sent):
                peer.machine.receive_datagram(mutator.mutate(data), side.addresses[0], now=net.now, base=0)
    net.run(5)
    assert_alike(one, other)
    assert one.machine.state is IceState.COMPLETED
