"""Which relayed addresses belong to allocations."""

from __future__ import annotations

from librats.turn.serving.allocation import TCP, UDP
from librats.turn.serving.live import LiveAddresses

HOST, OTHER = "192.0.2.1", "2001:db8::1"


def test_each_port_of_each_host_is_noted_by_itself() -> None:
    live = LiveAddresses()
    for port in (0, 7, 8, 50_000, 65_535):
        live.add(HOST, port)
    assert len(live) == 5
    assert [port for port in range(65_536) if live.has(HOST, port)] == [0, 7, 8, 50_000, 65_535]
    assert not live.has(OTHER, 8)


def test_a_port_of_one_transport_is_none_of_the_other() -> None:
    live = LiveAddresses()
    live.add(HOST, 8, TCP)
    assert [live.has(HOST, 8, TCP), live.has(HOST, 8, UDP)] == [True, False]
    live.discard(HOST, 8, UDP)
    assert live.has(HOST, 8, TCP)
    live.discard(HOST, 8, TCP)
    assert len(live) == 0


def test_what_is_discarded_is_gone_and_no_more() -> None:
    live = LiveAddresses()
    live.add(HOST, 8)
    live.add(HOST, 9)
    live.add(OTHER, 8)
    live.discard(HOST, 8)
    live.discard(HOST, 8)
    live.discard("192.0.2.2", 9)
    assert [live.has(HOST, 8), live.has(HOST, 9), live.has(OTHER, 8)] == [False, True, True]
    assert len(live) == 2
