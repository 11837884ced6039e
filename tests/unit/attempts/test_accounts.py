"""Each error has its reason, and of several attempts the one that tells most is told."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from librats.attempts.accounts import later, reason_of
from librats.errors import (
    ClosedError,
    ConnectError,
    DecodeError,
    HandshakeError,
    IntroductionError,
    OperationTimeout,
    PeerDenied,
    PeerLimitReached,
    TurnError,
    UsageError,
)
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod

RELAY = ConnectionMethod.RELAY


def attempt(reason: AttemptReason | None, **fields: Any) -> ConnectionAttempt:
    error = "" if reason is None else "words"
    told = {"address": Address("192.0.2.7", 1), "method": ConnectionMethod.TCP, "duration": 0.5}
    return ConnectionAttempt(**{**told, "error": error, "reason": reason, **fields})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(), AttemptReason.REFUSED),
        (TimeoutError(), AttemptReason.NO_ANSWER),
        (ConnectionResetError(), AttemptReason.HANDSHAKE_FAILED),
        (OSError(errno.ENETUNREACH, "no way"), AttemptReason.UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "no way"), AttemptReason.UNREACHABLE),
        (OSError(errno.EPERM, "no"), AttemptReason.FAILED),
        (OperationTimeout("late"), AttemptReason.NO_ANSWER),
        (HandshakeError("no"), AttemptReason.HANDSHAKE_FAILED),
        (HandshakeError("no", AttemptReason.WRONG_IDENTITY), AttemptReason.WRONG_IDENTITY),
        (IntroductionError("unknown_peer"), AttemptReason.UNKNOWN_PEER),
        (IntroductionError("refused", by_peer=True), AttemptReason.PEER_REFUSED),
        (IntroductionError("limit", by_peer=False), AttemptReason.INTRODUCTION_FAILED),
        (IntroductionError("tampered"), AttemptReason.INTRODUCTION_FAILED),
        (TurnError(403, "Forbidden"), AttemptReason.RELAY_DENIED),
        (PeerDenied("no", "deny"), AttemptReason.DENIED),
        (PeerDenied("no", "own"), AttemptReason.OWN_ADDRESS),
        (PeerLimitReached("full"), AttemptReason.DENIED),
        (ClosedError("over"), AttemptReason.CANCELLED),
        (DecodeError("what"), AttemptReason.HANDSHAKE_FAILED),
        (UsageError("no"), AttemptReason.FAILED),
        (ConnectError("x", reason="no", code=AttemptReason.NO_NAME), AttemptReason.NO_NAME),
    ],
)
def test_each_error_has_its_reason(error: Exception, reason: AttemptReason) -> None:
    assert reason_of(error) is reason


def test_a_turn_server_that_is_not_reached_is_another_matter_than_a_peer() -> None:
    assert reason_of(OperationTimeout("late"), RELAY) is AttemptReason.RELAY_UNREACHABLE
    assert reason_of(ConnectError("turn", reason="no such host"), RELAY) is AttemptReason.RELAY_UNREACHABLE
    assert reason_of(ConnectionRefusedError(), RELAY) is AttemptReason.REFUSED


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], AttemptReason.FAILED),
        ([None], AttemptReason.FAILED),
        ([AttemptReason.OVERTAKEN], AttemptReason.FAILED),
        ([AttemptReason.REFUSED, AttemptReason.OVERTAKEN], AttemptReason.REFUSED),
        ([AttemptReason.REFUSED, AttemptReason.NO_ANSWER], AttemptReason.REFUSED),
        ([AttemptReason.REFUSED, AttemptReason.NO_PATH], AttemptReason.NO_PATH),
        ([AttemptReason.WRONG_IDENTITY, AttemptReason.NO_ANSWER], AttemptReason.WRONG_IDENTITY),
        ([AttemptReason.NAT_INCOMPATIBLE, AttemptReason.NO_PATH], AttemptReason.NAT_INCOMPATIBLE),
    ],
)
def test_the_reason_that_tells_most_is_told(reasons: list[AttemptReason | None], told: AttemptReason) -> None:
    assert ConnectError("x", [attempt(reason) for reason in reasons]).code is told


def test_whatever_has_failed_has_a_reason_and_what_worked_has_none() -> None:
    assert attempt(None, error="words").reason is AttemptReason.FAILED
    assert attempt(None).reason is None


def test_attempts_of_something_that_began_later_are_told_as_later() -> None:
    assert [one.started for one in later([attempt(None), attempt(None, started=1.0)], 0.5)] == [0.5, 1.5]
