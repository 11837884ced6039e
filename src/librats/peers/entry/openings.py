"""The handshakes of links, of which one for each side is made ahead of time: nobody waits for its key then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from librats.peers.identity import Identity
from librats.session.greeting import Greeting
from librats.session.opening import BlockOpening, Opening
from librats.session.plaintext import PlaintextOpening
from librats.types import Encryption

__all__ = ["Openings"]

KEY_SIZE = 32

REST = 0.25
"""Seconds after one was taken until another one is made, where no link ends sooner."""


class Openings:
    """Makes handshakes.

    Args:
        identity: Who this side is.
        greeting: What it tells about itself.
        protocol: The application's protocol string.
        encryption: Whether sessions are encrypted.
        new_key: Makes ephemeral keys: 32 bytes from the system.
    """

    def __init__(
        self,
        identity: Identity,
        greeting: Greeting,
        *,
        protocol: str,
        encryption: Encryption,
        new_key: Callable[[int], bytes],
    ) -> None:
        self._identity = identity
        self._greeting = greeting
        self._protocol = protocol
        self._encryption = encryption
        self._new_key = new_key
        self._ready: dict[bool, Opening] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def become(self, identity: Identity, greeting: Greeting) -> None:
        """Be somebody else from the next one on."""
        self._identity, self._greeting = identity, greeting
        self._ready.clear()

    def take(self, expect_id: str | None, *, initiator: bool) -> BlockOpening:
        """Return a handshake that nobody else has.

        Args:
            expect_id: The only peer id that is accepted, or None for any.
            initiator: True on the side that dials.
        """
        if self._encryption is Encryption.OFF:
            return PlaintextOpening(initiator=initiator, peer_id=self._identity.peer_id, protocol=self._protocol)
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(REST, self._has_rested)
        opening = self._ready.pop(initiator, None) or self._make(initiator=initiator)
        opening.expect(expect_id)
        return opening

    def make_ready(self) -> None:
        """Make what is missing of those that come next; for a moment in which nobody waits."""
        if self._encryption is Encryption.OFF or self._closed:
            return
        for initiator in (True, False):
            if initiator not in self._ready:
                self._ready[initiator] = opening = self._make(initiator=initiator)
                opening.prepare()

    def close(self) -> None:
        """Forget those that nobody has taken, and make none ahead of time any more."""
        self._closed = True
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _has_rested(self) -> None:
        self._timer = None
        self.make_ready()

    def _make(self, *, initiator: bool) -> Opening:
        return Opening(
            initiator=initiator,
            private_key=self._identity.private_key,
            public_key=self._identity.public_key,
            ephemeral=self._new_key(KEY_SIZE),
            protocol=self._protocol,
            greeting=self._greeting,
        )
