"""Bulk data in writes of 64 KiB between two processes: a stream of librats beside others, plain and encrypted."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage
from benchmarks.rivals.tcp_sodium import TcpSodium

from librats.cli.measuring.bulk import BLOCK, bulk_rate, run_bulk
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least, at_most

OURS = "librats.cli.measuring.bulk:librats"
STREAMS = "librats.cli.measuring.bulk:streams"
SIZE = 8000
ROUNDS = 5


def bench_bulk_beside_c_with_libsodium(stage: Stage) -> None:
    blocks = stage.scaled(SIZE)
    contenders = [
        Contender("librats", partial(bulk_rate, OURS, blocks)),
        Contender("asyncio streams, plain", partial(bulk_rate, STREAMS, blocks)),
    ]
    program = TcpSodium.build()
    if program is not None:
        contenders.append(Contender(program.name, partial(program.measure, blocks)))
    if stage.has("zmq"):
        contenders.append(Contender("pyzmq CURVE", partial(bulk_rate, "benchmarks.rivals.zmq_curve:bulk", blocks)))
    contest = Contest("bulk 64 KiB", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, ROUNDS)
    for rival in contenders[1:]:
        target = at_least(0.9) if program is not None and rival.name == program.name else None
        stage.show(contest.beside(rival.name, target))
    stage.show(contest.cpu_alone(at_most(2.5)))


def bench_bulk_beside_tls(stage: Stage) -> None:
    if not (stage.has("uvloop") and stage.has("cryptography")):
        return
    blocks = stage.scaled(SIZE)
    contenders = [
        Contender("librats", partial(bulk_rate, OURS, blocks)),
        Contender("uvloop TLS 1.3", partial(bulk_rate, "benchmarks.rivals.tls:bulk", blocks, loop="uvloop")),
    ]
    contest = Contest("bulk 64 KiB", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("uvloop TLS 1.3", at_least(0.8)))


def bench_1_gb_hashed_at_both_ends(stage: Stage) -> None:
    blocks = stage.scaled(1_000_000_000 // BLOCK)
    peaks: list[float] = []
    growth: list[float] = []

    def measure() -> Sample:
        both = run_bulk(OURS, blocks, hashing=True)
        peaks.append(both.receiver["peak_mib"] or 0.0)
        growth.append(both.sender.get("growth_mib", 0.0))
        return Sample(blocks * BLOCK / both.seconds / 1e6)

    contest = Contest("1 GB stream, SHA-256 at both ends", "MB/s", [Contender("librats", measure)])
    memory = Contest("1 GB stream: receiver's peak", "MiB", [], more_is_better=False)
    grown = Contest("1 GB stream: sender's growth", "MiB", [], more_is_better=False)
    stage.hold(contest, 2)
    memory.rounds = [{"librats": Sample(peak)} for peak in peaks]
    grown.rounds = [{"librats": Sample(more)} for more in growth]
    stage.show(contest.alone(), memory.alone(), grown.alone())
