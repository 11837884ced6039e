"""Bencode beside a slow reader that follows BEP 3: on made-up values, on damaged ones, and on bytes by chance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile.mutations import Mutator
from tests.reference import bencode as oracle

from librats._core import bencode, krpc
from librats.errors import BencodeError, KrpcError

SMALL = st.binary(max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers() | SMALL, lambda inner: st.lists(inner) | st.dictionaries(SMALL, inner), max_leaves=30
)
SYNTAX = st.lists(
    st.sampled_from([*(b"%c" % byte for byte in b"0123456789-:ilde"), b"1:a", b"i1e", b"00:", b"x"]), max_size=40
).map(b"".join)


def outcome(raw: bytes, *, strict: bool, depth: int, tokens: int) -> tuple[str, object]:
    try:
        return "value", bencode.decode(raw, strict=strict, max_depth=depth, max_tokens=tokens)
    except BencodeError as error:
        return "flaw", error.offset


def expected(raw: bytes, *, strict: bool, depth: int, tokens: int) -> tuple[str, object]:
    try:
        return "value", oracle.decode(raw, strict=strict, depth=depth, tokens=tokens)
    except oracle.Malformed as flaw:
        return "flaw", flaw.offset


@given(VALUES)
def test_what_is_written_is_canonical_and_read_again(value: Any) -> None:
    raw = oracle.encode(value)
    assert bencode.encode(value) == raw
    assert bencode.decode(raw) == value


@given(SYNTAX, st.booleans(), st.integers(0, 5), st.integers(0, 20))
def test_both_readers_find_the_same(raw: bytes, strict: bool, depth: int, tokens: int) -> None:
    limits = {"depth": depth, "tokens": tokens}
    assert outcome(raw, strict=strict, **limits) == expected(raw, strict=strict, **limits)


@given(VALUES, st.integers(0, 2**32), st.booleans())
def test_both_readers_find_the_same_damage(value: Any, seed: int, strict: bool) -> None:
    raw = Mutator(seed).mutate(oracle.encode(value))
    limits = {"depth": 64, "tokens": 1000}
    assert outcome(raw, strict=strict, **limits) == expected(raw, strict=strict, **limits)


@given(SYNTAX)
def test_a_message_is_read_where_it_is_a_dictionary_of_the_right_fields(raw: bytes) -> None:
    raw = b"d1:t2:aa1:y1:q" + raw
    kind, value = expected(raw, strict=False, depth=33, tokens=1000)
    if kind == "flaw":
        with pytest.raises(BencodeError) as refused:
            krpc.parse(raw)
        assert refused.value.offset == value
    else:
        assert isinstance(value, dict)
        assert krpc.parse(raw).transaction_id == b"aa"


FIELDS = {
    b"id": "id",
    b"target": "target",
    b"info_hash": "info_hash",
    b"nodes": "nodes",
    b"nodes6": "nodes6",
    b"token": "token",
    b"port": "port",
    b"k": "key",
    b"sig": "signature",
    b"seq": "sequence",
    b"cas": "compare",
    b"salt": "salt",
    b"samples": "samples",
    b"num": "number",
    b"interval": "interval",
    b"BFsd": "seeds_filter",
    b"BFpe": "peers_filter",
}
SIZES = {b"id": 20, b"target": 20, b"info_hash": 20, b"k": 32, b"sig": 64, b"BFsd": 256, b"BFpe": 256}
NUMBERS = {b"port": 65535, b"seq": 2**63 - 1, b"cas": 2**63 - 1, b"num": 2**63 - 1, b"interval": 2**63 - 1}
FLAGS = {b"implied_port": "implied_port", b"seed": "seed", b"noseed": "noseed", b"scrape": "scrape"}
LISTS = {b"values": "values", b"want": "want"}


def seen_in(body: dict[bytes, Any], name: bytes) -> object:
    """Return what a field with that key is to be read as."""
    value = body.get(name)
    if name in FLAGS:
        return isinstance(value, int) and value != 0 and -(10**18) < value < 2**63
    if name in LISTS:
        return [item for item in value if isinstance(item, bytes)] if isinstance(value, list) else []
    if name in NUMBERS:
        return value if isinstance(value, int) and 0 <= value <= NUMBERS[name] else None
    return value if isinstance(value, bytes) and len(value) == SIZES.get(name, len(value)) else None


NAMES = [*FIELDS, *FLAGS, *LISTS, b"v", b"p", b"other"]
BODY = st.dictionaries(
    st.sampled_from(NAMES),
    VALUES
    | st.sampled_from([bytes(20), bytes(32), bytes(64), bytes(256), 0, 1, 65535, 65536, 2**63 - 1, 2**63, -1])
    | st.lists(SMALL),
)


def check_fields(message: krpc.KrpcMessage, body: dict[bytes, Any]) -> None:
    for name, attribute in (FIELDS | FLAGS | LISTS).items():
        assert getattr(message, attribute) == seen_in(body, name), name
    assert message.item == (oracle.encode(body[b"v"]) if b"v" in body else None)


@given(BODY, BODY, st.sampled_from([b"q", b"r"]), st.booleans())
def test_every_field_is_what_a_whole_decoding_shows(
    arguments: dict[bytes, Any], answers: dict[bytes, Any], kind: bytes, both: bool
) -> None:
    wanted, other = (b"a", b"r") if kind == b"q" else (b"r", b"a")
    whole: dict[bytes, Any] = {b"t": b"xy", b"y": kind, wanted: arguments}
    if both:
        whole[other] = answers
    message = krpc.parse(oracle.encode(whole))
    assert message.kind == kind[0]
    check_fields(message, arguments)
    if both:
        pairs = (oracle.encode(key) + oracle.encode(value) for key, value in reversed(sorted(whole.items())))
        check_fields(krpc.parse(b"d" + b"".join(pairs) + b"e"), arguments)


@given(st.binary(max_size=200))
def test_bytes_by_chance_raise_what_is_documented(raw: bytes) -> None:
    with pytest.raises((BencodeError, KrpcError)):
        krpc.parse(raw)
