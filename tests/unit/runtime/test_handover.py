"""Bytes that are given to a protocol that takes a connection over."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from librats.runtime.handover import give


class Plain(asyncio.Protocol):
    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)


class Small(asyncio.BufferedProtocol):
    """Has room for a few bytes at a time."""

    def __init__(self, room: int) -> None:
        self.buffer = bytearray(room)
        self.got = bytearray()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]


@given(st.binary(max_size=40), st.integers(1, 12))
def test_a_protocol_with_a_buffer_of_any_size_gets_everything(data: bytes, room: int) -> None:
    protocol = Small(room)
    give(lambda: protocol, data)
    assert protocol.got == data


def test_a_plain_protocol_gets_all_in_one_call_and_none_for_nothing() -> None:
    protocol = Plain()
    give(lambda: protocol, b"")
    give(lambda: protocol, b"hello")
    assert protocol.calls == [b"hello"]


def test_the_rest_is_for_whoever_takes_over_in_between() -> None:
    first, then = Small(4), Plain()
    give(lambda: then if first.got else first, b"greeting")
    assert (bytes(first.got), then.calls) == (b"gree", [b"ting"])
