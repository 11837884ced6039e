"""Every pair of ends that is measured, with few messages: that all of them arrive, and that both ends tell."""

from __future__ import annotations

import contextlib
import sys

import pytest

from librats.cli.measuring.bulk import bulk_rate, run_bulk
from librats.cli.measuring.messages import message_rate
from librats.cli.measuring.pipeline import pipeline_rate
from librats.cli.measuring.processes import MeasuringFailed, end_command, run_both, started, told_by
from librats.cli.measuring.requests import request_time

HERE = "librats.cli.measuring"


@pytest.mark.parametrize("ends", ["messages:librats", "messages:streams"])
def test_messages_arrive_and_are_timed(ends: str) -> None:
    sample = message_rate(f"{HERE}.{ends}", 500)
    assert sample.value > 0
    assert sample.cpu is not None
    assert sample.cpu > 0


@pytest.mark.parametrize("ends", ["requests:librats", "requests:protocol"])
def test_requests_are_answered_and_timed(ends: str) -> None:
    sample = request_time(f"{HERE}.{ends}", 50)
    assert 0 < sample.value < 1e6


@pytest.mark.parametrize("ends", ["bulk:librats", "bulk:streams"])
def test_blocks_arrive_and_are_timed(ends: str) -> None:
    sample = bulk_rate(f"{HERE}.{ends}", 32)
    assert sample.value > 0


def test_hashes_of_bulk_data_agree_and_memory_is_told() -> None:
    both = run_bulk(f"{HERE}.bulk:librats", 32, hashing=True)
    assert both.seconds > 0
    if sys.platform != "win32":
        assert both.receiver["peak_mib"] > 1


@pytest.mark.parametrize("singly", [False, True])
def test_the_pipeline_hands_over_every_message(singly: bool) -> None:
    assert pipeline_rate(10_000, singly=singly).value > 0


def test_an_end_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(MeasuringFailed, match="no_such_thing"):
        run_both(end_command(f"{HERE}.messages:no_such_thing", {}), [])


def test_a_process_that_ends_badly_is_told() -> None:
    program = "import sys; print('{}', flush=True); sys.exit('no more')"
    with pytest.raises(MeasuringFailed, match="status 1: no more"), started([sys.executable, "-c", program]) as process:
        assert told_by(process) == {}


def test_a_process_does_not_outlive_its_block() -> None:
    program = "import time; print('{}', flush=True); time.sleep(600)"
    with contextlib.suppress(ZeroDivisionError), started([sys.executable, "-c", program]) as process:
        told_by(process)
        raise ZeroDivisionError
    assert process.poll() is not None
