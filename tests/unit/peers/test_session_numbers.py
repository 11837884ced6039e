"""Links of one session, of an earlier one and of the next are told apart by numbers."""

from __future__ import annotations

import argparse
from typing import Any

from librats.peers.links.session_numbers import SessionNumbers

PEER = "ab" * 32


def a_link(incarnation: bytes = b"first", *, usable: bool = True) -> Any:
    greeting = argparse.Namespace(incarnation=incarnation)

    class Link:
        peer_id = PEER
        is_usable = usable
        opened = argparse.Namespace(greeting=greeting)

    return Link()


def a_peer(*links: Any) -> Any:
    return argparse.Namespace(id=PEER, link=links[0], links=list(links))


def begun(numbers: SessionNumbers, theirs: int = 7) -> tuple[Any, Any, int]:
    link = a_link()
    told = numbers.tell(link, None)
    numbers.begin(link, theirs)
    return link, a_peer(link), told


def test_links_of_one_session_tell_the_same_number_and_later_sessions_a_greater_one() -> None:
    numbers = SessionNumbers()
    first, rival = a_link(), a_link()
    told = numbers.tell(first, None)
    assert numbers.tell(rival, None) == told > 0
    numbers.begin(first, 1)
    assert numbers.tell(a_link(), a_peer(first)) == told
    numbers.end(PEER)
    assert numbers.tell(a_link(), None) > told


def test_a_link_made_while_the_session_is_ending_is_of_the_next_one() -> None:
    numbers = SessionNumbers()
    link, peer, told = begun(numbers)
    link.is_usable = False
    later, other = a_link(), a_link()
    assert numbers.tell(later, peer) > told
    assert numbers.tell(other, peer) == numbers.tell(later, peer)
    assert numbers.end(PEER) == []


def test_links_that_were_let_in_as_more_of_a_session_come_to_nothing_with_it() -> None:
    numbers = SessionNumbers()
    _, peer, _ = begun(numbers)
    late, used = a_link(), a_link()
    for link in (late, used):
        numbers.tell(link, peer)
    numbers.joined(used)
    assert numbers.end(PEER) == [late]
    assert numbers.end(PEER) == []


def test_a_greater_number_of_the_peer_begins_anew_and_a_smaller_one_is_late() -> None:
    numbers = SessionNumbers()
    _, peer, _ = begun(numbers, theirs=7)
    for theirs, why, is_late in ((7, "", False), (8, "the peer has begun anew", False), (6, "", True), (0, "", False)):
        assert (numbers.why_over(a_link(), peer, theirs), numbers.is_late(a_link(), theirs)) == (why, is_late)
    assert numbers.why_over(a_link(b"second"), peer, 1) == "the peer was restarted"


def test_a_peer_that_tells_no_number_is_never_late() -> None:
    numbers = SessionNumbers()
    _, peer, _ = begun(numbers, theirs=0)
    assert numbers.why_over(a_link(), peer, 3) == ""
    assert not numbers.is_late(a_link(), 3)


def test_nothing_is_kept_of_links_that_came_to_nothing() -> None:
    numbers = SessionNumbers()
    one, other = a_link(), a_link()
    for link in (one, other):
        numbers.tell(link, None)
    numbers.closed(one)
    assert numbers._next
    numbers.closed(other)
    numbers.closed(other)
    _, _, _ = begun(numbers)
    numbers.end(PEER)
    assert [numbers._next, numbers._told, numbers._sessions] == [{}, {}, {}]
