"""The opening without encryption: as librats 2 recorded it, and never mixed up with the encrypted one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.session.joined import Cut, byte_by_byte, random_pieces, whole
from tests.unit.session.librats2_node import START, as_bytes, inner, news_of, session_from
from tests.unit.session.test_opening import side as encrypted_side

from librats.errors import HandshakeError
from librats.session.events import IdentifyReceived, PeersWanted
from librats.session.librats2_wire import InnerType
from librats.session.opening import BlockOpening, PlainOpened, prologue_of
from librats.session.plaintext import PlaintextOpening

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "librats2" / "plaintext_handshake.json").read_text(encoding="utf-8")
)
PROTOCOL: str = RECORDED["protocol"]
IDS: dict[bool, str] = {True: RECORDED["initiator_id"], False: RECORDED["responder_id"]}
BLOCKS: dict[bool, bytes] = {row["dir"] == "client->node": bytes.fromhex(row["block"]) for row in RECORDED["blocks"]}


def side(*, initiator: bool, protocol: str = PROTOCOL) -> PlaintextOpening:
    return PlaintextOpening(initiator=initiator, peer_id=IDS[initiator], protocol=protocol)


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_pieces(1)])
def test_recorded_opening_is_written_and_read(initiator: bool, cut: Cut) -> None:
    opening = side(initiator=initiator)
    assert opening.data_to_send() == (BLOCKS[True] if initiator else b"")
    for piece in cut(BLOCKS[not initiator] + b"the session's"):
        opening.receive_data(piece)
    assert opening.data_to_send() == (b"" if initiator else BLOCKS[False])
    opened = opening.result
    assert opened == PlainOpened(peer_id=IDS[not initiator])
    assert opening.leftover == b"the session's"
    opening.receive_eof()


def test_first_frames_of_a_node_are_read_behind_it() -> None:
    opening = side(initiator=True)
    frames = [bytes.fromhex(frame["block"]) for frame in RECORDED["first_frames_with_all_subsystems"]]
    opening.receive_data(BLOCKS[False] + b"".join(frames))
    assert opening.result is not None
    session = session_from(opening.result, channel=as_bytes)
    session.receive_data(opening.leftover, now=START)
    assert session.failed is None
    wanted, identify = news_of(session)
    assert wanted == PeersWanted(32)
    assert isinstance(identify, IdentifyReceived)
    assert inner(InnerType.CONTROL, identify.identify.encode()) == frames[-1][4:]
    assert session.frames_skipped == 2  # gossip and storage
    session.send_hello(identify.identify.encode())
    assert session.data_to_send(now=START) == frames[-1]


def test_bytes_behind_the_id_are_for_later_versions() -> None:
    opening = side(initiator=False)
    body = BLOCKS[True][4:] + bytes(range(50))
    opening.receive_data(len(body).to_bytes(4) + body)
    assert opening.result is not None
    assert opening.result.peer_id == IDS[True]


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"\0\0\0\0", "first block of 0 bytes"),
        (b"\0\0\0\x1f", "first block of 31 bytes"),
        (b"\0\1\0\0", "first block of 65536 bytes"),
        (b"\xff\xff\xff\xff", "first block of 4294967295 bytes"),
        (b"GET / HTTP/1.1\r\n", "first block of"),
        (b"\0\0\0\x20" + bytes(32), "requires encryption"),
        (b"\0\0\0\x3a" + BLOCKS[True][4:-1], "breaks off"),
        (b"\0\0\0\x20" + BLOCKS[True][4:36], "another protocol|breaks off"),
    ],
)
def test_what_is_no_such_opening_is_refused(first: bytes, why: str, initiator: bool) -> None:
    opening = side(initiator=initiator)
    opening.data_to_send()
    with pytest.raises(HandshakeError, match=why):
        opening.receive_data(first)
    assert opening.data_to_send() == b""
    with pytest.raises(HandshakeError, match="has failed"):
        opening.receive_data(BLOCKS[not initiator])


@pytest.mark.parametrize("other", ["librats/1.1", "librats/1.0 ", "Librats/1.0", "", "x" * 70])
def test_another_protocol_is_refused(other: str) -> None:
    opening = side(initiator=False)
    with pytest.raises(HandshakeError, match="another protocol"):
        opening.receive_data(side(initiator=True, protocol=other).data_to_send())
    assert opening.data_to_send() == b""


@pytest.mark.parametrize("protocol", ["", "ü/1", "x" * 1000])
def test_any_protocol_string_will_do(protocol: str) -> None:
    left, right = side(initiator=True, protocol=protocol), side(initiator=False, protocol=protocol)
    right.receive_data(left.data_to_send())
    left.receive_data(right.data_to_send())
    assert left.result is not None
    assert right.result is not None
    assert prologue_of(protocol) in right._own


def hung_up(opening: BlockOpening) -> str:
    with pytest.raises(HandshakeError) as caught:
        opening.receive_eof()
    return str(caught.value)


def test_an_encrypted_side_and_one_without_refuse_each_other_in_both_directions() -> None:
    plain, encrypted = side(initiator=True), encrypted_side(initiator=False)
    with pytest.raises(HandshakeError, match="does without encryption, which is required here"):
        encrypted.receive_data(plain.data_to_send())
    assert encrypted.data_to_send() == b""
    assert "encryption is required there" in hung_up(plain)

    plain, encrypted = side(initiator=False), encrypted_side(initiator=True)
    with pytest.raises(HandshakeError, match="requires encryption, which is off here"):
        plain.receive_data(encrypted.data_to_send())
    assert plain.data_to_send() == b""
    assert "no encryption there" in hung_up(encrypted)


@given(st.binary(max_size=200), st.integers(0, 100))
def test_random_bytes_are_taken_for_no_peer(data: bytes, seed: int) -> None:
    opening = side(initiator=False)
    try:
        for piece in random_pieces(seed)(data):
            opening.receive_data(piece)
    except HandshakeError:
        pass
    assert opening.result is None
    assert opening.data_to_send() == b""


def test_damaged_openings_are_refused_or_another_id() -> None:
    rng = random.Random(1)  # noqa: S311 - nothing here is a secret
    others = 0
    for _ in range(2_000):
        damaged = bytearray(BLOCKS[True])
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        opening = side(initiator=False)
        try:
            opening.receive_data(bytes(damaged))
        except HandshakeError:
            continue
        if opening.result is not None:
            assert opening.result.peer_id != IDS[True] or opening.leftover or damaged[3] != BLOCKS[True][3]
            others += 1
    assert 500 < others < 1500  # about half of the block is the id, which nothing proves
