"""STUN messages read and written beside aioice: an ICE check, its answer, an Allocate request, a Data indication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aioice import stun as rival
from benchmarks.conftest import Stage

from librats._core import stun
from librats.cli.measuring.contest import Contender, Contest, Target, at_least
from librats.cli.measuring.sealing import operations_rate
from librats.stun.constants import Attribute, MessageClass, Method

ROUNDS = 5
KEY = bytes(range(16))
TRANSACTION_ID = bytes(range(100, 112))
ADDRESS = ("203.0.113.9", 49152)

# The values as librats takes them; aioice takes a nonce as bytes, and flags as None.
GUARDED: list[tuple[Method, MessageClass, list[tuple[Attribute, Any]]]] = [
    (
        Method.BINDING,
        MessageClass.REQUEST,
        [
            (Attribute.USERNAME, "3ZhP:DtVnoYCLZuEL3Suy"),
            (Attribute.PRIORITY, 862_930_276),
            (Attribute.ICE_CONTROLLING, 5_518_397_443_116_322_554),
            (Attribute.USE_CANDIDATE, True),
        ],
    ),
    (Method.BINDING, MessageClass.SUCCESS_RESPONSE, [(Attribute.XOR_MAPPED_ADDRESS, ADDRESS)]),
    (
        Method.ALLOCATE,
        MessageClass.REQUEST,
        [
            (Attribute.LIFETIME, 600),
            (Attribute.REQUESTED_TRANSPORT, 17),
            (Attribute.USERNAME, "1896883740:ann"),
            (Attribute.REALM, "example.org"),
            (Attribute.NONCE, "8d5528f2c79c5ce18d5528f2c79c5ce1"),
        ],
    ),
]
UNGUARDED = [
    (Method.DATA, MessageClass.INDICATION, [(Attribute.XOR_PEER_ADDRESS, ADDRESS), (Attribute.DATA, bytes(172))])
]
SIGNED = [
    stun.serialise(*message[:2], TRANSACTION_ID, message[2], key=KEY, fingerprint=message[0] == Method.BINDING)
    for message in GUARDED
]
MESSAGES = [*SIGNED, *(stun.serialise(*message[:2], TRANSACTION_ID, message[2]) for message in UNGUARDED)]
RIVAL_CLASSES = {
    MessageClass.REQUEST: rival.Class.REQUEST,
    MessageClass.SUCCESS_RESPONSE: rival.Class.RESPONSE,
}


def rival_values(attributes: list[tuple[Attribute, Any]]) -> dict[str, Any]:
    def converted(kind: Attribute, value: Any) -> Any:
        if kind == Attribute.NONCE:
            return value.encode()
        if kind == Attribute.REQUESTED_TRANSPORT:
            return value << 24
        return None if value is True else value

    return {kind.name.replace("_", "-"): converted(kind, value) for kind, value in attributes}


RIVAL_GUARDED = [
    (rival.Method(method), RIVAL_CLASSES[message_class], rival_values(attributes))
    for method, message_class, attributes in GUARDED
]


def parse_lazily() -> None:
    for data in MESSAGES:
        stun.parse(data)


def parse_to_values() -> None:
    for data in MESSAGES:
        message = stun.parse(data)
        message.values()
        if message.has_fingerprint:
            message.check_fingerprint()


def parse_in_aioice() -> None:
    for data in MESSAGES:
        rival.parse_message(data)


def parse_and_check() -> None:
    for data in SIGNED:
        message = stun.parse(data)
        message.values()
        if message.has_fingerprint:
            message.check_fingerprint()
        assert message.check_integrity(KEY)


def parse_and_check_in_aioice() -> None:
    for data in SIGNED:
        assert rival.parse_message(data).check_message_integrity(KEY)


def serialise() -> list[bytes]:
    return [
        stun.serialise(method, message_class, TRANSACTION_ID, attributes, key=KEY, fingerprint=True)
        for method, message_class, attributes in GUARDED
    ]


def serialise_in_aioice() -> list[bytes]:
    written = []
    for method, message_class, attributes in RIVAL_GUARDED:
        message = rival.Message(method, message_class, TRANSACTION_ID, dict(attributes))
        message.add_message_integrity(KEY)
        written.append(bytes(message))
    return written


def hold(
    stage: Stage, figure: str, each: int, ours: Callable[[], object], theirs: Callable[[], object], target: Target
) -> None:
    times = stage.scaled(40_000)
    contest = Contest(
        figure,
        "messages/s",
        [
            Contender("librats", lambda: operations_rate(ours, times, each)),
            Contender("aioice", lambda: operations_rate(theirs, times // 20, each)),
        ],
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("aioice", target))


def bench_stun_to_values(stage: Stage) -> None:
    hold(stage, "STUN read to values", len(MESSAGES), parse_to_values, parse_in_aioice, at_least(8))


def bench_stun_lazily(stage: Stage) -> None:
    hold(stage, "STUN read lazily", len(MESSAGES), parse_lazily, parse_in_aioice, at_least(35))


def bench_stun_with_integrity(stage: Stage) -> None:
    hold(stage, "STUN read and authenticated", len(SIGNED), parse_and_check, parse_and_check_in_aioice, at_least(8))


def bench_stun_written(stage: Stage) -> None:
    assert serialise() == serialise_in_aioice()
    hold(stage, "STUN written and signed", len(GUARDED), serialise, serialise_in_aioice, at_least(20))
