"""Messages sent over several links, moving from one to another at will: they are handled in the order of sending."""

from __future__ import annotations

from collections import deque

from hypothesis import event, given
from hypothesis import strategies as st
from tests.reference.runs import run_of

from librats._core.messages import Message, MessageRun, make_message
from librats.session.events import FollowsReceived
from librats.session.order import InOrder, Order

LINKS = 4
COST = 88

acts = st.tuples(
    st.sampled_from(["move", "send", "send", "send many", "arrive", "arrive", "arrive", "lose", "close"]),
    st.integers(0, LINKS - 1),
)


class Wires:
    """A sender that uses one of several links at a time, and a receiver at their other ends."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.lost: list[int] = []
        self.order: Order[int] = Order(self._deliver, most, self.lost.append)
        self.on_the_way: dict[int, deque[InOrder]] = {}
        self.sent: dict[int, int] = {}
        self.ends: set[int] = set()
        self.in_use = 0
        self.next_number = 0
        self.heard: list[int] = []
        for link in range(LINKS):
            self.on_the_way[link], self.sent[link] = deque(), 0
            self.order.opened(link, bytes([link] * 16), "peer")

    def _deliver(self, link: int, item: InOrder) -> None:
        if isinstance(item, MessageRun):
            self.heard += [int(message.payload) for message in item]
        elif isinstance(item, Message):
            self.heard.append(int(item.payload))

    def move(self, link: int) -> None:
        if link != self.in_use and link not in self.ends:
            self.in_use = link
            followed = tuple((bytes([other] * 16), n) for other, n in self.sent.items() if n and other != link)
            if followed:
                self.on_the_way[link].append(FollowsReceived(followed, COST))

    def send(self, count: int = 1) -> None:
        if self.in_use not in self.ends:
            texts = [str(self.next_number + n).encode() for n in range(count)]
            item = run_of(0, "n", texts) if count > 1 else make_message(0, "n", texts[0], 64)
            self.on_the_way[self.in_use].append(item)
            self.next_number += count
            self.sent[self.in_use] += count

    def arrive(self, link: int) -> None:
        if self.on_the_way[link]:
            self.order.take(link, self.on_the_way[link].popleft())
        elif link in self.ends:
            self.order.closed(link)

    def close(self, link: int) -> None:
        """End a link behind what is on its way."""
        self.ends.add(link)

    def lose(self, link: int) -> None:
        """Cut a link, and lose what is on its way."""
        self.ends.add(link)
        self.on_the_way[link].clear()
        self.order.closed(link)


@given(st.lists(acts, max_size=80))
def test_what_comes_over_many_links_is_handled_in_the_order_of_sending(steps: list[tuple[str, int]]) -> None:
    wires = Wires()
    for what, link in steps:
        if what == "send":
            wires.send()
        elif what == "send many":
            wires.send(3)
        elif what == "lose" and wires.next_number < 6:
            continue  # late losses find more to go wrong
        else:
            getattr(wires, what)(link)
        assert wires.heard == list(range(len(wires.heard))), "in order, none left out"
    waited = len(wires.heard)
    while any(wires.on_the_way.values()):
        for link in range(LINKS):
            wires.arrive(link)
    assert wires.heard == list(range(len(wires.heard)))
    if not any(what == "lose" for what, _ in steps):
        assert wires.heard == list(range(wires.next_number))
        assert wires.lost == []
    event(f"{len(wires.heard) - waited > 0}")
    event(f"lost: {bool(wires.lost)}")


def held(order: Order[int], link: int, number: int, *after: tuple[int, int]) -> None:
    order.take(link, FollowsReceived(tuple((bytes([other] * 16), count) for other, count in after), COST))
    order.take(link, make_message(0, "n", str(number).encode(), COST))


def test_messages_that_follow_what_is_lost_are_lost_and_that_is_told() -> None:
    wires = Wires()
    held(wires.order, 1, 5, (0, 1))
    held(wires.order, 2, 6, (1, 1))
    held(wires.order, 3, 7, (0, 1), (1, 1))
    assert wires.lost == []
    wires.order.closed(0)
    wires.order.take(1, make_message(0, "n", b"8", COST))
    assert sorted(wires.lost) == [1, 2, 3]
    assert wires.heard == []


def test_what_follows_a_link_that_went_before_is_lost_unless_that_had_brought_enough() -> None:
    wires = Wires()
    wires.order.take(0, make_message(0, "n", b"0", COST))
    wires.order.closed(0)
    held(wires.order, 1, 1, (0, 1))
    assert (wires.heard, wires.lost) == ([0, 1], [])
    held(wires.order, 2, 3, (0, 2))
    assert (wires.heard, wires.lost) == ([0, 1], [2])


def test_what_waits_for_nothing_that_is_known_does_not_wait() -> None:
    wires = Wires()
    held(wires.order, 1, 1, (77, 9), (1, 50))
    assert wires.heard == [1]


def test_what_is_held_when_the_session_ends_is_dropped_and_so_is_what_comes_later() -> None:
    wires = Wires()
    wires.order.opened(9, b"9" * 16, "somebody else")
    held(wires.order, 2, 2, (1, 1))
    held(wires.order, 1, 1, (0, 7))
    held(wires.order, 9, 9, (0, 7))
    wires.order.end("another", ())
    assert wires.heard == []
    wires.order.end("peer", range(LINKS))
    wires.order.take(0, make_message(0, "n", b"3", COST))
    assert [number for number in wires.heard if number != 9] == []
    assert wires.lost == [9], "the session that has ended need not be told of"
    wires.order.closed(0)
    wires.order.opened(0, b"new" * 5 + b"!", "peer")
    wires.order.take(0, make_message(0, "n", b"4", COST))
    assert wires.heard == [4]


def test_links_that_wait_for_each_other_are_forgotten_with_the_session() -> None:
    wires = Wires()
    held(wires.order, 1, 1, (2, 1))
    held(wires.order, 2, 2, (1, 1))
    wires.order.end("peer", range(LINKS))
    assert (wires.heard, wires.lost) == ([], [])
    wires.order.opened(8, b"8" * 16, "peer")
    wires.order.take(8, make_message(0, "n", b"3", COST))
    assert wires.heard == [3]


def test_what_links_that_are_gone_have_left_behind_has_an_end() -> None:
    wires = Wires(most=2 * COST * 2)
    wires.order.take(1, make_message(0, "n", b"0", COST))
    for link, number in ((1, 1), (2, 2), (3, 3)):
        held(wires.order, link, number, (0, 1))
        wires.order.closed(link)
    assert wires.lost == [3]
    wires.order.take(0, make_message(0, "n", b"9", COST))
    assert wires.heard == [0, 9, 1, 2]
