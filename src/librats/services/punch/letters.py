"""How hole punchers tell each other something: in the sealed letters of an introduction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from librats.errors import IntroductionError
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.punch.descriptions import PunchEnd
from librats.punch.plans import PunchReason

__all__ = ["PunchLetters"]

MAX_WAITING = 64


class PunchLetters:
    """What :class:`~librats.services.punch.puncher.HolePuncher` signals over, on one side of one introduction.

    Args:
        letter_id: Of the introduction.
        send: Sends a letter to the peer; False where that cannot be done.
    """

    def __init__(self, letter_id: str, send: Callable[[Letter], bool]) -> None:
        self._letter_id = letter_id
        self._send = send
        self._inbox: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(MAX_WAITING)

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message to the peer.

        Raises:
            IntroductionError: The introducer is gone.
        """
        if not self._send(Letter(id=self._letter_id, punch=message)):
            raise IntroductionError(Refusal.GONE, "the session with the introducer has ended")

    def end(self, reason: PunchReason) -> None:
        """Tell the peer that there will be no further round, where that can be done."""
        self._send(Letter(id=self._letter_id, punch=PunchEnd(reason=reason).to_json()))

    def heard(self, message: Mapping[str, Any]) -> None:
        """Take a message of the peer's; more than are looked at are dropped."""
        if not self._inbox.full():
            self._inbox.put_nowait(message)

    def forget(self) -> None:
        """Drop what has come so far: it is of a try that is over."""
        while not self._inbox.empty():
            self._inbox.get_nowait()

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message of the peer's."""
        return await self._inbox.get()
