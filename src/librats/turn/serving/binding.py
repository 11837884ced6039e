"""Binding, and what RFC 5780 adds to it for servers that listen on two addresses and two ports."""

from __future__ import annotations

from typing import Any, NamedTuple

from librats._core.relay import pack_address, unpack_address
from librats._core.stun import StunMessage, serialise
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.serving.allocation import Client
from librats.turn.serving.answers import number_in, refuse_unless
from librats.turn.serving.request import Answer
from librats.types import Address

__all__ = ["Corner", "answer_binding"]

_CHANGE_IP, _CHANGE_PORT = 4, 2
_CHANGE_REQUEST = int(Attribute.CHANGE_REQUEST)
_RESPONSE_PORT = int(Attribute.RESPONSE_PORT)
_PADDING = int(Attribute.PADDING)
_XOR_MAPPED_ADDRESS = int(Attribute.XOR_MAPPED_ADDRESS)
_BINDING, _SUCCESS = int(Method.BINDING), int(MessageClass.SUCCESS_RESPONSE)


class Corner(NamedTuple):
    """One of the four addresses of a server that helps others to find out how their NATs behave."""

    address: Address
    """Where it listens."""

    other: Address
    """The address with both host and port changed."""

    listeners: tuple[int, int, int, int]
    """The listeners with neither, the port, the host, and both changed."""


def answer_binding(message: StunMessage, client: Client, corner: Corner | None) -> Answer:
    """Return the response to a Binding request.

    Args:
        message: The request.
        client: Who sent it.
        corner: Where it came to; None where the server has no second address.

    Raises:
        Refused: 400.
    """
    host, port = unpack_address(client.address)
    attributes: list[tuple[int, Any]] = [(_XOR_MAPPED_ADDRESS, (host, port))]
    listener, target, local = client
    if corner is not None:
        change = number_in(message, _CHANGE_REQUEST) or 0
        step = bool(change & _CHANGE_PORT) + 2 * bool(change & _CHANGE_IP)
        listener = corner.listeners[step]
        origin = (
            corner.other[0] if change & _CHANGE_IP else corner.address[0],
            corner.other[1] if change & _CHANGE_PORT else corner.address[1],
        )
        attributes += [(Attribute.RESPONSE_ORIGIN, origin), (Attribute.OTHER_ADDRESS, corner.other)]
        raw = message.raw(_RESPONSE_PORT)
        if raw is not None:
            refuse_unless(len(raw) in (2, 4) and message.raw(_PADDING) is None)
            target = pack_address(host, int.from_bytes(raw[:2], "big"))
        local = b"" if step else client.local
    data = serialise(_BINDING, _SUCCESS, message.transaction_id, attributes, fingerprint=message.has_fingerprint)
    return Answer(listener, target, local, data)
