"""Scrape over UDP: what is asked, and what the answers are taken for (BEP 15)."""

from __future__ import annotations

import math
from dataclasses import replace
from struct import pack

import pytest
from tests.unit.bittorrent.test_tracker_udp import CONNECTION, REQUEST, Counting, asked, connected

from librats.bittorrent.tracker_scrape import MAX_SCRAPED, SwarmCounts
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RemoteProtocolError, UsageError

HASHES = [b"a" * 20, b"b" * 20]


def scraping(hashes: list[bytes] = HASHES) -> tuple[UdpTracker, bytes]:
    """Return a tracker that was asked over its connection, and the number of the transaction."""
    tracker = UdpTracker(Counting(), path="/announce")
    tracker.scrape(hashes, now=0.0)
    connected(tracker, 0.0)
    return tracker, asked(tracker)[12:16]


def test_a_connection_is_asked_for_and_then_about_the_torrents() -> None:
    tracker = UdpTracker(Counting(), path="/announce?key")  # options follow an announcement alone (BEP 41)
    tracker.scrape(HASHES, now=100.0)
    connected(tracker, 100.5)
    request = asked(tracker)
    assert request == pack(">QI", CONNECTION, 2) + request[12:16] + b"a" * 20 + b"b" * 20
    tracker.receive_datagram(pack(">I", 2) + request[12:16] + pack(">iiiiii", 5, 50, 10, 6, 60, 11), 101.0)
    assert tracker.counts == (
        SwarmCounts(seeds=5, downloaded=50, leechers=10),
        SwarmCounts(seeds=6, downloaded=60, leechers=11),
    )
    assert tracker.next_time == math.inf


def test_as_many_torrents_as_a_packet_has_room_for_are_asked_about() -> None:
    hashes = [bytes([number]) * 20 for number in range(MAX_SCRAPED)]
    tracker = UdpTracker(Counting())
    tracker.scrape(hashes, now=0.0)
    connected(tracker, 0.0)
    request = asked(tracker)
    assert len(request) == 16 + 74 * 20
    tracker.receive_datagram(pack(">I", 2) + request[12:16] + bytes(74 * 12), 0.0)
    assert tracker.counts is not None
    assert len(tracker.counts) == 74


@pytest.mark.parametrize("hashes", [[], [b"a" * 20] * 75, [b"a" * 32]])
def test_more_than_that_or_another_length_is_refused(hashes: list[bytes]) -> None:
    tracker = UdpTracker(Counting())
    with pytest.raises(UsageError):
        tracker.scrape(hashes, now=0.0)
    assert (tracker.datagrams_to_send(), tracker.next_time) == ([], math.inf)


def test_negative_counts_are_none() -> None:
    tracker, number = scraping(HASHES[:1])
    tracker.receive_datagram(pack(">I", 2) + number + pack(">iii", -1, -(2**31), 2**31 - 1), 0.0)
    assert tracker.counts == (SwarmCounts(seeds=0, downloaded=0, leechers=2**31 - 1),)


@pytest.mark.parametrize("size", [0, 1, 12, 23])
def test_an_answer_that_leaves_torrents_out_is_refused(size: int) -> None:
    tracker, number = scraping()
    with pytest.raises(RemoteProtocolError, match="leaves out"):
        tracker.receive_datagram(pack(">I", 2) + number + bytes(size), 0.0)
    assert (tracker.counts, tracker.next_time) == (None, math.inf)


def test_what_follows_the_counts_is_passed_over() -> None:
    tracker, number = scraping(HASHES[:1])
    tracker.receive_datagram(pack(">I", 2) + number + bytes(12) + b"more", 0.0)
    assert tracker.counts == (SwarmCounts(seeds=0, downloaded=0, leechers=0),)


def test_an_answer_to_another_question_is_dropped() -> None:
    tracker, number = scraping(HASHES[:1])
    wrong = (int.from_bytes(number) + 1).to_bytes(4)
    for datagram in (
        pack(">I", 2) + wrong + bytes(12),
        pack(">I", 1) + number + bytes(20),
        bytes(4) + number + bytes(8),
    ):
        tracker.receive_datagram(datagram, 0.0)
    assert (tracker.counts, tracker.reply) == (None, None)
    assert tracker.next_time < math.inf


def test_a_refusal_is_told_in_the_words_of_the_tracker() -> None:
    tracker, number = scraping()
    with pytest.raises(RemoteProtocolError, match="refuses: no scrapes"):
        tracker.receive_datagram(pack(">I", 3) + number + b"no scrapes", 0.0)


def test_what_is_not_answered_is_asked_again_and_given_up() -> None:
    tracker, _ = scraping()
    waits = []
    for _ in range(8):
        before = tracker.next_time
        tracker.handle_timer(before)
        assert asked(tracker)
        waits.append(tracker.next_time - before)
    assert waits == [15.0 * 2**n for n in range(1, 9)]
    with pytest.raises(TimeoutError):
        tracker.handle_timer(tracker.next_time)


def test_a_connection_serves_announcements_and_scrapes_alike() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=0.0)
    connected(tracker, 0.0)
    tracker.receive_datagram(pack(">I", 1) + asked(tracker)[12:16] + bytes(12), 1.0)
    tracker.scrape(HASHES[:1], now=2.0)
    request = asked(tracker)
    assert request[:12] == pack(">QI", CONNECTION, 2)
    tracker.receive_datagram(pack(">I", 3) + request[12:16] + b"who are you?", 3.0)  # it has forgotten the connection
    again = asked(tracker)
    assert again[8:12] == bytes(4)
    tracker.receive_datagram(bytes(4) + again[12:16] + b"another1", 4.0)
    last = asked(tracker)
    assert last[:12] == b"another1" + pack(">I", 2)
    tracker.receive_datagram(pack(">I", 2) + last[12:16] + pack(">iii", 1, 2, 3), 5.0)
    assert tracker.counts == (SwarmCounts(seeds=1, downloaded=2, leechers=3),)


def test_what_was_told_before_is_no_answer_to_another_scrape() -> None:
    tracker, number = scraping(HASHES[:1])
    tracker.receive_datagram(pack(">I", 2) + number + bytes(12), 0.0)
    tracker.scrape(HASHES[1:], now=1.0)
    assert tracker.counts is None
    tracker.receive_datagram(pack(">I", 2) + number + bytes(12), 1.0)
    assert tracker.counts is None


def test_who_has_all_that_is_wanted_has_no_event_of_its_own_over_udp() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(replace(REQUEST, event="paused", left=7), now=0.0)
    connected(tracker, 0.0)
    request = asked(tracker)
    assert (int.from_bytes(request[64:72]), int.from_bytes(request[80:84])) == (7, 0)
