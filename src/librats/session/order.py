"""Messages that come over several links to one peer, handed on in the order in which they were sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from librats._core.messages import Message, MessageRun
from librats.session.events import FollowsReceived

__all__ = ["LINK_ID_SIZE", "InOrder", "Order", "decode_follows", "encode_follows"]

LINK_ID_SIZE = 16
"""How much of the hash of its handshake names a link."""

MAX_FOLLOWED = 64
"""Links that are named at the most: the ones used last."""

MAX_GONE = 1024
"""Links that are gone of which it is remembered how much they have brought."""

ENTRY_SIZE = LINK_ID_SIZE + 8

L = TypeVar("L", bound=Hashable)
InOrder: TypeAlias = MessageRun | Message | FollowsReceived
"""What keeps its order over all links: messages, requests, and what tells which others they follow."""


def encode_follows(links: Sequence[tuple[bytes, int]]) -> bytes:
    """Return ids of links, and how many messages were sent on each, as FOLLOWS carries them."""
    return b"".join(name + count.to_bytes(8) for name, count in links[-MAX_FOLLOWED:])


def decode_follows(body: bytes) -> tuple[tuple[bytes, int], ...]:
    """Return what :func:`encode_follows` was given. The reader has looked at the length."""
    return tuple(
        (body[at : at + LINK_ID_SIZE], int.from_bytes(body[at + LINK_ID_SIZE : at + ENTRY_SIZE]))
        for at in range(0, len(body), ENTRY_SIZE)
    )


class _Line(Generic[L]):
    """What came over one link."""

    __slots__ = ("count", "is_open", "is_over", "link", "name", "peer_id", "waiting")

    def __init__(self, link: L, name: bytes, peer_id: str) -> None:
        self.link = link
        self.name = name
        self.peer_id = peer_id
        self.count = 0
        self.is_open = True
        self.is_over = False
        """True once the session has ended that it belonged to."""
        self.waiting: list[tuple[int, _Line[L]]] = []
        """Lines of which something is held until this one has brought so many messages."""


class Order(Generic[L]):
    """Holds messages back that would overtake others on the way from one peer over several links.

    They are held until the links that they follow have brought as much as they were to bring. Where one of these ends
    before, messages are lost, and what follows them is never delivered: the session has to end. What is held takes of
    its link's message window, so that nobody can make us hold more than that.

    Args:
        deliver: Called with a link and what has come over it, when its turn has come.
        most: Window that what is held of a peer's links may take when they are gone; what goes beyond it is lost with
            its link.
        lost: Called with a link of which nothing more is delivered, for it follows what was lost.
    """

    __slots__ = ("_advancing", "_deliver", "_gone", "_held", "_lines", "_lost", "_most", "_moved", "_names")

    def __init__(self, deliver: Callable[[L, InOrder], None], most: int, lost: Callable[[L], None]) -> None:
        self._deliver = deliver
        self._lost = lost
        self._gone: dict[bytes, int] = {}
        self._most = most
        self._lines: dict[L, _Line[L]] = {}
        self._names: dict[bytes, _Line[L]] = {}
        self._held: dict[_Line[L], deque[InOrder]] = {}
        self._moved: deque[_Line[L]] = deque()
        self._advancing = False

    def opened(self, link: L, name: bytes, peer_id: str) -> None:
        """Take note of a link, by the id that both sides know it by."""
        self._lines[link] = self._names[name] = _Line(link, name, peer_id)

    def take(self, link: L, item: InOrder) -> None:
        """Deliver what came over a link, or hold it until its turn comes."""
        line = self._lines.get(link)
        if line is None:
            self._deliver(link, item)
        elif line.is_over:
            return  # nobody hears it any more: it came too late for its session, and is not of the next one
        elif self._held and line in self._held:
            self._held[line].append(item)
        elif type(item) is FollowsReceived and self._has_to_wait(line, item):
            if not line.is_over:
                self._held[line] = deque([item])
        else:
            self._deliver(line.link, item)
            if type(item) is Message:
                line.count += 1
            elif type(item) is MessageRun:
                line.count += len(item)
            if line.waiting:
                self._advance(line)

    def closed(self, link: L) -> None:
        """Take note that a link brings nothing more."""
        line = self._lines.pop(link, None)
        if line is not None:
            self._close(line)
            if line in self._held and self._held_when_gone(line.peer_id) > self._most:
                self._give_up(line)

    def end(self, peer_id: str, links: Iterable[L]) -> None:
        """Drop what is held of a peer whose session ends, and what those of its links bring that are left."""
        lines = [self._lines[link] for link in links if link in self._lines]
        for line in lines:
            line.is_over = True
        for line in lines:
            self._close(line)
        for line in [line for line in self._held if line.peer_id == peer_id]:  # they wait for each other
            self._forget(line)

    def _close(self, line: _Line[L]) -> None:
        line.is_open = False
        if line not in self._held:
            self._forget(line)

    def _held_when_gone(self, peer_id: str) -> int:
        gone = [held for line, held in self._held.items() if line.peer_id == peer_id and not line.is_open]
        return sum(item.cost for held in gone for item in held)

    def _has_to_wait(self, line: _Line[L], item: FollowsReceived) -> bool:
        """Whether something that is followed may still come; where it may, the line is looked at again with that."""
        for name, count in item.links:
            other = self._names.get(name)
            if other is not None and other is not line and other.count < count:
                other.waiting.append((count, line))
                return True
            if other is None and self._gone.get(name, count) < count:
                self._give_up(line)
                return True
        return False

    def _give_up(self, line: _Line[L]) -> None:
        """Deliver nothing more of a line, which follows what was lost, nor of those that follow it."""
        was_over, line.is_over = line.is_over, True
        self._held.pop(line, None)
        self._names.pop(line.name, None)
        self._note_gone(line)
        self._advance(line)
        if not was_over:
            self._lost(line.link)

    def _note_gone(self, line: _Line[L]) -> None:
        """Remember how much a line has brought, for those that are going to follow it."""
        self._gone[line.name] = line.count
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def _hand_on(self, line: _Line[L], item: InOrder) -> None:
        self._deliver(line.link, item)
        if type(item) is MessageRun:
            line.count += len(item)
        elif type(item) is Message:
            line.count += 1

    def _advance(self, line: _Line[L]) -> None:
        """Look at what waits for a line that has brought something, or is gone, and at what waits for that in turn."""
        self._moved.append(line)
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._moved:
                moved = self._moved.popleft()
                is_gone = self._names.get(moved.name) is not moved
                waiting, moved.waiting = moved.waiting, []
                for count, other in waiting:
                    if moved.count >= count:
                        self._go_on(other)
                    elif is_gone:
                        self._give_up(other)
                    else:
                        moved.waiting.append((count, other))
        finally:
            self._advancing = False

    def _go_on(self, line: _Line[L]) -> None:
        """Deliver what need not be held of a line any more."""
        held = self._held.get(line)
        while held:
            item = held[0]
            if type(item) is FollowsReceived and self._has_to_wait(line, item):
                break
            self._hand_on(line, held.popleft())
        if held is not None and not held:
            self._forget(line)
        if line.waiting:
            self._advance(line)

    def _forget(self, line: _Line[L]) -> None:
        """Hold nothing of a line any more; where its link is gone, nothing is left of it."""
        self._held.pop(line, None)
        if not line.is_open:
            self._names.pop(line.name, None)
            self._note_gone(line)
            self._advance(line)
