"""The memory that all sessions share, and what is counted and refused when it runs out."""

from __future__ import annotations

import random

import pytest
from tests.unit.session.joined import CountingEntropy, Side, greeting_of, opened

from librats._core.messages import Message, MessageRun
from librats.config import MIN_MESSAGE_WINDOW, RatsConfig, SessionConfig
from librats.errors import UsageError
from librats.session.events import GoAwayReceived
from librats.session.frames import FRAME_COST, Kind, Reason
from librats.session.machine import Session
from librats.session.memory import MemoryBudget, MemoryShare
from librats.session.shared_limits import SharedLimits

MIB = 1024 * 1024
KIB = 1024


class TestBudget:
    def test_what_is_not_there_is_not_given(self) -> None:
        budget = MemoryBudget(1000)
        share = MemoryShare(budget, 100)
        assert share.take(900)
        assert not share.take(1)
        share.give(10)
        assert share.take(10)
        assert (budget.taken, budget.free, share.held) == (1000, 0, 1000)

    def test_the_least_is_given_in_any_case_and_shows(self) -> None:
        budget = MemoryBudget(1000)
        shares = [MemoryShare(budget, 400) for _ in range(3)]
        assert budget.is_overdrawn
        assert budget.free == 0
        shares.pop().close()
        assert not budget.is_overdrawn

    def test_a_closed_share_has_nothing_and_counts_nothing(self) -> None:
        budget = MemoryBudget(1000)
        share = MemoryShare(budget, 100)
        share.take(50)
        for _ in range(2):
            share.close()
        share.give(50)
        share.take_anyway(70)
        assert budget.taken == 0

    def test_nobody_takes_all(self) -> None:
        budget = MemoryBudget(1 << 20)
        shares = [MemoryShare(budget, 0) for _ in range(50)]
        gains = [share.take_some(1 << 20) for share in shares]
        assert max(gains) <= (1 << 20) // 8
        assert budget.free > 0
        assert budget.is_short
        assert gains[-1] == 0


def receivers(shared: SharedLimits, count: int) -> list[tuple[Session, Side]]:
    """Sessions of one client, each with the machine of its peer."""
    config = shared.config.session
    found = []
    for _ in range(count):
        side = Side(initiator=True, config=config, peer_config=config, now=0.0)
        # The peer knows of our window what our greeting told.
        side.session._send_credit = shared.first_window
        session = Session(
            opened(initiator=False),
            greeting_of(config),
            initiator=False,
            config=config,
            entropy=CountingEntropy(),
            now=0.0,
            shared=shared,
            window=shared.first_window,
        )
        found.append((session, side))
    return found


def exchange(session: Session, side: Side) -> None:
    """Carry both ways until both are silent."""
    while True:
        out = side.session.data_to_send(now=0.0)
        if out:
            session.receive_data(out, now=0.0)
        back = session.data_to_send(now=0.0)
        if back:
            side.session.receive_data(back, now=0.0)
        if not out and not back:
            return


def costs(session: Session) -> list[int]:
    """Take what arrived; returns what each run or request costs until it is handled."""
    waiting = session.take_events()
    found = [event.cost for event in waiting if isinstance(event, MessageRun | Message)]
    waiting.clear()
    return found


@pytest.mark.parametrize(("count", "mib"), [(60, 16), pytest.param(1000, 256, marks=pytest.mark.long)])
def test_peers_with_slow_handlers_never_make_us_hold_more_than_the_limit(count: int, mib: int) -> None:
    shared = SharedLimits(RatsConfig(max_memory=mib * MIB))
    chance = random.Random(3)  # noqa: S311 - no secret
    pairs = receivers(shared, count)
    held: dict[int, list[int]] = {index: [] for index in range(count)}
    piece = bytes(10_000)
    for turn in range(12):
        for index, (session, side) in enumerate(pairs):
            while side.session.queued < 300_000:
                side.session.send_message(Kind.BYTES, b"x", piece)
            exchange(session, side)
            held[index] += costs(session)
            # Most handlers stand still; some handle a part of what there is.
            if chance.random() < (0.3 if turn < 8 else 0.0):
                for _ in range(chance.randrange(len(held[index]) + 1)):
                    session.consumed(held[index].pop(0))
                exchange(session, side)
                held[index] += costs(session)
            really = sum(map(sum, held.values()))
            assert really <= shared.memory.taken <= shared.memory.limit
            assert session.unhandled == sum(held[index])
    assert all(session.failed is None for session, _ in pairs)
    assert shared.memory.taken > shared.memory.limit * 3 // 4, "or nothing was put to the test"
    # Everything flows again when handlers work, and in the end nothing is held.
    for index, (session, side) in enumerate(pairs):
        while side.session.queued or held[index]:
            while held[index]:
                session.consumed(held[index].pop())
            exchange(session, side)
            held[index] += costs(session)
        session.receive_eof()
    assert shared.memory.taken == 0


def test_a_window_grows_with_use_and_shrinks_when_memory_is_short() -> None:
    shared = SharedLimits(RatsConfig(max_memory=64 * MIB))
    ((session, side),) = receivers(shared, 1)
    assert session._window == MIN_MESSAGE_WINDOW
    exchange(session, side)
    assert shared.memory.taken == MIN_MESSAGE_WINDOW, "who sends nothing needs nothing"

    def use(times: int) -> None:
        for _ in range(times):
            side.session.send_message(Kind.BYTES, b"x", bytes(60_000))
            exchange(session, side)
            for cost in costs(session):
                session.consumed(cost)
            exchange(session, side)

    use(40)
    assert session._window == shared.config.session.message_window
    greedy = MemoryShare(shared.memory, shared.memory.free)
    use(300)
    assert session._window == MIN_MESSAGE_WINDOW
    greedy.close()
    use(40)
    assert session._window == shared.config.session.message_window


def test_a_message_longer_than_the_window_takes_memory_or_ends_the_session_with_the_reason() -> None:
    shared = SharedLimits(RatsConfig(max_memory=16 * MIB))
    (first, first_side), (second, second_side) = receivers(shared, 2)
    first_side.session.send_message(Kind.BYTES, b"big", bytes(8 * MIB))
    exchange(first, first_side)
    assert first.failed is None
    (cost,) = costs(first)
    assert shared.memory.taken >= 8 * MIB
    second_side.session.send_message(Kind.BYTES, b"big", bytes(8 * MIB))
    exchange(second, second_side)
    assert second.failed is not None
    assert second.failed.code == Reason.LIMIT
    (told,) = second_side.of(GoAwayReceived)
    assert told.code == Reason.LIMIT
    assert "bytes are set aside for peers, the limit is max_memory=" in told.message
    assert "(RatsConfig)" in told.message
    assert shared.refusals["max_memory"] == 1
    first.consumed(cost)
    assert shared.memory.taken < 5 * MIB
    first.receive_eof()
    assert shared.memory.taken == 0


def test_streams_are_counted_and_refused_when_memory_runs_out() -> None:
    shared = SharedLimits(RatsConfig(max_memory=4 * MIB))
    ((session, side),) = receivers(shared, 1)
    ours = [side.session.streams.open(b"s") for _ in range(20)]
    exchange(session, side)
    assert 0 < shared.streams[True] < 20
    assert shared.streams[True] == session.streams.incoming
    refused = [stream for stream in ours if stream.read_error is not None]
    assert len(refused) == 20 - shared.streams[True]
    assert refused[0].read_error is not None
    assert "max_memory=" in refused[0].read_error.message
    with pytest.raises(UsageError, match="max_memory="):
        session.streams.open(b"s")
    session.receive_eof()
    assert (shared.memory.taken, shared.streams) == (0, {True: 0, False: 0})


def test_what_was_not_read_of_a_dead_stream_is_counted_until_it_is() -> None:
    shared = SharedLimits(RatsConfig())
    ((session, side),) = receivers(shared, 1)
    before = shared.memory.taken
    stream = side.session.streams.open(b"s")
    exchange(session, side)
    session.take_events().clear()
    (theirs,) = session.streams._streams.values()
    theirs.accept(0.0)
    exchange(session, side)
    stream.write(bytes(100_000))
    stream.write_eof()
    exchange(session, side)
    theirs.write_eof()
    exchange(session, side)
    assert theirs.dead
    assert shared.memory.taken == before + 100_000
    theirs.read(40_000, now=0.0)
    assert shared.memory.taken == before + 60_000
    theirs.stop_reading()
    assert shared.memory.taken == before


@pytest.mark.parametrize(
    ("settings", "total", "words"),
    [
        ({"max_incoming_streams": 3}, {}, "3 streams are open, the limit is max_incoming_streams=3 (SessionConfig)"),
        ({}, {"max_total_incoming_streams": 3}, "3 streams are open with all peers, the limit is max_total_incoming"),
        ({"max_stream_rate": 3.0}, {}, "more than 3 streams a second, the limit is max_stream_rate=3 (SessionConfig)"),
    ],
)
def test_streams_beyond_a_limit_are_refused_by_name(
    settings: dict[str, float], total: dict[str, int], words: str
) -> None:
    session_config = SessionConfig(**settings)  # type: ignore[arg-type]
    shared = SharedLimits(RatsConfig(session=session_config, **total))  # type: ignore[arg-type]
    ((session, side),) = receivers(shared, 1)
    ours = [side.session.streams.open(b"s") for _ in range(4)]
    exchange(session, side)
    assert [stream.read_error is not None for stream in ours] == [False, False, False, True]
    error = ours[3].read_error
    assert error is not None
    assert error.code == Reason.LIMIT
    assert error.message.startswith(words)
    assert sum(shared.refusals.values()) == 1


def test_streams_of_ours_beyond_a_limit_are_an_error_that_names_it() -> None:
    shared = SharedLimits(RatsConfig(max_total_outgoing_streams=5, session=SessionConfig(max_outgoing_streams=3)))
    (first, _), (second, _) = receivers(shared, 2)
    for session, count in ((first, 3), (second, 2)):
        for _ in range(count):
            session.streams.open(b"s")
    with pytest.raises(UsageError, match=r"3 streams are open, the limit is max_outgoing_streams=3 \(SessionConfig\)"):
        first.streams.open(b"s")
    with pytest.raises(UsageError, match=r"5 streams are open with all peers, the limit is max_total_outgoing_streams"):
        second.streams.open(b"s")
    first.receive_eof()
    second.streams.open(b"s")


def test_frames_that_only_make_work_have_a_rate() -> None:
    shared = SharedLimits(RatsConfig(session=SessionConfig(max_control_rate=100.0)))
    ((session, side),) = receivers(shared, 1)
    for second in range(20):
        for _ in range(90):
            side.session.ping(now=float(second))
        session.receive_data(side.session.data_to_send(now=float(second)), now=float(second))
        assert session.failed is None
    for _ in range(200):
        side.session.ping(now=20.0)
    session.receive_data(side.session.data_to_send(now=20.0), now=20.0)
    assert session.failed is not None
    assert session.failed.message == (
        "more than 100 control frames a second, the limit is max_control_rate=100 (SessionConfig)"
    )
    assert shared.refusals["max_control_rate"] == 1


def test_many_sessions_share_the_room_for_what_waits() -> None:
    shared = SharedLimits(RatsConfig(max_memory=16 * MIB))
    assert shared.send_high_water == MIB
    shares = [shared.begin_session(FRAME_COST) for _ in range(16)]
    assert shared.send_high_water == 256 * KIB
    assert shared.send_low_water <= 128 * KIB
    shares += [shared.begin_session(FRAME_COST) for _ in range(1000)]
    assert shared.send_high_water == 64 * KIB
    for share in shares:
        shared.end_session(share)
    assert shared.send_high_water == MIB
    assert shared.memory.taken == 0
