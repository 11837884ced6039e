from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats import NatType, NatTypeInfo
from librats.errors import DecodeError
from librats.punch import PunchPart, PunchReason, PunchTechnique
from librats.punch.plans import NatFacts, Plan, choose_plans, why_not
from librats.types import FilteringBehavior, MappingBehavior, PortAllocation

EI, AD = FilteringBehavior.ENDPOINT_INDEPENDENT, FilteringBehavior.ADDRESS_DEPENDENT
APD = FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
EVERYBODY, BOTH = MappingBehavior.ENDPOINT_INDEPENDENT, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT
RANDOM, SEQUENTIAL = PortAllocation.RANDOM, PortAllocation.SEQUENTIAL

KINDS = {
    "full_cone": NatFacts(mapping=EVERYBODY, filtering=EI),
    "restricted": NatFacts(mapping=EVERYBODY, filtering=AD),
    "port_restricted": NatFacts(mapping=EVERYBODY, filtering=APD),
    "symmetric": NatFacts(mapping=BOTH, filtering=APD, ports=RANDOM),
    "symmetric_seq": NatFacts(mapping=BOTH, filtering=APD, ports=SEQUENTIAL, step=1),
    "symmetric_ad": NatFacts(mapping=MappingBehavior.ADDRESS_DEPENDENT, filtering=AD, ports=RANDOM),
    "symmetric_eif": NatFacts(mapping=BOTH, filtering=EI, ports=RANDOM),
    "plain_servers": NatFacts(mapping=MappingBehavior.DEPENDENT),
    "unknown": NatFacts(),
    "udp_blocked": NatFacts(udp=False),
}
facts = st.builds(
    NatFacts,
    mapping=st.sampled_from(MappingBehavior),
    filtering=st.sampled_from(FilteringBehavior),
    ports=st.sampled_from(PortAllocation),
    step=st.one_of(st.none(), st.integers(1, 256), st.integers(-256, -1)),
    udp=st.booleans(),
)


def first(one: str, other: str) -> str:
    """Return what is tried first between two kinds of NAT, and the part of the first one, who leads."""
    plans = choose_plans(KINDS[one], KINDS[other], leads=True, tcp=False)
    return f"{plans[0].technique} {plans[0].part}" if plans else ""


@pytest.mark.parametrize(
    ("one", "other", "plan"),
    [
        ("port_restricted", "port_restricted", "simultaneous meet"),
        ("unknown", "unknown", "simultaneous meet"),
        ("symmetric", "full_cone", "simultaneous meet"),
        ("symmetric", "restricted", "simultaneous meet"),
        ("symmetric", "symmetric_eif", "simultaneous meet"),
        ("symmetric", "port_restricted", "birthday open"),
        ("port_restricted", "symmetric", "birthday probe"),
        ("plain_servers", "unknown", "birthday open"),
        ("symmetric_seq", "port_restricted", "prediction open"),
        ("port_restricted", "symmetric_seq", "prediction probe"),
        ("symmetric_seq", "symmetric_seq", "prediction meet"),
        ("symmetric_ad", "symmetric_ad", "birthday probe"),
        ("symmetric_ad", "symmetric", "birthday open"),
        ("symmetric", "symmetric_ad", "birthday probe"),
        ("symmetric_ad", "port_restricted", "birthday open"),
        ("symmetric", "symmetric", ""),
        ("symmetric_seq", "symmetric", ""),
        ("udp_blocked", "full_cone", ""),
    ],
)
def test_each_pair_has_its_technique(one: str, other: str, plan: str) -> None:
    assert first(one, other) == plan


def test_chance_comes_after_prediction() -> None:
    plans = choose_plans(KINDS["symmetric_seq"], KINDS["port_restricted"], leads=False, tcp=False)
    assert [plan.technique for plan in plans] == [PunchTechnique.PREDICTION, PunchTechnique.BIRTHDAY]


def test_neighbours_meet_whatever_their_nats_are() -> None:
    symmetric = KINDS["symmetric"]
    plans = choose_plans(symmetric, symmetric, leads=True, near=True, tcp=False)
    assert plans == [Plan(PunchTechnique.SIMULTANEOUS, PunchPart.MEET)]


def test_what_is_impossible_is_named() -> None:
    assert why_not(KINDS["symmetric"], KINDS["symmetric_seq"]) is PunchReason.UNPREDICTABLE
    assert why_not(KINDS["symmetric"], KINDS["udp_blocked"]) is PunchReason.UDP_BLOCKED


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        ("full_cone", ["meet"]),
        ("port_restricted", ["meet"]),
        ("udp_blocked", ["meet"]),
        ("symmetric_seq", ["probe"]),
        ("symmetric", []),
    ],
)
def test_tcp_needs_known_addresses_or_ports_that_can_be_foretold_and_no_udp(other: str, parts: list[str]) -> None:
    plans = choose_plans(KINDS["udp_blocked"], KINDS[other], leads=True)
    assert [(plan.technique, plan.part) for plan in plans] == [(PunchTechnique.TCP, part) for part in parts]


@given(facts, facts, st.booleans(), st.booleans())
def test_both_sides_come_to_the_same_techniques(one: NatFacts, other: NatFacts, near: bool, tcp: bool) -> None:
    ours = choose_plans(one, other, leads=True, near=near, tcp=tcp)
    theirs = choose_plans(other, one, leads=False, near=near, tcp=tcp)
    assert [plan.technique for plan in ours] == [plan.technique for plan in theirs]
    opposite = {PunchPart.MEET: PunchPart.MEET, PunchPart.OPEN: PunchPart.PROBE, PunchPart.PROBE: PunchPart.OPEN}
    assert [opposite[plan.part] for plan in ours] == [plan.part for plan in theirs]
    assert len(ours) == len({plan.technique for plan in ours})


@given(facts)
def test_facts_come_back_from_json(nat: NatFacts) -> None:
    assert NatFacts.from_json(json.loads(json.dumps(nat.to_json()))) == nat


def test_words_of_later_versions_count_as_unknown() -> None:
    assert NatFacts.from_json({"mapping": "quantum", "filtering": 7, "ports": None}) == NatFacts()


@pytest.mark.parametrize("value", [None, [], {"step": 0}, {"step": 257}, {"step": True}, {"step": 1.0}, {"udp": 1}])
def test_facts_that_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(DecodeError):
        NatFacts.from_json(value)


def test_facts_are_taken_from_what_was_measured() -> None:
    info = NatTypeInfo(type=NatType.SYMMETRIC, mapping=BOTH, filtering=APD, port_allocation=SEQUENTIAL, port_step=2)
    assert NatFacts.of(info) == NatFacts(mapping=BOTH, filtering=APD, ports=SEQUENTIAL, step=2)
    assert NatFacts.of(NatTypeInfo(type=NatType.BLOCKED)).udp is False
    assert NatFacts.of(NatTypeInfo(port_step=10_000)).step is None


def test_every_pair_has_a_plan_or_a_reason() -> None:
    for one, other in itertools.product(KINDS.values(), repeat=2):
        assert choose_plans(one, other, leads=True) or why_not(one, other)


ONE_SERVER = {
    "random": NatFacts(ports=RANDOM),
    "sequential": NatFacts(ports=SEQUENTIAL, step=1),
    "preserving": NatFacts(ports=PortAllocation.PRESERVING),
}
"""What one server that has one address can tell."""


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("preserving", "preserving", ["simultaneous None", "tcp None"]),
        ("random", "preserving", ["simultaneous 1", "birthday None", "tcp 1"]),
        ("sequential", "preserving", ["simultaneous 1", "prediction None", "birthday None", "tcp None"]),
        ("random", "random", ["simultaneous 1", "tcp 1"]),
    ],
)
def test_where_one_server_was_asked_what_is_likely_comes_after_one_round_of_what_is_easy(
    one: str, other: str, expected: list[str]
) -> None:
    for a, b in ((one, other), (other, one)):
        plans = choose_plans(ONE_SERVER[a], ONE_SERVER[b], leads=True)
        assert [f"{plan.technique} {plan.rounds}" for plan in plans] == expected
