"""Numbers of channels and identify, as librats 2 writes and reads them."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.errors import DecodeError
from librats.session.librats2_wire import MAX_ADDRESSES, Identify, channel_id
from librats.types import Address

VECTORS = Path(__file__).parents[2] / "vectors" / "librats2"

HEAD = bytes.fromhex("011f90")
V4 = bytes.fromhex("04c0a801071f90")
V4_ADDRESS = Address("192.168.1.7", 8080)


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return content


CHANNELS: list[list[Any]] = read("channels")["cases"]
ENCODED: dict[str, bytes] = {row["note"]: bytes.fromhex(row["payload"]) for row in read("identify")["encoded"]}

FORTY = tuple(Address(f"10.0.0.{index}", 999 + index) for index in range(1, 41))
WRITTEN = {
    "all defaults": Identify(),
    "port 8080, one v4, one v6, observed v4 with port, tcp+udp": Identify(
        listen_port=8080,
        addresses=(V4_ADDRESS, Address("fe80::1", 8080)),
        observed=Address("203.0.113.9", 40001),
        transports=3,
    ),
    "observed v6 with port 0 (TCP), tcp only": Identify(
        listen_port=65535, observed=Address("2001:db8::5", 0), transports=1
    ),
    "port-0 address skipped; 0.0.0.0 kept (only unset family skipped)": Identify(
        listen_port=9,
        addresses=(Address("0.0.0.0", 5),),  # noqa: S104 - nothing listens
    ),
}


def test_every_recorded_channel_has_its_number() -> None:
    assert len(CHANNELS) == 168
    assert {name: channel_id(name) for name, _ in CHANNELS} == dict(CHANNELS)


@pytest.mark.parametrize("note", WRITTEN)
def test_identify_is_written_and_read_as_by_librats_2(note: str) -> None:
    assert WRITTEN[note].encode() == ENCODED[note]
    assert Identify.decode(ENCODED[note]) == WRITTEN[note]


def test_of_forty_addresses_the_first_thirty_two_are_told() -> None:
    (recorded,) = (payload for note, payload in ENCODED.items() if note.startswith("40 addresses"))
    read_back = Identify.decode(recorded)
    assert read_back.addresses == tuple(
        Address(f"10.0.0.{index}", read_back.addresses[0].port + index - 1) for index in range(1, MAX_ADDRESSES + 1)
    )
    more = FORTY[MAX_ADDRESSES:]
    again = Identify(
        listen_port=read_back.listen_port,
        addresses=read_back.addresses + more,
        observed=read_back.observed,
        transports=read_back.transports,
    )
    assert again.encode() == recorded
    assert set(WRITTEN) | {note for note in ENCODED if note.startswith("40 addresses")} == set(ENCODED)


@pytest.mark.parametrize("payload", ENCODED.values(), ids=list(ENCODED))
def test_identify_cut_anywhere_before_its_transports_is_refused(payload: bytes) -> None:
    for size in range(len(payload) - 1):
        with pytest.raises(DecodeError):
            Identify.decode(payload[:size])
    assert Identify.decode(payload[:-1]).transports == 0


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x02" + HEAD[1:] + b"\x00\x00\x03", id="version 2"),
        pytest.param(b"\x00" + HEAD[1:] + b"\x00\x00\x03", id="version 0"),
        pytest.param(HEAD + b"\x21" + V4 * 33 + b"\x00\x03", id="33 addresses"),
        pytest.param(HEAD + b"\xff" + V4 * 255 + b"\x00\x03", id="255 addresses"),
        pytest.param(HEAD + b"\x01\x05" + bytes(7) + b"\x00\x03", id="address of 5 bytes"),
        pytest.param(HEAD + b"\x01\x00" + bytes(2) + b"\x00\x03", id="address of no bytes"),
        pytest.param(HEAD + b"\x00\x05" + bytes(7) + b"\x03", id="observed address of 5 bytes"),
        pytest.param(HEAD + b"\x00\x11" + bytes(19) + b"\x03", id="observed address of 17 bytes"),
        pytest.param(HEAD + b"\x02" + V4, id="fewer addresses than counted"),
        pytest.param(HEAD + b"\x00", id="no observed byte"),
        pytest.param(b"", id="empty"),
    ],
)
def test_identify_that_a_node_ignores_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        Identify.decode(payload)


def test_thirty_two_addresses_are_read() -> None:
    assert Identify.decode(HEAD + b"\x20" + V4 * 32 + b"\x00\x03").addresses == (V4_ADDRESS,) * 32


@pytest.mark.parametrize(
    ("tail", "transports"),
    [(b"", 0), (b"\x00", 0), (b"\x03", 3), (b"\xff", 255), (b"\x03" + bytes(range(50)), 3)],
    ids=["missing", "not said", "both", "unknown bits", "50 bytes behind"],
)
def test_transports_may_be_missing_or_followed_by_more(tail: bytes, transports: int) -> None:
    told = Identify.decode(HEAD + b"\x01" + V4 + b"\x00" + tail)
    assert told == Identify(listen_port=8080, addresses=(V4_ADDRESS,), transports=transports)


def test_mapped_address_is_written_in_four_bytes_and_a_zone_is_left_out() -> None:
    told = Identify(
        listen_port=8080,
        addresses=(Address("::ffff:192.168.1.7", 8080), Address("fe80::1%eth0", 8080)),
        observed=Address("::ffff:192.168.1.7", 8080),
    )
    assert Identify.decode(told.encode()) == Identify(
        listen_port=8080, addresses=(V4_ADDRESS, Address("fe80::1", 8080)), observed=V4_ADDRESS
    )


PORTS = st.integers(0, 65535)
NUMBERS = st.ip_addresses().filter(lambda ip: isinstance(ip, ipaddress.IPv4Address) or ip.ipv4_mapped is None)
ADDRESSES = st.builds(Address, NUMBERS.map(str), PORTS)


@given(
    st.builds(
        Identify,
        listen_port=PORTS,
        addresses=st.lists(ADDRESSES.filter(lambda address: address.port > 0), max_size=MAX_ADDRESSES).map(tuple),
        observed=st.none() | ADDRESSES,
        transports=st.integers(0, 255),
    )
)
def test_identify_is_read_as_it_was_written(told: Identify) -> None:
    assert Identify.decode(told.encode()) == told


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: HEAD + tail))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        told = Identify.decode(data)
    except DecodeError:
        return
    assert len(told.addresses) == data[3] <= MAX_ADDRESSES
    assert told.listen_port == int.from_bytes(data[1:3])


def test_an_address_without_a_port_is_not_told() -> None:
    told = Identify(listen_port=7, addresses=(Address("192.0.2.1", 0), Address("192.0.2.2", 7)))
    assert Identify.decode(told.encode()).addresses == (Address("192.0.2.2", 7),)
