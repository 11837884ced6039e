"""Small JSON messages between two processes, one ``await send`` each: librats, encrypted, beside others."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage

from librats.cli.measuring.contest import Contender, Contest, at_least, at_most
from librats.cli.measuring.messages import message_rate

OURS = "librats.cli.measuring.messages:librats"
STREAMS = "librats.cli.measuring.messages:streams"
ROUNDS = 5


def bench_64_byte_json_messages(stage: Stage) -> None:
    def contender(name: str, ends: str, count: int, loop: str = "asyncio") -> Contender:
        return Contender(name, partial(message_rate, ends, stage.scaled(count), loop=loop))

    contenders = [contender("librats", OURS, 400_000), contender("asyncio streams", STREAMS, 100_000)]
    if stage.has("zmq"):
        contenders.append(contender("pyzmq CURVE", "benchmarks.rivals.zmq_curve:messages", 300_000))
        contenders.append(contender("pyzmq CURVE asyncio", "benchmarks.rivals.zmq_curve:asyncio_messages", 40_000))
    if stage.has("websockets"):
        contenders.append(contender("websockets", "benchmarks.rivals.websockets_ends:messages", 50_000))
    if stage.has("iroh"):
        contenders.append(contender("iroh", "benchmarks.rivals.iroh_ends:messages", 10_000))
    if stage.has("libp2p"):
        contenders.append(contender("py-libp2p", "benchmarks.rivals.libp2p_ends:messages", 3000))
    contest = Contest("messages 64 B", "messages/s", contenders, cpu_unit="us")
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("asyncio streams", at_least(2.8)))
    stage.show(*(contest.beside(rival.name) for rival in contenders[2:]))
    stage.show(contest.alone(at_least(393_000, aim=800_000)), contest.cpu_alone(at_most(4, aim=2)))


def bench_64_byte_json_messages_on_uvloop(stage: Stage) -> None:
    if not stage.has("uvloop"):
        return
    contenders = [
        Contender(name, partial(message_rate, ends, stage.scaled(count), loop="uvloop"))
        for name, ends, count in (("librats", OURS, 400_000), ("asyncio streams", STREAMS, 100_000))
    ]
    contest = Contest("messages 64 B, uvloop", "messages/s", contenders, cpu_unit="us")
    stage.hold(contest, 3)
    stage.show(contest.beside("asyncio streams"))
