"""Whole Noise XX handshakes, both sides in one process, beside noiseprotocol and beside bare X25519."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from librats import Identity
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least
from librats.cli.measuring.handshakes import NOISE_NAME, librats_handshake_rate, x25519_floor_rate
from librats.cli.measuring.sealing import operations_rate

ROUNDS = 5


def noiseprotocol_handshake_rate(count: int) -> Sample:
    static_keys = [Identity.generate().private_key for _ in range(2)]

    def shake_hands() -> None:
        sides = []
        for is_initiator, static in zip((True, False), static_keys, strict=True):
            side = NoiseConnection.from_name(NOISE_NAME.encode())
            if is_initiator:
                side.set_as_initiator()
            else:
                side.set_as_responder()
            side.set_keypair_from_private_bytes(Keypair.STATIC, static)
            side.start_handshake()
            sides.append(side)
        alice, bob = sides
        bob.read_message(bytes(alice.write_message()))
        alice.read_message(bytes(bob.write_message()))
        bob.read_message(bytes(alice.write_message()))
        assert alice.handshake_finished
        assert bob.handshake_finished

    return operations_rate(shake_hands, count, 1)


def bench_xx_handshakes(stage: Stage) -> None:
    count = stage.scaled(1000)
    contenders = [
        Contender("librats", partial(librats_handshake_rate, count)),
        Contender("noiseprotocol", partial(noiseprotocol_handshake_rate, count // 2)),
        Contender("the X25519 in it", partial(x25519_floor_rate, count)),
    ]
    contest = Contest("XX handshakes", "handshakes/s", contenders)
    stage.hold(contest, ROUNDS)
    stage.show(
        contest.beside("noiseprotocol", at_least(2.4, aim=2.8)),
        contest.beside("the X25519 in it", at_least(0.8, aim=0.85)),
    )
