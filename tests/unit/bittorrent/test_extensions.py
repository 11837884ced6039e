"""Payloads of extensions: handshakes, metadata, peers and hole punching, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent.extensions import (
    ExtendedHandshake,
    HolepunchError,
    HolepunchKind,
    HolepunchMessage,
    MetadataKind,
    MetadataMessage,
    PeerFlags,
    PexMessage,
    compact_peer,
    compact_peers,
    read_extended_handshake,
    read_holepunch,
    read_metadata_message,
    read_pex,
)
from librats.errors import RemoteProtocolError, UsageError
from librats.types import Address

PAYLOAD = 6
ERRORS = {
    "none": HolepunchError.NONE,
    "NoSuchPeer": HolepunchError.NO_SUCH_PEER,
    "NotConnected": HolepunchError.NOT_CONNECTED,
    "NoSupport": HolepunchError.NO_SUPPORT,
    "NoSelf": HolepunchError.NO_SELF,
}


@pytest.mark.vectors("wire/holepunch")
def test_a_message_of_hole_punching_is_read_and_written_or_refused(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    if case["expect"] == "reject":
        with pytest.raises(RemoteProtocolError):
            read_holepunch(raw)
        return
    message = read_holepunch(raw)
    assert message.kind is HolepunchKind[case["msg_type"].upper()]
    assert message.address == Address(case["ip"], case["port"])
    assert message.error == case["err_code"] == ERRORS[case["error"]]
    assert message.encode() == raw


@pytest.mark.parametrize("kind", HolepunchKind)
@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_only_an_error_has_to_have_a_code(kind: HolepunchKind, host: str) -> None:
    message = HolepunchMessage(kind=kind, address=Address(host, 6881))
    short = message.encode()[:-4]
    if kind is HolepunchKind.ERROR:
        with pytest.raises(RemoteProtocolError):
            read_holepunch(short)
    else:
        assert read_holepunch(short) == message
    for size in {0, 1, 2, 3, len(short) - 1, len(short) + 1, len(short) + 3, len(short) + 5}:
        with pytest.raises(RemoteProtocolError):
            read_holepunch((message.encode() + b"\0")[:size])


@pytest.mark.vectors("wire/peer_messages")
def test_a_payload_of_another_program_is_understood(case: dict[str, Any]) -> None:
    if case["type"] != "extended":
        return
    payload, told = bytes.fromhex(case["raw"])[PAYLOAD:], case["dictionary"]
    if case["extended_id"] == 0:
        handshake = read_extended_handshake(payload)
        assert handshake.extensions == told["m"]
        assert (handshake.port, handshake.requests) == (told.get("p", 0), told.get("reqq", 0))
        assert handshake.metadata_size == told.get("metadata_size", 0)
        assert handshake.your_ip.hex() == told.get("yourip", "")
        assert handshake.version == bytes.fromhex(told.get("v", "")).decode()
        assert handshake.upload_only == bool(told.get("upload_only"))
    elif "msg_type" in told:
        message = read_metadata_message(payload)
        assert message is not None
        assert (message.kind, message.piece) == (told["msg_type"], told["piece"])
        assert message.data.hex() == case.get("trailing_data", "")
        if message.kind is not MetadataKind.REJECT:  # libtorrent says the size with it
            assert message.encode() == payload
    else:
        assert read_pex(payload).encode() == bencode.encode({b"added6.f": b"", **bencode.decode(payload, strict=False)})


def test_a_handshake_is_written_and_read() -> None:
    told = ExtendedHandshake(
        extensions={"ut_pex": 1, "ut_metadata": 2},
        port=6881,
        version="x 1",
        your_ip=b"\x7f\0\0\1",
        requests=250,
        metadata_size=7,
        upload_only=True,
    )
    assert read_extended_handshake(told.encode()) == told


def test_fields_of_another_type_are_passed_over() -> None:
    raw = bencode.encode(
        {b"m": {b"a": 300, b"b": b"x", b"c": 7, b"n" * 65: 1}, b"p": 70_000, b"reqq": -1, b"v": 5, b"yourip": b"abc"}
    )
    assert read_extended_handshake(raw) == ExtendedHandshake(extensions={"c": 7})


@pytest.mark.parametrize("raw", [b"", b"i1e", b"d", b"l" * 100 + b"e" * 100, b"d" + b"1:a" + b"li1e" * 3000])
def test_what_is_no_dictionary_is_refused(raw: bytes) -> None:
    for read in (read_extended_handshake, read_metadata_message, read_pex):
        with pytest.raises(RemoteProtocolError):
            read(raw)


def test_metadata_of_no_piece_or_kind_is_refused_or_passed_over() -> None:
    for fields in ({b"piece": 1}, {b"msg_type": 0}, {b"msg_type": 0, b"piece": -1}, {b"msg_type": b"x", b"piece": 1}):
        with pytest.raises(RemoteProtocolError):
            read_metadata_message(bencode.encode(fields))
    assert read_metadata_message(bencode.encode({b"msg_type": 9, b"piece": 1})) is None
    too_long = MetadataMessage(kind=MetadataKind.DATA, piece=0, total_size=16_385, data=bytes(16_385))
    with pytest.raises(RemoteProtocolError):
        read_metadata_message(too_long.encode())


def test_peers_are_told_by_family_and_no_more_than_a_limit() -> None:
    four, six = Address("192.0.2.1", 5), Address("2001:db8::1", 6)
    told = PexMessage(added=((four, PeerFlags.SEED), (six, PeerFlags.UTP)), dropped=(six,))
    assert read_pex(told.encode()) == told
    many = PexMessage(added=tuple((Address(f"192.0.{n >> 8}.{n & 255}", 9), PeerFlags(0)) for n in range(500)))
    assert len(read_pex(many.encode()).added) == 200


def test_ports_of_0_and_what_is_not_whole_are_left_out() -> None:
    raw = compact_peer(Address("192.0.2.1", 5)) + bytes(6) + b"abc"
    assert compact_peers(raw, 4) == [Address("192.0.2.1", 5)]
    assert compact_peers(7, 4) == []
    flags = read_pex(bencode.encode({b"added": bytes(6) + raw[:6], b"added.f": b"\1\2"})).added
    assert flags == ((Address("192.0.2.1", 5), PeerFlags.SEED),)


def test_a_name_is_no_compact_peer() -> None:
    with pytest.raises(UsageError):
        HolepunchMessage(kind=HolepunchKind.CONNECT, address=Address("host.example", 1)).encode()
