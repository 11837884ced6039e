"""Sessions over UDP beside those over TCP, plain C and others: bulk, small messages, requests, and idle peers.

On loopback a packet may have 64 KiB, on a network it has 1,472 bytes: bulk is measured with both.
"""

from __future__ import annotations

import sys
from functools import partial

import pytest
from benchmarks.conftest import Stage
from benchmarks.rivals.sodium import SodiumProgram

from librats.cli.measuring.bulk import bulk_rate
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least, at_most
from librats.cli.measuring.idling import idle_peers
from librats.cli.measuring.messages import message_rate
from librats.cli.measuring.requests import request_time

ENDS = "librats.cli.measuring"
OVER_UDP = "librats, UDP"
OVER_TCP = "librats, TCP"
PACKETS = "librats, UDP in 1,472 B"
PORTABLE = "librats, UDP, portable"
PORTABLE_PACKETS = "librats, UDP in 1,472 B, portable"
QUIC = "aioquic"
UTP = "libtorrent, uTP, plain"
WITHOUT_BATCHES = {"LIBRATS_PORTABLE": "1"}
PACKET = 1472
"""UDP payload of the longest IPv4 packet on Ethernet."""

RIVALS = {QUIC: "benchmarks.rivals.quic_ends:bulk", UTP: "benchmarks.rivals.torrent_ends:bulk"}
ROUNDS = 5
IDLE = 2000


def bench_bulk_over_udp(stage: Stage) -> None:
    blocks = stage.scaled(6000)
    rate = partial(bulk_rate, f"{ENDS}.bulk:librats")
    contenders = [
        Contender(OVER_UDP, partial(rate, blocks, transport="udp")),
        Contender(PACKETS, partial(rate, blocks, transport="udp", packet=PACKET)),
        Contender(OVER_TCP, partial(rate, blocks)),
        Contender(PORTABLE, partial(rate, blocks, transport="udp", environment=WITHOUT_BATCHES)),
        Contender(
            PORTABLE_PACKETS,
            partial(rate, stage.scaled(2000), transport="udp", packet=PACKET, environment=WITHOUT_BATCHES),
        ),
    ]
    program = SodiumProgram.build("UDP", PACKET) if sys.platform == "linux" else None
    if program is not None:
        contenders.append(Contender(program.name, partial(program.measure, blocks)))
    if stage.has("aioquic") and stage.has("cryptography"):
        loop = "uvloop" if stage.has("uvloop") else "asyncio"
        contenders.append(Contender(QUIC, partial(bulk_rate, RIVALS[QUIC], stage.scaled(300), loop=loop)))
    if stage.has("libtorrent"):
        contenders.append(Contender(UTP, partial(bulk_rate, RIVALS[UTP], max(blocks, 1500))))
    contest = Contest("bulk 64 KiB over UDP", "MB/s", contenders, cpu_unit="ns/B")
    stage.hold(contest, ROUNDS)
    if program is not None:
        stage.show(*(contest.beside(program.name, at_least(0.63), name=name) for name in (OVER_UDP, PACKETS)))
    stage.show(contest.beside(OVER_TCP, name=OVER_UDP))
    stage.show(*(contest.beside(rival, name=PACKETS) for rival in RIVALS if contest.has(rival)))
    stage.show(contest.alone(at_least(375), name=OVER_UDP), contest.alone(name=PACKETS))
    stage.show(contest.alone(at_least(150), name=PORTABLE), contest.alone(name=PORTABLE_PACKETS))
    stage.show(*(contest.cpu_alone(name=contender.name) for contender in contenders))


def bench_64_byte_json_messages_over_udp(stage: Stage) -> None:
    rate = partial(message_rate, f"{ENDS}.messages:librats", stage.scaled(400_000))
    contenders = [Contender(OVER_UDP, partial(rate, transport="udp")), Contender(OVER_TCP, rate)]
    contest = Contest("messages 64 B over UDP", "messages/s", contenders, cpu_unit="us")
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside(OVER_TCP, name=OVER_UDP), contest.alone(at_least(347_000), name=OVER_UDP))
    stage.show(contest.cpu_alone(name=OVER_UDP))


def bench_request_and_reply_over_udp(stage: Stage) -> None:
    time = partial(request_time, f"{ENDS}.requests:librats", stage.scaled(5000))
    contenders = [Contender(OVER_UDP, partial(time, transport="udp")), Contender(OVER_TCP, time)]
    contest = Contest("request p50 over UDP", "us", contenders, cpu_unit="us", more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside(OVER_TCP, at_most(1.2), name=OVER_UDP), contest.cpu_alone(name=OVER_UDP))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds at the moment")
def bench_idle_peers_over_udp(stage: Stage) -> None:
    peers = stage.scaled(IDLE)

    def measure(transport: str) -> Sample:
        return idle_peers(f"{ENDS}.idling:librats", peers, transport=transport).each

    contenders = [Contender(OVER_UDP, partial(measure, "udp")), Contender(OVER_TCP, partial(measure, "tcp"))]
    contest = Contest(f"a further idle peer of {peers}, over UDP", "KiB", contenders, more_is_better=False)
    stage.hold(contest, 1)
    stage.show(contest.beside(OVER_TCP, name=OVER_UDP), contest.alone(at_most(60), name=OVER_UDP))
