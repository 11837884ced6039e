"""Peer exchange on the wire: as librats 2 recorded it, and whatever else comes, in both framings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.session.joined import Pair
from tests.unit.session.librats2_node import Link, inner

from librats.errors import DecodeError
from librats.session.events import PeersOffered, PeersWanted
from librats.session.exchange import MAX_ENTRIES, KnownPeer, decode_exchange, encode_answer, encode_request
from librats.session.librats2_wire import InnerType
from librats.types import Address

FRAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "librats2" / "pex.json").read_text(encoding="utf-8")
)["frames"]
ID = "8565bf719394fe7cf7b90cc6f991baf6176ec8f9a7649d261e8eacbb23e84455"


def entry(index: int, host: str = "192.0.2.1") -> KnownPeer:
    return KnownPeer(Address(host, 1000 + index), f"{index:064x}")


def read(payload: bytes) -> PeersWanted | PeersOffered | None:
    try:
        return decode_exchange(payload)
    except DecodeError:
        return None


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: f"{frame['note']} {frame['payload'][:8]}")
def test_every_recorded_message_is_read_and_written_as_librats_2_does(frame: dict[str, Any]) -> None:
    payload = bytes.fromhex(frame["payload"])
    told = read(payload)
    note = frame["note"]
    if "ignored" in note and payload not in (b"\x01\x00\x00\x20",):
        assert told is None
    elif payload[1] == 0:
        assert told == PeersWanted(int.from_bytes(payload[2:4]))
        if "trailing" not in note:
            assert encode_request(told.most) == payload
    else:
        assert isinstance(told, PeersOffered)
        assert len(told.entries) == int.from_bytes(payload[2:4])
        assert encode_answer(told.entries) == payload[: len(encode_answer(told.entries))]
        if frame["dir"] == "node->client":
            assert encode_answer(told.entries) == payload
    link = Link()
    heard = link.hear(inner(InnerType.PEX, payload))
    assert heard == ([] if told is None else [told])
    assert link.session.frames_skipped == (told is None)
    link.session.send_exchange(payload)
    assert link.said() == [inner(InnerType.PEX, payload)]


def test_both_directions_and_all_kinds_are_recorded() -> None:
    kinds = {type(read(bytes.fromhex(frame["payload"]))) for frame in FRAMES}
    assert kinds == {type(None), PeersWanted, PeersOffered}
    assert {frame["dir"] for frame in FRAMES} == {"node->client", "client->node"}


ENTRY = bytes.fromhex("04c000020103e9") + bytes.fromhex(ID)


@pytest.mark.parametrize(
    ("payload", "entries"),
    [
        pytest.param(b"\x01\x01\x00\x00", 0, id="nobody"),
        pytest.param(b"\x01\x01\x00\x01" + ENTRY, 1, id="one"),
        pytest.param(b"\x01\x01\x00\x01" + ENTRY + b"more", 1, id="bytes behind"),
        pytest.param(b"\x01\x01\x00\x01" + ENTRY + ENTRY, 1, id="more than counted"),
        pytest.param(b"\x01\x01\x00\x03" + ENTRY + ENTRY, 2, id="fewer than counted"),
        pytest.param(b"\x01\x01\x00\x02" + ENTRY + ENTRY[:-1], 1, id="breaks off"),
        pytest.param(b"\x01\x01\xff\xff" + ENTRY * 100, MAX_ENTRIES, id="too many"),
        pytest.param(b"\x01\x01\x00\x03" + ENTRY + b"\x05" + bytes(39) + ENTRY, 1, id="address of 5 bytes"),
        pytest.param(b"\x01\x01\x00\x02" + b"\x00" + ENTRY, 0, id="address of no bytes"),
    ],
)
def test_an_answer_is_read_as_far_as_it_goes(payload: bytes, entries: int) -> None:
    told = read(payload)
    assert isinstance(told, PeersOffered)
    assert told.entries == (KnownPeer(Address("192.0.2.1", 1001), ID),) * entries


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x01\x00", b"\x01\x01\x00", b"\x02\x00\x00\x20", b"\x01\x02\x00\x20"]
)
def test_what_is_neither_is_skipped_in_both_framings(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_exchange(payload)
    link = Link()
    assert link.hear(inner(InnerType.PEX, payload)) == []
    assert (link.session.frames_skipped, link.session.failed) == (1, None)
    pair = Pair()
    pair.a.session.send_exchange(payload)
    pair.move(forward=True)
    assert pair.b.collect() == []
    assert (pair.b.session.frames_skipped, pair.b.session.failed) == (1, None)


def test_a_session_of_ours_carries_it_both_ways_and_not_after_its_end() -> None:
    pair = Pair()
    pair.a.session.send_exchange(encode_request(7))
    pair.move(forward=True)
    assert pair.b.collect() == [PeersWanted(7)]
    entries = tuple(entry(index, host) for index, host in enumerate(("192.0.2.1", "2001:db8::1")))
    pair.b.session.send_exchange(encode_answer(entries))
    pair.move(forward=False)
    assert pair.a.collect() == [PeersOffered(entries)]
    pair.a.session.go_away("closed")
    pair.a.session.send_exchange(encode_request())
    pair.move(forward=True)
    assert pair.b.of(PeersWanted) == [PeersWanted(7)]


ENTRIES = st.builds(
    KnownPeer,
    st.builds(Address, st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(st.lists(ENTRIES, max_size=MAX_ENTRIES), st.binary(max_size=10))
def test_an_answer_is_read_as_it_was_written(entries: list[KnownPeer], behind: bytes) -> None:
    assert decode_exchange(encode_answer(entries) + behind) == PeersOffered(tuple(entries))


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x01\x01" + tail))
def test_random_bytes_are_read_or_refused(payload: bytes) -> None:
    told = read(payload)
    assert told is None or isinstance(told, PeersWanted) or len(told.entries) <= MAX_ENTRIES
