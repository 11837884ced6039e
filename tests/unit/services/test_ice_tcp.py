"""Datagrams over a connection (RFC 4571)."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from librats.services.ice.tcp import HIGH_WATER, MAX_CONNECTIONS, Framed
from librats.types import Address


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False
        self.waiting = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 5000) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def framed() -> tuple[Framed, list[bytes], list[str]]:
    came: list[bytes] = []
    lost: list[str] = []
    return Framed(lambda _, data: came.append(data), lambda _, why: lost.append(why)), came, lost


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), max_size=40))
def test_datagrams_arrive_whole_however_the_stream_is_cut(datagrams: list[bytes], cuts: list[int]) -> None:
    sender, _, _ = framed()
    wire = Wire()
    sender.connection_made(wire)
    for data in datagrams:
        assert sender.send(data)
    receiver, came, _ = framed()
    stream = bytes(wire.written)
    for size in cuts:
        receiver.data_received(stream[:size])
        stream = stream[size:]
    receiver.data_received(stream)
    assert came == datagrams


def test_what_is_sent_before_the_connection_is_there_goes_first() -> None:
    sender, _, _ = framed()
    for number in range(MAX_CONNECTIONS):
        assert sender.send(bytes([number]))
    assert not sender.send(b"too many")
    wire = Wire()
    sender.connection_made(wire)
    assert sender.peer == Address("192.0.2.7", 5000)
    assert bytes(wire.written) == b"".join(b"\0\1" + bytes([number]) for number in range(MAX_CONNECTIONS))


def test_what_does_not_fit_is_dropped() -> None:
    sender, _, _ = framed()
    wire = Wire()
    sender.connection_made(wire)
    assert not sender.send(bytes(65536))
    assert sender.send(bytes(65535))
    wire.waiting = HIGH_WATER + 1
    assert not sender.send(b"more")


def test_nothing_is_told_after_closing() -> None:
    receiver, came, lost = framed()
    wire = Wire()
    receiver.connection_made(wire)
    receiver.close()
    receiver.data_received(b"\0\1a")
    receiver.connection_lost(None)
    assert (came, lost, wire.aborted) == ([], [], True)
    assert not receiver.send(b"late")


def test_a_connection_that_comes_too_late_is_ended() -> None:
    receiver, _, _ = framed()
    receiver.close()
    wire = Wire()
    receiver.connection_made(wire)
    assert wire.aborted


def test_the_end_is_told_once_with_its_reason() -> None:
    receiver, _, lost = framed()
    receiver.connection_made(Wire())
    receiver.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    receiver.connection_lost(None)
    assert lost == ["connection reset by peer"]
