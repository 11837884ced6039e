"""Message stream encryption, cut anywhere, and from whoever breaks its rules."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.reference.stream_crypto import SlowKey, SlowRc4
from tests.unit.bittorrent.joined_swarms import Dice

from librats.bittorrent.stream_encryption import (
    KEY_SIZE,
    MAX_PAD,
    CryptoMethod,
    DhKey,
    IncomingEncryption,
    OutgoingEncryption,
    obfuscated,
)
from librats.errors import RemoteProtocolError
from librats.services.torrenting.encryption import new_rc4

TORRENT = b"t" * 20
PROVEN = 20 + 20 + 8
"""Bytes of the request that are known beforehand by whoever knows secret and torrent."""
LENGTHS = 4 + 2 + 2
"""Bytes behind them before what comes after the start: the methods, and two lengths."""
METHODS = [(CryptoMethod.PLAINTEXT,), (CryptoMethod.RC4,), (CryptoMethod.RC4, CryptoMethod.PLAINTEXT)]
Side = OutgoingEncryption | IncomingEncryption


def incoming(seed: int, methods: Sequence[CryptoMethod] = tuple(CryptoMethod)) -> IncomingEncryption:
    return IncomingEncryption(new_rc4, Dice(seed), {obfuscated(TORRENT): TORRENT}.get, methods=methods)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from(METHODS),
    st.lists(st.integers(1, 700), min_size=1, max_size=30),
    st.lists(st.binary(max_size=300), max_size=5),
    st.lists(st.binary(max_size=300), max_size=5),
)
def test_what_is_written_arrives_however_the_bytes_are_cut(
    seed: int, methods: Sequence[CryptoMethod], cuts: list[int], there: list[bytes], back: list[bytes]
) -> None:
    one: Side = OutgoingEncryption(new_rc4, Dice(seed), TORRENT, methods=methods)
    other: Side = incoming(seed + 1, methods)
    wires = {one: bytearray(), other: bytearray()}
    got: dict[Side, bytes] = {one: b"", other: b""}
    written = {one: list(there), other: list(back)}
    turns, is_moving = 0, True
    while is_moving:
        is_moving = False
        for side, peer in ((one, other), (other, one)):
            # The side that was dialled speaks the peer wire only when it knows whom to.
            if written[side] and (side is one or side.method is not None):
                side.write(written[side].pop(0))
            wires[side] += side.data_to_send()
            part = wires[side][: cuts[turns % len(cuts)]]
            del wires[side][: len(part)]
            got[peer] += peer.receive(bytes(part))
            turns += 1
            is_moving = is_moving or bool(part or written[side])
    assert one.is_done
    assert other.is_done
    assert got == {one: b"".join(back), other: b"".join(there)}
    assert one.method is other.method


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.binary(max_size=1500), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_any_bytes_are_refused_with_one_error_or_waited_for(dials: bool, data: bytes, cuts: list[int]) -> None:
    side: Side = OutgoingEncryption(new_rc4, Dice(), TORRENT) if dials else incoming(0)
    with contextlib.suppress(RemoteProtocolError):
        at = 0
        while at < len(data):
            cut = cuts[at % len(cuts)]
            assert side.receive(data[at : at + cut]) == b""
            at += cut
        assert len(data) < KEY_SIZE + MAX_PAD + 20
    assert not side.is_done


def spoilt_request(seed: int, at: int, by: int) -> tuple[IncomingEncryption, bytes]:
    """Return who was dialled, and the request to it, without anything for the peer wire, with one byte changed."""
    one, other = OutgoingEncryption(new_rc4, Dice(seed), TORRENT), incoming(seed + 1, (CryptoMethod.PLAINTEXT,))
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    request = bytearray(one.data_to_send())
    request[at % len(request)] ^= by
    return other, bytes(request)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.integers(0, PROVEN - 1), st.integers(1, 255))
def test_a_start_that_is_spoilt_where_it_proves_something_comes_to_nothing(seed: int, at: int, by: int) -> None:
    other, request = spoilt_request(seed, at, by)
    with contextlib.suppress(RemoteProtocolError):
        assert other.receive(request) == b""
    assert not other.is_done


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 2000), st.integers(1, 255))
@example(173, 734, 1)  # the length of the pad, one byte shorter: what was its last byte begins another length
def test_a_start_that_is_spoilt_behind_that_gives_no_more_than_has_come(seed: int, at: int, by: int) -> None:
    # RC4 vouches for nothing: lengths may be spoilt, and parts of the start taken for what comes after it.
    other, request = spoilt_request(seed, at, by)
    with contextlib.suppress(RemoteProtocolError):
        assert len(other.receive(request)) <= max(0, len(request) - PROVEN - LENGTHS)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=40), st.lists(st.binary(max_size=100), max_size=5))
def test_rc4_of_the_library_is_the_textbooks(key: bytes, parts: list[bytes]) -> None:
    key = key.ljust(20, b"k")[:20]
    library, textbook = new_rc4(key), SlowRc4(key)
    for part in parts:
        buffer = bytearray(part)
        expected = textbook.update(part)
        assert library.update_into(buffer, buffer) == len(part)
        assert buffer == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 2**160))
def test_both_sides_have_the_same_secret(seed: int, private: int) -> None:
    one, other = DhKey(Dice(seed)), SlowKey(private)
    assert one.shared(other.public) == other.shared(one.public)
    assert len(one.public) == KEY_SIZE
