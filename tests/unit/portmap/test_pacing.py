"""When requests are sent again, and whether a gateway's clock tells that it has lost its state."""

from __future__ import annotations

import pytest

from librats.portmap.epochs import GatewayClock
from librats.portmap.pacing import PcpPace, natpmp_delay, refusal_pause, renewal_delay
from librats.testing.entropy import SeededEntropy


class Fixed:
    """Entropy that always has the same to say: 0 the least of a range, 1 the greatest."""

    def __init__(self, where: float) -> None:
        self._where = where

    def token_bytes(self, size: int) -> bytes:
        return bytes(size)

    def randbelow(self, limit: int) -> int:
        return int(self._where * (limit - 1))

    def uniform(self, low: float, high: float) -> float:
        return low + self._where * (high - low)


def test_pcp_waits_three_seconds_and_twice_as_long_each_time_up_to_its_limit() -> None:
    pace = PcpPace(Fixed(0.5))
    delays = [pace.next_delay() for _ in range(11)]
    assert delays == [3, 6, 12, 24, 48, 96, 192, 384, 768, 1024, 1024]


@pytest.mark.parametrize(("where", "first", "second"), [(0.0, 2.7, 2.7 * 1.9), (1.0, 3.3, 3.3 * 2.1)])
def test_the_delays_of_pcp_spread_by_a_tenth(where: float, first: float, second: float) -> None:
    pace = PcpPace(Fixed(where))
    assert [pace.next_delay(), pace.next_delay()] == pytest.approx([first, second])
    assert max(pace.next_delay() for _ in range(20)) <= 1024 * 1.1 + 1e-9


def test_natpmp_waits_a_quarter_second_and_twice_as_long_each_time() -> None:
    assert [natpmp_delay(tries) for tries in range(1, 10)] == [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64]


def test_a_mapping_is_renewed_at_half_its_lifetime_and_then_ever_sooner() -> None:
    entropy = SeededEntropy(7)
    for attempts, (first, last) in enumerate([(0.5, 0.625), (0.75, 0.8125), (0.875, 0.90625)]):
        delays = [renewal_delay(1000, attempts, entropy) for _ in range(200)]
        assert min(delays) >= first * 1000
        assert max(delays) <= last * 1000
        assert max(delays) - min(delays) > 0.8 * (last - first) * 1000


@pytest.mark.parametrize(("told", "taken"), [(0, 30), (60, 60), (10**9, 1800)])
def test_a_refusal_is_believed_for_half_a_minute_to_half_an_hour(told: float, taken: float) -> None:
    assert refusal_pause(told) == taken


# From epoch 100 at 1000 s on: RFC 6887, 8.5 and RFC 6886, 3.6
EPOCHS = [
    (100, 1000, True, True),
    (160, 1060, True, True),
    (159, 1060, True, True),
    (99, 1000, True, True),
    (98, 1000, False, True),
    (0, 1060, False, False),
    (1000, 1060, False, True),  # forwards too fast: PCP alone minds
    (155, 1060, True, True),  # the clocks may differ by a sixteenth, and two seconds
    (154, 1060, False, True),
    (150, 1060, False, False),
    (1100, 2000, True, True),
    (1040, 2000, True, True),
    (972, 2000, False, False),
]


@pytest.mark.parametrize(("epoch", "now", "pcp", "natpmp"), EPOCHS)
def test_a_count_that_does_not_go_on_tells_of_lost_state(epoch: int, now: float, pcp: bool, natpmp: bool) -> None:
    clock = GatewayClock()
    assert clock.is_steady_pcp(100, 1000.0)
    assert clock.is_steady_pcp(epoch, now) is pcp
    clock = GatewayClock()
    assert clock.is_steady_natpmp(100, 1000.0)
    assert clock.is_steady_natpmp(epoch, now) is natpmp


def test_a_clock_that_is_forgotten_begins_anew() -> None:
    clock = GatewayClock()
    clock.is_steady_pcp(100, 1000.0)
    clock.forget()
    assert clock.is_steady_pcp(5, 1001.0)
