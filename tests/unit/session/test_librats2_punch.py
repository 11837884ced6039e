"""Punch messages on the wire: as librats 2 recorded them, and whatever else comes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.session.librats2_node import Link, inner

from librats.errors import DecodeError
from librats.session.events import PunchReceived
from librats.session.librats2_punch import (
    MAX_INNER,
    SYNC,
    Envelope,
    PunchConnect,
    PunchOp,
    PunchRole,
    PunchSync,
    decode_inner,
)
from librats.session.librats2_wire import InnerType
from librats.types import Address

MESSAGES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "librats2" / "punch.json").read_text(encoding="utf-8")
)["messages"]
NO_ENVELOPE = {"inner 156 bytes (envelope 190)", "empty inner", "version 2", "op 2"}
"""What a node does not even pass on."""

ONLY_PASSED_ON = {
    *("unknown inner kind 99", "inner 155 bytes (envelope 189)", "tolerance: Connect with 9 addresses"),
    *("tolerance: Connect role 2", "tolerance: Connect 0 addresses", "tolerance: unknown kind 7"),
}
"""What a node passes on, and does not understand where it is the one that it is for."""

TRAILING = {"tolerance: Connect with trailing bytes": 5, "tolerance: Sync with trailing bytes": 2}
"""Bytes behind what a node understands."""

addresses = st.builds(
    Address,
    st.ip_addresses().filter(lambda ip: not ip.is_unspecified and not getattr(ip, "ipv4_mapped", None)).map(str),
    st.integers(1, 65535),
)


def read(payload: bytes) -> Envelope | None:
    try:
        return Envelope.decode(payload)
    except DecodeError:
        return None


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{message['note']}, {message['dir']}")
def test_every_recorded_message_is_read_and_written_as_librats_2_does(message: dict[str, Any]) -> None:
    payload, note = bytes.fromhex(message["payload"]), message["note"]
    envelope = read(payload)
    link = Link()
    heard = link.hear(inner(InnerType.PUNCH, payload))
    assert link.session.frames_skipped == (envelope is None)
    if note in NO_ENVELOPE:
        assert envelope is None
        assert heard == []
        return
    assert envelope is not None
    assert heard == [PunchReceived(envelope)]
    to_relay = "->node(relay)" in message["dir"] or message["dir"] == "node->client(relay)"
    assert envelope.op is (PunchOp.TO_RELAY if to_relay else PunchOp.FROM_RELAY)
    assert envelope.encode() == payload
    assert link.session.send_punch(envelope)
    assert link.said() == [inner(InnerType.PUNCH, payload)]
    if note in ONLY_PASSED_ON:
        with pytest.raises(DecodeError):
            decode_inner(envelope.inner)
    else:
        told = decode_inner(envelope.inner)
        assert told.encode() + envelope.inner[len(envelope.inner) - TRAILING.get(note, 0) :] == envelope.inner


def test_what_is_told_is_what_was_meant() -> None:
    told = {message["note"]: bytes.fromhex(message["payload"])[34:] for message in MESSAGES}
    opening = decode_inner(told["opening Connect (role 0), v4+v6, delivered by relay"])
    assert opening == PunchConnect(PunchRole.OPENS, (Address("127.0.0.1", 0xD23D), Address("::1", 9)))
    answer = decode_inner(told["responder Connect (role 1)"])
    assert answer == PunchConnect(PunchRole.ANSWERS, (Address("127.0.0.1", 0x949F),))
    assert decode_inner(told["Sync"]) == PunchSync()


@given(op=st.sampled_from(PunchOp), peer_id=st.binary(min_size=32, max_size=32), body=st.binary(max_size=170))
def test_an_envelope_keeps_what_is_in_it_and_has_a_size(op: PunchOp, peer_id: bytes, body: bytes) -> None:
    envelope = Envelope(op, peer_id.hex(), body)
    assert read(envelope.encode()) == (envelope if 1 <= len(body) <= MAX_INNER else None)


@given(role=st.sampled_from(PunchRole), listed=st.lists(addresses, min_size=1, max_size=12))
def test_addresses_are_read_as_they_were_written(role: PunchRole, listed: list[Address]) -> None:
    encoded = PunchConnect(role, tuple(listed)).encode()
    assert len(encoded) <= MAX_INNER
    assert decode_inner(encoded) == PunchConnect(role, tuple(listed[:8]))
    for end in range(len(encoded)):
        with pytest.raises(DecodeError):
            decode_inner(encoded[:end])


@pytest.mark.parametrize("nobody", [Address("192.0.2.1", 0), Address("0.0.0.0", 7), Address("::", 7)])  # noqa: S104 - the point
def test_an_address_that_nobody_could_dial_is_left_out(nobody: Address) -> None:
    other = Address("192.0.2.1", 9)
    both = PunchConnect(PunchRole.OPENS, (nobody, other)).encode()
    assert decode_inner(both) == PunchConnect(PunchRole.OPENS, (other,))
    with pytest.raises(DecodeError, match="without an address"):
        decode_inner(PunchConnect(PunchRole.OPENS, (nobody,)).encode())


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_decode_errors(garbage: bytes) -> None:
    for reads in (Envelope.decode, decode_inner):
        with contextlib.suppress(DecodeError):
            reads(garbage)


def test_a_node_that_does_not_read_is_passed_nothing_on_beyond_64_kib() -> None:
    session = Link().session
    envelope = Envelope(PunchOp.FROM_RELAY, "ab" * 32, SYNC)
    taken = 0
    while session.send_punch(envelope):
        taken += 1
    assert 64 * 1024 < session.control_queued < 65 * 1024
    assert taken > 1000
    session.data_to_send(now=0.0)
    assert session.send_punch(envelope)
    session.go_away("closed")
    assert not session.send_punch(envelope)
