"""The greeting inside the handshake: what it carries, and what a hostile one can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from librats.config import MIN_MESSAGE_WINDOW
from librats.errors import DecodeError
from librats.session.greeting import MAX_GREETING, Greeting

GREETING = Greeting(incarnation=b"incarnat", message_window=1 << 20, max_message=1 << 26, agent="node/1")


def test_a_greeting_comes_through() -> None:
    assert Greeting.decode(GREETING.encode()) == GREETING


def test_values_over_32_bits_are_cut_and_so_is_a_long_agent() -> None:
    big = structs.replace(GREETING, message_window=1 << 40, max_message=1 << 40, agent="\u00e9" * 500)
    encoded = big.encode()
    assert len(encoded) <= MAX_GREETING
    decoded = Greeting.decode(encoded)
    assert decoded is not None
    assert decoded.message_window == decoded.max_message == 2**32 - 1
    assert decoded.agent == "\u00e9" * 32


@pytest.mark.parametrize("payload", [b"", b"R", b"RAT", b"rats" + bytes(20), bytes(256)])
def test_what_is_not_ours_gives_none(payload: bytes) -> None:
    assert Greeting.decode(payload) is None


def test_unknown_items_and_features_are_passed_over() -> None:
    encoded = structs.replace(GREETING, features=0xFFFFFFFF).encode()
    decoded = Greeting.decode(encoded + b"\x00\x00\xff\x03abc")
    assert decoded == structs.replace(GREETING, features=0xFFFFFFFF)


def test_a_newer_version_is_spoken_to_in_ours() -> None:
    decoded = Greeting.decode(structs.replace(GREETING, version=200).encode())
    assert decoded is not None
    assert decoded.version == 1


@pytest.mark.parametrize(
    "payload",
    [
        *(GREETING.encode()[:size] for size in range(4, len(GREETING.encode())) if size != 31),
        structs.replace(GREETING, version=0).encode(),
        structs.replace(GREETING, incarnation=b"short").encode(),
        structs.replace(GREETING, message_window=MIN_MESSAGE_WINDOW - 1).encode(),
        GREETING.encode() + b"\x05",
        GREETING.encode() + b"\x05\x01",
        GREETING.encode() + b"\x02\x03abc",
    ],
)
def test_a_greeting_that_breaks_off_or_lacks_something_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        Greeting.decode(payload)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_decoded_or_refused(data: bytes, ours: bool) -> None:
    try:
        greeting = Greeting.decode(b"RATS" + data if ours else data)
    except DecodeError:
        return
    if greeting is not None:
        assert Greeting.decode(greeting.encode()) is not None


@given(st.integers(0, len(GREETING.encode()) * 8 - 1))
def test_a_flipped_bit_never_raises_anything_else(bit: int) -> None:
    damaged = bytearray(GREETING.encode())
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        greeting = Greeting.decode(bytes(damaged))
    except DecodeError:
        return
    assert greeting is None or greeting.message_window >= MIN_MESSAGE_WINDOW


def test_an_agent_is_one_line_that_does_not_act_on_a_terminal() -> None:
    agent = "node/1\nencryption: none\x1b[2J\u202e\u00e9"
    decoded = Greeting.decode(structs.replace(GREETING, agent=agent).encode())
    assert decoded is not None
    assert decoded.agent == "node/1encryption: none[2J\u00e9"
