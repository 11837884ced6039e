"""The sections of ``librats bench``: librats beside what every Python has, or what librats itself stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from librats.cli.measuring.bulk import bulk_rate
from librats.cli.measuring.connecting import connect_time
from librats.cli.measuring.contest import Contender, Contest, Row
from librats.cli.measuring.handshakes import librats_handshake_rate, x25519_floor_rate
from librats.cli.measuring.idling import idle_peers
from librats.cli.measuring.importing import import_time
from librats.cli.measuring.messages import message_rate
from librats.cli.measuring.pipeline import pipeline_rate
from librats.cli.measuring.requests import request_time
from librats.cli.measuring.sample import Sample
from librats.cli.measuring.sealing import librats_opening_rate, librats_sealing_rate, pynacl_sealing_rate

__all__ = ["SECTIONS", "Job", "Section"]

ENDS = "librats.cli.measuring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How much is to be measured."""

    rounds: int
    """How often each contender is measured."""

    scale: float = 1.0
    """By how much more, or less, is measured each time."""

    loop: str = "asyncio"
    """Event loop of both ends."""

    def scaled(self, amount: int) -> int:
        """Return how many of something are to be measured."""
        return max(1, round(amount * self.scale))

    def hold(self, contest: Contest) -> Contest:
        """Run the rounds."""
        for _ in range(self.rounds):
            contest.run_round()
        return contest


@dataclass(frozen=True, slots=True)
class Section:
    """One part of what can be measured."""

    about: str
    """What it measures, for people."""

    run: Callable[[Job], Iterator[Row]]


def _messages(job: Job) -> Iterator[Row]:
    contenders = [
        Contender(name, partial(message_rate, f"{ENDS}.messages:{ends}", job.scaled(count), loop=job.loop))
        for name, ends, count in (("librats", "librats", 200_000), ("asyncio streams, plain", "streams", 40_000))
    ]
    contest = job.hold(Contest("messages of 64 bytes", "messages/s", contenders, cpu_unit="us"))
    yield contest.beside("asyncio streams, plain")


def _requests(job: Job) -> Iterator[Row]:
    contenders = [
        Contender(name, partial(request_time, f"{ENDS}.requests:{ends}", job.scaled(2000), loop=job.loop))
        for name, ends in (("librats", "librats"), ("asyncio Protocol, plain", "protocol"))
    ]
    contest = job.hold(Contest("request and reply, p50", "us", contenders, cpu_unit="us", more_is_better=False))
    yield contest.beside("asyncio Protocol, plain")


def _bulk(job: Job) -> Iterator[Row]:
    contenders = [
        Contender(name, partial(bulk_rate, f"{ENDS}.bulk:{ends}", job.scaled(3000), loop=job.loop))
        for name, ends in (("librats", "librats"), ("asyncio streams, plain", "streams"))
    ]
    contest = job.hold(Contest("stream, writes of 64 KiB", "MB/s", contenders, cpu_unit="ns/B"))
    yield contest.beside("asyncio streams, plain")


def _pipeline(job: Job) -> Iterator[Row]:
    contenders = [Contender("librats", partial(pipeline_rate, job.scaled(200_000), singly=False))]
    yield job.hold(Contest("sealed bytes to handler", "messages/s", contenders)).alone()


def _aead(job: Job) -> Iterator[Row]:
    contenders = [
        Contender("librats", partial(librats_sealing_rate, job.scaled(200))),
        Contender("librats, opening", partial(librats_opening_rate, job.scaled(200))),
        Contender("PyNaCl's bindings", partial(pynacl_sealing_rate, job.scaled(50))),
    ]
    contest = job.hold(Contest("AEAD of 64 bytes, in batch", "packets/s", contenders))
    yield contest.beside("PyNaCl's bindings")
    yield contest.alone(name="librats, opening")


def _handshakes(job: Job) -> Iterator[Row]:
    contenders = [
        Contender("librats", partial(librats_handshake_rate, job.scaled(500))),
        Contender("the X25519 in it", partial(x25519_floor_rate, job.scaled(500))),
    ]
    yield job.hold(Contest("Noise XX, both sides", "handshakes/s", contenders)).beside("the X25519 in it")


def _connect(job: Job) -> Iterator[Row]:
    contenders = [
        Contender(name, partial(connect_time, f"{ENDS}.connecting:{ends}", job.scaled(200), loop=job.loop))
        for name, ends in (("librats", "librats"), ("bare TCP", "streams"))
    ]
    contest = job.hold(Contest("connect, p50", "ms", contenders, cpu_unit="ms", more_is_better=False))
    yield contest.beside("bare TCP")


def _memory(job: Job) -> Iterator[Row]:
    peers = max(20, job.scaled(120))
    bases: list[Sample] = []

    def measure() -> Sample:
        told = idle_peers(f"{ENDS}.idling:librats", peers)
        bases.append(told.base)
        return told.each

    contenders = [
        Contender("librats", measure),
        Contender("asyncio streams, plain", lambda: idle_peers(f"{ENDS}.idling:streams", peers).each),
    ]
    contest = job.hold(Contest(f"a further idle peer of {peers}", "KiB", contenders, more_is_better=False))
    yield contest.beside("asyncio streams, plain")
    base = Contest("an idle client's process", "MiB", contenders, more_is_better=False)
    base.rounds = [{"librats": sample} for sample in bases]
    yield base.alone()


def _import(job: Job) -> Iterator[Row]:
    contenders = [Contender(module, partial(import_time, module)) for module in ("librats", "asyncio")]
    yield job.hold(Contest("import librats", "ms", contenders, more_is_better=False)).beside("asyncio")


SECTIONS = {
    "messages": Section("JSON messages between two processes, one send each", _messages),
    "requests": Section("a request and its reply, one at a time", _requests),
    "bulk": Section("a stream between two processes", _bulk),
    "pipeline": Section("from sealed bytes to a handler, without a socket", _pipeline),
    "aead": Section("many small packets sealed at once", _aead),
    "handshakes": Section("Noise handshakes, both sides, without a socket", _handshakes),
    "connect": Section("how long until a connection can be used", _connect),
    "memory": Section("memory of a client, and of each further idle peer", _memory),
    "import": Section("how long the import takes", _import),
}
