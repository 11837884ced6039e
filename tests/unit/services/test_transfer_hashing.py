"""How far a hashing is, as an application hears of it."""

from __future__ import annotations

import logging

import pytest

from librats.services.transferring.handle import Progress
from librats.services.transferring.hashing_progress import HashingReport


def test_rate_and_time_left_are_told() -> None:
    told: list[Progress] = []
    now = 10.0
    report = HashingReport(told.append, lambda: now)
    for done in (100, 200, 300):
        now += 1
        report(done, 1000)
    assert [(p.bytes, p.total, p.rate, p.eta) for p in told] == [
        (100, 1000, 100.0, 9.0),
        (200, 1000, 100.0, 8.0),
        (300, 1000, 100.0, 7.0),
    ]
    assert {p.state for p in told} == {"hashing"}


def test_what_one_thread_counts_later_does_not_lead_back() -> None:
    told: list[Progress] = []
    report = HashingReport(told.append, lambda: 1.0)
    for done in (100, 300, 200, 300, 400):
        report(done, 400)
    assert [p.bytes for p in told] == [100, 300, 300, 400]


def test_a_handler_that_fails_is_told_in_the_log_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Progress] = []

    def fail(progress: Progress) -> None:
        calls.append(progress)
        raise ValueError("broken")

    report = HashingReport(fail, lambda: 1.0)
    with caplog.at_level(logging.ERROR, logger="librats.files"):
        report(1, 10)
        report(2, 10)
    assert len(calls) == 1
    assert len(caplog.records) == 1
