"""Long-term credentials on the server's side (RFC 8489, 9.2.4)."""

from __future__ import annotations

from typing import Any, NamedTuple

from librats._core.stun import StunMessage
from librats.errors import UsageError
from librats.stun.constants import Attribute, ErrorCode
from librats.stun.credentials import PasswordAlgorithm
from librats.turn.serving.answers import Refused, refuse_unless
from librats.turn.serving.credentials import Account, Credentials
from librats.turn.serving.nonces import Nonces

__all__ = ["Authenticator", "Login"]

_OFFERED = ((int(PasswordAlgorithm.MD5), b""), (int(PasswordAlgorithm.SHA256), b""))
_OFFERED_RAW = bytes((0, PasswordAlgorithm.MD5, 0, 0, 0, PasswordAlgorithm.SHA256, 0, 0))
_USERNAME, _USERHASH = int(Attribute.USERNAME), int(Attribute.USERHASH)
_REALM, _NONCE = int(Attribute.REALM), int(Attribute.NONCE)
_ERROR_CODE = int(Attribute.ERROR_CODE)
_ALGORITHM, _ALGORITHMS = int(Attribute.PASSWORD_ALGORITHM), int(Attribute.PASSWORD_ALGORITHMS)
_MD5 = int(PasswordAlgorithm.MD5)
_CHALLENGE_SIZE = 80
"""Bytes of a response that offers everything, but for the realm: header 20, ERROR-CODE 8, REALM 4, NONCE 36,
PASSWORD-ALGORITHMS 12."""


class Login(NamedTuple):
    """Who sent a request, and how the response is to be protected."""

    account: Account
    key: bytes
    integrity: int
    """The attribute that protected the request: MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256."""


class Authenticator:
    """Checks requests against the credentials. One serves all threads.

    Args:
        credentials: The users; may be replaced at any time.
        nonces: Makes and checks nonces.
    """

    def __init__(self, credentials: Credentials, nonces: Nonces) -> None:
        self.credentials = credentials
        self.nonces = nonces

    def check(self, message: StunMessage, host: bytes, *, now: float) -> Login:
        """Return who sent a request.

        Args:
            message: The request.
            host: The address it came from, as bytes.
            now: Monotonic seconds.

        Raises:
            Refused: 400, 401 or 438; the latter two call for a challenge (:meth:`challenge`).
        """
        integrity = message.integrity_type
        if integrity is None:
            raise Refused(ErrorCode.UNAUTHENTICATED)
        nonce = message.get(_NONCE)
        username = message.get(_USERNAME)
        hashed = message.raw(_USERHASH) if username is None else None
        if nonce is None or message.raw(_REALM) is None or (username is None and hashed is None):
            raise Refused(ErrorCode.BAD_REQUEST)
        # The nonce first: it costs least, and without one that is ours nobody makes the server compute keys.
        if not self.nonces.is_fresh(nonce, host, now=now):
            raise Refused(ErrorCode.STALE_NONCE)
        algorithm = self._algorithm(message, nonce)
        credentials = self.credentials
        if username is None:
            username = credentials.name_of(hashed or b"")
        account = None
        if username is not None:
            try:
                account = credentials.account(username, algorithm)
            except UsageError:
                raise Refused(ErrorCode.BAD_REQUEST) from None
        if account is None:
            raise Refused(ErrorCode.UNAUTHENTICATED)
        for key in account.keys:
            if message.check_integrity(key):
                return Login(account, key, integrity)
        raise Refused(ErrorCode.UNAUTHENTICATED)

    def challenge(self, code: int, host: bytes, *, now: float, room: float) -> list[tuple[int, Any]]:
        """Return the attributes of a response that asks for credentials.

        Args:
            code: 401 or 438.
            host: The address that asked, as bytes.
            now: Monotonic seconds.
            room: How many bytes the response should not exceed. SHA-256 and user name hashes are offered only where
                there is room for that, and the latter where every name can be told from its hash.
        """
        features = room >= _CHALLENGE_SIZE + (len(self.credentials.realm.encode()) + 3) // 4 * 4
        attributes: list[tuple[int, Any]] = [
            (_ERROR_CODE, (code, "")),
            (_REALM, self.credentials.realm),
            (_NONCE, self.nonces.make(host, now=now, features=features, names=self.credentials.knows_names)),
        ]
        if features:
            attributes.append((_ALGORITHMS, _OFFERED))
        return attributes

    def _algorithm(self, message: StunMessage, nonce: str) -> int:
        """Return the password algorithm that the client chose among those offered.

        Without the cookie in the nonce nothing was offered, so neither attribute means anything (RFC 8489, 9.2.4).
        """
        if not self.nonces.tells_algorithms(nonce):
            return _MD5
        chosen, offered = message.get(_ALGORITHM), message.raw(_ALGORITHMS)
        if chosen is None and offered is None:
            return _MD5
        refuse_unless(chosen is not None and offered == _OFFERED_RAW)
        algorithm, parameters = chosen
        refuse_unless((algorithm, parameters) in _OFFERED)
        return int(algorithm)
