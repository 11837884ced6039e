"""Sessions that go over from one path to another: nothing lost, nothing twice, and nobody else gets in."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.session.joined import CountingEntropy, greeting_of

from librats._core.aead import Cipher
from librats.config import SessionConfig
from librats.errors import HandshakeError, RemoteProtocolError
from librats.session.events import Message, MessageRun, PathBroken, PathStalled, SessionFailed
from librats.session.frames import Kind
from librats.session.machine import Session
from librats.session.opening import Opened
from librats.session.path_keys import JOIN_SIZE, Join, PathKeys
from librats.session.path_opening import PathAnswer, PathCall

SECRET = bytes(range(7, 39))
KEYS = (bytes(range(32)), bytes(range(32, 64)))
LENGTH_PREFIX = 4


def movable(*, initiator: bool, config: SessionConfig) -> Session:
    sending, receiving = KEYS if initiator else KEYS[::-1]
    opened = Opened(
        sending=Cipher(sending),
        receiving=Cipher(receiving),
        public_key=bytes(32),
        peer_id="0" * 64,
        handshake_hash=bytes(32),
        greeting=None,
        path_secret=SECRET,
    )
    return Session(opened, greeting_of(config), initiator=initiator, config=config, entropy=CountingEntropy(), now=0.0)


class Wire:
    """Two sessions, and what is on its way between them."""

    def __init__(self, config: SessionConfig | None = None) -> None:
        config = config or SessionConfig()
        self.sides = [movable(initiator=first, config=config) for first in (True, False)]
        self.on_way = [bytearray(), bytearray()]
        self.got: list[list[bytes]] = [[], []]
        self.now = 0.0

    def flush(self, side: int) -> None:
        while data := self.sides[side].data_to_send(now=self.now):
            self.on_way[side] += data

    def deliver(self, side: int, count: int | None = None) -> None:
        """Bring to the other side what one has sent, or the first bytes of it."""
        data = bytes(self.on_way[side][:count])
        del self.on_way[side][: len(data)]
        self.sides[1 - side].receive_data(data, now=self.now)
        self.collect(1 - side)

    def collect(self, side: int) -> None:
        events = self.sides[side].take_events()
        while events:
            event = events.popleft()
            if isinstance(event, MessageRun):
                self.got[side] += event.payloads(0, len(event))
                self.sides[side].consumed(event.cost)
            elif isinstance(event, Message):
                self.got[side].append(bytes(event.payload))
                self.sides[side].consumed(event.cost)
            elif isinstance(event, SessionFailed):
                raise AssertionError(event.message)

    def send(self, side: int, payload: bytes) -> None:
        self.sides[side].send_message(Kind.BYTES, b"n", payload)

    def settle(self) -> None:
        for _ in range(50):
            for side in (0, 1):
                self.flush(side)
                self.deliver(side)

    def move(self, caller: int) -> None:
        """Open another path and take both sessions there; what is on its way on the old one is lost."""
        keys = [session.path_keys for session in self.sides]
        assert keys[0] is not None
        assert keys[1] is not None
        call = PathCall(keys[caller])  # type: ignore[arg-type]
        block = call.data_to_send()
        assert len(block) == LENGTH_PREFIX + JOIN_SIZE
        answer = PathAnswer(keys[1 - caller], Join.decode(block[LENGTH_PREFIX:]), bytes(8))  # type: ignore[arg-type]
        call.receive_data(answer.data_to_send())
        assert (call.is_proven, answer.is_proven) == (True, False)
        call.switch(self.sides[caller].blocks_received)
        answer.receive_data(call.data_to_send())
        assert (call.is_proven, answer.is_proven) == (True, True)
        answer.switch(self.sides[1 - caller].blocks_received)
        call.receive_data(answer.data_to_send())
        assert call.path is not None
        assert answer.path is not None
        self.on_way = [bytearray(), bytearray()]
        self.sides[caller].move(call.path, now=self.now)
        self.sides[1 - caller].move(answer.path, now=self.now)


def test_what_was_on_its_way_is_sent_again_and_in_order() -> None:
    wire = Wire()
    for number in range(10):
        wire.send(0, b"%d" % number)
        wire.send(1, b"%d" % -number)
    wire.flush(0)
    wire.flush(1)
    wire.deliver(0, 100)
    wire.move(caller=0)
    wire.send(0, b"10")
    wire.settle()
    assert wire.got[1] == [b"%d" % number for number in range(11)]
    assert wire.got[0] == [b"%d" % -number for number in range(10)]


@pytest.mark.parametrize("rekey_messages", [1, 3, 65536])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_any_number_of_moves_at_any_time_loses_and_repeats_nothing(rekey_messages: int, seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret
    wire = Wire(SessionConfig(rekey_messages=rekey_messages))
    sent: list[list[bytes]] = [[], []]
    for _ in range(120):
        wire.now += source.random() / 20
        side = source.randrange(2)
        match source.randrange(8):
            case 0 | 1 | 2:
                for _ in range(source.randrange(5)):
                    sent[side].append(b"%d " % len(sent[side]) * source.choice((1, 10, 40_000)))
                    wire.send(side, sent[side][-1])
            case 3 | 4:
                wire.flush(side)
            case 5 | 6:
                wire.deliver(side, source.randrange(1, 200_000))
            case _ if source.random() < 0.5:
                wire.move(caller=side)
        for session in wire.sides:
            session.handle_timer(now=wire.now)
    wire.settle()
    assert wire.got == [sent[1], sent[0]]


def test_what_has_arrived_is_let_go_of() -> None:
    wire = Wire()
    for _ in range(20):
        for number in range(20):
            wire.send(0, bytes(20_000 + number))
        wire.settle()
    kept = wire.sides[0].retained
    assert kept is not None
    assert kept.size < 200_000
    wire.now += 1
    for session in wire.sides:
        session.handle_timer(now=wire.now)
    wire.settle()
    assert kept.size < 1000  # the acknowledgement of the last acknowledgement


def test_no_more_is_on_its_way_than_the_limit_allows() -> None:
    limit = 2 * 1024 * 1024
    wire = Wire(SessionConfig(max_unacknowledged=limit, message_window=64 * 1024 * 1024))
    for _ in range(200):
        wire.send(0, bytes(60_000))
    wire.flush(0)
    assert limit // 2 < len(wire.on_way[0]) < limit + 512 * 1024
    assert not wire.sides[0].wants_to_send
    wire.settle()
    assert len(wire.got[1]) == 200


def test_two_sides_that_have_filled_the_way_do_not_wait_for_each_other() -> None:
    wire = Wire(SessionConfig(max_unacknowledged=512 * 1024))
    for side in (0, 1):
        for _ in range(100):
            wire.send(side, bytes(30_000))
    wire.flush(0)
    wire.flush(1)
    wire.settle()
    assert [len(got) for got in wire.got] == [100, 100]


def test_a_path_on_which_nothing_is_acknowledged_is_told_of_once() -> None:
    wire = Wire()
    wire.send(0, b"x")
    wire.flush(0)
    told = []
    while wire.now < 5:
        wire.now = min(wire.sides[0].next_timer(), wire.now + 1)
        wire.sides[0].handle_timer(now=wire.now)
        events = wire.sides[0].take_events()
        told += [wire.now for event in events if isinstance(event, PathStalled)]
        events.clear()
    assert len(told) == 1
    assert 0.5 < told[0] < 1.5


def test_an_idle_session_does_not_stall() -> None:
    wire = Wire()
    wire.send(0, b"x")
    wire.settle()
    for _ in range(100):
        wire.now += 0.1
        for side, session in enumerate(wire.sides):
            session.handle_timer(now=wire.now)
            assert not [event for event in session.take_events() if isinstance(event, PathStalled)]
            wire.collect(side)
        wire.settle()


def test_an_acknowledgement_of_what_was_never_sent_ends_the_session() -> None:
    wire = Wire()
    wire.sides[0]._control.add(0x30, 0, (1 << 40).to_bytes(8))
    wire.flush(0)
    with pytest.raises(AssertionError, match="blocks acknowledged"):
        wire.deliver(0)


def test_a_move_that_tells_too_much_is_refused() -> None:
    wire = Wire()
    call, answer = _opened(wire, told=99)
    assert answer.path is not None
    with pytest.raises(RemoteProtocolError, match="99 blocks"):
        wire.sides[1].move(answer.path, now=0.0)
    assert call.path is not None


def _opened(wire: Wire, told: int) -> tuple[PathCall, PathAnswer]:
    ours, theirs = wire.sides[0].path_keys, wire.sides[1].path_keys
    assert ours is not None
    assert theirs is not None
    call = PathCall(ours)
    answer = PathAnswer(theirs, Join.decode(call.data_to_send()[LENGTH_PREFIX:]), bytes(8))
    call.receive_data(answer.data_to_send())
    call.switch(told)
    answer.receive_data(call.data_to_send())
    answer.switch(0)
    call.receive_data(answer.data_to_send())
    return call, answer


def both_keys() -> tuple[PathKeys, PathKeys]:
    return PathKeys(SECRET, initiator=True), PathKeys(SECRET, initiator=False)


def test_each_side_opens_paths_under_numbers_of_its_own() -> None:
    first, second = both_keys()
    assert [first.next_epoch() for _ in range(3)] == [2, 4, 6]
    assert [second.next_epoch() for _ in range(3)] == [1, 3, 5]
    assert first.token == second.token
    assert not first.accepts(2)
    assert first.accepts(5)


def test_the_keys_of_every_epoch_and_direction_differ() -> None:
    first, second = both_keys()
    seen = set()
    for epoch in range(1, 20):
        sending, receiving = first.ciphers(epoch)
        theirs = second.ciphers(epoch)
        assert theirs[1].open(sending.copy().seal(b"x")) == b"x"
        assert receiving.open(theirs[0].copy().seal(b"x")) == b"x"
        seen |= {sending.seal(b"zero"), theirs[0].seal(b"zero")}
    assert len(seen) == 2 * 19


def test_a_first_block_that_comes_twice_opens_nothing() -> None:
    ours, theirs = both_keys()
    block = PathCall(ours).data_to_send()[LENGTH_PREFIX:]
    PathAnswer(theirs, Join.decode(block), bytes(8))
    with pytest.raises(HandshakeError, match="not the peer's to open"):
        PathAnswer(theirs, Join.decode(block), bytes(8))


@pytest.mark.parametrize("bit", range(8 * 8, JOIN_SIZE * 8, 5))
def test_a_changed_first_block_opens_nothing(bit: int) -> None:
    ours, theirs = both_keys()
    block = bytearray(PathCall(ours).data_to_send()[LENGTH_PREFIX:])
    block[bit // 8] ^= 1 << bit % 8
    with pytest.raises(HandshakeError):
        PathAnswer(theirs, Join.decode(bytes(block)), bytes(8))


@given(data=st.binary(max_size=80))
def test_garbage_from_the_other_side_raises_only_what_it_should(data: bytes) -> None:
    ours, theirs = both_keys()
    call = PathCall(ours)
    answer = PathAnswer(theirs, Join.decode(call.data_to_send()[LENGTH_PREFIX:]), bytes(8))
    for machine in (call, answer):
        try:
            machine.receive_data(data)
        except HandshakeError:
            continue
        assert not machine.is_proven


def test_a_challenge_has_to_be_answered() -> None:
    ours, theirs = both_keys()
    call = PathCall(ours)
    answer = PathAnswer(theirs, Join.decode(call.data_to_send()[LENGTH_PREFIX:]), b"12345678")
    call.receive_data(answer.data_to_send())
    call._challenge = b"12345679"
    call.switch(0)
    with pytest.raises(HandshakeError, match="did not answer"):
        answer.receive_data(call.data_to_send())
    assert not answer.is_proven


def test_what_comes_through_the_buffer_is_acknowledged_in_time() -> None:
    wire = Wire()
    wire.sides[0].send_message(Kind.BYTES, b"n", b"hello")
    data = wire.sides[0].data_to_send(now=0.0)
    wire.sides[1].get_buffer(None)[: len(data)] = data
    wire.sides[1].buffer_updated(len(data), now=0.0)
    wire.now = 0.3
    wire.sides[1].handle_timer(now=wire.now)
    wire.flush(1)
    wire.deliver(1)
    wire.sides[0].handle_timer(now=2.0)
    assert not wire.sides[0].is_stalled


@settings(max_examples=60)
@given(st.data())
def test_what_is_damaged_on_the_way_breaks_the_path_and_comes_whole_over_the_next_one(data: st.DataObject) -> None:
    wire = Wire()
    sent: list[list[bytes]] = [[], []]
    for turn in range(data.draw(st.integers(1, 6), "paths")):
        for side in (0, 1):
            for number in range(data.draw(st.integers(0, 4), "messages")):
                payload = b"%d %d" % (turn, number) + bytes(data.draw(st.sampled_from([0, 10, 40_000])))
                sent[side].append(payload)
                wire.send(side, payload)
        side = data.draw(st.integers(0, 1), "sender")
        wire.flush(side)
        on_way = wire.on_way[side]
        if on_way:
            place = data.draw(st.integers(0, len(on_way) - 1), "place")
            on_way[place] ^= data.draw(st.integers(1, 255), "flips")
            damaged = bytes(on_way)
            on_way.clear()
            for start in range(0, len(damaged), 30_000):
                wire.sides[1 - side].receive_data(damaged[start : start + 30_000], now=wire.now)
            assert sum(isinstance(event, PathBroken) for event in wire.sides[1 - side].events) <= 1
            wire.collect(1 - side)
        wire.move(data.draw(st.integers(0, 1), "caller"))
        wire.settle()
        assert wire.got == [sent[1], sent[0]]


def test_a_path_that_the_peer_itself_has_broken_ends_the_session() -> None:
    wire = Wire()
    wire.send(0, b"before")
    wire.flush(0)
    wire.sides[1]._reader.go_on(Cipher(KEYS[0]))  # as the wire has it
    forged = Cipher(KEYS[0]).seal(b"\xff" * 3)
    wire.on_way[0] = bytearray(len(forged).to_bytes(4) + forged)
    with pytest.raises(AssertionError, match="frame"):
        wire.deliver(0)
