"""Bencode: what is taken and what is refused and where, the limits, and what can be written."""

from __future__ import annotations

import collections
import enum
import sys
import types
from typing import Any

import numpy as np
import pytest

from librats._core import bencode
from librats.errors import BencodeError, UsageError


def typed(value: Any) -> Any:
    """Return the value that the vectors describe."""
    [(kind, content)] = value.items()
    if kind == "b":
        return bytes.fromhex(content)
    if kind == "i":
        return int(content)
    if kind == "l":
        return [typed(item) for item in content]
    return {bytes.fromhex(key): typed(item) for key, item in content}


@pytest.mark.vectors("bencode/valid")
def test_valid_values_are_read_and_written_again(case: dict[str, Any]) -> None:
    raw, value = bytes.fromhex(case["raw"]), typed(case["value"])
    assert bencode.decode(raw, max_depth=1000) == value
    assert bencode.decode(raw, max_depth=1000, strict=False) == value
    assert bencode.decode_prefix(raw + b"x", max_depth=1000) == (value, len(raw))
    assert bencode.encode(value) == raw


@pytest.mark.vectors("bencode/invalid")
def test_what_is_not_canonical_is_refused_and_read_leniently_where_it_may_be(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    with pytest.raises(BencodeError) as refused:
        bencode.decode(raw)
    assert 0 <= refused.value.offset <= len(raw)
    if case["expect"] == "reject_strict":
        bencode.decode(raw, strict=False)
        return
    with pytest.raises(BencodeError):
        bencode.decode(raw, strict=False)
    if case["expect"] == "reject_trailing":
        _, used = bencode.decode_prefix(raw)
        assert used == refused.value.offset


@pytest.mark.parametrize(
    ("raw", "what", "offset"),
    [
        (b"", "the input ends too soon", 0),
        (b"l", "the input ends too soon", 1),
        (b"li1e", "the input ends too soon", 4),
        (b"i12", "the input ends too soon", 3),
        (b"3", "the input ends too soon", 1),
        (b"d1:a", "the input ends too soon", 4),
        (b"lx", "no value begins here", 1),
        (b"d1:ae", "no value begins here", 4),
        (b"ie", "an integer without a digit", 1),
        (b"i-e", "an integer without a digit", 2),
        (b"i01e", "a leading zero", 1),
        (b"i-01e", "a leading zero", 2),
        (b"l00:e", "a leading zero", 1),
        (b"i-0e", "a zero with a sign", 2),
        (b"i1x", "an integer that does not end", 2),
        (b"12x", "no colon after the length of a string", 2),
        (b"l5:abce", "a string longer than the input", 1),
        (b"di1ei2ee", "no key of a dictionary begins here", 1),
        (b"d1:bi1e1:ai1ee", "the key is out of order", 7),
        (b"d2:aai1e1:ai1ee", "the key is out of order", 8),
        (b"d1:ai1e1:ai1ee", "the same key again", 7),
        (b"i1ei2e", "bytes after the value", 3),
    ],
)
def test_an_error_tells_what_is_wrong_and_where(raw: bytes, what: str, offset: int) -> None:
    with pytest.raises(BencodeError) as refused:
        bencode.decode(raw)
    assert (refused.value.what, refused.value.offset) == (what, offset)


@pytest.mark.parametrize("opener", [b"l", b"d1:a"])
@pytest.mark.parametrize("end", [b"", b"e"])
def test_a_nest_is_refused_where_it_gets_too_deep(opener: bytes, end: bytes) -> None:
    raw = opener * 20_000 + end * 20_000
    with pytest.raises(BencodeError, match="too deep") as refused:
        bencode.decode(raw)
    assert refused.value.offset == len(opener) * bencode.MAX_DEPTH
    with pytest.raises(BencodeError, match="too deep") as refused:
        bencode.decode(raw, max_depth=1000, strict=False)
    assert refused.value.offset == len(opener) * 1000


def test_as_many_containers_in_each_other_as_allowed_are_read() -> None:
    for depth in (0, 1, 7, 1000):
        raw = b"l" * depth + b"i1e" + b"e" * depth
        assert bencode.encode(bencode.decode(raw, max_depth=depth)) == raw
        with pytest.raises(BencodeError):
            bencode.decode(b"l" + raw + b"e", max_depth=depth)
    assert bencode.decode(b"lledee", max_depth=2) == [[], {}]


def test_tokens_are_counted_keys_too() -> None:
    raw = b"d1:ali1ei2eee"
    assert bencode.decode(raw, max_tokens=5) == {b"a": [1, 2]}
    for tokens, offset in ((0, 0), (1, 1), (2, 4), (3, 5), (4, 8)):
        with pytest.raises(BencodeError, match="too many tokens") as refused:
            bencode.decode(raw, max_tokens=tokens)
        assert refused.value.offset == offset
    with pytest.raises(BencodeError, match="too many tokens"):
        bencode.decode(b"l" + b"0:" * 18_000_000 + b"e")


@pytest.mark.parametrize("digits", [641, 5000, 1_000_000])
def test_an_integer_of_too_many_digits_is_refused(digits: int) -> None:
    for raw, offset in ((b"i" + b"9" * digits + b"e", 641), (b"li-" + b"9" * digits + b"ee", 643)):
        with pytest.raises(BencodeError, match="640 digits") as refused:
            bencode.decode(raw)
        assert refused.value.offset == offset


def test_the_longest_integers_are_read_whatever_limit_the_program_has_set() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        for raw in (b"i" + b"9" * 640 + b"e", b"i-" + b"9" * 640 + b"e"):
            assert bencode.encode(bencode.decode(raw)) == raw
    finally:
        sys.set_int_max_str_digits(limit)
    with pytest.raises(UsageError, match="640 digits"):
        bencode.encode(10**640)
    with pytest.raises(UsageError, match="640 digits"):
        bencode.encode(-(10**640))


@pytest.mark.parametrize("length", [2**31, 2**32, 2**63, 2**64 - 1, 2**64, 2**64 + 1])
def test_a_length_beyond_the_input_is_refused(length: int) -> None:
    for digits in (b"%d" % length, b"%d" % length * 50_000):
        with pytest.raises(BencodeError, match="longer than the input") as refused:
            bencode.decode(b"l" + digits + b":ae")
        assert refused.value.offset == 1


@pytest.mark.parametrize("limits", [{"max_depth": -1}, {"max_depth": 1001}, {"max_tokens": -1}])
def test_a_limit_that_cannot_be_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        bencode.decode(b"le", **limits)  # type: ignore[arg-type]


def test_leniently_the_first_of_equal_keys_counts_and_zeros_may_lead() -> None:
    raw = b"d1:bi01e1:ai-0e01:bi3ee"
    assert bencode.decode(raw, strict=False) == {b"b": 1, b"a": 0}
    with pytest.raises(BencodeError):
        bencode.decode(raw)


def test_every_kind_of_buffer_is_read() -> None:
    raw = b"l3:abci-7ee"
    buffers: list[Any] = [bytearray(raw), memoryview(raw), np.frombuffer(raw, np.uint8)]
    for data in buffers:
        assert bencode.decode(data) == [b"abc", -7]
        assert bencode.decode_prefix(data) == ([b"abc", -7], len(raw))
    with pytest.raises(TypeError):
        bencode.decode("le")  # type: ignore[arg-type]


def test_long_lists_are_read_whole() -> None:
    values = [[b"x" * (index % 7), index] for index in range(5000)]
    assert bencode.decode(bencode.encode([values, values])) == [values, values]


def test_what_was_read_before_damage_is_given_back() -> None:
    raw = b"l" + b"3:abc" * 1000 + b"d1:zl3:xyzex"
    key = b"y" * 40
    for data in (raw, b"d40:" + key + raw):
        with pytest.raises(BencodeError):
            bencode.decode(data)
    assert sys.getrefcount(bencode.decode(b"l3:abce")[0]) <= 2


# Writing


class Level(enum.IntEnum):
    HIGH = 2**70
    LOW = 3


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, b"i0e"),
        (-(2**63), b"i-9223372036854775808e"),
        (2**63 - 1, b"i9223372036854775807e"),
        (2**63, b"i9223372036854775808e"),
        (-(2**63) - 1, b"i-9223372036854775809e"),
        (True, b"i1e"),
        (Level.LOW, b"i3e"),
        (Level.HIGH, b"i1180591620717411303424e"),
        (np.int64(-5), b"i-5e"),
        ("grün", "5:grün".encode()),
        (bytearray(b"ab"), b"2:ab"),
        (memoryview(b"ab"), b"2:ab"),
        (np.arange(3, dtype=np.uint8), b"3:\0\1\2"),
        ((1, "a"), b"li1e1:ae"),
        (collections.UserList([b"x", []]), b"l1:xlee"),
        (range(3), b"li0ei1ei2ee"),
        ({"b": 1, b"a": 2}, b"d1:ai2e1:bi1ee"),
        ({b"b": 1, b"a": 2, b"": 3}, b"d0:i3e1:ai2e1:bi1ee"),
        ({b"ab": 1, b"a": 2}, b"d1:ai2e2:abi1ee"),
        (types.MappingProxyType({"z": {}, "a": []}), b"d1:ale1:zdee"),
        (collections.UserDict({"z": 1, "a": 2}), b"d1:ai2e1:zi1ee"),
    ],
)
def test_values_of_many_types_are_written(value: object, raw: bytes) -> None:
    assert bencode.encode(value) == raw


@pytest.mark.parametrize("size", [9, 10, 99, 100, 511, 512, 999, 1000, 65_536, 10**6])
def test_strings_of_any_length_are_written(size: int) -> None:
    assert bencode.encode([b"x" * size]) == b"l%d:%be" % (size, b"x" * size)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "NoneType"),
        (1.5, "float"),
        ([object()], "object"),
        ({1: 2}, "a key is bytes or text, not int"),
        ({"a": 1, b"a": 2}, "twice"),
        ("\ud800", "no UTF-8"),
        ({"\ud800": 1}, "no UTF-8"),
        (memoryview(b"abcd")[::2], "do not lie behind each other"),
        ({"x": {1, 2}}, "set"),
    ],
)
def test_what_has_no_bencode_is_refused(value: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        bencode.encode(value)


def test_a_list_in_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="deep"):
        bencode.encode(endless)


def test_a_dictionary_that_changes_while_it_is_written_harms_nothing() -> None:
    class Nosy(collections.UserList[int]):
        def __iter__(self) -> Any:
            whole.clear()
            whole.update({index: index for index in range(100)})
            return iter([1])

    whole: dict[Any, Any] = {b"a": Nosy(), b"b": 1}
    with pytest.raises(UsageError, match="changes"):
        bencode.encode(whole)
