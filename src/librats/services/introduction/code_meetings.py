"""Giving and taking something by a code: where the two meet, and that nobody has more than one guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from librats.errors import IntroductionError, TransferError
from librats.introduce.notices import Refusal
from librats.runtime.tasks import TaskSet, end_all
from librats.services.introduction.meetings import Meeting, Meetings, Place
from librats.types import Entropy

if TYPE_CHECKING:
    from librats.codes.code import Code
    from librats.codes.exchange import CodeGiver

__all__ = ["CodeMeetings", "CodeOutcome", "GivenCode", "MeetingPoint"]

OPENING_PATIENCE = 5.0
"""Seconds that an introducer has to give a place."""

LETTER_PATIENCE = 30.0
"""Seconds that the other side has for each letter."""

VISIT_PATIENCE = 10.0
LIFETIME = 600.0
"""Seconds for which a code is good."""

LOOK_EVERY = 0.1
SPAN_WITHOUT_INTRODUCER = 99

MeetingPoint = tuple[Meetings, str]
"""Meetings over some sessions, and the peer id of an introducer on one of them."""


class CodeOutcome(StrEnum):
    """What became of a code."""

    TAKEN = "taken"
    """Somebody had it, and has what was given."""

    BURNT = "burnt"
    """Somebody came with another one, or went on the way: it is of no use any more."""

    EXPIRED = "expired"
    """Nobody came in time, or whoever had the place is gone; also where it was closed here."""


class CodeMeetings:
    """Gives and takes codes for one client.

    Args:
        own: The meetings over the client's sessions with peers.
        points: Returns where others can be met now.
        entropy: Randomness.
        tasks: Owner of what waits for those who come.
    """

    def __init__(
        self, own: Meetings, points: Callable[[], list[MeetingPoint]], entropy: Entropy, tasks: TaskSet
    ) -> None:
        self._own = own
        self._points = points
        self._entropy = entropy
        self._tasks = tasks

    async def give(self, secret: bytes) -> GivenCode:
        """Make a code by which somebody gets something, once.

        Args:
            secret: What whoever has the code gets; fewer than 12,000 bytes.

        Returns:
            The code. It is good through the first introducer that gives a place, and for peers that have a session with
            this client, as they have on the local network.

        Raises:
            UsageError: The package ``spake2`` is not installed.
            IntroductionError: Neither an introducer nor this client has a place.
        """
        from librats.codes.code import Code  # noqa: PLC0415 - needed by few
        from librats.codes.exchange import CodeGiver, require_spake2  # noqa: PLC0415

        require_spake2()
        places = []
        for meetings, introducer in self._points():
            try:
                async with asyncio.timeout(OPENING_PATIENCE):
                    places.append(await meetings.open(introducer))
                break
            except (IntroductionError, TimeoutError):
                continue
        number = places[0].place.result() if places else 1 + self._entropy.randbelow(SPAN_WITHOUT_INTRODUCER)
        try:
            here = await self._own.open("", wanted=number)
        except IntroductionError:
            if not places:
                raise
        else:
            if here.place.result() == number or not places:
                number = here.place.result()
                places.append(here)
            else:
                here.close()
        code = Code.new(number, self._entropy.randbelow)
        return GivenCode(str(code), CodeGiver(code, secret, self._entropy.token_bytes), places, self._tasks)

    async def take(self, text: str, *, patience: float) -> bytes:
        """Take what somebody gives by a code.

        Args:
            text: The code.
            patience: Seconds to wait for somebody who knows the number: introducers and peers that connect meanwhile
                are asked too.

        Raises:
            UsageError: The text is no code, or the package ``spake2`` is not installed.
            TransferError: Nobody waits under that number (``"unknown_code"``), or under another code
                (``"wrong_code"``), or what comes is none (``"bad_code"``).
        """
        from librats.codes.code import Code  # noqa: PLC0415 - needed by few
        from librats.codes.exchange import require_spake2  # noqa: PLC0415

        require_spake2()
        code = Code.parse(text)
        asked: set[str] = set()
        why = "nobody waits under that number"
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            for meetings, introducer in self._points():
                if introducer in asked:
                    continue
                asked.add(introducer)
                try:
                    return await self._take_at(meetings, introducer, code)
                except (IntroductionError, TimeoutError) as error:
                    if isinstance(error, IntroductionError) and error.code != Refusal.UNKNOWN_PLACE:
                        why = error.words
            if loop.time() >= until:
                where = "" if asked else ": no introducer, and nobody on the local network, was there to be asked"
                raise TransferError("unknown_code", why + where)
            await asyncio.sleep(LOOK_EVERY)

    async def _take_at(self, meetings: Meetings, introducer: str, code: Code) -> bytes:
        from librats.codes.exchange import CodeTaker  # noqa: PLC0415 - needed by few

        taker = CodeTaker(code, self._entropy.token_bytes)
        meeting = meetings.visit(introducer, code.place, taker.begin())
        try:
            async with asyncio.timeout(VISIT_PATIENCE):
                answer = await meeting.receive()
            # From here on somebody has answered: nobody else is asked, and the code is used up.
            try:
                async with asyncio.timeout(LETTER_PATIENCE):
                    meeting.send(taker.prove(answer))
                    return taker.end(await meeting.receive())
            except (IntroductionError, TimeoutError):
                raise TransferError("bad_code", "whoever waits under that number went away") from None
        finally:
            meeting.close()


class GivenCode:
    """A code that waits for somebody. Comes from :meth:`FilesHandle.give_code`.

    Args:
        text: The code.
        giver: What is said to who comes.
        places: Where it waits.
        tasks: Owner of what waits there.
    """

    def __init__(self, text: str, giver: CodeGiver, places: list[Place], tasks: TaskSet) -> None:
        self._text = text
        self._giver = giver
        self._places = places
        self._outcome: asyncio.Future[CodeOutcome] = asyncio.get_running_loop().create_future()
        self._waiting = tasks.create(self._wait(), name="librats waits for a code")

    def __repr__(self) -> str:
        """Show what became of it, and not the code, which is a secret."""
        return f"<GivenCode {self._outcome.result() if self._outcome.done() else 'waits'}>"

    def __str__(self) -> str:
        """Return the code, as it is shown."""
        return self._text

    @property
    def text(self) -> str:
        """The code, as it is shown: a number and two words."""
        return self._text

    async def wait(self) -> CodeOutcome:
        """Wait until somebody comes, or the code is of no use any more for another reason.

        Returns:
            What became of the code.
        """
        await asyncio.wait([self._outcome])
        return self._outcome.result()

    def close(self) -> None:
        """Wait no more: the code is of no use from here on. Idempotent."""
        self._waiting.cancel()
        self._end(CodeOutcome.EXPIRED)

    def _end(self, outcome: CodeOutcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)
        for place in self._places:
            place.close()

    async def _wait(self) -> None:
        outcome = CodeOutcome.EXPIRED
        try:
            meeting = await self._first()
            if meeting is not None:
                outcome = await self._meet(meeting)
        finally:
            self._end(outcome)

    async def _first(self) -> Meeting | None:
        """Return who comes first; None where nobody does. Whoever comes with it at another place is sent away."""
        visits = {asyncio.ensure_future(place.visited()) for place in self._places}
        first: Meeting | None = None
        try:
            async with asyncio.timeout(LIFETIME):
                while visits and first is None:
                    done, visits = await asyncio.wait(visits, return_when="FIRST_COMPLETED")
                    for visit in done:
                        if isinstance(visit.exception(), IntroductionError):
                            continue  # the introducer is gone; there may be another place
                        if first is None:
                            first = visit.result()
                        else:
                            visit.result().close()
        except TimeoutError:
            return None
        finally:
            await end_all(visits)
        return first

    async def _meet(self, meeting: Meeting) -> CodeOutcome:
        try:
            async with asyncio.timeout(LETTER_PATIENCE):
                meeting.send(self._giver.begun(await meeting.receive()))
                meeting.send(self._giver.proven(await meeting.receive()))
        except (IntroductionError, TransferError, TimeoutError):
            return CodeOutcome.BURNT
        finally:
            meeting.close()
        return CodeOutcome.BURNT if self._giver.is_burnt else CodeOutcome.TAKEN
