"""Every exception that librats raises on purpose.

::

    RatsError
    ├── UsageError                  the call itself is wrong (also a ValueError)
    ├── ConfigError                 a configuration field has a bad value
    ├── IdentityError               the key files cannot be used
    ├── DecodeError                 bytes that do not parse
    │   ├── BencodeError            bencode that is damaged, not canonical, or beyond a limit
    │   └── ValidationError         JSON that is not of the expected type
    ├── ProtocolError
    │   ├── LocalProtocolError      we would break the protocol
    │   ├── RemoteProtocolError     the peer broke it
    │   ├── DhtError                nobody in the DHT answers, or takes what is to be stored
    │   ├── KrpcError               a message of the DHT is none, or a node's answer is an error
    │   └── StunError               a STUN message is malformed, or a server's answer is an error
    │       └── TurnError           a TURN server refused
    ├── IntroductionError           nobody introduces us to that peer, or it does not want to be
    ├── PortMappingError            a gateway does not map a port
    ├── HandshakeError              no secure channel came about
    ├── ConnectError                no connection came about; tells every attempt
    │   └── ProxyError              a proxy does not let us through
    ├── PeerNotConnected            no session with that peer
    ├── PeerDenied                  the allow or deny list does not let us talk to it
    ├── PeerLimitReached            ``max_peers`` are connected
    ├── ClosedError                 the client, peer or stream is closed
    ├── PeerLacks                   the peer's software has no such feature
    ├── OperationTimeout            also a TimeoutError
    │   └── RequestTimeout          no reply within the deadline
    ├── RemoteError                 the peer's handler failed, or refused
    ├── TransferError               what is offered or sent as a file cannot be taken
    └── StoreError                  a saved file cannot be read or written
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librats.reasons import AttemptReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from librats.types import ConnectionAttempt

__all__ = [
    "BencodeError",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "DecodeError",
    "DhtError",
    "HandshakeError",
    "IdentityError",
    "IntroductionError",
    "KrpcError",
    "LocalProtocolError",
    "OperationTimeout",
    "PeerDenied",
    "PeerLacks",
    "PeerLimitReached",
    "PeerNotConnected",
    "PortMappingError",
    "ProtocolError",
    "ProxyError",
    "RatsError",
    "RemoteError",
    "RemoteProtocolError",
    "RequestTimeout",
    "StoreError",
    "StunError",
    "TransferError",
    "TurnError",
    "UsageError",
    "ValidationError",
]


class RatsError(Exception):
    """Base class of every error that librats raises on purpose."""


class UsageError(RatsError, ValueError):
    """The call itself is wrong: a bad argument, or a client that is not running."""


class ConfigError(RatsError, ValueError):
    """A configuration field has a value that cannot be used.

    Args:
        field: Name of the field, as it is spelled in the configuration class.
        problem: What is wrong with its value.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class IdentityError(RatsError):
    """The identity on disk cannot be used: unreadable, damaged, in use, or open to others."""

    in_use = False
    """True where the only trouble is that another client uses it."""


class DecodeError(RatsError):
    """Bytes that do not parse.

    Args:
        what: What was expected and what was found.
        offset: Position of the first offending byte.
    """

    def __init__(self, what: str, offset: int = 0) -> None:
        super().__init__(f"{what} (at byte {offset})")
        self.what = what
        self.offset = offset


class BencodeError(DecodeError):
    """Bencode that is damaged, not canonical where it must be, or beyond a limit.

    Args:
        what: What was expected and what was found.
        offset: Position of the first offending byte.
    """


class ValidationError(DecodeError):
    """JSON from a peer that is not a value of the expected type.

    Args:
        what: What was expected and what was found. It may quote what the peer sent: not to be trusted.
        path: Where: ``"$.orders[2].price"``; ``"$"`` is the whole payload.
    """

    def __init__(self, what: str, path: str = "$") -> None:
        super().__init__(what)
        self.path = path

    def __str__(self) -> str:
        """Tell what is wrong, and where."""
        return f"{self.what} at {self.path}"


class ProtocolError(RatsError):
    """A rule of a wire protocol is broken."""


class LocalProtocolError(ProtocolError):
    """What was asked of this side would break the protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: forged, damaged, or out of order."""


class KrpcError(ProtocolError):
    """Bencode that is no message of the DHT, or an error that a node answered with.

    Args:
        code: 201 and up as in BEP 5 and 44: 203 for what is no message.
        reason: What is wrong; a node's own words are not to be trusted.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


class DhtError(ProtocolError):
    """Nobody in the DHT answers, or no node takes what is to be stored."""


class StunError(ProtocolError):
    """A STUN message that does not parse, or an error that a STUN server answered with.

    Args:
        code: Code of RFC 8489, 14.8 and of its extensions, 300 to 699; 400 for what does not parse.
        reason: The phrase that goes with it; a server's own words are not to be trusted.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


class TurnError(StunError):
    """A TURN server refused: an allocation, a permission, a channel or a refresh."""


class PortMappingError(RatsError):
    """A gateway does not map a port.

    Args:
        code: Why, in a word: one of those that :class:`~librats.PortMappingFailed` lists, or ``"no_gateway"``.
        reason: Why. A gateway's own words are not to be trusted.
        number: The number of UPnP's error, where there is one.
    """

    def __init__(self, code: str, reason: str, number: int = 0) -> None:
        super().__init__(f"{reason} [{code}]")
        self.code = code
        self.reason = reason
        self.number = number


class IntroductionError(RatsError):
    """Nobody introduces us to a peer, or it does not want to be introduced to us.

    Args:
        code: Why: ``"unknown_peer"``, ``"not_allowed"``, ``"limit"``, ``"gone"``, ``"tampered"``, ``"replayed"``,
            ``"stale"``, ``"refused"``, ``"failed"``, or a code that a later version has.
        words: The same for people; from somebody else, so not to be trusted.
        by_peer: Whether it is the peer that says so; else it is the introducer, or this side.
    """

    def __init__(self, code: str, words: str = "", *, by_peer: bool = False) -> None:
        super().__init__(f"{'the peer' if by_peer else 'the introducer'} says {code}" + (f": {words}" if words else ""))
        self.code = str(code)
        self.words = words
        self.by_peer = by_peer


class HandshakeError(RatsError):
    """No secure channel came about: wrong keys, wrong protocol name, or a hostile peer.

    Args:
        problem: What is wrong.
        code: The same in a word.
    """

    def __init__(self, problem: str, code: AttemptReason = AttemptReason.HANDSHAKE_FAILED) -> None:
        super().__init__(problem)
        self.code = code


TELLING = (
    *(AttemptReason.WRONG_IDENTITY, AttemptReason.DENIED, AttemptReason.PEER_REFUSED),
    *(AttemptReason.NAT_INCOMPATIBLE, AttemptReason.UDP_BLOCKED, AttemptReason.HANDSHAKE_FAILED),
)
"""Reasons of one attempt that tell more than those of the others."""


class ConnectError(RatsError):
    """No connection came about.

    Args:
        target: What was dialled, as the caller gave it.
        attempts: Every attempt made, in the order in which they ended. Empty where nothing could be tried.
        reason: Why nothing could be tried, where that is so.
        code: The same in a word; that of the attempt which tells most where it is left out.
    """

    def __init__(
        self,
        target: str,
        attempts: Sequence[ConnectionAttempt] = (),
        reason: str = "",
        code: AttemptReason | None = None,
    ) -> None:
        tried = "; ".join(f"{a.address}: {a.error}" for a in attempts)
        super().__init__(f"cannot connect to {target}: {reason or tried or 'nothing to try'}")
        self.target = target
        self.attempts = tuple(attempts)
        self.reason = reason
        self.code = code or most_telling(attempts)


class ProxyError(ConnectError):
    """A proxy does not let us through to a server.

    Args:
        proxy: The proxy, without credentials.
        reason: Why. A proxy's own words are not to be trusted.
        code: The same in a word: ``proxy_unreachable`` or ``proxy_denied``.
        status: The number of its answer, in HTTP or in SOCKS; None where it has given none.
    """

    def __init__(self, proxy: str, reason: str, code: AttemptReason, status: int | None = None) -> None:
        super().__init__(proxy, reason=reason, code=code)
        self.args = (f"the proxy {proxy} does not let us through: {reason}",)
        self.status = status


def most_telling(attempts: Sequence[ConnectionAttempt]) -> AttemptReason:
    """Return the reason of several attempts that says most about why none of them has worked."""
    reasons = [attempt.reason for attempt in attempts if attempt.reason is not None]
    for telling in TELLING:
        if telling in reasons:
            return telling
    own = [reason for reason in reasons if reason is not AttemptReason.OVERTAKEN]
    if not own:
        return AttemptReason.FAILED
    was_refused = own[-1] is AttemptReason.NO_ANSWER and AttemptReason.REFUSED in own
    return AttemptReason.REFUSED if was_refused else own[-1]  # a host that refuses TCP may be silent over UDP


class PeerNotConnected(RatsError):
    """There is no session with that peer."""


class PeerDenied(RatsError):
    """The client's allow or deny list does not let it talk to that peer or address, or that address is its own.

    Args:
        reason: Who is not talked to, and why.
        limit: The list: ``"allow"`` or ``"deny"``; ``"own"`` for the client's own public address where
            ``discover_and_ignore_public_ip`` was called.
    """

    def __init__(self, reason: str, limit: str) -> None:
        super().__init__(reason)
        self.limit = limit


class PeerLimitReached(RatsError):
    """As many peers as ``max_peers`` allows are connected, or there is no memory for another one (``max_memory``)."""


class ClosedError(RatsError):
    """The client, peer or stream is closed."""


class PeerLacks(RatsError):
    """The peer's software does not have that feature.

    Args:
        feature: Name of the feature.
    """

    def __init__(self, feature: str) -> None:
        super().__init__(f"the peer lacks {feature}")
        self.feature = feature


class OperationTimeout(RatsError, TimeoutError):
    """Something did not finish within its time limit."""


class RequestTimeout(OperationTimeout):
    """No reply came within the request's deadline. The peer is told to stop working on it."""


class RemoteError(RatsError):
    """The peer's handler raised, or the peer refused.

    Args:
        code: ``"handler_error"``, ``"no_handler"``, ``"bad_data"``, ``"limit"``, ``"cancelled"`` or ``"reset"``.
        message: The peer's words: for a handler's exception its class name and text. Not to be trusted.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} [{code}]" if message else code)
        self.code = code
        self.message = message


class TransferError(RatsError):
    """What is offered or sent as a file cannot be taken: an unsafe name, data that is damaged, or beyond a limit.

    Args:
        code: Why, in a word: ``"bad_name"``, ``"bad_offer"``, ``"bad_chunk"``, ``"limit"``, or one that a later version
            has.
        reason: The same for people. It quotes nothing that a peer sent.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{reason} [{code}]")
        self.code = code
        self.reason = reason


class StoreError(RatsError):
    """A saved file cannot be read or written: damaged, of a newer version, too big, or the disk is full.

    Args:
        path: The file.
        problem: What is wrong with it.
    """

    is_newer = False
    """True where the only trouble is that a newer version of librats has written it."""

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
