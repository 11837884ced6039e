"""Who may use a relay: users with passwords, and users that a shared secret vouches for until a date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from librats.stun.credentials import PasswordAlgorithm, long_term_key, time_limited_password, userhash

__all__ = ["Account", "Credentials", "GrantedNames"]

_REMEMBERED = 16384


class Account(NamedTuple):
    """What a user name stands for."""

    username: str
    """The name as it is sent."""

    owner: str
    """Whose quota counts: of a time-limited name, the part that is not the date."""

    expires: float | None
    """Unix seconds after which nothing new may be allocated; None for users with a password of their own."""

    keys: tuple[bytes, ...]
    """The long-term keys that are good for it: one, or as many as there are secrets."""


class GrantedNames:
    """Time-limited user names that the relay has granted itself: clients may hide them behind their hashes.

    Args:
        realm: The realm.
        secret: What vouches for them.
    """

    def __init__(self, realm: str, secret: str) -> None:
        self._realm = realm
        self.secret = secret
        """What vouches for them."""
        self._names: dict[bytes, str] = {}

    def note(self, username: str) -> None:
        """Remember a name."""
        hashed = userhash(username, self._realm)
        if hashed not in self._names:
            if len(self._names) >= _REMEMBERED:
                self._names.pop(next(iter(self._names)))
            self._names[hashed] = username

    def name_of(self, hashed: bytes) -> str | None:
        """Return the name behind a hash."""
        return self._names.get(hashed)


class Credentials:
    """The users of one realm.

    Time-limited users are those of coturn's ``use-auth-secret``: the name is ``DATE:NAME`` or ``NAME:DATE`` or
    ``DATE``, with the date in Unix seconds, and the password the base64 of HMAC-SHA1 over the name under the secret.
    Several secrets are good at a time, so that they can be changed without an interruption.

    Args:
        realm: The realm.
        users: Passwords by user name.
        secrets: The secrets shared with others, who make names of their own.
        granted: Names that are granted here.
    """

    def __init__(
        self,
        *,
        realm: str,
        users: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        granted: GrantedNames | None = None,
    ) -> None:
        self.realm = realm
        self._granted = granted
        self._users = dict(users or {})
        self._secrets = (*secrets, *(() if granted is None else (granted.secret,)))
        self.knows_names = not secrets
        """Whether every name can be told from its hash: others than the relay make none."""
        self._names = {userhash(name, realm): name for name in self._users}
        self._accounts: dict[tuple[str, int], Account] = {}

    def account(self, username: str, algorithm: int) -> Account | None:
        """Return the account of a user name, expired or not; None where nobody has it.

        Args:
            username: As the client sent it.
            algorithm: Which :class:`~librats.stun.credentials.PasswordAlgorithm` makes the key.

        Raises:
            UsageError: The name has characters that no user name may have.
        """
        found = self._accounts.get((username, algorithm))
        if found is None:
            found = self._make(username, PasswordAlgorithm(algorithm))
            if found is not None:
                if len(self._accounts) >= _REMEMBERED:
                    self._accounts.clear()
                self._accounts[username, algorithm] = found
        return found

    def name_of(self, hashed: bytes) -> str | None:
        """Return the user name behind a USERHASH (RFC 8489, 14.4); None where nobody knows it."""
        name = self._names.get(hashed)
        return name if name is not None or self._granted is None else self._granted.name_of(hashed)

    def _make(self, username: str, algorithm: PasswordAlgorithm) -> Account | None:
        password = self._users.get(username)
        if password is not None:
            return Account(username, username, None, (long_term_key(username, self.realm, password, algorithm),))
        date, owner = _date_and_owner(username)
        if not self._secrets or date is None:
            return None
        keys = tuple(
            long_term_key(username, self.realm, time_limited_password(secret, username), algorithm)
            for secret in self._secrets
        )
        return Account(username, owner, date, keys)


def _date_and_owner(username: str) -> tuple[float | None, str]:
    first, _, second = username.partition(":")
    for date, owner in ((first, second), (second, first)):
        if date.isascii() and date.isdigit() and len(date) <= 15:  # noqa: PLR2004 - beyond, floats are not exact
            return float(date), owner
    return None, username
