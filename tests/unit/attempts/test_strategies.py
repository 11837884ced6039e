"""What each strategy may do, and what it cannot do without."""

from __future__ import annotations

import itertools

import pytest
from msgspec import structs

from librats.attempts.strategies import Situation, Ways, joins_nats, lacks, may_go, plan_of, policy_of, strategy_of
from librats.types import AttemptReason, ConnectionMethod, ConnectionStrategy, NatType, PathPolicy

WHOLE = Situation(has_address=True, has_introducers=True, has_stun=True, has_relay=True)
TCP, UDP, RELAY = ConnectionMethod.TCP, ConnectionMethod.UDP, ConnectionMethod.RELAY


@pytest.mark.parametrize("strategy", ConnectionStrategy)
def test_where_everything_is_there_nothing_is_missing(strategy: ConnectionStrategy) -> None:
    assert lacks(strategy, WHOLE) is None
    assert strategy_of(str(strategy)) is strategy


@pytest.mark.parametrize(
    ("strategy", "changes", "words", "reason"),
    [
        ("relay", {"has_relay": False}, "TURN server", AttemptReason.NOT_CONFIGURED),
        ("relay", {"relays": False}, "enable_turn_relay", AttemptReason.NOT_CONFIGURED),
        ("relay", {"policy": PathPolicy.DIRECT_ONLY}, "direct_only", AttemptReason.NOT_CONFIGURED),
        ("direct", {"policy": PathPolicy.RELAY_ONLY}, "relay_only", AttemptReason.NOT_CONFIGURED),
        ("stun", {"policy": PathPolicy.RELAY_ONLY}, "relay_only", AttemptReason.NOT_CONFIGURED),
        ("punch", {"policy": PathPolicy.RELAY_ONLY}, "relay_only", AttemptReason.NOT_CONFIGURED),
        ("stun", {"has_stun": False}, "STUN server", AttemptReason.NOT_CONFIGURED),
        ("ice", {"meets": False}, "enable_ice", AttemptReason.NOT_CONFIGURED),
        ("punch", {"has_udp": False}, "UDP", AttemptReason.NOT_CONFIGURED),
        ("punch", {"punches": False}, "enable_hole_punching", AttemptReason.NOT_CONFIGURED),
        ("direct", {"has_address": False}, "no address", AttemptReason.NO_ADDRESS),
        ("ice", {"has_id": False}, "by their ids", AttemptReason.UNKNOWN_PEER),
        ("ice", {"has_introducers": False}, "nobody introduces", AttemptReason.NO_INTRODUCER),
        ("auto", {"has_address": False, "has_introducers": False}, "nobody introduces", AttemptReason.NO_INTRODUCER),
        ("auto", {"has_address": False, "meets": False}, "encryption", AttemptReason.NO_ADDRESS),
    ],
)
def test_what_is_missing_is_named(strategy: str, changes: dict[str, object], words: str, reason: AttemptReason) -> None:
    missing = lacks(ConnectionStrategy(strategy), structs.replace(WHOLE, **changes))
    assert missing is not None
    assert words in missing[0]
    assert missing[1] is reason


@pytest.mark.parametrize(
    "changes", [{"policy": PathPolicy.RELAY_ONLY}, {"has_id": False}, {"has_introducers": False}, {"has_stun": False}]
)
def test_auto_does_with_what_there_is(changes: dict[str, object]) -> None:
    assert lacks(ConnectionStrategy.AUTO_ADAPTIVE, structs.replace(WHOLE, **changes)) is None


def test_ways_make_the_policy_narrower_and_never_wider() -> None:
    assert policy_of(Ways.ALL, PathPolicy.AUTO) is PathPolicy.AUTO
    assert policy_of(Ways.DIRECT, PathPolicy.AUTO) is PathPolicy.DIRECT_ONLY
    assert policy_of(Ways.DIRECT | Ways.PUNCHED, PathPolicy.AUTO) is PathPolicy.DIRECT_ONLY
    assert policy_of(Ways.RELAYED, PathPolicy.AUTO) is PathPolicy.RELAY_ONLY
    for policy in (PathPolicy.DIRECT_ONLY, PathPolicy.RELAY_ONLY):
        assert {policy_of(ways, policy) for ways in (Ways.ALL, Ways.DIRECT, Ways.RELAYED)} == {policy}


def test_only_auto_ice_and_relay_go_through_a_relay() -> None:
    through = {strategy for strategy in ConnectionStrategy if may_go(strategy, RELAY)}
    assert through == {ConnectionStrategy(name) for name in ("auto", "ice", "relay")}
    assert not may_go(ConnectionStrategy.TURN_RELAY, UDP)
    assert not may_go(ConnectionStrategy.ICE_FULL, TCP)
    assert plan_of(ConnectionStrategy.DIRECT_ONLY).meets is Ways.NONE


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        (NatType.SYMMETRIC, NatType.SYMMETRIC, False),
        (NatType.SYMMETRIC, NatType.PORT_RESTRICTED_CONE, False),
        (NatType.FIREWALL, NatType.SYMMETRIC, False),
        (NatType.SYMMETRIC, NatType.RESTRICTED_CONE, True),
        (NatType.PORT_RESTRICTED_CONE, NatType.PORT_RESTRICTED_CONE, True),
        (NatType.SYMMETRIC, NatType.UNKNOWN, True),
    ],
)
def test_which_nats_sending_to_each_other_joins(one: NatType, other: NatType, joined: bool) -> None:
    assert joins_nats(one, other) is joined
    assert joins_nats(other, one) is joined


def test_an_address_is_enough_for_whatever_works() -> None:
    switches = [field.name for field in structs.fields(Situation) if field.name not in ("policy", "has_address")]
    for policy, *chosen in itertools.product(PathPolicy, *[(False, True)] * len(switches)):
        situation = Situation(policy=policy, has_address=True, **dict(zip(switches, chosen, strict=True)))  # type: ignore[arg-type]
        assert lacks(ConnectionStrategy.AUTO_ADAPTIVE, situation) is None


def test_only_strategies_that_let_introducers_carry_may_have_led_to_a_carried_session() -> None:
    carried = {strategy for strategy in ConnectionStrategy if may_go(strategy, ConnectionMethod.CARRIED)}
    assert carried == {strategy for strategy in ConnectionStrategy if Ways.CARRIED in plan_of(strategy).meets}
    assert ConnectionStrategy.DIRECT_ONLY not in carried
    assert ConnectionStrategy.AUTO_ADAPTIVE in carried
