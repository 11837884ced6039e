"""Bulk data in writes of 64 KiB between two processes: a stream of librats beside others, plain and encrypted."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage
from benchmarks.rivals.sodium import SodiumProgram

from librats.cli.measuring.bulk import BLOCK, bulk_rate, run_bulk
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least, at_most

OURS = "librats.cli.measuring.bulk:librats"
STREAMS = "librats.cli.measuring.bulk:streams"
TLS = "benchmarks.rivals.tls:bulk"
CURVE = "benchmarks.rivals.zmq_curve:bulk"
IROH = "benchmarks.rivals.iroh_ends:bulk"
LIBP2P = "benchmarks.rivals.libp2p_ends:bulk"
FAST = "librats, crypto-fast"
SODIUM = "librats, libsodium alone"
SIZE = 8000
ROUNDS = 5


def bench_bulk(stage: Stage) -> None:
    blocks = stage.scaled(SIZE)
    program = SodiumProgram.build("TCP")
    contenders = [
        Contender("librats", partial(bulk_rate, OURS, blocks)),
        Contender(SODIUM, partial(bulk_rate, OURS, blocks, environment={"LIBRATS_AEAD": "libsodium"})),
        Contender("asyncio streams, plain", partial(bulk_rate, STREAMS, blocks)),
    ]
    if program is not None:
        contenders.append(Contender(program.name, partial(program.measure, blocks)))
    if stage.has("cryptography"):
        package = {"LIBRATS_AEAD": "cryptography"}
        contenders.append(Contender(FAST, partial(bulk_rate, OURS, blocks, environment=package)))
        if stage.has("uvloop"):
            contenders.append(Contender("uvloop TLS 1.3", partial(bulk_rate, TLS, blocks, loop="uvloop")))
    if stage.has("zmq"):
        contenders.append(Contender("pyzmq CURVE", partial(bulk_rate, CURVE, blocks)))
    if stage.has("iroh"):
        contenders.append(Contender("iroh", partial(bulk_rate, IROH, stage.scaled(200))))
    if stage.has("libp2p"):
        contenders.append(Contender("py-libp2p", partial(bulk_rate, LIBP2P, stage.scaled(500))))
    contest = Contest("bulk 64 KiB", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, ROUNDS)
    if program is not None:
        stage.show(contest.beside(program.name, at_least(0.9)), contest.beside(program.name, name=SODIUM))
    if contest.has("uvloop TLS 1.3"):
        stage.show(contest.beside("uvloop TLS 1.3", at_least(0.8)))
        stage.show(contest.beside("uvloop TLS 1.3", at_least(0.8), name=FAST))
    stage.show(
        *(
            contest.beside(name)
            for name in ("asyncio streams, plain", "pyzmq CURVE", "iroh", "py-libp2p")
            if contest.has(name)
        )
    )
    stage.show(contest.cpu_alone(at_most(2.5)), contest.cpu_alone(name=SODIUM))
    if contest.has(FAST):
        stage.show(contest.cpu_alone(name=FAST))


def bench_bulk_1_gb_hashed_at_both_ends(stage: Stage) -> None:
    blocks = stage.scaled(1_000_000_000 // BLOCK)
    peaks: list[Sample] = []
    growth: list[Sample] = []

    def measure() -> Sample:
        both = run_bulk(OURS, blocks, hashing=True)
        peaks.append(Sample(both.receiver["peak_mib"] or 0.0))
        growth.append(Sample(both.sender.get("growth_mib", 0.0)))
        return Sample(blocks * BLOCK / both.seconds / 1e6)

    contenders = [Contender("librats", measure)]
    contest = Contest("1 GB stream, SHA-256 at both ends", "MB/s", contenders)
    peak = Contest("1 GB stream: receiver's peak", "MiB", contenders, more_is_better=False)
    grown = Contest("1 GB stream: sender's growth", "MiB", contenders, more_is_better=False)
    stage.hold(contest, 2)
    peak.rounds = [{"librats": sample} for sample in peaks]
    grown.rounds = [{"librats": sample} for sample in growth]
    stage.show(contest.alone(), peak.alone(), grown.alone())
