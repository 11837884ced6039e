"""When a stream says again what nobody has heard, packet by packet: how soon, how often, and when it gives up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.simulation.joined_tables import END, READABLE, End, World

from librats._core.rudp_stream import RudpStream
from librats.rudp.constants import CloseCause

QUESTION, ANSWER = bytes(48), bytes(352)
ACK_DELAY = 0.02
"""What peers may wait before they acknowledge, in seconds."""

LEAST = 0.03
"""Seconds between two repetitions at least."""

MOST = 6.0
"""Seconds between two repetitions at most."""

PADDED = 1220

SYN_WAIT = 0.25


class Conversation:
    """A stream between two ends, on a path that loses nothing until it is cut."""

    def __init__(
        self,
        *,
        delay: float = 0.05,
        extended: bool = True,
        syns_lost: int = 0,
        settled: bool = True,
        cookie: bool = False,
    ) -> None:
        self.world = World("conversation")
        self.one = self.world.end("192.0.2.1", extended=extended)
        self.other = self.world.end("192.0.2.2", cookie_after=0 if cookie else 1024)
        self.one.keeps_sent = True
        self.near = self.one.dial(self.other, wait=SYN_WAIT if syns_lost else 0.5, doubling=False)
        if syns_lost:
            self.world.run(syns_lost * SYN_WAIT - 0.001)
        self.world.join(self.one, self.other, delay=delay)
        self.world.run(4 * delay + 0.05, until=lambda: self.near.is_open and not settled)
        [self.far] = self.other.streams

    def talk(self, questions: int = 30) -> None:
        """Ask and answer, so that both ends know how long a round trip takes."""
        self.one.on_event = lambda stream, bits: stream.take()
        self.other.on_event = lambda stream, bits: stream.write(ANSWER) if stream.take() else None
        for _ in range(questions):
            self.say(self.one, self.near, QUESTION)
            self.world.run(1)

    @staticmethod
    def say(end: End, stream: RudpStream, data: bytes) -> None:
        assert stream.write(data) == len(data)
        end.wake()

    def cut(self) -> None:
        self.one.links.clear()
        self.other.links.clear()

    def repeated(self, size: int = len(QUESTION), *, by: str = "dialer", seconds: float = 100.0) -> list[list[int]]:
        """Say something on a path that is cut, and return the sizes of what is sent at once, time by time."""
        end, stream = (self.one, self.near) if by == "dialer" else (self.other, self.far)
        self.cut()
        end.keeps_sent = True
        end.sent.clear()
        self.say(end, stream, bytes(size))
        self.world.run(seconds)
        sent: dict[float, list[int]] = {}
        for when, data in end.sent:
            sent.setdefault(round(when, 6), []).append(len(data))
        self.times = list(sent)
        return list(sent.values())

    @property
    def gaps(self) -> list[float]:
        """Seconds between two times of sending."""
        return [after - before for before, after in pairwise(self.times)]


def near(*seconds: float) -> object:
    return pytest.approx(list(seconds), rel=0.02, abs=0.001)


@pytest.mark.parametrize("delay", [0.01, 0.05])
def test_few_bytes_are_repeated_evenly_eight_times_and_then_ever_more_seldom(delay: float) -> None:
    met = Conversation(delay=delay)
    met.talk()
    assert met.repeated() == [[64]] * 19
    first = 2 * delay + ACK_DELAY
    doubled = [0.2, 0.4, 0.8, 1.6, 3.2]
    assert met.gaps == near(first, *[max(first / 2, LEAST)] * 8, *doubled, *[MOST] * 4)
    assert met.near.cause == CloseCause.LOST


def test_the_end_comes_a_last_timeout_after_the_last_repetition() -> None:
    met = Conversation()
    met.talk()
    met.repeated(seconds=0.12 + 8 * 0.06 + 6.2 + 5 * MOST - 1)
    assert met.near.is_open
    met.world.run(2)
    assert not met.near.is_open


def test_round_trips_that_vary_are_waited_for_once_more_at_the_most() -> None:
    met = Conversation()
    met.talk(10)
    [there] = met.one.links.values()
    for number in range(20):
        there.delay = 0.05 if number % 2 else 0.15
        met.talk(1)
    rtt = met.near.rtt
    assert rtt is not None
    met.repeated(seconds=1)
    first = 2 * rtt + ACK_DELAY  # four times their deviation is more than one of them
    assert met.gaps[:5] == near(first, *[first / 2] * 4)


def test_2400_bytes_are_few_and_go_again_together() -> None:
    met = Conversation(delay=0.01)
    met.talk()
    assert met.repeated(2400, seconds=0.18) == [[1220, 1212]] * 6
    assert met.gaps == near(0.04, *[LEAST] * 4)


def test_of_more_the_last_packet_goes_again_twice_and_then_all_with_timeouts_that_double() -> None:
    met = Conversation(delay=0.01)
    met.talk()
    assert met.repeated(2401, seconds=50) == [[1220, 1213], [1213], [1213], *[[1220, 1213]] * 10]
    assert met.gaps == near(0.04, 2 * (0.02 + 0.00375 + ACK_DELAY), 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[MOST] * 4)
    assert not met.near.is_open


def test_where_no_round_trip_was_measured_few_bytes_are_repeated_evenly_for_a_quarter_of_a_second() -> None:
    met = Conversation(delay=0.01, syns_lost=1, settled=False)
    assert met.near.rtt is None
    met.repeated(seconds=1)
    first = 3 * 0.02 + ACK_DELAY
    assert met.gaps[:5] == near(*[first] * 4, 2 * first)


def test_where_no_round_trip_was_measured_more_bytes_wait_as_long_at_first() -> None:
    met = Conversation(delay=0.01, syns_lost=1, settled=False)
    assert met.near.rtt is None
    met.repeated(3000, seconds=0.1)
    assert met.gaps == near(3 * 0.02 + ACK_DELAY)


def test_in_librats_2s_packets_few_bytes_are_as_many() -> None:
    met = Conversation(delay=0.01, extended=False)
    met.talk()
    met.repeated(seconds=3)
    assert met.gaps[2:6] == near(0.1, 0.2, 0.4, 0.8)


@pytest.mark.parametrize(("delay", "most"), [(0.01, 0.2), (0.3, 1.2)])
def test_before_the_peer_has_said_much_nothing_waits_longer_than_two_round_trips(delay: float, most: float) -> None:
    met = Conversation(delay=delay)
    assert len(met.repeated(by="acceptor")) == 41
    assert max(met.gaps) == pytest.approx(most, rel=0.02)
    assert met.gaps[20:] == near(*[most] * 20)
    assert met.far.cause == CloseCause.LOST


@pytest.mark.parametrize(("heard", "begins"), [(255, True), (256, False)])
def test_much_is_256_bytes(heard: int, begins: bool) -> None:
    met = Conversation(delay=0.01)
    met.say(met.other, met.far, bytes(heard))
    met.world.run(0.5)
    sent = met.repeated()
    assert (max(met.gaps[5:]) < 0.3, len(sent) == 41) == (begins, begins)
    assert (sent[-1] == [PADDED, 64]) is begins


@pytest.mark.parametrize(("delay", "most"), [(0.01, 0.2), (0.04, 0.2)])
def test_what_begins_is_repeated_soon_and_half_a_round_trip_apart_once_that_had_to_be(
    delay: float, most: float
) -> None:
    met = Conversation(delay=delay)
    met.repeated(by="acceptor", seconds=5)
    first, again = 2.5 * delay + ACK_DELAY, max(delay, LEAST)
    assert met.gaps[:11] == near(first, *[again] * 8, most, most)


def test_where_syns_were_lost_already_the_first_repetition_is_as_soon_as_the_others() -> None:
    met = Conversation(delay=0.04, syns_lost=2)
    met.world.run(100)  # until nothing is asked any more
    met.repeated(seconds=1)
    assert met.gaps[:8] == near(*[0.04] * 8)


def test_that_a_cookie_was_asked_for_is_no_sign_of_losses() -> None:
    met = Conversation(delay=0.04, cookie=True)
    met.world.run(100)
    met.repeated(seconds=1)
    assert met.gaps[0] == pytest.approx(1.25 * 0.08 + ACK_DELAY, rel=0.02)


def test_an_answer_that_takes_longer_than_all_timeouts_is_heard_all_the_same() -> None:
    met = Conversation(delay=0.01)
    for link in (*met.one.links.values(), *met.other.links.values()):
        link.delay = 0.4
    met.say(met.other, met.far, QUESTION)
    met.world.run(30)
    assert met.far.is_open
    assert met.far.rtt is not None
    assert met.far.rtt > 0.5
    met.other.keeps_sent = True
    met.other.sent.clear()
    met.world.run(30)
    assert len(met.other.sent) < 20


def test_who_has_dialled_lets_the_peer_answer_with_every_repetition_and_who_was_dialled_does_not() -> None:
    met = Conversation(delay=0.01)
    sent = met.repeated()
    assert sent[1:] == [[PADDED, 64]] * 40
    met = Conversation(delay=0.01)
    assert met.repeated(by="acceptor") == [[64]] * 41


@pytest.mark.parametrize("syns_lost", [0, 2])
def test_who_has_dialled_asks_six_times_at_the_most_for_an_answer_to_what_has_come_and_ever_more_seldom(
    syns_lost: int,
) -> None:
    met = Conversation(delay=0.01, syns_lost=syns_lost)
    met.say(met.one, met.near, QUESTION)
    met.world.run(100)
    times = [when for when, data in met.one.sent if len(data) == PADDED]
    gaps = [after - before for before, after in pairwise(times)]
    assert 4 <= len(times) <= 6
    assert gaps == sorted(gaps)
    assert gaps[-1] > 16 * LEAST
    assert met.near.is_open


def test_where_the_peer_has_said_much_its_silence_is_not_asked_about() -> None:
    met = Conversation(delay=0.01)
    met.talk()
    met.one.sent.clear()
    met.world.run(5)
    assert met.one.sent == []


def test_what_is_said_while_an_answer_is_waited_for_is_repeated_no_later_than_anything_else() -> None:
    met = Conversation(delay=0.01)
    met.say(met.one, met.near, QUESTION)
    met.world.run(0.9)  # the next question whether there is an answer comes in more than half a second
    met.repeated(seconds=1)
    assert met.gaps[0] < 0.1


@pytest.mark.parametrize(("delay", "least", "most"), [(0.01, 2.0, 2.2), (0.5, 3.0, 3.3)])
def test_a_finished_stream_is_kept_for_as_long_as_its_last_word_may_have_to_be_repeated(
    delay: float, least: float, most: float
) -> None:
    met = Conversation(delay=delay)
    for _ in range(20):
        met.say(met.one, met.near, QUESTION)
        met.world.run(3)
        met.say(met.other, met.far, ANSWER)
        met.world.run(3)
    ended = []

    def take(stream: RudpStream, bits: int) -> None:
        if bits & READABLE:
            stream.take()
        if bits & END:
            ended.append(met.world.now)

    met.one.on_event = met.other.on_event = take
    for end, stream in ((met.one, met.near), (met.other, met.far)):
        stream.finish()
        end.wake()
    acknowledged = met.world.now + 2 * delay
    met.world.run(least + 2 * delay - 0.05)
    assert len(ended) == 2
    assert (len(met.one.table), len(met.other.table)) == (1, 1)
    met.world.run(acknowledged + most - met.world.now)
    assert (len(met.one.table), len(met.other.table)) == (0, 0)
