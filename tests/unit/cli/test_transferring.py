"""How far files are read, for those who watch and for those who read JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from librats.cli.output import Output
from librats.cli.transferring import ReadingShown
from librats.services.transferring.handle import Progress, TransferState


def hashed(done: int) -> Progress:
    return Progress(done, 4_000_000_000, 0, 0, 1e9, 2.04, TransferState.HASHING)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_hashing_of_a_moment_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = ReadingShown(Output(as_json=True), clock)
    for done in range(0, 4_000_000_001, 500_000_000):
        clock.now += 0.1
        shown.update(hashed(done))
    shown.end()
    assert capsys.readouterr() == ("", "")


def test_a_longer_hashing_is_told_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = ReadingShown(Output(as_json=True), clock)
    for _ in range(28):
        clock.now += 0.125
        shown.update(hashed(round((clock.now - 100) * 1e9)))
    shown.end()
    told = capsys.readouterr()
    events = [json.loads(line) for line in told.out.splitlines()]
    assert [round(event["bytes"], -8) for event in events] == [1_000_000_000, 2_000_000_000, 3_000_000_000]
    assert events[0] == {
        **{"event": "hashing", "bytes": events[0]["bytes"], "total": 4_000_000_000},
        **{"rate": 1_000_000_000, "eta": 2.0, "state": "hashing"},
    }
    assert "reading 4.00 GB" in told.err
    assert "75 %" in told.err


def test_the_same_is_text_alone_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = ReadingShown(Output(as_json=False), clock)
    clock.now += 2
    shown.update(hashed(3_000_000_000))
    shown.end()
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 2


def test_a_check_of_what_is_there_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = ReadingShown(Output(as_json=True), clock, "checking")
    clock.now += 2
    shown.update(dataclasses.replace(hashed(3_000_000_000), state=TransferState.CHECKING))
    shown.end()
    told = capsys.readouterr()
    event = json.loads(told.out)
    assert (event["event"], event["state"], event["bytes"]) == ("checking", "checking", 3_000_000_000)
    assert "checking what is there of 4.00 GB" in told.err
