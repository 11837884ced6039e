"""What a server refuses requests with, and how it reads their fixed-size attributes."""

from __future__ import annotations

from typing import Any

from librats._core.stun import StunMessage
from librats.stun.constants import Attribute, ErrorCode

__all__ = ["Full", "Refused", "number_in", "octet_in", "refuse_unknown", "refuse_unless"]


class Refused(Exception):
    """A request gets an error response.

    Args:
        code: Of RFC 8489, 14.8 and the TURN documents.
        attributes: What the response has besides ERROR-CODE.
    """

    def __init__(self, code: int, *attributes: tuple[int, Any]) -> None:
        super().__init__(code)
        self.code = code
        self.attributes = attributes


class Full(Refused):
    """A request gets no allocation here, and would get one from a server that has more room."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INSUFFICIENT_CAPACITY)


def refuse_unless(condition: object, code: int = ErrorCode.BAD_REQUEST) -> None:
    """Refuse a request that does not meet a condition."""
    if not condition:
        raise Refused(code)


def number_in(message: StunMessage, attribute: int) -> int | None:
    """Return a number of 32 bits; None where the message has none.

    Raises:
        Refused: The attribute has another size.
    """
    raw = message.raw(attribute)
    if raw is None:
        return None
    refuse_unless(len(raw) == 4)  # noqa: PLR2004 - bytes of 32 bits
    return int.from_bytes(raw, "big")


def octet_in(message: StunMessage, attribute: int, *, size: int = 4) -> int | None:
    """Return the first octet of an attribute, of which the others are reserved; None where the message has none.

    Raises:
        Refused: The attribute has not that many bytes.
    """
    raw = message.raw(attribute)
    if raw is None:
        return None
    refuse_unless(len(raw) == size)
    return raw[0]


def refuse_unknown(message: StunMessage) -> None:
    """Refuse a request with attributes that have to be understood and are not (RFC 8489, 6.3.1)."""
    unknown = message.unknown_required()
    if unknown:
        raise Refused(ErrorCode.UNKNOWN_ATTRIBUTE, (Attribute.UNKNOWN_ATTRIBUTES, unknown))
