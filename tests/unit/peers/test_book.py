"""The peer book: what is noted, in which order addresses are dialled, and what is dropped."""

from __future__ import annotations

import pytest

from librats import Address, KnownAddress, PeerBook, UsageError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
HERE = Address("192.0.2.1", 8081)
THERE = Address("2001:db8::1", 8082)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> PeerBook:
    return PeerBook(clock=clock)


def test_a_session_that_we_dialled_is_noted_with_its_address(book: PeerBook, clock: Clock) -> None:
    book.connected(A, HERE, outgoing=True, listen=[str(THERE)], agent="test/1")
    clock.now = 1010.0
    book.parted(A)
    clock.now = 1020.0
    book.connected(A, HERE, outgoing=True)
    peer = book[A]
    assert (peer.first_seen, peer.last_seen, peer.sessions, peer.met) == (1000.0, 1020.0, 2, "dialled")
    assert (peer.agent, peer.listen) == ("test/1", (str(THERE),))
    assert peer.addresses == {"192.0.2.1:8081": KnownAddress(last_success=1020.0)}
    assert book.addresses_of(A) == [HERE, THERE]


def test_where_a_peer_dialled_from_is_not_where_to_dial_it(book: PeerBook) -> None:
    book.connected(A, Address("192.0.2.1", 40000), outgoing=False, listen=[str(HERE)])
    assert book[A].met == "accepted"
    assert book[A].addresses == {}
    assert book.addresses_of(A) == [HERE]
    assert book.addresses_of(B) == []


def test_what_a_peer_says_last_about_its_addresses_counts(book: PeerBook) -> None:
    book.connected(A, HERE, outgoing=False, listen=[str(HERE)])
    book.parted(A, listen=[str(THERE)])
    assert book.addresses_of(A) == [THERE]
    book.parted(B)
    assert B not in book


def test_addresses_that_fail_are_dialled_last(book: PeerBook, clock: Clock) -> None:
    others = [Address("192.0.2.1", port) for port in (1, 2, 3)]
    for port in (1, 2, 3):
        clock.now += 1
        book.connected(A, Address("192.0.2.1", port), outgoing=True)
    assert [address.port for address in book.addresses_of(A)] == [3, 2, 1]
    book.failed(A, others[1:])
    book.failed(A, [*others[2:], THERE])
    assert [address.port for address in book.addresses_of(A)] == [1, 2, 3]
    assert book[A].addresses["192.0.2.1:3"].failures == 2
    assert book[A].addresses["192.0.2.1:3"].last_failure == clock.now
    assert str(THERE) not in book[A].addresses
    book.connected(A, others[2], outgoing=True)
    assert book[A].addresses["192.0.2.1:3"] == KnownAddress(last_success=clock.now, last_failure=clock.now, failures=0)
    assert book.addresses_of(A)[0].port == 3
    book.failed(B, others)
    assert B not in book


def test_a_host_name_is_noted_beside_the_address_that_it_led_to(book: PeerBook) -> None:
    book.connected(A, HERE, outgoing=True)
    book.reached(A, Address("peer.example", 8081))
    assert Address("peer.example", 8081) in book.addresses_of(A)
    book.reached(A, Address("x" * 1000, 1))
    book.reached(B, HERE)
    assert len(book.addresses_of(A)) == 2
    assert B not in book


def test_the_application_enters_peers_and_favourites(book: PeerBook) -> None:
    book.add(A, ["192.0.2.1:8081", THERE])
    book.add(A, [HERE], favourite=True)
    book.add(A, [HERE])
    assert book[A].met == "added"
    assert book[A].sessions == 0
    assert book[A].favourite
    assert book.addresses_of(A) == [HERE, THERE]
    book.set_favourite(A, False)
    assert not book[A].favourite
    assert book.ever == {}


@pytest.mark.parametrize(("peer_id", "address"), [("a", "h:1"), ("A" * 64, "h:1"), (A, "h"), (A, "h:0"), (A, "h:x")])
def test_what_is_no_peer_id_or_no_address_is_refused(book: PeerBook, peer_id: str, address: str) -> None:
    with pytest.raises(UsageError):
        book.add(peer_id, [address])
    with pytest.raises(UsageError, match="not in the book"):
        book.set_favourite(peer_id)
    assert len(book) == 0


def test_forgetting_leaves_no_trace(book: PeerBook) -> None:
    book.connected(A, HERE, outgoing=True)
    assert A in book.ever
    assert book.forget(A)
    assert not book.forget(A)
    assert A not in book
    assert A not in book.ever


def test_the_least_recently_seen_goes_first_and_favourites_last(clock: Clock) -> None:
    book = PeerBook(clock=clock, max_peers=3, max_ever=4)
    ids = [f"{number:064x}" for number in range(8)]
    book.add(ids[0], [HERE], favourite=True)
    for peer_id in ids[1:4]:
        book.connected(peer_id, HERE, outgoing=True)
    assert list(book) == [ids[0], ids[2], ids[3]]
    book.connected(ids[2], HERE, outgoing=True)
    book.connected(ids[4], HERE, outgoing=True)
    assert list(book) == [ids[0], ids[2], ids[4]]
    assert list(book.ever) == [ids[1], ids[3], ids[2], ids[4]]
    for peer_id in ids[5:]:
        book.add(peer_id, [HERE], favourite=True)
    assert len(book) == 3


def test_a_peer_has_at_most_32_addresses_and_the_best_stay(book: PeerBook, clock: Clock) -> None:
    for port in range(1, 40):
        clock.now += 1
        book.connected(A, Address("192.0.2.1", port), outgoing=True, listen=[str(HERE)] * 50)
        book.failed(A, [Address("192.0.2.1", 7)])
    assert len(book[A].addresses) == 32
    assert "192.0.2.1:7" not in book[A].addresses
    assert "192.0.2.1:39" in book[A].addresses
    assert len(book[A].listen) == 32


def test_recent_peers_are_those_that_can_be_dialled_favourites_first(book: PeerBook, clock: Clock) -> None:
    book.add(C, [HERE], favourite=True)
    clock.now += 100
    ids = [f"{number:064x}" for number in range(5)]
    for peer_id in ids:
        clock.now += 1
        book.connected(peer_id, HERE, outgoing=peer_id != ids[2])
    assert book.recent(max_age=50, limit=10) == [C, ids[4], ids[3], ids[1], ids[0]]
    assert book.recent(max_age=1, limit=10) == [C, ids[4], ids[3]]
    assert book.recent(max_age=50, limit=2) == [C, ids[4]]


def test_every_change_is_told(clock: Clock) -> None:
    count = 0

    def changed() -> None:
        nonlocal count
        count += 1

    book = PeerBook(clock=clock, changed=changed)
    book.connected(A, HERE, outgoing=True)
    book.failed(A, [HERE])
    book.parted(A)
    book.reached(A, Address("h", 1))
    book.add(B, [HERE])
    book.set_favourite(B)
    book.forget(B)
    assert count == 7
    assert not book.forget(B)
    assert count == 7
    assert repr(book) == "<PeerBook of 1 peers>"


def test_what_a_peer_says_may_be_anything(book: PeerBook) -> None:
    book.connected(A, HERE, outgoing=False, listen=["nonsense", "name.example:1", "[::1]:0", "", str(THERE)])
    assert book.addresses_of(A) == [THERE]


@pytest.mark.timeout(10)
def test_identities_that_follow_each_other_in_a_ring_have_an_heir_all_the_same(book: PeerBook) -> None:
    for peer_id in (A, B, C):
        book.add(peer_id, [])
    for old, new in ((A, B), (B, C), (C, A)):
        book.succeeded(old, new, bytes(32), followed=True)
    assert [book.heir_of(peer_id) for peer_id in (A, B, C)] == [C, A, B]
