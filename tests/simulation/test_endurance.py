"""A few of the runs of ``endurance``; the others are run by hand, for as long as is wanted."""

from __future__ import annotations

import os
import time

import pytest
from tests.simulation.endurance import endure, run_seed

SECONDS = float(os.environ.get("LIBRATS_ENDURANCE", "120"))
"""Seconds of CPU that the long test takes."""

FOUND = (34, 55, 62, 330, 337, 581)
"""Seeds under which something was wrong once."""


@pytest.mark.parametrize("seed", FOUND[:3])
def test_every_byte_comes_once_and_in_order_or_the_session_ends_on_both_sides(seed: int) -> None:
    run_seed(seed)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_runs_lose_and_repeat_nothing() -> None:
    for seed in FOUND:
        run_seed(seed)
    assert endure(1000, cpu=time.process_time() + SECONDS) == 0
