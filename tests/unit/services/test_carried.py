"""Connections by way of an introducer, as the links on them see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import FIRST_CREDIT, CarryEnd, Parcel, ParcelKind
from librats.reasons import AttemptReason
from librats.services.introduction.carried import CarriedPaths, CarriedTransport, CarryEnded
from librats.types import Address

INTRODUCER = "aa" * 32
WHERE = Address("203.0.113.10", 3478)


class Plain(asyncio.Protocol):
    """What a connection is given to."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.paused: list[bool] = []
        self.ended: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


class Buffered(asyncio.BufferedProtocol):
    """One that takes a few bytes at a time."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._buffer = bytearray(7)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self._buffer[:nbytes]


class Way:
    """A connection that this side has begun, and what it tells its introducer."""

    def __init__(self) -> None:
        self.told: list[Parcel] = []
        self.takes = True
        self.paths = CarriedPaths(self._tell)
        self.protocol = Plain()
        self.transport: CarriedTransport = self.paths.open(
            INTRODUCER, 5, is_caller=True, address=WHERE, factory=lambda: self.protocol
        )

    def _tell(self, to: str, notice: Notice) -> bool:
        assert (to, notice.op, notice.number) == (INTRODUCER, Op.CARRY, 5)
        if self.takes:
            self.told.append(Parcel.decode(notice.letter))
        return self.takes

    def hears(self, parcel: Parcel) -> None:
        assert self.paths.take(INTRODUCER, Notice(Op.CARRIED_BACK, 5, letter=parcel.encode()))

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


def run(scenario: Callable[[Way], Coroutine[Any, Any, None]]) -> None:
    async def with_way() -> None:
        await scenario(Way())

    asyncio.run(with_way())


def data(octets: bytes) -> Parcel:
    return Parcel(ParcelKind.DATA, octets)


def end(code: str, words: str = "") -> Parcel:
    return Parcel(ParcelKind.END, code=code, words=words)


def test_bytes_go_both_ways_and_the_peer_is_where_the_introducer_is() -> None:
    async def scenario(way: Way) -> None:
        way.transport.write(bytearray(b"there"))
        way.hears(data(b"back"))
        assert way.protocol.heard == b""  # not in the turn in which the introducer's session is read
        await way.settle()
        assert way.protocol.heard == b"back"
        assert way.told == [data(b"there")]
        assert way.transport.get_extra_info("peername") == ("203.0.113.10", 0)
        assert not way.transport.can_write_eof()

    run(scenario)


def test_a_protocol_with_a_buffer_of_its_own_gets_all_of_it_in_pieces() -> None:
    async def scenario(way: Way) -> None:
        buffered = Buffered()
        way.transport.set_protocol(buffered)
        assert way.transport.get_protocol() is buffered
        way.hears(data(bytes(range(100))))
        await way.settle()
        assert buffered.heard == bytes(range(100))

    run(scenario)


def test_the_session_is_paused_while_much_waits_and_goes_on_when_there_is_room() -> None:
    async def scenario(way: Way) -> None:
        way.transport.write(bytes(FIRST_CREDIT + 40_000))
        assert way.protocol.paused == [True]
        assert way.transport.get_write_buffer_size() == 40_000
        way.hears(Parcel(ParcelKind.CREDIT, credit=40_000))
        await way.settle()
        assert way.protocol.paused == [True, False]
        assert sum(len(parcel.data) for parcel in way.told) == FIRST_CREDIT + 40_000

    run(scenario)


def test_who_reads_nothing_lets_nothing_more_be_sent() -> None:
    async def scenario(way: Way) -> None:
        way.transport.pause_reading()
        assert not way.transport.is_reading()
        way.hears(data(bytes(8000)))
        way.hears(end(CarryEnd.CLOSED))
        await way.settle()
        assert not way.protocol.heard
        assert not way.protocol.ended
        assert not way.told
        way.transport.resume_reading()
        await way.settle()
        assert (len(way.protocol.heard), way.protocol.ended) == (8000, [None])

    run(scenario)


def test_what_has_been_read_lets_more_be_sent() -> None:
    async def scenario(way: Way) -> None:
        way.hears(data(bytes(8000)))
        await way.settle()
        [credit] = way.told
        assert (credit.kind, credit.credit) == (ParcelKind.CREDIT, 8000 + 65536 - FIRST_CREDIT)

    run(scenario)


def test_closing_sends_what_was_written_first() -> None:
    async def scenario(way: Way) -> None:
        way.transport.write(bytes(FIRST_CREDIT + 10))
        way.transport.close()
        way.transport.write(b"too late")
        assert way.transport.is_closing()
        assert way.told[-1].kind is ParcelKind.DATA
        way.hears(Parcel(ParcelKind.CREDIT, credit=100))
        await way.settle()
        assert way.told[-2:] == [data(bytes(10)), end(CarryEnd.CLOSED)]
        assert way.protocol.ended == [None]
        assert len(way.paths) == 0

    run(scenario)


@pytest.mark.parametrize(
    ("code", "is_limit", "reason"),
    [
        (CarryEnd.BYTES, True, AttemptReason.CARRY_LIMIT),
        (CarryEnd.CROWDED, True, AttemptReason.CARRY_LIMIT),
        (CarryEnd.NOT_CARRIED, False, AttemptReason.INTRODUCTION_FAILED),
        ("something_new", False, AttemptReason.INTRODUCTION_FAILED),
    ],
)
def test_the_protocol_is_told_why_it_ends(code: str, is_limit: bool, reason: AttemptReason) -> None:
    async def scenario(way: Way) -> None:
        way.hears(end(code, "words for people"))
        await way.settle()
        [error] = way.protocol.ended
        assert isinstance(error, CarryEnded)
        assert (error.code, str(error), error.is_limit, error.attempt_reason) == (
            code,
            "words for people",
            is_limit,
            reason,
        )

    run(scenario)


def test_more_than_was_let_ends_it() -> None:
    async def scenario(way: Way) -> None:
        for _ in range(3):
            way.hears(data(bytes(8000)))
        await way.settle()
        [error] = way.protocol.ended
        assert isinstance(error, CarryEnded)
        assert error.code == CarryEnd.OVERRUN
        assert way.told[-1].code == CarryEnd.OVERRUN

    run(scenario)


def test_an_introducer_that_takes_nothing_or_is_gone_ends_it() -> None:
    async def scenario(way: Way) -> None:
        other = way.paths.open(INTRODUCER, 6, is_caller=False, address=WHERE, factory=Plain)
        way.takes = False
        way.transport.write(b"x")
        await way.settle()
        assert [str(error) for error in way.protocol.ended] == ["the introducer takes nothing from here"]
        assert len(way.paths) == 1
        way.paths.left("bb" * 32)
        assert not other.is_closing()
        way.paths.left(INTRODUCER)
        assert other.is_closing()
        assert len(way.paths) == 0

    run(scenario)


def test_closing_all_of_them_tells_the_introducer() -> None:
    async def scenario(way: Way) -> None:
        way.paths.close()
        way.transport.abort()
        await way.settle()
        assert way.told == [end(CarryEnd.CLOSED)]
        assert way.protocol.ended == [None]
        assert not way.paths.take(INTRODUCER, Notice(Op.CARRIED_BACK, 5, letter=data(b"late").encode()))

    run(scenario)
