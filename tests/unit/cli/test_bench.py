"""`librats bench`: what it tells, and what it refuses before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from librats.cli import main
from librats.cli.measuring import sections
from librats.cli.measuring.contest import Contender, Contest, Row, Sample
from librats.cli.measuring.sections import SECTIONS, Job, Section


@pytest.fixture
def two_sections(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Put sections that measure nothing in the place of all others; returns the jobs that they were given."""
    jobs: list[Job] = []

    def run(job: Job) -> Iterator[Row]:
        jobs.append(job)
        contenders = [Contender("librats", lambda: Sample(300.0, cpu=1.5)), Contender("rival", lambda: Sample(100.0))]
        contest = job.hold(Contest("speed", "things/s", contenders, cpu_unit="us"))
        yield contest.beside("rival")

    for name in list(sections.SECTIONS):
        monkeypatch.delitem(SECTIONS, name)
    monkeypatch.setitem(SECTIONS, "first", Section("one thing", run))
    monkeypatch.setitem(SECTIONS, "second", Section("another thing", run))
    return jobs


def test_every_section_is_measured_and_shown_in_a_table(
    two_sections: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench"]) == 0
    shown = capsys.readouterr()
    assert two_sections == [Job(rounds=1), Job(rounds=1)]
    lines = shown.out.splitlines()
    assert lines[0].startswith("figure")
    assert [line.split() for line in lines[2:]] == [
        ["speed", "300", "rival", "100", "things/s", "3.00", "3.00..3.00", "1.50", "us"]
    ] * 2
    assert "[2/2] second: another thing" in shown.err


def test_chosen_sections_are_measured_once_each_and_told_as_json(
    two_sections: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "second", "second", "--rounds", "3", "--scale", "0.5", "--json"]) == 0
    assert two_sections == [Job(rounds=3, scale=0.5)]
    machine, figure, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert (machine["event"], machine["loop"]) == ("machine", "asyncio")
    assert (figure["event"], figure["section"], figure["figure"]) == ("figure", "second", "speed")
    assert (figure["ours"], figure["theirs"], figure["ratio"], figure["rounds"]) == (300, 100, 3, 3)
    assert done["event"] == "done"
    assert done["seconds"] >= 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["--loop", "winloop"]])
def test_what_cannot_be_measured_is_wrong_usage(
    arguments: list[str], two_sections: list[Job], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert two_sections == []


def test_a_scale_makes_more_or_less_of_everything_but_never_nothing() -> None:
    assert Job(rounds=1, scale=2.5).scaled(100) == 250
    assert Job(rounds=1, scale=0.001).scaled(100) == 1
