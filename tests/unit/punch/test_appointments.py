from __future__ import annotations

import json

import pytest

from librats._core.stun import parse
from librats.errors import DecodeError
from librats.punch.appointments import LONGEST_WAIT, Appointment, opener
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


def test_an_appointment_that_is_far_away_is_none() -> None:
    made = Appointment(peer_id="0" * 64, start=1000.0)
    for wall in (1000 - LONGEST_WAIT - 1, 1000 + LONGEST_WAIT + 1):
        with pytest.raises(DecodeError, match="clocks differ"):
            made.wait(wall)


def test_an_appointment_is_read_as_it_was_made() -> None:
    made = Appointment(peer_id="ab" * 32, start=1_700_000_000.125)
    assert Appointment.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"v": 99}, "version"),
        ({"from": "ab"}, "peer id"),
        ({"from": None}, "peer id"),
        ({"start_ms": -1}, "no time"),
        ({"start_ms": 1.5}, "no time"),
        ({"start_ms": True}, "no time"),
        ({"start_ms": 1 << 53}, "no time"),
    ],
)
def test_what_is_no_appointment_is_refused(changes: dict[str, object], words: str) -> None:
    whole = Appointment(peer_id="ab" * 32, start=1.0).to_json()
    with pytest.raises(DecodeError, match=words):
        Appointment.from_json(whole | changes)
    with pytest.raises(DecodeError, match="version"):
        Appointment.from_json([whole])
