"""Files between two processes: a large one beside our own bulk stream, many small ones beside one request a file."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage

from librats.cli.measuring.bulk import BLOCK, bulk_rate
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least, at_most
from librats.cli.measuring.files import MIB, run_files

OURS = "librats.cli.measuring.bulk:librats"
LARGE = 2000
SMALL = 20_000
CPP_RATE = 96.0
"""MB/s of the file transfer of the C++ library 2.1.4, as the issue tells it."""


def bench_a_large_file(stage: Stage) -> None:
    mebibytes = stage.scaled(LARGE)
    peaks: dict[str, list[Sample]] = {"giver": [], "taker": []}

    def fetched() -> Sample:
        both = run_files("fetch", mebibytes=mebibytes)
        peaks["giver"].append(Sample(both.receiver["peak_mib"] or 0.0))
        peaks["taker"].append(Sample(both.sender["peak_mib"] or 0.0))
        size = mebibytes * MIB
        return Sample(size / both.seconds / 1e6, both.cpu_seconds / size * 1e9)

    contenders = [
        Contender("librats", fetched),
        Contender("bulk stream", partial(bulk_rate, OURS, mebibytes * MIB // BLOCK)),
    ]
    contest = Contest("large file", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, 3)
    stage.show(contest.beside("bulk stream", at_least(0.8)), contest.alone(at_least(4 * CPP_RATE)))
    for side, samples in peaks.items():
        peak = Contest(f"large file: peak of the {side}", "MiB", [contenders[0]], more_is_better=False)
        peak.rounds = [{"librats": sample} for sample in samples]
        stage.show(peak.alone(at_most(60.0)))


def bench_many_small_files(stage: Stage) -> None:
    files = stage.scaled(SMALL)

    def rate(way: str) -> Sample:
        both = run_files(way, files=files)
        return Sample(files / both.seconds, both.cpu_seconds / files * 1e6)

    contenders = [Contender("librats", partial(rate, "fetch")), Contender("a request each", partial(rate, "requests"))]
    contest = Contest("small files", "files/s", contenders, cpu_unit="us/file")
    stage.hold(contest, 3)
    stage.show(contest.beside("a request each", at_least(5.0)))
