"""What clients tell each other on the local network, as bytes (BEP 14)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librats.bittorrent.local_discovery import (
    MAX_ANNOUNCED,
    MAX_LOCAL_MESSAGE,
    LocalAnnouncement,
    read_local_announcement,
)
from librats.errors import DecodeError, UsageError

HASH = bytes(range(20))
HEX = HASH.hex().encode()
START = b"BT-SEARCH * HTTP/1.1\r\n"
WHOLE = START + b"Host: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: " + HEX + b"\r\ncookie: 1a2b\r\n\r\n\r\n"

# As libtorrent 2.1.1 has sent them, over IPv4 and IPv6, in a network namespace.
LIBTORRENT = [
    (
        b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n"
        b"Infohash: e7b3d8078c137c430d1ebbeb316901e96809c823\r\ncookie: 5dd14c88\r\n\r\n\r\n",
        LocalAnnouncement(
            port=6881, info_hashes=(bytes.fromhex("e7b3d8078c137c430d1ebbeb316901e96809c823"),), cookie="5dd14c88"
        ),
    ),
    (
        b"BT-SEARCH * HTTP/1.1\r\nHost: [ff15::efc0:988f]:6771\r\nPort: 6881\r\n"
        b"Infohash: f478db9eff38fbfd958447bc6f89575cccedaf3e\r\ncookie: 3bec28a\r\n\r\n\r\n",
        LocalAnnouncement(
            port=6881, info_hashes=(bytes.fromhex("f478db9eff38fbfd958447bc6f89575cccedaf3e"),), cookie="3bec28a"
        ),
    ),
]

hashes = st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=MAX_ANNOUNCED, unique=True)
cookies = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=64)


def test_the_form_of_the_standard_is_written_byte_for_byte() -> None:
    told = LocalAnnouncement(port=6881, info_hashes=(HASH,), cookie="1a2b")
    assert told.encode(ipv6=False) == WHOLE
    assert told.encode(ipv6=True) == WHOLE.replace(b"239.192.152.143", b"[ff15::efc0:988f]")


def test_the_form_of_the_standard_is_read() -> None:
    assert read_local_announcement(WHOLE) == LocalAnnouncement(port=6881, info_hashes=(HASH,), cookie="1a2b")


@pytest.mark.parametrize(("raw", "told"), LIBTORRENT, ids=["ipv4", "ipv6"])
def test_what_libtorrent_sends_is_read_and_written_alike(raw: bytes, told: LocalAnnouncement) -> None:
    assert read_local_announcement(raw) == told
    assert told.encode(ipv6=b"ff15" in raw) == raw


def test_several_hashes_are_read_in_order_and_once_each() -> None:
    other = bytes(20)
    lines = b"".join(b"Infohash: " + one.hex().encode() + b"\r\n" for one in (HASH, other, HASH))
    assert read_local_announcement(START + b"Port: 1\r\n" + lines + b"\r\n").info_hashes == (HASH, other)


def test_names_of_headers_have_any_case_and_space_around_values_does_not_count() -> None:
    raw = START + b"PORT:6881\r\ninfohash:\t " + HEX.upper() + b" \r\nCOOKIE: x\r\n\r\n"
    assert read_local_announcement(raw) == LocalAnnouncement(port=6881, info_hashes=(HASH,), cookie="x")


def test_headers_of_others_and_hashes_of_another_length_are_passed_over() -> None:
    raw = START + b"X-New: a:b\r\nPort: 1\r\nInfohash: " + b"ab" * 32 + b"\r\nInfohash: " + HEX + b"\r\n\r\n"
    assert read_local_announcement(raw).info_hashes == (HASH,)


def test_as_many_hashes_as_are_sent_fit_into_a_datagram() -> None:
    told = LocalAnnouncement(
        port=65535, info_hashes=tuple(bytes([one]) * 20 for one in range(MAX_ANNOUNCED)), cookie="c" * 64
    )
    assert len(told.encode(ipv6=True)) <= MAX_LOCAL_MESSAGE
    assert read_local_announcement(told.encode(ipv6=True)) == told


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        WHOLE[:-5],
        WHOLE.replace(b"BT-SEARCH", b"M-SEARCH"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/2.0"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.11"),
        WHOLE.replace(b"Port: 6881", b"Port: 0"),
        WHOLE.replace(b"Port: 6881", b"Port: 65536"),
        WHOLE.replace(b"Port: 6881", b"Port: -1"),
        WHOLE.replace(b"Port: 6881", b"Port: 6881x"),
        WHOLE.replace(b"Port: 6881", b"Port: " + b"1" * 500),
        WHOLE.replace(b"Port: 6881", b"Port: 6881\r\nPort: 6882"),
        WHOLE.replace(b"Port: 6881\r\n", b""),
        WHOLE.replace(HEX, HEX[:-1]),
        WHOLE.replace(HEX, HEX[:-1] + b"g"),
        WHOLE.replace(HEX, HEX[:-2] + b" a"),
        WHOLE.replace(b"cookie: ", b"cookie "),
        WHOLE.replace(b"1a2b", "ü".encode()),
        WHOLE.replace(b"\r\n", b"\n"),
    ],
)
def test_what_is_no_announcement_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        read_local_announcement(raw)


def test_what_is_longer_than_the_standard_allows_is_refused() -> None:
    padding = MAX_LOCAL_MESSAGE - len(WHOLE)
    assert read_local_announcement(WHOLE + b"x" * padding).port == 6881
    with pytest.raises(DecodeError, match="1400"):
        read_local_announcement(WHOLE + b"x" * (padding + 1))


@pytest.mark.parametrize(
    ("port", "info_hashes", "cookie"),
    [
        (0, (HASH,), ""),
        (65536, (HASH,), ""),
        (1, (), ""),
        (1, (b"short",), ""),
        (1, (HASH,) * (MAX_ANNOUNCED + 1), ""),
        (1, (HASH,), "c" * 65),
        (1, (HASH,), "a\r\nPort: 2"),
        (1, (HASH,), " a"),
        (1, (HASH,), "ü"),
    ],
)
def test_what_could_not_be_read_is_not_written(port: int, info_hashes: tuple[bytes, ...], cookie: str) -> None:
    with pytest.raises(UsageError):
        LocalAnnouncement(port=port, info_hashes=info_hashes, cookie=cookie).encode(ipv6=False)


@given(st.integers(1, 65535), hashes, cookies, st.booleans())
@settings(max_examples=50)
def test_what_is_written_is_read(port: int, info_hashes: list[bytes], cookie: str, ipv6: bool) -> None:
    told = LocalAnnouncement(port=port, info_hashes=tuple(info_hashes), cookie=cookie)
    assert read_local_announcement(told.encode(ipv6=ipv6)) == told


pieces = st.sampled_from(
    [START, b"\r\n", b"\r\n\r\n", b"Port:", b" 6881", b"Infohash: ", HEX, b"cookie: ", b":", b"\0", b"\xff", WHOLE]
)


@given(st.one_of(st.binary(max_size=1500), st.lists(st.one_of(pieces, st.binary(max_size=8))).map(b"".join)))
@settings(max_examples=300)
def test_whatever_comes_is_read_or_refused_and_nothing_else(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        told = read_local_announcement(raw)
        assert 0 < told.port < 65536
        assert 0 < len(told.info_hashes) <= MAX_LOCAL_MESSAGE // 40
        assert all(len(one) == 20 for one in told.info_hashes)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
@settings(max_examples=100)
def test_a_byte_that_is_another_one_lets_nothing_else_escape(at: int, byte: int) -> None:
    with contextlib.suppress(DecodeError):
        read_local_announcement(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
