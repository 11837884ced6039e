from __future__ import annotations

import json
from typing import Any

import pytest

from librats.errors import DecodeError
from librats.punch.offers import PunchOffer, head_start
from librats.punch.plans import NatFacts, may_meet
from librats.types import FilteringBehavior, MappingBehavior

CONE = NatFacts(mapping=MappingBehavior.ENDPOINT_INDEPENDENT, filtering=FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT)
RESTRICTED = NatFacts(mapping=MappingBehavior.ENDPOINT_INDEPENDENT, filtering=FilteringBehavior.ADDRESS_DEPENDENT)
SYMMETRIC = NatFacts(
    mapping=MappingBehavior.ADDRESS_AND_PORT_DEPENDENT, filtering=FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
)
BLOCKED = NatFacts(udp=False)


@pytest.mark.parametrize("nat", [None, CONE, SYMMETRIC, BLOCKED])
def test_an_offer_is_read_as_it_was_made(nat: NatFacts | None) -> None:
    offer = PunchOffer(nat=nat)
    assert PunchOffer.from_json(json.loads(json.dumps(offer.to_json()))) == offer


@pytest.mark.parametrize(
    "value", [None, [], {}, {"v": 2}, {"v": "1"}, {"v": 1, "nat": 7}, {"v": 1, "nat": {"step": 0}}]
)
def test_what_is_none_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError):
        PunchOffer.from_json(value)


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        (CONE, CONE, True),
        (SYMMETRIC, RESTRICTED, True),
        (SYMMETRIC, CONE, False),
        (SYMMETRIC, SYMMETRIC, False),
        (BLOCKED, RESTRICTED, False),
        (NatFacts(), NatFacts(), True),
    ],
)
def test_ice_is_left_to_itself_only_where_it_may_do(one: NatFacts, other: NatFacts, may: bool) -> None:
    for a, b in ((one, other), (other, one)):
        assert may_meet(a, b) is may
        assert (head_start(a, b, 0.1) > 0) is may


def test_how_long_it_is_depends_on_how_far_the_peer_is() -> None:
    assert head_start(None, SYMMETRIC, 0.0) == head_start(SYMMETRIC, None, 0.05) == 0.25
    assert head_start(CONE, CONE, 0.2) == pytest.approx(0.6)
    assert head_start(CONE, CONE, 7.0) == 0.8
