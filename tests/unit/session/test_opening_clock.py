"""Deadlines of the stages of an opening, on a clock of the test's."""

from __future__ import annotations

from librats.config import SessionConfig
from librats.noise.dh import KEY_SIZE
from librats.session.greeting import Greeting
from librats.session.opening import Opening
from librats.session.opening_clock import OpeningClock

CONFIG = SessionConfig(handshake_timeout=15.0, first_byte_timeout=5.0, message_timeout=4.0, hello_timeout=10.0)


def opening(*, initiator: bool) -> Opening:
    greeting = Greeting(incarnation=bytes(8), message_window=1 << 20, max_message=1 << 20)
    key = bytes([initiator + 1]) * KEY_SIZE
    ephemeral = bytes([initiator + 3]) * KEY_SIZE
    return Opening(initiator=initiator, private_key=key, ephemeral=ephemeral, protocol="test/1", greeting=greeting)


class Crawl:
    """A responder to whom an initiator sends one byte now and then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ours, self.theirs = opening(initiator=False), opening(initiator=True)
        self.clock = OpeningClock(CONFIG, now=self.now)
        self.waiting = bytearray(self.theirs.data_to_send())

    def send(self, count: int, *, pause: float) -> str | None:
        """Send that many bytes with pauses between them; returns what expired, if something did."""
        for _ in range(count):
            self.now += pause
            late = self.clock.expired(now=self.now)
            if late is not None:
                return late
            self.ours.receive_data(bytes(self.waiting[:1]))
            del self.waiting[:1]
            self.clock.heard(self.ours.step, now=self.now)
            if answer := self.ours.data_to_send():
                self.theirs.receive_data(answer)
                self.waiting += self.theirs.data_to_send()
        return None


def test_who_says_nothing_is_given_up_after_the_first_stage() -> None:
    clock = OpeningClock(CONFIG, now=1000.0)
    assert clock.next_timer() == 1005.0
    assert clock.expired(now=1004.9) is None
    assert clock.expired(now=1005.0) == "nothing was heard within 5 s"


def test_a_byte_a_second_gains_no_time() -> None:
    crawl = Crawl()
    assert crawl.send(36, pause=1.0) == "handshake message 1 was not complete within 4 s"
    assert crawl.now == 1005.0


def test_each_message_has_its_own_time() -> None:
    crawl = Crawl()
    assert crawl.send(36, pause=0.1) is None
    assert crawl.clock.next_timer() == crawl.now + 4.0
    assert crawl.send(20, pause=1.0) == "handshake message 3 was not complete within 4 s"
    crawl = Crawl()
    assert crawl.send(36, pause=0.1) is None
    assert crawl.send(len(crawl.waiting), pause=0.03) is None
    assert crawl.ours.result is not None
    assert crawl.clock.expired(now=crawl.now + 7.9) is None
    crawl.now = max(1015.0, crawl.now)
    assert crawl.clock.expired(now=crawl.now) == "no handshake within 15 s"


def test_the_hello_has_its_time() -> None:
    clock = OpeningClock(SessionConfig(handshake_timeout=60.0, hello_timeout=2.0), now=0.0)
    clock.heard(3, now=1.0)
    clock.heard(3, now=2.9)
    assert clock.expired(now=3.0) == "the peer did not say hello within 2 s"


def test_the_whole_has_its_time_whatever_the_stages_allow() -> None:
    clock = OpeningClock(SessionConfig(handshake_timeout=1.0), now=0.0)
    assert clock.next_timer() == 1.0
    assert clock.expired(now=1.0) == "no handshake within 1 s"


def test_who_was_made_to_wait_has_all_the_time_again() -> None:
    clock = OpeningClock(CONFIG, now=0.0)
    clock.heard(0, now=1.0)
    clock.restart(now=20.0)
    assert clock.expired(now=24.9) is None
    assert clock.expired(now=25.0) == "nothing was heard within 5 s"
