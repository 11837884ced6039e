"""Meetings at an introducer: one waits at a place, another comes who knows its number, and they exchange letters.

What is in the letters is their own affair. An introducer passes them on, and learns who has met whom.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from librats.errors import IntroductionError
from librats.introduce.notices import Notice, Op, Refusal

__all__ = ["MAX_LETTERS", "Meeting", "Meetings", "Place"]

NUMBERS = 1 << 32
MAX_LETTERS = 8
"""Letters of a meeting, and visitors of a place, that wait to be looked at; further ones are dropped."""

MAX_MEETINGS = 16
"""Visitors that are listened to at once."""

Tell = Callable[[str, Notice], bool]


class Meeting:
    """Letters to and from another peer through an introducer. Comes from :class:`Place`, or :meth:`Meetings.visit`."""

    def __init__(self, owner: Meetings, introducer: str, number: int, *, is_visitor: bool) -> None:
        self._owner = owner
        self._introducer = introducer
        self._number = number
        self._is_visitor = is_visitor
        self._sent = False
        self._letters: deque[bytes] = deque()
        self._error: IntroductionError | None = None
        self._news = asyncio.Event()

    def send(self, letter: bytes) -> None:
        """Send a letter.

        Raises:
            IntroductionError: It cannot leave.
        """
        op = Op.ADD if self._is_visitor else Op.MORE if self._sent else Op.ANSWER
        self._sent = True
        if not self._owner.tell(self._introducer, Notice(op, self._number, letter=letter)):
            raise IntroductionError(Refusal.GONE, "there is no session with the introducer")

    async def receive(self) -> bytes:
        """Return the next letter.

        Raises:
            IntroductionError: None will come.
        """
        while not self._letters:
            if self._error is not None:
                raise IntroductionError(self._error.code, self._error.words)
            self._news.clear()
            await self._news.wait()
        return self._letters.popleft()

    def close(self) -> None:
        """Hear nothing more of it. Idempotent."""
        self._owner.forget(self._introducer, self._number, is_visitor=self._is_visitor)

    def heard(self, letter: bytes) -> None:
        """Take a letter of the other side."""
        if len(self._letters) < MAX_LETTERS:
            self._letters.append(letter)
            self._news.set()

    def ended(self, error: IntroductionError) -> None:
        """Take that no letter will come any more."""
        self._error = self._error or error
        self._news.set()


class Place:
    """A place where this side waits. Comes from :meth:`Meetings.open`."""

    def __init__(self, owner: Meetings, introducer: str, number: int) -> None:
        self._owner = owner
        self._introducer = introducer
        self._number = number
        self.place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its number, once the introducer has told it."""
        self._visits: deque[Meeting] = deque()
        self._error: IntroductionError | None = None
        self._news = asyncio.Event()

    async def visited(self) -> Meeting:
        """Wait until somebody comes, which uses the place up; the first letter has come then.

        Raises:
            IntroductionError: The introducer is gone.
        """
        while not self._visits:
            if self._error is not None:
                raise IntroductionError(self._error.code, self._error.words)
            self._news.clear()
            await self._news.wait()
        return self._visits.popleft()

    def close(self) -> None:
        """Wait no more. Idempotent."""
        self._owner.close_place(self._introducer, self._number)

    def heard(self, meeting: Meeting) -> None:
        """Take a visitor."""
        self._visits.append(meeting)
        self._news.set()

    def ended(self, error: IntroductionError) -> None:
        """Take that nobody will come."""
        self._error = self._error or error
        self._news.set()
        if not self.place.done():
            self.place.set_exception(error)
            self.place.exception()


class Meetings:
    """The meetings over one set of sessions with introducers.

    Args:
        tell: Sends a notice to the introducer with an id; False where that cannot be done.
        numbers: What is asked for is told apart by these.
    """

    def __init__(self, tell: Tell, numbers: Iterator[int]) -> None:
        self.tell = tell
        self._numbers = numbers
        self._places: dict[tuple[str, int], Place] = {}
        self._visits: dict[tuple[str, int], Meeting] = {}
        self._visitors: dict[tuple[str, int], Meeting] = {}

    def __len__(self) -> int:
        """Places that are open, and meetings that go on."""
        return len(self._places) + len(self._visits) + len(self._visitors)

    async def open(self, introducer: str, *, wanted: int = 0) -> Place:
        """Open a place at an introducer, and return it once it has a number.

        Args:
            introducer: Its peer id; empty for this side itself, where peers come that have a session with it.
            wanted: The number that is wanted, which counts at this side itself alone; 0 for any.

        Raises:
            IntroductionError: The introducer is gone, or has no place for us.
        """
        number = next(self._numbers) % NUMBERS
        place = self._places[introducer, number] = Place(self, introducer, number)
        try:
            if not self.tell(introducer, Notice(Op.OPEN_PLACE, number, place=wanted)):
                raise IntroductionError(Refusal.GONE, "there is no session with the introducer")
            await place.place
        except BaseException:
            place.close()
            raise
        return place

    def visit(self, introducer: str, place: int, letter: bytes) -> Meeting:
        """Go to a place.

        Args:
            introducer: Peer id of the introducer.
            place: Number of the place.
            letter: What is said there first.

        Raises:
            IntroductionError: The introducer is gone.
        """
        number = next(self._numbers) % NUMBERS
        meeting = self._visits[introducer, number] = Meeting(self, introducer, number, is_visitor=True)
        if not self.tell(introducer, Notice(Op.VISIT, number, place=place, letter=letter)):
            meeting.close()
            raise IntroductionError(Refusal.GONE, "there is no session with the introducer")
        return meeting

    def take(self, introducer: str, notice: Notice) -> bool:
        """Take what an introducer says; False where it is not of a meeting."""
        key = (introducer, notice.number)
        if notice.op is Op.PLACE or (notice.op is Op.REFUSED and key in self._places):
            self._place_told(key, notice)
            return True
        if notice.op is Op.VISITED:
            self._visited(key, notice)
            return True
        meeting = (self._visitors if notice.op is Op.PASSED_ADD else self._visits).get(key)
        if meeting is None:
            return False
        if notice.op in (Op.ANSWERED, Op.ADDED, Op.PASSED_ADD):
            meeting.heard(notice.letter)
        elif notice.op is Op.REFUSED:
            meeting.ended(IntroductionError(notice.code, notice.words))
        return True

    def _place_told(self, key: tuple[str, int], notice: Notice) -> None:
        place = self._places.get(key)
        if place is None or place.place.done():
            return
        if notice.op is Op.PLACE:
            place.place.set_result(notice.place)
        else:
            place.ended(IntroductionError(notice.code, notice.words))

    def _visited(self, key: tuple[str, int], notice: Notice) -> None:
        introducer, number = key
        open_here = (
            place
            for (where, _), place in self._places.items()
            if where == introducer and place.place.done() and not place.place.exception()
        )
        found = next((place for place in open_here if place.place.result() == notice.place), None)
        if found is None or len(self._visitors) >= MAX_MEETINGS:
            declined = Notice(Op.DECLINE, number, code=Refusal.UNKNOWN_PLACE, words="nobody waits under that number")
            self.tell(introducer, declined)
            return
        meeting = self._visitors[key] = Meeting(self, introducer, number, is_visitor=False)
        meeting.heard(notice.letter)
        found.heard(meeting)

    def forget(self, introducer: str, number: int, *, is_visitor: bool) -> None:
        """Hear nothing more of a meeting."""
        (self._visits if is_visitor else self._visitors).pop((introducer, number), None)

    def close_place(self, introducer: str, number: int) -> None:
        """Wait at a place no more."""
        place = self._places.pop((introducer, number), None)
        if place is not None:
            self.tell(introducer, Notice(Op.CLOSE_PLACE, number))

    def left(self, introducer: str) -> None:
        """Take that the session with an introducer has ended."""
        gone = IntroductionError(Refusal.GONE, "the session with the introducer has ended")
        for (where, _), each in self._all():
            if where == introducer:
                each.ended(gone)

    def _all(self) -> list[tuple[tuple[str, int], Place | Meeting]]:
        return [*self._places.items(), *self._visits.items(), *self._visitors.items()]

    def close(self) -> None:
        """End everything."""
        gone = IntroductionError(Refusal.GONE, "the client is stopped")
        for _, each in self._all():
            each.ended(gone)
        self._places.clear()
        self._visits.clear()
        self._visitors.clear()
