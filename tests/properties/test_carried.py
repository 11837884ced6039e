"""Sessions that an introducer carries arrive whole, whatever order things happen in, and it holds to its limits."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from librats.config import CarryLimits
from librats.introduce.carried import CarriedStream
from librats.introduce.carrying import Carrying
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import FIRST_CREDIT, WINDOW, Parcel, ParcelKind

ANN, BOB = "aa" * 32, "bb" * 32

STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "read", "send", "wait"]), st.booleans(), st.integers(1, 60_000)), max_size=80
)


class Carried:
    """Two ends and the one between, who passes everything on at once."""

    def __init__(self, limits: CarryLimits) -> None:
        self.now = 0.0
        self.carrying = Carrying(lambda _caller, _number: (BOB, 9), lambda _: True, limits)
        self.ends = {ANN: CarriedStream(), BOB: CarriedStream()}
        self.sent = {ANN: bytearray(), BOB: bytearray()}
        self.got = {ANN: bytearray(), BOB: bytearray()}

    def told(self, told: list[tuple[str, Notice]]) -> None:
        for to, notice in told:
            self.ends[to].receive(Parcel.decode(notice.letter))

    def send(self, who: str) -> None:
        op, number = (Op.CARRY, 1) if who == ANN else (Op.CARRY_BACK, 9)
        for parcel in self.ends[who].parcels_to_send():
            self.told(self.carrying.take(who, Notice(op, number, letter=parcel.encode()), now=self.now))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.carrying.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.told(self.carrying.handle_timer(now=self.now))
        self.now = until

    def read(self, who: str) -> None:
        self.got[who] += self.ends[who].read()


@given(STEPS)
def test_bytes_arrive_whole_and_in_order_and_no_end_holds_more_than_its_window(
    steps: list[tuple[str, bool, int]],
) -> None:
    net = Carried(CarryLimits(bytes=1 << 40, seconds=1e9, rate=20_000.0))
    net.ends[ANN].write(b"!")
    net.sent[ANN] += b"!"
    net.send(ANN)
    for step, by_caller, size in steps:
        who = ANN if by_caller else BOB
        if step == "write":
            piece = bytes([len(net.sent[who]) % 251]) * size
            net.ends[who].write(piece)
            net.sent[who] += piece
        elif step == "send":
            net.send(who)
        elif step == "read":
            net.read(who)
        else:
            net.wait(size / 10_000)
        assert all(len(end._received) <= FIRST_CREDIT + WINDOW for end in net.ends.values())
    for _ in range(400):
        for who in (ANN, BOB):
            net.read(who)
            net.send(who)
        net.wait(5.0)
    assert net.got[BOB] == net.sent[ANN]
    assert net.got[ANN] == net.sent[BOB]
    assert all(end.ended is None for end in net.ends.values())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Op.CARRY, Op.CARRY_BACK]),
            st.integers(0, 12),
            st.one_of(
                st.binary(max_size=20),
                st.integers(1, 8192).map(lambda size: b"\0" + bytes(size)),
                st.integers(0, 0xFFFFFFFF).map(lambda size: Parcel(ParcelKind.CREDIT, credit=size).encode()),
            ),
            st.floats(0, 3),
        ),
        max_size=80,
    )
)
def test_whatever_is_said_the_carrier_keeps_to_its_limits_and_forgets_what_is_over(
    said: list[tuple[Op, int, bytes, float]],
) -> None:
    limits = CarryLimits(bytes=50_000, seconds=10.0, rate=8000.0, total_rate=16_000.0, at_once=3, at_once_per_caller=2)
    here = Carrying(lambda _, number: (BOB, number) if number < 8 else None, lambda _: True, limits)
    now = 0.0
    passed: dict[int, int] = {}
    for op, number, parcel, pause in said:
        now += pause
        while (due := here.next_timer()) is not None and due <= now:
            here.handle_timer(now=due)
        told = here.take(ANN if op is Op.CARRY else BOB, Notice(op, number, letter=parcel or b"\xff"), now=now)
        for _, notice in told:
            passed[number] = passed.get(number, 0) + len(Parcel.decode(notice.letter).data)
        assert len(here) <= 2
    opened = here.counters["carried"]
    assert here.counters["carried_bytes"] == sum(passed.values()) <= opened * limits.bytes
    here.handle_timer(now=now + 20)
    assert len(here) == 0
    assert here.next_timer() is None
