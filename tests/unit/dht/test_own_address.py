"""Our own address, by what others say of it."""

from __future__ import annotations

from librats.dht.addresses import compact
from librats.dht.own_address import FEWEST_VOTES, MOST_VOTES, SECONDS, OwnAddress

OURS, OTHER = compact("203.0.113.9", 6881), compact("198.51.100.7", 6881)


def voter(block: int, host: int = 1) -> bytes:
    return bytes([64 + (block >> 8), block & 255, 2, host, 26, 225])


def told(own: OwnAddress, seen_as: bytes, blocks: range, now: float = 1.0) -> int:
    return sum(own.told(seen_as, voter(block), now=now) for block in blocks)


def test_so_many_networks_make_an_address_ours_and_it_is_told_once() -> None:
    own = OwnAddress()
    assert told(own, OURS, range(FEWEST_VOTES - 1)) == 0
    assert own.address is None
    assert told(own, OURS, range(FEWEST_VOTES - 1, 20)) == 1
    assert own.address == OURS


def test_many_hosts_of_one_network_have_one_vote() -> None:
    own = OwnAddress()
    for host in range(1, 200):
        assert not own.told(OTHER, voter(1, host), now=1.0)
    assert own.address is None


def test_the_newest_vote_of_a_network_counts() -> None:
    own = OwnAddress()
    told(own, OTHER, range(FEWEST_VOTES - 1))
    assert told(own, OURS, range(FEWEST_VOTES)) == 1
    assert own.address == OURS


def test_a_third_of_the_networks_may_lie_and_change_nothing() -> None:
    own = OwnAddress()
    for block in range(60):
        own.told(OTHER if block % 3 == 0 else OURS, voter(block), now=1.0)
    assert own.address == OURS
    assert told(own, OTHER, range(0, 60, 3)) == 0
    assert own.address == OURS


def test_without_a_clear_majority_no_address_is_ours() -> None:
    own = OwnAddress()
    for block in range(60):
        own.told(OTHER if block % 2 else OURS, voter(block), now=1.0)
    assert own.address is None


def test_a_new_address_is_ours_once_most_see_us_there() -> None:
    own = OwnAddress()
    told(own, OURS, range(30))
    # Of 64 votes, 42 are less than two thirds, and 43 are more.
    assert told(own, OTHER, range(30, 30 + 42)) == 0
    assert told(own, OTHER, range(100, 101)) == 1
    assert own.address == OTHER


def test_old_votes_do_not_count() -> None:
    own = OwnAddress()
    told(own, OURS, range(60))
    assert told(own, OTHER, range(100, 100 + FEWEST_VOTES), now=1.0 + SECONDS) == 1
    assert own.address == OTHER


def test_no_more_votes_are_kept_than_so_many() -> None:
    own = OwnAddress()
    told(own, OURS, range(5000))
    assert len(own._votes) == MOST_VOTES
    assert sum(own._counts.values()) == MOST_VOTES


def test_the_port_is_that_which_most_see_us_at() -> None:
    own = OwnAddress()
    for block in range(9):
        own.told(OURS[:4] + (4000 + block % 2).to_bytes(2), voter(block), now=1.0)
    assert own.address == OURS[:4] + (4000).to_bytes(2)


def test_what_cannot_be_our_address_is_no_vote() -> None:
    own = OwnAddress()
    for seen_as in (b"", b"x", compact("2001:db8::1", 1), compact("127.0.0.1", 1), compact("224.0.0.1", 1), OURS[:4]):
        assert told(own, seen_as, range(20)) == 0
    assert len(own._votes) == 0


def test_an_address_of_ipv6_is_learnt_as_well() -> None:
    own, ours = OwnAddress(), compact("2001:db8::9", 6881)
    votes = [own.told(ours, compact(f"2001:{block:x}::1", 6881), now=1.0) for block in range(1, 10)]
    assert sum(votes) == 1
    assert own.address == ours
