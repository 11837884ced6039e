"""Who a client is to its server: the login that is used, the one for later, and when a new one is asked for."""

from __future__ import annotations

from collections import deque

from librats.turn.client_auth import Authentication, Login
from librats.turn.client_events import CredentialsWanted, Event

__all__ = ["Logins"]

MARGIN = 60.0
RETRY_TIME = 5.0
NEVER = float("inf")


class Logins:
    """The logins of one client.

    An allocation belongs to the username that made it (RFC 8656, 7.2), so a newer login with another name is kept for
    when the old one is rejected, and for the next allocation.

    Args:
        login: Who we are, where that is known beforehand.
        asks: Whether somebody answers CredentialsWanted.
        events: Where that goes.

    Raises:
        UsageError: Username or password has characters that are not allowed.
    """

    def __init__(self, login: Login | None, *, asks: bool, events: deque[Event]) -> None:
        self.authentication = Authentication()
        """How requests are signed."""
        self._asks = asks
        self._events = events
        self._next: Login | None = None
        self._asking = False
        self._ask_at = NEVER
        if login is not None:
            self.authentication.set_login(login)

    def set(self, login: Login, *, expires: float | None, keep_name: bool, now: float) -> None:
        """Take a login that was asked for, or not.

        Args:
            login: Username and password.
            expires: When they do; a new login is asked for in time. None: never.
            keep_name: Whether the name in use goes on being used as long as the server takes it.
            now: The time.

        Raises:
            UsageError: Username or password has characters that are not allowed.
        """
        self._asking = False
        self._ask_at = NEVER if expires is None else expires - min(MARGIN, max(0.0, expires - now) / 2)
        current = self.authentication.login
        if keep_name and current is not None and current.username != login.username:
            self._next = login
        else:
            self._next = None
            self.authentication.set_login(login)

    def refused(self, now: float) -> None:
        """Nobody could tell; where there is a login, ask again soon."""
        self._asking = False
        self._ask_at = now + RETRY_TIME if self.authentication.login is not None else NEVER

    def use_next(self) -> bool:
        """Use the login that was kept for later; False where there is none."""
        if self._next is None:
            return False
        self.authentication.set_login(self._next)
        self._next = None
        return True

    def ask(self, *, rejected: bool) -> bool:
        """Ask for a login, once; False where nobody answers that."""
        self._ask_at = NEVER
        if self._asks and not self._asking:
            self._asking = True
            self._events.append(CredentialsWanted(self.authentication.realm, rejected))
        return self._asks

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is due."""
        return None if self._ask_at == NEVER else self._ask_at

    def handle_timer(self, now: float) -> None:
        """Ask for a login where the one in use soon expires."""
        if now >= self._ask_at:
            self.ask(rejected=False)
