from __future__ import annotations

import pytest

from librats._core.stun import parse
from librats.punch.appointments import Appointment, opener
from librats.stun.constants import MessageClass, Method
from librats.testing.entropy import SeededEntropy


def test_what_opens_a_nat_asks_for_no_answer() -> None:
    first, second = (parse(opener(SeededEntropy(seed, "x"))) for seed in (1, 2))
    assert (first.method, first.message_class) == (Method.BINDING, MessageClass.INDICATION)
    assert first.transaction_id != second.transaction_id


def test_an_appointment_that_is_over_is_kept_at_once() -> None:
    made = Appointment(peer_id="0" * 64, start=1000.0)
    assert made.wait(998.5) == pytest.approx(1.5)
    assert made.wait(1060.0) == 0.0
