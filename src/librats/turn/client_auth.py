"""Long-term credentials with one server (RFC 8489, section 9.2), and no way to talk the client down."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from librats._core.stun import StunMessage
from librats.stun.constants import Attribute
from librats.stun.credentials import (
    PasswordAlgorithm,
    SecurityFeature,
    long_term_key,
    security_features,
    userhash,
)
from librats.turn.client_events import turn_error

__all__ = ["Authentication", "Login"]


class Login(Struct, frozen=True):
    """A username and its password."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Show the username alone."""
        return f"Login({self.username!r})"


class Authentication:
    """What the server has asked for, and how requests are signed with it.

    A server that once named its password algorithms (RFC 8489, 9.2.1) must go on naming them.
    """

    def __init__(self) -> None:
        self.login: Login | None = None
        """Who we are; None as long as nobody has told."""
        self.realm = ""
        """The server's realm; empty before its first challenge."""
        self.nonce = ""
        """The newest nonce."""
        self._algorithms: tuple[tuple[int, bytes], ...] = ()
        self._algorithm = PasswordAlgorithm.MD5
        self._hides_name = False
        self._key = b""

    @property
    def can_sign(self) -> bool:
        """True once the server has asked and we know who we are."""
        return bool(self.realm) and self.login is not None

    @property
    def key(self) -> bytes:
        """The key that messages are signed with."""
        if not self._key and self.login is not None:
            self._key = long_term_key(self.login.username, self.realm, self.login.password, self._algorithm)
        return self._key

    @property
    def integrity(self) -> Attribute:
        """The attribute that messages are signed in."""
        return Attribute.MESSAGE_INTEGRITY_SHA256 if self._algorithms else Attribute.MESSAGE_INTEGRITY

    def set_login(self, login: Login) -> None:
        """Sign as somebody from now on.

        Raises:
            UsageError: Username or password has characters that are not allowed.
        """
        long_term_key(login.username, self.realm or "realm", login.password)
        self.login = login
        self._key = b""

    def take_challenge(self, message: StunMessage) -> None:
        """Take realm, nonce and password algorithms of a response 401 or 438.

        Raises:
            TurnError: The challenge is not complete; or it has less protection than its nonce or an earlier one
                promised, which is what somebody on the path would make of it (RFC 8489, 9.2.5).
            StunError: A value is malformed.
        """
        realm = message.get(Attribute.REALM) or self.realm
        nonce = message.get(Attribute.NONCE)
        if not realm or not nonce:
            raise turn_error(401, "it asks for credentials, but names no realm or no nonce")
        features = security_features(nonce)
        offered = message.get(Attribute.PASSWORD_ALGORITHMS) or ()
        promised = features & SecurityFeature.PASSWORD_ALGORITHMS or self._algorithms
        if promised and not offered:
            raise turn_error(401, "somebody removes the password algorithms that the server has")
        known = [(number, extra) for number, extra in offered if number in list(PasswordAlgorithm) and not extra]
        if offered and not known:
            raise turn_error(401, "the server takes only password algorithms that are not known here")
        self._algorithms = offered
        self._algorithm = PasswordAlgorithm(max((number for number, _ in known), default=PasswordAlgorithm.MD5))
        self._hides_name = bool(features & SecurityFeature.USERNAME_ANONYMITY)
        self.realm, self.nonce = realm, nonce
        self._key = b""

    def attributes(self) -> list[tuple[int, Any]]:
        """Return the attributes that a signed request has."""
        login = self.login
        if login is None:
            return []
        who: tuple[int, Any] = (
            (Attribute.USERHASH, userhash(login.username, self.realm))
            if self._hides_name
            else (Attribute.USERNAME, login.username)
        )
        attributes = [who, (Attribute.REALM, self.realm), (Attribute.NONCE, self.nonce)]
        if self._algorithms:
            # RFC 8489, 9.2.3.2: the list goes back as it came, so that the server sees whether somebody changed it.
            attributes.append((Attribute.PASSWORD_ALGORITHMS, self._algorithms))
            attributes.append((Attribute.PASSWORD_ALGORITHM, (self._algorithm, b"")))
        return attributes

    def proves(self, message: StunMessage, integrity: int, key: bytes) -> bool:
        """Tell whether a response is of who knows the password: signed as the request was."""
        return message.integrity_type == integrity and message.check_integrity(key)

    def forget_server(self) -> None:
        """Forget what the server asked for: another one is talked to."""
        self.realm = self.nonce = ""
        self._algorithms = ()
        self._algorithm = PasswordAlgorithm.MD5
        self._hides_name = False
        self._key = b""
