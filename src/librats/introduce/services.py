"""What an introducer does for those who are connected to it, beside introducing them: STUN, and a relay for a while."""

from __future__ import annotations

from typing import Annotated

import msgspec

from librats.errors import DecodeError

__all__ = ["Services"]

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Name = Annotated[str, msgspec.Meta(max_length=256)]


class Services(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A JSON object, whose unknown members are skipped. All of it is at the host at which the introducer was reached.

    Example:
        >>> Services.decode(Services(stun_port=3478).encode()).turn_port
        0
    """

    stun_port: Port = 0
    """UDP port at which STUN is answered; 0 where it is not."""

    turn_port: Port = 0
    """Port at which TURN is spoken over UDP and TCP; 0 where it is not."""

    username: Name = ""
    """Username for that."""

    password: Name = ""
    """Its password."""

    lifetime: Annotated[float, msgspec.Meta(ge=0, le=86400.0)] = 0.0
    """Seconds for which both are good; others come before they are not."""

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> Services:
        """Read it.

        Raises:
            DecodeError: It is no such object.
        """
        try:
            return msgspec.json.decode(body, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"services that do not parse: {error}") from error

    @property
    def relays(self) -> bool:
        """Whether there is a relay."""
        return bool(self.turn_port and self.username and self.password and self.lifetime)
