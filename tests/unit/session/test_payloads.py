"""Payloads: what has a form on the wire, what is taken from it, and the limits in both directions."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.config import SessionConfig
from librats.errors import ConfigError, DecodeError, UsageError
from librats.session.frames import Kind
from librats.session.payloads import decode_payload, encode_json, encode_name, encode_value

CONFIG = SessionConfig()
SMALL = SessionConfig(max_json_size=100, max_json_depth=3, max_message_size=1000)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "\u00e9\u4e2d\U0001f400\0",
        [],
        {},
        {"a": [1, {"b": None}]},
        nested(32),
        2**63,
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        10**300,
    ],
)
def test_json_comes_through(value: Any) -> None:
    encoded = encode_json(value, CONFIG)
    assert decode_payload(Kind.JSON, encoded, CONFIG) == value
    assert json.loads(encoded) == value


def test_nan_and_infinity_become_null() -> None:
    assert encode_json([math.nan, math.inf, -math.inf], CONFIG) == b"[null,null,null]"


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, object(), {(1, 2): 3}, {1, object()}, [10**5000], nested(33), nested(900), cyclic()],
)
def test_what_has_no_json_form_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(UsageError):
        encode_json(value, CONFIG)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"nul",
        b"NaN",
        b"Infinity",
        b"1e400",
        b"'a'",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'{"\\udc00":1}',
        pytest.param(b"1" * 5000, id="long number"),
        b"[" * 33 + b"]" * 33,
        pytest.param(b"[" * 100_000, id="deep array"),
        pytest.param(b'{"a":' * 50_000, id="deep object"),
        b"\xef\xbb\xbf1",
        b"1 2",
    ],
)
def test_what_is_not_json_is_refused_when_it_comes(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_payload(Kind.JSON, text, CONFIG)


@pytest.mark.parametrize("text", [b"[" * 5000 + b"]" * 5000, b"[" * 200_000], ids=["balanced", "open"])
def test_the_deepest_limit_is_one_that_every_interpreter_can_decode(text: bytes) -> None:
    config = SessionConfig(max_json_depth=512)
    with pytest.raises(DecodeError):
        decode_payload(Kind.JSON, text, config)
    decode_payload(Kind.JSON, b"[" * 512 + b"]" * 512, config)
    with pytest.raises(ConfigError, match="max_json_depth"):
        SessionConfig(max_json_depth=513)


@pytest.mark.parametrize("make", [lambda: array("i", [1, 2]), lambda: memoryview(b"ab"), lambda: np.arange(3)])
def test_a_request_may_carry_any_buffer(make: Callable[[], Any]) -> None:
    kind, payload = encode_value(make(), CONFIG)
    assert (kind, bytes(payload)) == (Kind.BYTES, make().tobytes())


def test_the_last_of_two_equal_keys_counts() -> None:
    assert decode_payload(Kind.JSON, b'{"a":1,"a":2}', CONFIG) == {"a": 2}


def test_limits_are_kept_to_the_byte_and_to_the_level() -> None:
    assert decode_payload(Kind.JSON, encode_json("x" * 98, SMALL), SMALL) == "x" * 98
    with pytest.raises(UsageError, match="max_json_size"):
        encode_json("x" * 99, SMALL)
    with pytest.raises(DecodeError, match="max_json_size"):
        decode_payload(Kind.JSON, b'"' + b"x" * 99 + b'"', SMALL)
    assert encode_json(nested(3), SMALL) == b"[[[]]]"
    with pytest.raises(UsageError, match="max_json_depth"):
        encode_json(nested(4), SMALL)
    with pytest.raises(DecodeError, match="max_json_depth"):
        decode_payload(Kind.JSON, b"[[[[]]]]", SMALL)
    with pytest.raises(UsageError, match="max_message_size"):
        encode_value(bytes(1001), SMALL)


def test_values_are_bytes_where_they_are_buffers_and_json_otherwise() -> None:
    view = memoryview(array("i", [1, 2]))
    for value in (b"ab", bytearray(b"ab"), view):
        kind, payload = encode_value(value, CONFIG)
        assert (kind, bytes(payload)) == (Kind.BYTES, bytes(value))
    assert encode_value("ab", CONFIG) == (Kind.JSON, b'"ab"')
    assert encode_value(None, CONFIG) == (Kind.JSON, b"null")
    with pytest.raises(UsageError, match="max_message_size"):
        encode_value(memoryview(array("q", [0] * 126)), SMALL)
    with pytest.raises(UsageError, match="contiguous"):
        encode_value(memoryview(b"abcd")[::2], CONFIG)


def test_text_and_bytes_are_taken_as_they_are() -> None:
    assert decode_payload(Kind.TEXT, "\u00e9".encode(), CONFIG) == "\u00e9"
    assert decode_payload(Kind.BYTES, b"\xff", CONFIG) == b"\xff"
    with pytest.raises(DecodeError) as caught:
        decode_payload(Kind.TEXT, b"abc\xff", CONFIG)
    assert caught.value.offset == 3
    with pytest.raises(DecodeError, match="unknown kind 3"):
        decode_payload(3, b"", CONFIG)


def test_names_are_utf8_of_at_most_255_bytes() -> None:
    assert encode_name("") == b""
    assert encode_name("\u00e9" * 127) == b"\xc3\xa9" * 127
    for name in ("\u00e9" * 128, "n" * 256, "\ud800"):
        with pytest.raises(UsageError):
            encode_name(name)
    with pytest.raises(UsageError, match="not int"):
        encode_name(5)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_comes_through(value: Any) -> None:
    assert decode_payload(Kind.JSON, encode_json(value, CONFIG), CONFIG) == value


@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_are_decoded_or_refused(data: bytes, kind: int) -> None:
    try:
        value = decode_payload(kind, data, CONFIG)
    except DecodeError:
        return
    if kind == Kind.JSON:
        encode_json(value, CONFIG)
