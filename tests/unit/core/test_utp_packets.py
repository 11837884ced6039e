"""Packets of uTP: what libtorrent 2.1.1 wrote, what is made after BEP 29, and what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import utp as reference

from librats._core.utp_packets import is_packet, parse, serialise
from librats.errors import DecodeError, UsageError

VECTORS = Path(__file__).parents[2] / "vectors" / "wire" / "utp_packets.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
KINDS = ["ST_DATA", "ST_FIN", "ST_STATE", "ST_RESET", "ST_SYN"]
NAMES = {
    "conn_id": "connection_id",
    "timestamp": "timestamp_us",
    "timestamp_difference": "timestamp_diff_us",
    "window": "wnd_size",
    "number": "seq_nr",
    "ack": "ack_nr",
}


def cases(expect: str) -> pytest.MarkDecorator:
    found = [case for case in CASES if case["expect"] == expect]
    assert found
    return pytest.mark.parametrize("case", found, ids=lambda case: case["id"])


@cases("accept")
def test_packets_of_the_vectors_are_read_and_written(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    found = parse(raw)
    assert is_packet(raw)
    assert KINDS[found["kind"]] == case["type"]
    assert {name: found[name] for name in NAMES} == {name: case[theirs] for name, theirs in NAMES.items()}
    assert found["payload"] == bytes.fromhex(case["payload"])
    assert found["extensions"] == [(one["type"], bytes.fromhex(one["value"])) for one in case["extensions"]]
    assert found["acked"] == [number for one in case["extensions"] for number in one.get("acked", [])]
    del found["acked"]
    assert serialise(**found) == raw


@cases("reject")
def test_faulty_packets_of_the_vectors_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        parse(bytes.fromhex(case["raw"]))


@cases("ignore_extension_or_reject")
def test_masks_of_odd_lengths_are_read_as_those_that_libtorrent_writes(case: dict[str, Any]) -> None:
    found = parse(bytes.fromhex(case["raw"]))
    ((kind, mask),) = found["extensions"]
    assert kind == 1
    bits = [8 * index + bit for index, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1]
    assert found["acked"] == [(found["ack"] + 2 + bit) % 65536 for bit in bits]


def test_every_vector_is_used() -> None:
    assert {case["expect"] for case in CASES} == {"accept", "reject", "ignore_extension_or_reject"}
    assert len(CASES) == 50


HEADS = st.builds(
    lambda first, second, rest: bytes([first, second]) + rest,
    st.sampled_from([0x01, 0x11, 0x21, 0x31, 0x41, 0x51, 0x00, 0x22]),
    st.sampled_from([0, 1, 2, 3, 254]),
    st.binary(min_size=18, max_size=18),
)
EXTENSIONS = st.lists(
    st.builds(
        lambda follows, size, body: bytes([follows, size]) + body,
        st.sampled_from([0, 0, 1, 2, 255]),
        st.integers(0, 12),
        st.binary(max_size=12),
    ),
    max_size=20,
).map(b"".join)


@given(st.one_of(st.binary(max_size=80), st.builds(lambda head, rest: head + rest, HEADS, EXTENSIONS)))
def test_whatever_comes_is_read_as_the_slow_reader_reads_it(data: bytes) -> None:
    try:
        expected = reference.read(data)
    except reference.Refused:
        with pytest.raises(DecodeError):
            parse(data)
        return
    assert parse(data) == expected
    assert is_packet(data)


FIELDS = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 4),
        "conn_id": st.integers(0, 65535),
        "number": st.integers(0, 65535),
        "ack": st.integers(0, 65535),
        "timestamp": st.integers(0, (1 << 32) - 1),
        "timestamp_difference": st.integers(0, (1 << 32) - 1),
        "window": st.integers(0, (1 << 32) - 1),
        "extensions": st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=255)), max_size=16),
        "payload": st.binary(max_size=1500),
    }
)


@given(FIELDS)
def test_what_is_written_is_read_again(fields: dict[str, Any]) -> None:
    found = parse(serialise(**fields))
    del found["acked"]
    assert found == fields


@pytest.mark.parametrize("size", range(20))
def test_a_packet_that_is_cut_in_its_header_is_refused(size: int) -> None:
    whole = serialise(2, conn_id=1, number=1)
    assert not is_packet(whole[:size])
    with pytest.raises(DecodeError):
        parse(whole[:size])


def test_seventeen_extensions_are_too_many() -> None:
    most = [(9, b"")] * 16
    assert len(parse(serialise(2, conn_id=1, number=1, extensions=most))["extensions"]) == 16
    longer = bytearray(serialise(2, conn_id=1, number=1, extensions=most))
    longer[-2:] = bytes([9, 0, 0, 0])
    with pytest.raises(DecodeError):
        parse(bytes(longer))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 5},
        {"kind": -1},
        {"conn_id": 65536},
        {"number": -1},
        {"ack": 65536},
        {"window": 1 << 32},
        {"timestamp": -1},
        {"timestamp_difference": 1 << 32},
        {"extensions": [(0, b"")]},
        {"extensions": [(256, b"")]},
        {"extensions": [(1, bytes(256))]},
        {"extensions": [(1, b"")] * 17},
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        serialise(**({"kind": 2, "conn_id": 1, "number": 1} | fields))
