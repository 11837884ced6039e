"""Trackers over UDP: connect, announce, ask again, give up (BEP 15)."""

from __future__ import annotations

import math
from dataclasses import replace
from struct import pack, unpack

import pytest

from librats.bittorrent.tracker_http import AnnounceRequest
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RemoteProtocolError, UsageError
from librats.types import Address

REQUEST = AnnounceRequest(
    info_hash=b"h" * 20, peer_id=b"p" * 20, port=6881, uploaded=1, downloaded=2, left=3, event="started", key=9
)
CONNECTION = 0x1122334455667788


class Counting:
    """Entropy that counts up."""

    def __init__(self) -> None:
        self._count = 0

    def token_bytes(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size)

    def randbelow(self, limit: int) -> int:
        return 0

    def uniform(self, low: float, high: float) -> float:
        return low


def asked(tracker: UdpTracker) -> bytes:
    (datagram,) = tracker.datagrams_to_send()
    return datagram


def connected(tracker: UdpTracker, now: float) -> None:
    request = asked(tracker)
    assert request[:12] == bytes.fromhex("0000041727101980") + bytes(4)
    tracker.receive_datagram(bytes(4) + request[12:16] + CONNECTION.to_bytes(8), now)


def test_a_connection_is_asked_for_and_then_announced_to() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=100.0)
    connected(tracker, 100.5)
    request = asked(tracker)
    assert len(request) == 98
    fields = unpack(">QII20s20sQQQIIIiH", request)
    assert fields[:2] == (CONNECTION, 1)
    assert fields[3:] == (b"h" * 20, b"p" * 20, 2, 3, 1, 2, 0, 9, 50, 6881)
    answer = pack(">IIIII", 1, fields[2], 1800, 5, 6) + bytes([192, 0, 2, 1, 0, 80]) + bytes(3)
    tracker.receive_datagram(answer, 101.0)
    assert tracker.reply is not None
    assert tracker.reply.peers == (Address("192.0.2.1", 80),)
    assert (tracker.reply.interval, tracker.reply.leechers, tracker.reply.seeds) == (1800, 5, 6)
    assert tracker.next_time == math.inf


@pytest.mark.parametrize(("told", "taken"), [(0, 1), (1, 1), (86_400, 86_400), (86_401, 86_400)])
def test_a_tracker_is_asked_again_after_a_second_at_the_least_and_a_day_at_the_most(told: int, taken: int) -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=0.0)
    connected(tracker, 0.0)
    (number,) = unpack(">I", asked(tracker)[12:16])
    tracker.receive_datagram(pack(">IIIII", 1, number, told, 2**31, 2**32 - 1), 0.0)
    assert tracker.reply is not None
    assert tracker.reply.interval == taken
    assert (tracker.reply.leechers, tracker.reply.seeds) == (2**31 - 1, 2**31 - 1)


def test_a_connection_is_used_for_a_minute() -> None:
    tracker = UdpTracker(Counting(), ipv6=True)
    tracker.announce(REQUEST, now=0.0)
    connected(tracker, 0.0)
    answer = pack(">II", 1, int.from_bytes(asked(tracker)[12:16])) + bytes(12)
    tracker.receive_datagram(answer + bytes(15) + b"\1\0\x50", 0.0)
    assert tracker.reply is not None
    assert tracker.reply.peers == (Address("::1", 80),)
    tracker.announce(replace(REQUEST, event="stopped"), now=59.0)
    assert asked(tracker)[:8] == CONNECTION.to_bytes(8)
    tracker.announce(REQUEST, now=60.0)
    assert len(asked(tracker)) == 16


def test_what_is_not_answered_is_sent_again_ever_later_and_given_up() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=0.0)
    times = []
    for _ in range(9):
        assert asked(tracker)
        times.append(tracker.next_time)
        tracker.handle_timer(tracker.next_time - 0.1)
        assert not tracker.datagrams_to_send()
        if len(times) < 9:
            tracker.handle_timer(tracker.next_time)
    with pytest.raises(TimeoutError):
        tracker.handle_timer(tracker.next_time)
    waits = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert waits == [15.0 * 2**n for n in range(9)]
    assert tracker.next_time == math.inf


def test_what_answers_another_question_is_dropped() -> None:
    tracker = UdpTracker(Counting())
    tracker.receive_datagram(bytes(16), 0.0)
    tracker.announce(REQUEST, now=0.0)
    number = asked(tracker)[12:16]
    for datagram in (b"", bytes(7), bytes(16), pack(">I", 1) + number + bytes(20), bytes(4) + number + bytes(7)):
        tracker.receive_datagram(datagram, 1.0)
    assert not tracker.datagrams_to_send()
    assert tracker.reply is None


def test_a_refusal_is_told_in_the_words_of_the_tracker() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=0.0)
    with pytest.raises(RemoteProtocolError, match="go away"):
        tracker.receive_datagram(pack(">I", 3) + asked(tracker)[12:16] + b"go away", 1.0)
    assert tracker.next_time == math.inf


def test_a_connection_of_an_earlier_announcement_that_is_refused_is_made_anew_once() -> None:
    tracker = UdpTracker(Counting())
    tracker.announce(REQUEST, now=0.0)
    connected(tracker, 0.0)
    tracker.receive_datagram(pack(">IIIII", 1, 0, 60, 0, 0)[:4] + asked(tracker)[12:16] + bytes(12), 1.0)
    assert tracker.reply is not None
    tracker.announce(REQUEST, now=2.0)
    refusal = pack(">I", 3) + asked(tracker)[12:16] + b"who are you?"
    tracker.receive_datagram(refusal, 3.0)
    request = asked(tracker)
    assert (len(request), request[8:12]) == (16, bytes(4))
    tracker.receive_datagram(bytes(4) + request[12:16] + b"another1", 4.0)
    announcement = asked(tracker)
    assert announcement[:8] == b"another1"
    with pytest.raises(RemoteProtocolError, match="who are you"):
        tracker.receive_datagram(refusal[:4] + announcement[12:16] + b"who are you?", 5.0)


def test_the_path_of_its_url_is_told() -> None:
    tracker = UdpTracker(Counting(), path="/announce?" + "x" * 300)
    tracker.announce(REQUEST, now=0.0)
    connected(tracker, 0.0)
    options = asked(tracker)[98:]
    assert options[:12] == b"\2\xff/announce?"
    assert options[257:] == b"\2\x37" + b"x" * 55 + b"\0"


def test_a_number_that_has_no_room_is_told() -> None:
    tracker = UdpTracker(Counting())
    with pytest.raises(UsageError, match="out of range"):
        tracker.announce(replace(REQUEST, left=-1), now=0.0)
