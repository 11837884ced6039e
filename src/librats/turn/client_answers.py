"""The request for an allocation, and the server's answer (RFC 8656, section 7)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from librats._core.stun import StunMessage
from librats.errors import TurnError
from librats.stun.constants import AddressFamily, Attribute, ErrorCode
from librats.turn.client_events import turn_error
from librats.turn.client_settings import ClientSettings
from librats.types import Address

__all__ = ["Answer", "allocate_attributes", "read_answer"]

UDP, TCP = 17, 6
DEFAULT_LIFETIME = 600


class Answer(Struct, frozen=True):
    """What the server has given."""

    relayed: tuple[Address, ...]
    mapped: Address | None
    lifetime: int
    ticket: bytes
    missing: tuple[TurnError, ...]


def allocate_attributes(settings: ClientSettings, *, mobility: bool) -> list[tuple[int, Any]]:
    """Return the attributes of the request."""
    attributes: list[tuple[int, Any]] = [(Attribute.REQUESTED_TRANSPORT, TCP if settings.relays_tcp else UDP)]
    if settings.lifetime is not None:
        attributes.append((Attribute.LIFETIME, settings.lifetime))
    if settings.family == "ipv6":
        attributes.append((Attribute.REQUESTED_ADDRESS_FAMILY, AddressFamily.IPV6))
    elif settings.family == "dual":
        attributes.append((Attribute.ADDITIONAL_ADDRESS_FAMILY, AddressFamily.IPV6))
    if mobility:
        attributes.append((Attribute.MOBILITY_TICKET, b""))
    return attributes


def read_answer(message: StunMessage, family: str) -> Answer:
    """Read the success response.

    Raises:
        TurnError: There is no relayed address.
        StunError: A value does not parse.
    """
    relayed = [Address(*found) for found in message.get_all(Attribute.XOR_RELAYED_ADDRESS)]
    if not relayed:
        raise turn_error(ErrorCode.BAD_REQUEST, "an allocation without a relayed address")
    mapped = message.get(Attribute.XOR_MAPPED_ADDRESS)
    lifetime = message.get(Attribute.LIFETIME)
    missing = [turn_error(code, words) for _, code, words in message.get_all(Attribute.ADDRESS_ERROR_CODE)]
    if family == "dual" and len(relayed) == 1 and not missing:
        missing.append(turn_error(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED))
    return Answer(
        relayed=tuple(sorted(relayed, key=lambda address: ":" in address.host)),
        mapped=None if mapped is None else Address(*mapped),
        lifetime=DEFAULT_LIFETIME if lifetime is None else lifetime,
        ticket=message.get(Attribute.MOBILITY_TICKET) or b"",
        missing=tuple(missing),
    )
