"""The way in by itself, sealed bytes to handler, and its two parts: deframing and many small packets of AEAD."""

from __future__ import annotations

import os
import time
from functools import partial

from benchmarks.conftest import Stage
from benchmarks.rivals.python_pipeline import KEY, python_pipeline_rate, sealed_blocks
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from tests.reference import framing

from librats._core.aead import Cipher
from librats._core.messages import MessageRun
from librats._core.unframing import BlockReader
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least
from librats.cli.measuring.pipeline import pipeline_rate
from librats.cli.measuring.sealing import (
    SIZE,
    librats_opening_rate,
    librats_sealing_rate,
    operations_rate,
    pynacl_sealing_rate,
)

ROUNDS = 5
PYTHON = "PyNaCl + json"
PYTHON_SINGLY = "PyNaCl + json, singly"
MAX_MESSAGE = 1 << 20


def bench_pipeline(stage: Stage) -> None:
    contenders = [
        Contender("librats", partial(pipeline_rate, stage.scaled(300_000), singly=False)),
        Contender("librats, sealed singly", partial(pipeline_rate, stage.scaled(100_000), singly=True)),
        Contender(PYTHON, partial(python_pipeline_rate, stage.scaled(30_000), singly=False)),
        Contender(PYTHON_SINGLY, partial(python_pipeline_rate, stage.scaled(30_000), singly=True)),
    ]
    contest = Contest("pipeline", "messages/s", contenders)
    stage.hold(contest, ROUNDS)
    stage.show(
        contest.alone(at_least(1_500_000)),
        contest.beside(PYTHON_SINGLY, at_least(10)),
        contest.beside(PYTHON),
        contest.beside(PYTHON_SINGLY, name="librats, sealed singly"),
    )


def bench_deframing(stage: Stage) -> None:
    count = stage.scaled(100_000)
    blocks = sealed_blocks(count, singly=False)

    def ours() -> Sample:
        reader = BlockReader(Cipher(KEY), MAX_MESSAGE)
        started = time.process_time()
        found = sum(len(run) for block in blocks for run in reader.feed(block) if isinstance(run, MessageRun))
        seconds = time.process_time() - started
        assert found == count
        assert reader.error is None
        return Sample(count / seconds)

    def in_python() -> Sample:
        reader = framing.Reader(framing.Sealer(KEY), MAX_MESSAGE)
        started = time.process_time()
        for block in blocks:
            reader.feed(block)
        seconds = time.process_time() - started
        assert len(reader.frames) == count
        return Sample(count / seconds)

    contest = Contest("deframing", "frames/s", [Contender("librats", ours), Contender("Python", in_python)])
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("Python", at_least(6)))


def cryptography_sealing_rate(batches: int) -> Sample:
    messages = [os.urandom(SIZE) for _ in range(1000)]
    seal = ChaCha20Poly1305(KEY).encrypt

    def seal_them() -> list[bytes]:
        return [
            seal(b"\0\0\0\0" + number.to_bytes(8, "little"), message, None) for number, message in enumerate(messages)
        ]

    return operations_rate(seal_them, batches, len(messages))


def bench_aead_of_64_byte_packets(stage: Stage) -> None:
    batches = stage.scaled(200)
    contenders = [
        Contender("librats", partial(librats_sealing_rate, batches)),
        Contender("librats, opening", partial(librats_opening_rate, batches)),
        Contender("PyNaCl's bindings", partial(pynacl_sealing_rate, batches // 5)),
        Contender("cryptography", partial(cryptography_sealing_rate, batches // 2)),
    ]
    contest = Contest("AEAD 64 B in batch", "packets/s", contenders)
    stage.hold(contest, ROUNDS)
    stage.show(
        contest.beside("PyNaCl's bindings", at_least(12)),
        contest.beside("cryptography", at_least(2.7)),
        contest.alone(name="librats, opening"),
    )
