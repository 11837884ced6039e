"""Whole links of a librats 2 node, damaged anywhere: only documented errors come of it, and no memory is spent."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.properties.test_inner import mutated
from tests.reference import inner as oracle
from tests.unit.session.librats2_node import START, as_bytes, session_from
from tests.unit.session.test_opening import bare_side, block
from tests.unit.session.test_opening import side as noise_side
from tests.unit.session.test_plaintext import BLOCKS
from tests.unit.session.test_plaintext import side as plain_side

from librats._core.aead import Cipher
from librats.errors import HandshakeError
from librats.session.events import (
    FileChunkReceived,
    IdentifyReceived,
    MessageRun,
    PeersOffered,
    PeersWanted,
    PongReceived,
    PunchReceived,
    SessionFailed,
)
from librats.session.frames import Reason
from librats.session.librats2_wire import Identify
from librats.session.opening import BlockOpening

EVENTS = (
    MessageRun,
    FileChunkReceived,
    IdentifyReceived,
    PeersOffered,
    PeersWanted,
    PongReceived,
    PunchReceived,
    SessionFailed,
)
BODIES = [
    oracle.inner(oracle.CONTROL, Identify(listen_port=7).encode()),
    oracle.typed(b"chat", b'{"n":1}'),
    oracle.inner(oracle.APP, b"x" * 300, channel=7),
    oracle.inner(oracle.PING, b"\0" * 9),
    oracle.inner(oracle.PEX, b"\1\0\0\x20"),
    oracle.inner(oracle.PEX, b"\1\1\0\1\4\x7f\0\0\1\x1f\x90" + bytes(32)),
    oracle.inner(oracle.PUNCH, b"\1\1" + bytes(32) + b"\0\0\1\4\x7f\0\0\1\x1f\x90"),
]


def drive(opening: BlockOpening, data: bytes, rng: random.Random) -> str:
    """Feed an opening, and the session behind it; returns how it ended."""
    session = None
    while data:
        size = rng.choice([1, 4, 50, 1000])
        piece, data = data[:size], data[size:]
        if session is not None:
            session.receive_data(piece, now=START)
        else:
            try:
                opening.receive_data(piece)
            except HandshakeError:
                return "no handshake"
            if opening.result is not None:
                session = session_from(opening.result, channel=as_bytes)
                session.receive_data(opening.leftover, now=START)
    if session is None:
        return "waits for the handshake"
    while (event := session.next_event()) is not None:
        assert isinstance(event, EVENTS)
    assert session._reader.buffer_size <= 8192
    assert session.control_queued <= 1000
    if session.failed is None:
        return "lives"
    assert session.failed.code == Reason.PROTOCOL_ERROR
    return "failed"


def noise_link(rng: random.Random, *, damaged_inside: bool) -> tuple[BlockOpening, bytes]:
    """Return a responder, and what an initiator sends it, damaged outside or inside its sealed blocks."""
    responder, node = noise_side(initiator=False), bare_side(initiator=True)
    first = block(node.write_message(b""))
    answering = noise_side(initiator=False)
    answering.receive_data(first)
    node.read_message(answering.data_to_send()[4:])
    data = first + block(node.write_message(b""))
    sending, _ = node.split()
    assert isinstance(sending, Cipher)
    chosen = rng.choices(BODIES, k=3)
    if damaged_inside:
        return responder, data + b"".join(block(sending.seal(mutated(rng, body))) for body in chosen)
    return responder, mutated(rng, data + b"".join(block(sending.seal(body)) for body in chosen))


def plain_link(rng: random.Random) -> tuple[BlockOpening, bytes]:
    """The same without encryption."""
    data = BLOCKS[True] + b"".join(map(block, rng.choices(BODIES, k=3)))
    return plain_side(initiator=False), mutated(rng, data)


def fuzz(rounds: int) -> None:
    rng = random.Random(rounds)  # noqa: S311 - nothing here is a secret
    endings: Counter[str] = Counter()
    for index in range(rounds):
        if index % 10:
            opening, data = plain_link(rng)
        else:
            opening, data = noise_link(rng, damaged_inside=index % 20 == 0)
        endings[drive(opening, data, rng)] += 1
    assert set(endings) == {"no handshake", "waits for the handshake", "lives", "failed"}
    assert min(endings.values()) >= rounds // 500


def test_damaged_links_end_as_documented() -> None:
    fuzz(2_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_thousand_damaged_links_end_as_documented() -> None:
    fuzz(100_000)
