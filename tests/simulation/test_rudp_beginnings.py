"""Streams that begin on paths which lose half of everything: the first words there and back take no seconds."""

from __future__ import annotations

import statistics

import pytest
from tests.simulation.joined_tables import OPEN, End, Link, World

from librats._core.rudp_stream import RudpStream
from librats.types import Address

QUESTION, ANSWER = bytes(48), bytes(352)
"""As long as the first message of a handshake, and as the longest second one."""

LOSS, DELAY = 0.5, 0.01


class Picky(Link):
    """Loses the first packets whose length is in a range, and nothing else."""

    lengths = range(0)
    losing = 0

    def send(self, data: bytes, source: Address, target: Address) -> None:
        if len(data) in self.lengths and self.losing:
            self.losing -= 1
            return
        super().send(data, source, target)


def first_words(world: World, one: End, other: End, *, wait: float = 0.1) -> float:
    """Return how long it takes from the dial to the answer; infinite where there is none."""
    streams: list[RudpStream] = []
    heard = bytearray()

    def here(stream: RudpStream, bits: int) -> None:
        if bits & OPEN:
            stream.write(QUESTION)
        heard.extend(stream.take())

    def there(stream: RudpStream, bits: int) -> None:
        if len(stream.take()) == len(QUESTION):
            stream.write(ANSWER)

    one.on_event, other.on_event = here, there
    begun = world.now
    streams.append(one.dial(other, tries=round(5 / wait), wait=wait, doubling=False))
    world.run(30, lambda: len(heard) == len(ANSWER))
    return world.now - begun if len(heard) == len(ANSWER) else float("inf")


def lossy(seed: int) -> float:
    world = World(f"beginning {seed}")
    one, other = world.end("192.0.2.1"), world.end("192.0.2.2")
    world.join(one, other, delay=DELAY, loss=LOSS)
    return first_words(world, one, other)


def test_where_half_is_lost_first_words_take_no_seconds() -> None:
    times = sorted(map(lossy, range(200)))
    assert statistics.median(times) < 0.7
    assert times[180] < 1.8
    assert times[-1] < 6


def conversation(seed: int) -> list[float]:
    """Return how long each of thirty questions waits for its answer, at a loss of 30 % each way."""
    world = World(f"conversation {seed}")
    one, other = world.end("192.0.2.1"), world.end("192.0.2.2")
    world.join(one, other, delay=DELAY, loss=0.3)
    assert first_words(world, one, other) < 30
    stream, heard = one.streams[0], bytearray()
    one.on_event = lambda stream, bits: heard.extend(stream.take())
    other.on_event = lambda stream, bits: stream.write(stream.take())
    waits = []
    for number in range(1, 31):
        begun = world.now
        stream.write(QUESTION)
        one.wake()
        world.run(30, lambda number=number: len(heard) == number * len(QUESTION))  # type: ignore[misc]
        waits.append(world.now - begun)
        world.run(1)
    return waits


def test_lost_words_of_a_conversation_are_repeated_at_once_again_and_again() -> None:
    waits = sorted(wait for seed in range(10) for wait in conversation(seed))
    assert statistics.median(waits) < 0.07
    assert waits[int(0.9 * len(waits))] < 0.2
    assert waits[int(0.99 * len(waits))] < 0.5


def test_what_lets_the_peer_answer_an_unproven_address_is_sent_again() -> None:
    world = World("padding")
    one, other = world.end("192.0.2.1"), world.end("192.0.2.2")
    there, back = Picky(world, delay=DELAY), Picky(world, delay=DELAY)
    there.lengths, there.losing = range(1000, 2000), 1  # the padding
    back.lengths, back.losing = range(17, 100), 1000  # what would prove the address in another way
    world.join(one, other, there=there, back=back)
    assert first_words(world, one, other) < 0.3
    assert there.losing == 0
    assert back.losing < 1000


@pytest.mark.parametrize("delay", [0.05, 0.16, 0.5, 1.5])
def test_on_a_long_path_whose_syns_were_repeated_the_stream_lasts(delay: float) -> None:
    world = World(f"long {delay}")
    one, other = world.end("192.0.2.1"), world.end("192.0.2.2")
    world.join(one, other, delay=delay)
    assert first_words(world, one, other) < 8 * delay + 0.1
    world.run(120)
    assert [stream.is_open for stream in (*one.streams, *other.streams)] == [True, True]
    assert one.links[other.address].carried < 20_000
