"""The STUN messages of connectivity checks (RFC 8445, 7): written, and read with their integrity checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from librats._core.stun import StunMessage, parse, serialise
from librats.errors import StunError
from librats.ice.events import IceRole
from librats.stun.client import plain_host
from librats.stun.constants import REASONS, Attribute, ErrorCode, MessageClass, Method
from librats.types import Address

__all__ = ["CheckRequest", "CheckResponse", "Credentials", "read_message", "read_request", "read_response"]

NOMINATION = 0xC001
"""Number of a nomination, a later one of which counts: for peers that know renomination."""


class Credentials(NamedTuple):
    """Username fragment and password of one side."""

    ufrag: str
    password: str

    @property
    def key(self) -> bytes:
        """What integrity is computed with."""
        return self.password.encode()


class CheckRequest(NamedTuple):
    """A check."""

    transaction_id: bytes
    peer_ufrag: str
    """Username fragment of whoever has sent it."""
    priority: int
    role: IceRole
    """The sender's role."""
    tie_breaker: int
    use_candidate: bool = False
    nomination: int | None = None

    def write(self, to: Credentials) -> bytes:
        """Return the datagram, for a peer of these credentials."""
        role = Attribute.ICE_CONTROLLING if self.role is IceRole.CONTROLLING else Attribute.ICE_CONTROLLED
        attributes: list[tuple[int, Any]] = [
            (Attribute.USERNAME, f"{to.ufrag}:{self.peer_ufrag}"),
            (Attribute.PRIORITY, self.priority),
            (role, self.tie_breaker),
        ]
        if self.use_candidate:
            attributes.append((Attribute.USE_CANDIDATE, True))
        if self.nomination is not None:
            attributes.append((NOMINATION, self.nomination.to_bytes(4)))
        return serialise(
            Method.BINDING, MessageClass.REQUEST, self.transaction_id, attributes, key=to.key, fingerprint=True
        )


class CheckResponse(NamedTuple):
    """The answer to a check: where it was seen to come from, or the code of an error."""

    transaction_id: bytes
    mapped: Address | None
    code: int = 0


def read_message(data: bytes) -> StunMessage | None:
    """Return a datagram as a message of a check, or None where it is none: those have a FINGERPRINT."""
    try:
        message = parse(data)
    except StunError:
        return None
    return message if message.method == Method.BINDING and message.check_fingerprint() else None


def local_ufrag_of(message: StunMessage) -> tuple[str, str]:
    """Return the username fragments of a request: the receiver's, and the sender's; empty where there are none."""
    try:
        username = message.get(Attribute.USERNAME)
    except StunError:
        return "", ""
    ours, colon, theirs = (username or "").partition(":")
    return (ours, theirs) if colon else ("", "")


def read_request(message: StunMessage, local: Credentials) -> CheckRequest | None:
    """Read a request that was checked to be for us, or return None where it is malformed or not authentic."""
    ours, theirs = local_ufrag_of(message)
    if ours != local.ufrag or not theirs or not message.check_integrity(local.key):
        return None
    try:
        priority = message.get(Attribute.PRIORITY)
        controlling, controlled = message.get(Attribute.ICE_CONTROLLING), message.get(Attribute.ICE_CONTROLLED)
        use_candidate = bool(message.get(Attribute.USE_CANDIDATE))
        nomination = message.raw(NOMINATION)
    except StunError:
        return None
    if not priority or priority > 2**31 - 1 or (controlling is None) == (controlled is None):
        return None
    return CheckRequest(
        transaction_id=message.transaction_id,
        peer_ufrag=theirs,
        priority=priority,
        role=IceRole.CONTROLLED if controlling is None else IceRole.CONTROLLING,
        tie_breaker=controlled if controlling is None else controlling,
        use_candidate=use_candidate,
        nomination=int.from_bytes(nomination) if nomination is not None and len(nomination) == 4 else None,  # noqa: PLR2004
    )


def read_response(message: StunMessage, remote: Credentials) -> CheckResponse | None:
    """Read an answer, or return None where it is malformed or not authentic."""
    if not message.check_integrity(remote.key):
        return None
    try:
        if message.message_class == MessageClass.ERROR_RESPONSE:
            code, _ = message.get(Attribute.ERROR_CODE) or (ErrorCode.BAD_REQUEST, "")
            return CheckResponse(message.transaction_id, None, int(code))
        mapped = message.get(Attribute.XOR_MAPPED_ADDRESS)
    except StunError:
        return None
    if mapped is None or message.unknown_required():
        return CheckResponse(message.transaction_id, None, ErrorCode.BAD_REQUEST)
    return CheckResponse(message.transaction_id, Address(plain_host(mapped[0]), mapped[1]))


def write_response(transaction_id: bytes, seen: Address, local: Credentials) -> bytes:
    """Return the answer to a check."""
    mapped = (seen.host.partition("%")[0], seen.port)
    return serialise(
        Method.BINDING,
        MessageClass.SUCCESS_RESPONSE,
        transaction_id,
        [(Attribute.XOR_MAPPED_ADDRESS, mapped)],
        key=local.key,
        fingerprint=True,
    )


def write_error(transaction_id: bytes, code: int, local: Credentials, *, unknown: tuple[int, ...] = ()) -> bytes:
    """Return the answer to a check that is refused."""
    attributes: list[tuple[int, Any]] = [(Attribute.ERROR_CODE, (code, REASONS[code]))]
    if unknown:
        attributes.append((Attribute.UNKNOWN_ATTRIBUTES, unknown))
    return serialise(
        Method.BINDING, MessageClass.ERROR_RESPONSE, transaction_id, attributes, key=local.key, fingerprint=True
    )
