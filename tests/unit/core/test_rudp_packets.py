"""Packets of streams over datagrams: what librats 2.1.4 wrote and took, and what is ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core.rudp_packets import is_packet, parse, serialise
from librats.errors import DecodeError, UsageError
from librats.rudp.constants import Body, PacketKind

VECTORS = Path(__file__).parents[2] / "vectors" / "librats2" / "udp_codec.json"
CODEC: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
NAMES = {"type": "kind", "seq": "number"}


@pytest.mark.parametrize("case", CODEC["encode"], ids=lambda case: case["datagram"][:40])
def test_packets_are_written_as_librats_2_writes_them(case: dict[str, Any]) -> None:
    fields = {NAMES.get(name, name): value for name, value in case.items() if name not in {"datagram", "payload"}}
    payload = bytes.fromhex(case["payload"])
    datagram = bytes.fromhex(case["datagram"])
    assert serialise(fields.pop("kind"), payload=payload, **fields) == datagram
    found = parse(datagram)
    assert (found["kind"], found["window"], found["payload"]) == (case["type"], case["window"], payload)
    assert (found["conn_id"], found["number"], found["ack"]) == (case["conn_id"], case["seq"], case["ack"])
    assert found["sack"] == (case["sack"] if case["flags"] & 1 else None)


@pytest.mark.parametrize("case", CODEC["decode"], ids=lambda case: case["note"])
def test_datagrams_are_taken_and_dropped_as_librats_2_does(case: dict[str, Any]) -> None:
    datagram = bytes.fromhex(case["datagram"])
    if case["accepted"]:
        found = parse(datagram)
        assert len(found["payload"]) == case["payload_len"]
        assert (found["sack"] is not None) == case["sack_present"]
    else:
        with pytest.raises(DecodeError):
            parse(datagram)


def test_what_others_send_to_the_same_socket_is_told_by_its_first_byte() -> None:
    assert [first for first in range(256) if is_packet(bytes([first]))] == list(range(0x10, 0x17))
    assert not is_packet(b"")


@pytest.mark.parametrize("fields", [{"kind": 6}, {"window": 65536}, {"number": 1 << 32}, {"ack": -1}])
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        serialise(**({"kind": 1, "conn_id": 1, "number": 1} | fields))


ACK = bytes.fromhex("000000640000ffff00000009000a0002")
HEAD = bytes.fromhex("1122334400000007")


def ours(flags: int, ranges: int, body: int, rest: bytes) -> bytes:
    return bytes([0x16, flags, ranges, body]) + HEAD + rest


def test_a_packet_of_ours_is_read() -> None:
    rest = bytes.fromhex("0001000300000064") + b"hello" + bytes(8)
    found = parse(ours(7, 1, Body.DATA, ACK + rest))
    assert found["ack"] == {"heard": 100, "room": 65535, "largest": 9, "delay": 10, "first": 2, "ranges": [(1, 3)]}
    assert (found["offset"], found["payload"], found["fin"], found["tag"]) == (100, b"hello", True, bytes(8))
    assert (found["conn_id"], found["number"]) == (0x11223344, 7)


@pytest.mark.parametrize(
    ("why", "datagram"),
    [
        ("no room for the number", ours(0, 0, Body.NONE, b"")[:11]),
        ("an unknown flag", ours(8, 0, Body.PING, b"")),
        ("an unknown body", ours(0, 0, 7, b"")),
        ("ranges without an acknowledgement", ours(0, 1, Body.PING, bytes(4))),
        ("an acknowledgement cut short", ours(1, 0, Body.NONE, ACK[:15])),
        ("fewer ranges than said", ours(1, 2, Body.NONE, ACK + bytes(4))),
        ("no room for the tag", ours(4, 0, Body.NONE, bytes(7))),
        ("data without an offset", ours(0, 0, Body.DATA, bytes(3))),
        ("an end without data", ours(2, 0, Body.PING, b"")),
        ("a payload where none belongs", ours(0, 0, Body.NONE, b"x")),
        ("a short challenge", ours(0, 0, Body.CHALLENGE, bytes(7))),
        ("a long response", ours(0, 0, Body.RESPONSE, bytes(9))),
        ("a reset without a reason", ours(0, 0, Body.RESET, b"")),
    ],
)
def test_a_damaged_packet_of_ours_is_dropped(why: str, datagram: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(datagram)


@given(st.binary(max_size=64), st.sampled_from([*range(0x10, 0x17), 0x20]))
def test_nothing_but_a_decode_error_comes_of_any_bytes(rest: bytes, first: int) -> None:
    data = bytes([first]) + rest
    try:
        found = parse(data)
    except DecodeError:
        return
    if found["kind"] != PacketKind.EXTENDED:
        fields: dict[str, Any] = {
            name: found[name] or 0 for name in ("flags", "conn_id", "number", "window", "ack", "sack")
        }
        again = serialise(found["kind"], payload=found["payload"], **fields)
        assert found["sack"] == 0 or again == data
