"""uTP on the loopback beside libtorrent's, which is tuned for it: bulk, not encrypted, with a SHA-1 of each piece."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage

from librats.cli.measuring.bulk import bulk_rate
from librats.cli.measuring.contest import Contender, Contest, at_least

LEDBAT = "librats, uTP, ledbat"
MODEL = "librats, uTP, model"
THEIRS = "libtorrent, uTP, tuned"
ROUNDS = 5


def bench_bulk_over_utp(stage: Stage) -> None:
    blocks = max(stage.scaled(6000), 1500)
    contenders = [
        Contender(LEDBAT, partial(bulk_rate, "benchmarks.utp_ends:ledbat", blocks)),
        Contender(MODEL, partial(bulk_rate, "benchmarks.utp_ends:model", blocks)),
    ]
    if stage.has("libtorrent"):
        contenders.append(Contender(THEIRS, partial(bulk_rate, "benchmarks.rivals.torrent_ends:bulk", blocks)))
    contest = Contest("bulk 64 KiB over uTP", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, ROUNDS)
    if contest.has(THEIRS):
        stage.show(contest.beside(THEIRS, at_least(1.0), name=LEDBAT), contest.beside(THEIRS, name=MODEL))
    stage.show(*(contest.cpu_alone(name=contender.name) for contender in contenders))
