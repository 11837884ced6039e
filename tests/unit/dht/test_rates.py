"""Rates: what a host may send, and what it is sent before it has proven itself."""

from __future__ import annotations

from typing import Any

import pytest

from librats.dht.rates import Limits, Rates
from librats.errors import UsageError


def test_hosts_that_were_seen_longest_ago_are_forgotten() -> None:
    rates = Rates(Limits(hosts=10))
    for number in range(50):
        rates.may_ask(bytes([number]), now=0.0)
        rates.prove(bytes([number]), now=0.0)
    assert len(rates) == 10
    assert [number for number in range(50) if rates.is_proven(bytes([number]), now=1.0)] == list(range(40, 50))


def test_a_host_that_rests_may_send_as_much_at_once_again_and_no_more() -> None:
    rates = Rates(Limits(queries=1, most_queries=3))
    for now in (0.0, 1000.0, 5000.0):
        assert sum(rates.may_ask(b"host", now=now) for _ in range(10)) == 3


def test_bytes_to_one_host_do_not_count_for_another_but_in_the_sum() -> None:
    rates = Rates(Limits(byte_rate=100, most_bytes=100, all_bytes=250))
    assert [rates.may_be_sent(host, 100, now=0.0) for host in (b"a", b"a", b"b", b"c", b"c")] == [
        *(True, False, True),
        *(False, False),
    ]
    assert rates.may_be_sent(b"c", 50, now=0.0)
    assert rates.may_be_sent(b"a", 100, now=1.0)


@pytest.mark.parametrize("changes", [{"queries": 0}, {"all_bytes": -1}, {"hosts": 0}, {"proof": 0}])
def test_limits_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Limits(**changes)


def test_a_host_that_has_made_good_what_it_used_up_is_forgotten() -> None:
    rates = Rates(Limits(queries=1, most_queries=2))
    rates.may_ask(b"host", now=0.0)
    rates.may_ask(b"host", now=0.0)
    rates.prove(b"proven", now=0.0)
    rates.expire(now=1.0)
    assert len(rates) == 1
    assert rates.is_proven(b"proven", now=1.0)
    rates.expire(now=2.0)
    assert len(rates) == 0
    rates.expire(now=1800.0)
    assert rates._proven == {}
