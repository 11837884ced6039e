"""A request on its way through the server."""

from __future__ import annotations

from typing import NamedTuple

from librats._core.stun import StunMessage
from librats.turn.serving.allocation import Client
from librats.turn.serving.authentication import Login

__all__ = ["Answer", "Request"]


class Request(NamedTuple):
    """A request whose sender is known, or does not have to be."""

    message: StunMessage
    client: Client
    login: Login | None
    """None where nobody is asked for credentials."""
    now: float
    """Monotonic seconds."""


class Answer(NamedTuple):
    """A datagram to send, or bytes for the client's connection."""

    listener: int
    client: bytes
    local: bytes
    """The packed address to send from; empty where the listener has only one."""
    data: bytes
