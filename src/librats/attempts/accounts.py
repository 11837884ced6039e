"""The account of how a peer was tried to be reached: the reason of each failure, and when it began."""

from __future__ import annotations

import errno
import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from librats.attempts.strategies import may_go
from librats.errors import (
    ClosedError,
    ConnectError,
    DecodeError,
    HandshakeError,
    IntroductionError,
    OperationTimeout,
    PeerDenied,
    PeerLimitReached,
    ProxyError,
    RatsError,
    TurnError,
)
from librats.introduce.notices import Refusal
from librats.peers.peer import Peer
from librats.types import (
    AttemptReason,
    ConnectionAttempt,
    ConnectionAttemptResult,
    ConnectionMethod,
    ConnectionStrategy,
    NatType,
)

__all__ = ["OVERTAKEN", "already_there", "describe", "failure_of", "later", "outcome", "reason_of", "success_of"]

T = TypeVar("T")

OVERTAKEN = "another way was quicker", AttemptReason.OVERTAKEN
"""Why an attempt was given up that has lost the race."""

REASONS: dict[type[Exception], AttemptReason] = {
    TurnError: AttemptReason.RELAY_DENIED,
    PeerDenied: AttemptReason.DENIED,
    PeerLimitReached: AttemptReason.DENIED,
    ClosedError: AttemptReason.CANCELLED,
    DecodeError: AttemptReason.HANDSHAKE_FAILED,
}
NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})


def reason_of(error: BaseException, method: ConnectionMethod | None = None) -> AttemptReason:
    """Return in a word what went wrong.

    Args:
        error: What was raised.
        method: How the peer was to be reached; None where that is not known.

    Example:
        >>> str(reason_of(ConnectionRefusedError()))
        'refused'
        >>> str(reason_of(IntroductionError("refused", by_peer=True)))
        'peer_refused'
    """
    if isinstance(error, IntroductionError):
        return _reason_of_introduction(error)
    by_relay = method is ConnectionMethod.RELAY
    if isinstance(error, OperationTimeout):
        return AttemptReason.RELAY_UNREACHABLE if by_relay else AttemptReason.NO_ANSWER
    if isinstance(error, ConnectError | HandshakeError):
        at_server = (
            by_relay and isinstance(error, ConnectError) and not (error.attempts or isinstance(error, ProxyError))
        )
        return AttemptReason.RELAY_UNREACHABLE if at_server else error.code
    if isinstance(error, PeerDenied) and error.limit == "own":
        return AttemptReason.OWN_ADDRESS
    if isinstance(error, OSError):
        return _reason_of_system(error)
    return next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), AttemptReason.FAILED)


def _reason_of_system(error: OSError) -> AttemptReason:
    if isinstance(error, ConnectionRefusedError):
        return AttemptReason.REFUSED
    if isinstance(error, TimeoutError):
        return AttemptReason.NO_ANSWER
    if isinstance(error, ConnectionError):
        return AttemptReason.HANDSHAKE_FAILED
    return AttemptReason.UNREACHABLE if error.errno in NO_WAY else AttemptReason.FAILED


def _reason_of_introduction(error: IntroductionError) -> AttemptReason:
    if error.code == Refusal.UNKNOWN_PEER:
        return AttemptReason.UNKNOWN_PEER
    if error.by_peer and error.code in (Refusal.REFUSED, Refusal.LIMIT):
        return AttemptReason.PEER_REFUSED
    return AttemptReason.INTRODUCTION_FAILED


def describe(error: BaseException) -> str:
    """Return what went wrong in words for people."""
    if isinstance(error, RatsError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


async def outcome(coroutine: Coroutine[Any, Any, T]) -> T | RatsError | OSError:
    """Return what a coroutine returns, or what it raises where that is one of ours or the system's."""
    try:
        return await coroutine
    except (RatsError, OSError) as error:
        return error


def later(attempts: Iterable[ConnectionAttempt], seconds: float) -> list[ConnectionAttempt]:
    """Return attempts as part of something that had begun so many seconds before them."""
    return [replace(attempt, started=attempt.started + seconds) for attempt in attempts]


def success_of(peer: Peer, *, duration: float = 0.0, nat_type: NatType = NatType.UNKNOWN) -> ConnectionAttemptResult:
    """Return the account of a connection that has come about.

    Args:
        peer: Who was reached.
        duration: Seconds that it took.
        nat_type: What stands in front of this side.
    """
    return ConnectionAttemptResult(
        success=True,
        method=peer.method,
        duration=duration,
        peer_id=peer.id,
        local_nat_type=nat_type,
        remote_nat_type=peer.nat_type,
        used_candidates=peer.report().used_candidates,
        attempts=tuple(peer.attempts),
    )


def failure_of(
    error: RatsError, *, duration: float = 0.0, nat_type: NatType = NatType.UNKNOWN
) -> ConnectionAttemptResult:
    """Return the account of a connection that has not come about.

    Args:
        error: What was raised.
        duration: Seconds that it took.
        nat_type: What stands in front of this side.
    """
    return ConnectionAttemptResult(
        success=False,
        duration=duration,
        error=str(error),
        reason=reason_of(error),
        local_nat_type=nat_type,
        attempts=error.attempts if isinstance(error, ConnectError) else (),
    )


def already_there(result: ConnectionAttemptResult, strategy: ConnectionStrategy) -> ConnectionAttemptResult:
    """Return what a strategy has come to with a peer that was connected before: nothing was tried.

    Args:
        result: What is told of the session.
        strategy: The strategy.
    """
    if result.method is None or may_go(strategy, result.method):
        return result
    words = f"the peer is connected over {result.method} already, and nothing was tried"
    return replace(result, success=False, method=None, error=words, reason=AttemptReason.OVERTAKEN)
