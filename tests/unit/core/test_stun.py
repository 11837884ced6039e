"""The compiled STUN codec: its edges, its refusals, and integrity and fingerprint against the standard library."""

from __future__ import annotations

import hmac
import zlib
from typing import Any

import pytest

from librats._core import stun
from librats.errors import ProtocolError, StunError, UsageError
from librats.stun.constants import REASONS, Attribute, ErrorCode, MessageClass, Method

ID = bytes(range(12))
COOKIE = stun.MAGIC_COOKIE.to_bytes(4)


def message(*attributes: tuple[int, bytes], kind: int = 0x0001, transaction_id: bytes = COOKIE + ID) -> bytes:
    """Write any attributes whatever, with their padding."""
    body = b"".join(
        number.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4) for number, value in attributes
    )
    return kind.to_bytes(2) + len(body).to_bytes(2) + transaction_id + body


def test_method_and_class_are_interleaved_as_in_the_rfc() -> None:
    # RFC 8489, 5: the class lies in bits 4 and 8 of the type.
    for message_class, kind in zip(MessageClass, (0x0001, 0x0011, 0x0101, 0x0111), strict=True):
        assert stun.serialise(Method.BINDING, message_class, ID)[:2] == kind.to_bytes(2)
    assert stun.serialise(0xFFF, 3, ID)[:2] == b"\x3f\xff"
    assert stun.serialise(0xFFF, 0, ID)[:2] == b"\x3e\xef"
    for method in range(0x1000):
        parsed = stun.parse(stun.serialise(method, 2, ID))
        assert (parsed.method, parsed.message_class) == (method, 2)


@pytest.mark.parametrize(
    ("method", "message_class", "transaction_id"),
    [(-1, 0, ID), (0x1000, 0, ID), (1, -1, ID), (1, 4, ID), (1, 0, b""), (1, 0, bytes(11)), (1, 0, bytes(17))],
)
def test_header_out_of_range_is_refused(method: int, message_class: int, transaction_id: bytes) -> None:
    with pytest.raises(UsageError):
        stun.serialise(method, message_class, transaction_id)


ADDRESS_PROBLEMS: list[Any] = [
    "192.0.2.1", ("192.0.2.1",), ("192.0.2.1", 80, 0), ["192.0.2.1", 80], ("host", 80), ("", 80), ("1.2.3", 80),
    ("1.2.3.256", 80), ("01.2.3.4", 80), ("::1::", 80), ("1:2:3:4:5:6:7", 80), ("1:2:3:4:5:6:7:8:9", 80),
    ("1:2:3:4:5:6:7::8", 80), ("::1:2:3:4:5:6:7:8", 80), ("1:2:3:4:5:6:7:8::", 80), (":1", 80), ("1:", 80),
    ("12345::", 80),
    ("192.0.2.1", -1), ("192.0.2.1", 65536), ("192.0.2.1", "80"), (b"192.0.2.1", 80), ("\udc80", 80), None,
]  # fmt: skip
VALUE_PROBLEMS: list[tuple[int, Any]] = [
    *((Attribute.XOR_MAPPED_ADDRESS, value) for value in ADDRESS_PROBLEMS),
    *((Attribute.MAPPED_ADDRESS, value) for value in ADDRESS_PROBLEMS),
    (Attribute.USERNAME, b"ann"),
    (Attribute.USERNAME, "a" * 509),
    (Attribute.USERNAME, "\ud800"),
    (Attribute.REALM, "é" * 382),
    (Attribute.SOFTWARE, "a" * 764),
    (Attribute.LIFETIME, -1),
    (Attribute.LIFETIME, 2**32),
    (Attribute.LIFETIME, "600"),
    (Attribute.LIFETIME, 6.5),
    (Attribute.ICE_CONTROLLED, 2**64),
    (Attribute.ICE_CONTROLLED, -1),
    (Attribute.REQUESTED_TRANSPORT, 256),
    (Attribute.CHANNEL_NUMBER, 65536),
    (Attribute.USE_CANDIDATE, False),
    (Attribute.USE_CANDIDATE, None),
    (Attribute.USE_CANDIDATE, 1),
    (Attribute.ERROR_CODE, 401),
    (Attribute.ERROR_CODE, (401,)),
    (Attribute.ERROR_CODE, (401, b"")),
    (Attribute.ERROR_CODE, (299, "")),
    (Attribute.ERROR_CODE, (700, "")),
    (Attribute.ERROR_CODE, (401, "é" * 382)),
    (Attribute.ADDRESS_ERROR_CODE, (401, "")),
    (Attribute.ADDRESS_ERROR_CODE, (256, 440, "")),
    (Attribute.UNKNOWN_ATTRIBUTES, 5),
    (Attribute.UNKNOWN_ATTRIBUTES, [65536]),
    (Attribute.PASSWORD_ALGORITHM, 1),
    (Attribute.PASSWORD_ALGORITHM, (1, "")),
    (Attribute.PASSWORD_ALGORITHM, (65536, b"")),
    (Attribute.PASSWORD_ALGORITHMS, (1, b"")),
    (Attribute.USERHASH, bytes(31)),
    (Attribute.RESERVATION_TOKEN, bytes(9)),
    (Attribute.ICMP, (3, 1)),
    (Attribute.ICMP, (128, 0, 0)),
    (Attribute.ICMP, (3, 512, 0)),
    (Attribute.EVEN_PORT, 1),
    (Attribute.DATA, "text"),
    (Attribute.DATA, bytes(65533)),
    (Attribute.DATA, bytes(65529)),
    (0x7FFE, 5),
    (Attribute.MESSAGE_INTEGRITY, bytes(20)),
    (Attribute.MESSAGE_INTEGRITY_SHA256, bytes(32)),
    (Attribute.FINGERPRINT, 5),
    (-1, b""),
    (0x10000, b""),
    (2**70, b""),
]


@pytest.mark.parametrize(("kind", "value"), VALUE_PROBLEMS)
def test_value_that_does_not_fit_its_type_is_refused(kind: int, value: Any) -> None:
    with pytest.raises(UsageError):
        stun.serialise(1, 0, ID, [(kind, value)])


def test_a_message_may_be_as_long_as_its_length_field_allows() -> None:
    longest = stun.serialise(1, 0, ID, [(Attribute.DATA, bytes(65528))])
    assert len(longest) == 20 + 65532
    assert stun.parse(longest).raw(Attribute.DATA) == bytes(65528)
    many = [(Attribute.DATA, bytes(1000))] * 65
    assert len(stun.parse(stun.serialise(1, 0, ID, many)).get_all(Attribute.DATA)) == 65
    for room, wanted in ((24, {"key": b"k"}), (8, {"fingerprint": True}), (36, {"key": b"k", "integrity": 0x001C})):
        fits = [(Attribute.DATA, bytes(65528 - room))]
        assert len(stun.serialise(1, 0, ID, fits, **wanted)) == 20 + 65532
        with pytest.raises(UsageError):
            stun.serialise(1, 0, ID, [(Attribute.DATA, bytes(65532 - room))], **wanted)


@pytest.mark.parametrize("integrity", [0, 0x8028, None, (0x0008,), (0x001C,), (), "sha1"])
def test_unknown_integrity_is_refused(integrity: Any) -> None:
    with pytest.raises(UsageError):
        stun.serialise(1, 0, ID, key=b"key", integrity=integrity)


@pytest.mark.parametrize("key_size", [0, 1, 16, 32, 55, 56, 63, 64, *range(65, 200, 3)])
def test_integrity_is_the_hmac_of_the_standard_library(key_size: int) -> None:
    key = bytes(range(1, key_size + 1))
    for size in range(0, 200, 4):
        written = stun.serialise(
            1, 0, ID, [(0xC0DE, bytes(range(size)))], key=key, integrity=(8, 0x1C), fingerprint=True
        )
        covered = written[: 20 + 4 + size]
        sha1 = hmac.digest(key, covered[:2] + (4 + size + 24).to_bytes(2) + covered[4:], "sha1")
        assert written[20 + 4 + size :][4:24] == sha1
        covered = written[: 20 + 4 + size + 24]
        sha256 = hmac.digest(key, covered[:2] + (4 + size + 24 + 36).to_bytes(2) + covered[4:], "sha256")
        assert written[20 + 4 + size + 24 :][4:36] == sha256
        assert written[-4:] == (zlib.crc32(written[:-8]) ^ 0x5354554E).to_bytes(4)
        parsed = stun.parse(written)
        assert parsed.integrity_type == Attribute.MESSAGE_INTEGRITY_SHA256
        assert parsed.check_integrity(key)
        assert parsed.check_fingerprint()


def test_sha256_is_what_counts_where_both_are_there() -> None:
    written = bytearray(stun.serialise(1, 0, ID, key=b"key", integrity=(8, 0x1C)))
    written[30] ^= 1  # in MESSAGE-INTEGRITY, which the other covers
    assert not stun.parse(written).check_integrity(b"key")
    only = stun.serialise(1, 0, ID, key=b"key", integrity=Attribute.MESSAGE_INTEGRITY_SHA256)
    assert stun.parse(only).types() == [Attribute.MESSAGE_INTEGRITY_SHA256]
    assert stun.parse(only).check_integrity(b"key")
    # A right MESSAGE-INTEGRITY does not make up for a wrong -SHA256.
    signed = stun.serialise(1, 0, ID, key=b"key", integrity=(8, 0x1C))
    assert not stun.parse(signed[:-1] + bytes([signed[-1] ^ 1])).check_integrity(b"key")


@pytest.mark.parametrize("size", [0, 16, 28, 31, 33, 36])
def test_shortened_sha256_is_not_accepted(size: int) -> None:
    whole = stun.serialise(1, 0, ID, key=b"key", integrity=0x001C)
    head = message((0x001C, bytes(size)))
    digest = hmac.digest(b"key", head[:20], "sha256")
    assert len(whole) == 56
    assert not stun.parse(message((0x001C, (digest + bytes(4))[:size]))).check_integrity(b"key")


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        ([0x8022, 8, 0x1C, 0x8028], [0x8022, 8, 0x1C, 0x8028]),
        ([8, 0x8022, 0x1C, 0x0006, 0x8028, 0x0014], [8, 0x1C, 0x8028]),
        ([0x1C, 8, 0x8028], [0x1C, 0x8028]),
        ([0x8028, 8, 0x1C, 0x8022], [0x8028]),
        ([8, 8, 0x1C, 0x1C, 0x8028, 0x8028], [8, 0x1C, 0x8028]),
        ([0x7FFE, 8, 0x7FFD], [0x7FFE, 8]),
    ],
)
def test_only_guards_count_behind_a_guard(sent: list[int], counted: list[int]) -> None:
    parsed = stun.parse(message(*((kind, b"") for kind in sent)))
    assert parsed.types() == counted
    assert parsed.unknown_required() == tuple(kind for kind in counted if kind == 0x7FFE)
    for kind in set(sent):
        assert (parsed.raw(kind) == b"") is (kind in counted)


def test_fingerprint_must_be_the_last_attribute() -> None:
    right = stun.serialise(1, 0, ID, fingerprint=True)
    assert stun.parse(right).check_fingerprint()
    followed = right[:2] + (16).to_bytes(2) + right[4:20]
    crc = (zlib.crc32(followed) ^ 0x5354554E).to_bytes(4)
    followed += right[20:24] + crc + b"\x80\x22\0\x04abcd"
    assert stun.parse(followed).has_fingerprint
    assert not stun.parse(followed).check_fingerprint()


def test_classic_message_is_read_where_it_is_allowed() -> None:
    classic = message((1, bytes.fromhex("0001162ec0000201")), kind=0x0101, transaction_id=bytes(range(16)))
    with pytest.raises(StunError):
        stun.parse(classic)
    parsed = stun.parse(classic, allow_classic=True)
    assert parsed.is_classic
    assert parsed.transaction_id == bytes(range(16))
    assert parsed.get(Attribute.MAPPED_ADDRESS) == ("192.0.2.1", 5678)
    # RFC 3489 has another HMAC; that of RFC 8489 says nothing there.
    signed = stun.serialise(1, 0, bytes(range(16)), key=b"key", integrity=(8, 0x1C))
    assert not stun.parse(signed, allow_classic=True).check_integrity(b"key")
    answer = stun.serialise(1, 2, parsed.transaction_id, [(Attribute.MAPPED_ADDRESS, ("192.0.2.1", 5678))])
    assert answer == classic
    assert not stun.parse(message(), allow_classic=True).is_classic


MALFORMED_VALUES = [
    (Attribute.USERNAME, b"a" * 513),
    (Attribute.USERNAME, b"\xff"),
    (Attribute.NONCE, b"a" * 764),
    (Attribute.USE_CANDIDATE, b"x"),
    (Attribute.ERROR_CODE, b"\0\0\x02\0"),
    (Attribute.ERROR_CODE, b"\0\0\x07\0"),
    (Attribute.ERROR_CODE, b"\0\0\x04\x64"),
    (Attribute.UNKNOWN_ATTRIBUTES, b"abc"),
    (Attribute.PASSWORD_ALGORITHM, b""),
    (Attribute.PASSWORD_ALGORITHM, b"\0\1\0\0\0\2\0\0"),
    (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0\1"),
    (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0\0\0"),
    (Attribute.USERHASH, bytes(33)),
    (Attribute.RESERVATION_TOKEN, bytes(7)),
    (Attribute.EVEN_PORT, b""),
    (Attribute.REQUESTED_TRANSPORT, b"\x11"),
    (Attribute.CHANNEL_NUMBER, b"\x40\0"),
    (Attribute.ICMP, bytes(4)),
    (Attribute.ADDRESS_ERROR_CODE, b"\1\0\0"),
]


@pytest.mark.parametrize(("kind", "value"), MALFORMED_VALUES)
def test_malformed_value_is_told_when_it_is_read(kind: int, value: bytes) -> None:
    parsed = stun.parse(message((Attribute.SOFTWARE, b"x"), (kind, value)))
    assert parsed.raw(kind) == value
    assert parsed.get(Attribute.SOFTWARE) == "x"
    for read in (lambda: parsed.get(kind), lambda: parsed.get_all(kind), parsed.values):
        with pytest.raises(StunError, match=f"400 Bad Request: attribute 0x{kind:04X}"):
            read()


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Attribute.USERNAME, b"a" * 512, "a" * 512),
        (Attribute.SOFTWARE, b"th\xe9", "th\ufffd"),
        (Attribute.ERROR_CODE, b"\0\0\x04\x01th\xe9", (401, "th\ufffd")),
        (Attribute.ERROR_CODE, b"\xff\xff\xfc\x01", (401, "")),
        (Attribute.RESPONSE_PORT, b"\x16\x2e", 5678),
        (Attribute.EVEN_PORT, b"\x80", True),
        (Attribute.EVEN_PORT, b"\x7f", False),
        (Attribute.PASSWORD_ALGORITHMS, b"\0\2\0\0\0\1\0\2ab", ((2, b""), (1, b"ab"))),
        (0xC0DE, b"abc", b"abc"),
    ],
)
def test_what_others_send_is_understood(kind: int, value: bytes, read: Any) -> None:
    assert stun.parse(message((kind, value))).values() == [(kind, read)]


def test_what_is_not_there_is_none() -> None:
    parsed = stun.parse(message())
    assert parsed.get(Attribute.SOFTWARE) is None
    assert parsed.raw(Attribute.SOFTWARE) is None
    assert parsed.integrity_type is None
    assert (parsed.get_all(Attribute.SOFTWARE), parsed.values(), parsed.types()) == ([], [], [])
    assert not parsed.has_fingerprint
    assert not parsed.check_fingerprint()
    assert not parsed.check_integrity(b"key")


def test_a_message_keeps_the_bytes_it_was_read_from() -> None:
    buffer = bytearray(stun.serialise(1, 0, ID, [(Attribute.SOFTWARE, "librats")], fingerprint=True))
    parsed = stun.parse(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert parsed.get(Attribute.SOFTWARE) == "librats"
    assert parsed.check_fingerprint()
    assert repr(parsed) == "<StunMessage method=0x001 class=0 size=40>"
    with pytest.raises(TypeError):
        type(parsed)()


def test_addresses_of_the_socket_module_are_taken() -> None:
    written = stun.serialise(1, 2, ID, [(Attribute.XOR_MAPPED_ADDRESS, ("fe80::1%eth0", 7, 0, 2))])
    assert stun.parse(written).get(Attribute.XOR_MAPPED_ADDRESS) == ("fe80::1", 7)


@pytest.mark.parametrize("number", [-1, 0, 0x3FFF, 0x5000, 0x10000])
def test_channels_end_where_rfc_8656_ends_them(number: int) -> None:
    with pytest.raises(UsageError):
        stun.channel_data(number, b"")
    if 0 <= number <= 0xFFFF:
        with pytest.raises(StunError):
            stun.parse_channel_data(number.to_bytes(2) + bytes(2))


def test_channel_data_may_be_as_long_as_its_length_field_allows() -> None:
    data = bytes(65535)
    assert stun.parse_channel_data(stun.channel_data(0x4000, data, padded=True)) == (0x4000, data)
    assert stun.frame_size(stun.channel_data(0x4000, data)[:4]) == 4 + 65536
    with pytest.raises(UsageError):
        stun.channel_data(0x4000, data + b"x")


@pytest.mark.parametrize(
    "head",
    [
        b"\x50\0\0\0",
        b"\x80\0\0\0",
        b"POST",
        b"\x16\x03\x01\x02\0\x01\0\x01",
        b"\0\1\0\1",
        b"\0\1\0\2",
        b"\0\1\0\0\x21\x12\xa4\x43",
    ],
)
def test_what_is_neither_stun_nor_channel_data_ends_a_stream(head: bytes) -> None:
    with pytest.raises(StunError):
        stun.frame_size(head)


def test_stun_is_known_by_its_first_bytes() -> None:
    whole = stun.serialise(1, 0, ID)
    assert stun.is_stun(whole)
    for size in range(20):
        assert not stun.is_stun(whole[:size])
    for bad in (b"\4" + whole[1:], whole[:3] + b"\2" + whole[4:], whole[:7] + b"\0" + whole[8:]):
        assert not stun.is_stun(bad)


def test_errors_tell_code_and_reason() -> None:
    error = StunError(438, "Stale Nonce")
    assert isinstance(error, ProtocolError)
    assert (error.code, error.reason, str(error)) == (438, "Stale Nonce", "438 Stale Nonce")
    assert str(StunError(699, "")) == "699"
    assert set(REASONS) == set(ErrorCode)
    with pytest.raises(StunError, match=r"^400 Bad Request: ") as caught:
        stun.parse(b"")
    assert caught.value.code == 400
