"""The codec on the conformance vectors: samples of RFC 5769 and 8489, generated and malformed messages, both ways."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from librats._core import stun
from librats._core.stun import StunMessage
from librats.errors import StunError
from librats.stun.constants import Attribute, MessageClass

CLASSES = {
    "request": MessageClass.REQUEST,
    "indication": MessageClass.INDICATION,
    "success": MessageClass.SUCCESS_RESPONSE,
    "error": MessageClass.ERROR_RESPONSE,
}
GUARDS = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT}
SPACE_PADDED = {"rfc5769-2.1", "rfc5769-2.2"}
XOR_TYPES = {Attribute.XOR_MAPPED_ADDRESS, Attribute.XOR_PEER_ADDRESS, Attribute.XOR_RELAYED_ADDRESS}


def decoded(attribute: dict[str, Any]) -> Any:
    """Return what the vector says the value is, in the codec's terms."""
    value: Any = bytes.fromhex(attribute["value"])
    if "ip" in attribute:
        value = (ipaddress.ip_address(attribute["ip"]), attribute["port"])
    elif "code" in attribute:
        value = (attribute["code"], attribute["reason"])
    elif "uint64_hex" in attribute:
        value = int(attribute["uint64_hex"], 16)
    elif attribute["type"] == Attribute.USE_CANDIDATE:
        value = True
    elif attribute["type"] == Attribute.PASSWORD_ALGORITHM:
        value = (int(attribute["value"][:4], 16), b"")
    return attribute.get("text", attribute.get("uint", value))


def comparable(value: Any) -> Any:
    if isinstance(value, tuple) and isinstance(value[0], str):
        return (ipaddress.ip_address(value[0]), value[1])
    return value


def serialised_again(message: StunMessage, key: bytes | None) -> bytes:
    ordinary = [(kind, value) for kind, value in message.values() if kind not in GUARDS]
    return stun.serialise(
        message.method,
        message.message_class,
        message.transaction_id,
        ordinary,
        key=key,
        integrity=message.integrity_type or Attribute.MESSAGE_INTEGRITY,
        fingerprint=message.has_fingerprint,
    )


def key_of(case: dict[str, Any]) -> bytes | None:
    return bytes.fromhex(case["integrity_key"]) if case.get("integrity_key") else None


@pytest.mark.vectors("stun/messages_standard", "stun/messages_generated")
def test_message_is_read(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    message = stun.parse(raw)
    assert (message.method, message.message_class) == (case["method"], CLASSES[case["class"]])
    assert message.transaction_id.hex() == case["transaction_id"]
    assert message.size == len(raw) == case["length"] + 20
    assert not message.is_classic
    assert [(kind, comparable(value)) for kind, value in message.values()] == [
        (attribute["type"], decoded(attribute)) for attribute in case["attributes"]
    ]
    assert message.types() == [attribute["type"] for attribute in case["attributes"]]
    for attribute in case["attributes"]:
        first = next(other for other in case["attributes"] if other["type"] == attribute["type"])
        assert message.raw(attribute["type"]) == bytes.fromhex(first["value"])
        assert comparable(message.get(attribute["type"])) == decoded(first)
    assert message.unknown_required() == ()


@pytest.mark.vectors("stun/messages_standard", "stun/messages_generated")
def test_fingerprint_and_integrity_are_checked(case: dict[str, Any]) -> None:
    message = stun.parse(bytes.fromhex(case["raw"]))
    has_fingerprint = any(attribute["type"] == Attribute.FINGERPRINT for attribute in case["attributes"])
    assert message.has_fingerprint is message.check_fingerprint() is has_fingerprint
    key = key_of(case)
    if key is None:
        assert not message.check_integrity(b"any")
    else:
        assert message.check_integrity(key)
        assert not message.check_integrity(key + b"x")
        assert not message.check_integrity(key[:-1])


@pytest.mark.vectors("stun/messages_standard", "stun/messages_generated")
def test_message_is_written(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    message = stun.parse(raw)
    written = serialised_again(message, key_of(case))
    if case["id"] not in SPACE_PADDED:
        assert written == raw
        return
    # Its padding are spaces, which count in the integrity; everything else is as it was.
    again = stun.parse(written)
    assert [pair for pair in again.values() if pair[0] not in GUARDS] == [
        pair for pair in message.values() if pair[0] not in GUARDS
    ]
    key = key_of(case)
    assert key is not None
    assert again.check_integrity(key)
    assert again.check_fingerprint()


def assert_values_are_refused(message: StunMessage) -> None:
    with pytest.raises(StunError) as caught:
        message.values()
    assert caught.value.code == 400


@pytest.mark.vectors("stun/messages_malformed")
def test_malformed_message_is_noticed(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    expect, layer = case["expect"], case["layer"]
    if expect in {"reject", "not_stun"} and layer in {"header", "attribute"}:
        with pytest.raises(StunError) as caught:
            stun.parse(raw)
        assert caught.value.code == 400
        assert expect != "not_stun" or not stun.is_stun(raw)
        return
    message = stun.parse(raw)
    key = key_of(case)
    if expect == "reject":
        assert layer == "value"
        assert_values_are_refused(message)
    elif expect == "integrity_failure":
        assert key is not None
        assert not message.check_integrity(key)
    elif expect == "fingerprint_failure":
        assert message.has_fingerprint
        assert not message.check_fingerprint()
        assert key is None or message.check_integrity(key)
    elif expect == "error_420":
        assert list(message.unknown_required()) == case["unknown"]
    else:
        assert expect == "accept"
        assert len(message.values()) == len(message.types())
        assert message.unknown_required() == ()
        assert key is None or message.check_integrity(key)
        if "ip" in case:
            assert message.get(Attribute.XOR_MAPPED_ADDRESS) == (case["ip"], case["port"])


def test_what_stands_behind_the_integrity_is_left_out(load_vectors: Any) -> None:
    (case,) = [case for case in load_vectors("stun/messages_malformed") if case["id"] == "stun-odd-112"]
    message = stun.parse(bytes.fromhex(case["raw"]))
    assert message.types() == [Attribute.MESSAGE_INTEGRITY]
    assert message.get(Attribute.SOFTWARE) is None


@pytest.mark.vectors("stun/xor_address")
@pytest.mark.parametrize("kind", sorted(XOR_TYPES), ids=lambda kind: Attribute(kind).name)
def test_xor_address_is_read_and_written(case: dict[str, Any], kind: int) -> None:
    transaction_id = bytes.fromhex(case["transaction_id"])
    address = (ipaddress.ip_address(case["ip"]), case["port"])
    written = stun.serialise(
        1,
        2,
        transaction_id,
        [(kind, (case["ip"], case["port"])), (Attribute.MAPPED_ADDRESS, (case["ip"], case["port"]))],
    )
    message = stun.parse(written)
    assert message.raw(kind) == bytes.fromhex(case["xor_value"])
    assert message.raw(Attribute.MAPPED_ADDRESS) == bytes.fromhex(case["plain_value"])
    assert [comparable(value) for _, value in message.values()] == [address, address]


@pytest.mark.vectors("stun/channel_data")
def test_channel_data_is_read_and_written(case: dict[str, Any]) -> None:
    if case["expect"] == "reject":
        with pytest.raises(StunError):
            stun.parse_channel_data(bytes.fromhex(case["udp"]))
    elif case["expect"] == "need_more":
        stream = bytes.fromhex(case["stream"])
        assert stun.frame_size(stream) > len(stream)
    elif "items" in case:
        stream, found = bytes.fromhex(case["stream"]), []
        while stream:
            size = stun.frame_size(stream)
            channel, data = stun.parse_channel_data(stream[:size])
            found.append([channel, data.hex()])
            stream = stream[size:]
        assert found == case["items"]
    else:
        channel, data = case["channel"], bytes.fromhex(case["data"])
        datagram, stream = bytes.fromhex(case["udp"]), bytes.fromhex(case["stream"])
        assert stun.parse_channel_data(datagram) == stun.parse_channel_data(stream) == (channel, data)
        assert stun.channel_data(channel, data) == datagram
        assert stun.channel_data(channel, data, padded=True) == stream
        assert stun.frame_size(stream[:4]) == len(stream)


@pytest.mark.vectors("stun/demux")
def test_stun_is_told_from_other_protocols(case: dict[str, Any]) -> None:
    header = bytes([case["first_byte"]]) + bytes(3) + stun.MAGIC_COOKIE.to_bytes(4, "big") + bytes(12)
    assert stun.is_stun(header) is (case["protocol"] == "stun")
    channel = bytes([case["first_byte"]]) + bytes(3)
    if case["protocol"] == "turn_channel":
        assert stun.frame_size(channel) == 4
        assert stun.parse_channel_data(channel)[0] == case["first_byte"] << 8
    else:
        with pytest.raises(StunError):
            stun.parse_channel_data(channel)
