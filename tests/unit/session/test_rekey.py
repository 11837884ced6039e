"""Keys that change: after so many sealed messages, after so many seconds, in each direction by itself."""

from __future__ import annotations

import pytest
from tests.unit.session.joined import KEYS, Pair, errors_of

from librats._core.aead import Cipher
from librats._core.unframing import BlockReader
from librats.config import SessionConfig
from librats.session.frames import FRAME_COST, FrameType, Kind

COST = FRAME_COST + 2
"""What one of the messages below takes of the window."""


def changes(pair: Pair, *, forward: bool) -> int:
    """Count the changes of key in what was carried in one direction."""
    reader = BlockReader(Cipher(KEYS[not forward]), 1 << 20)
    frames = reader.feed(b"".join(pair.carried[forward]))
    assert reader.error is None
    return sum(isinstance(frame, tuple) and frame[0] == FrameType.REKEY for frame in frames)


def say(pair: Pair, *, forward: bool, blocks: int = 1) -> None:
    """Send messages in one direction, each in a block of its own."""
    source = pair.a if forward else pair.b
    for _ in range(blocks):
        source.session.send_message(Kind.BYTES, b"", b"x")
        pair.move(forward=forward)
        (pair.b if forward else pair.a).session.consumed(COST)
        pair.move(forward=not forward)  # now and then more credit


@pytest.mark.parametrize("forward", [True, False])
def test_with_the_defaults_a_key_seals_65536_messages(forward: bool) -> None:
    pair = Pair()
    say(pair, forward=forward, blocks=65_536)
    assert changes(pair, forward=forward) == 0
    say(pair, forward=forward)
    assert changes(pair, forward=forward) == 1
    assert changes(pair, forward=not forward) == 0
    assert errors_of(pair.a, pair.b) == []


@pytest.mark.parametrize("forward", [True, False])
def test_with_the_defaults_a_key_lasts_two_minutes_of_traffic(forward: bool) -> None:
    pair = Pair()
    start = pair.now
    for seconds in (0, 60, 119):
        pair.now = start + seconds
        say(pair, forward=forward)
    assert changes(pair, forward=forward) == 0
    for count, seconds in enumerate((120, 240, 1000), start=1):
        pair.now = start + seconds
        say(pair, forward=forward)
        assert changes(pair, forward=forward) == count
        say(pair, forward=forward)
        assert changes(pair, forward=forward) == count
    assert errors_of(pair.a, pair.b) == []


def test_each_direction_counts_by_itself() -> None:
    pair = Pair(SessionConfig(rekey_messages=10, rekey_interval=1e6))
    for _ in range(10):
        say(pair, forward=True, blocks=5)
        say(pair, forward=False, blocks=1)
    assert (changes(pair, forward=True), changes(pair, forward=False)) == (4, 0)
    say(pair, forward=False, blocks=11)
    assert changes(pair, forward=False) == 2
    assert errors_of(pair.a, pair.b) == []


def test_a_silent_session_changes_its_keys_with_its_pings() -> None:
    """Nobody talks, but pings and their answers are sealed too, so that a key does not outlive its time for long."""
    pair = Pair(SessionConfig(ping_interval=15.0, rekey_interval=120.0))
    for _ in range(41):
        pair.a.session.handle_timer(now=pair.now)
        pair.b.session.handle_timer(now=pair.now)
        pair.settle()
        pair.now += 15.0
    assert changes(pair, forward=True) == 5
    assert changes(pair, forward=False) == 5
    assert errors_of(pair.a, pair.b) == []
