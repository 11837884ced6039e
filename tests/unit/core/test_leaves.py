"""Hashes of leaves, beside those of hashlib."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librats._core import leaves
from librats.transfer.tree import LEAF_SIZE, _climb, _hashes_of_hashlib, leaf_hashes, proof_hashes

needs_openssl = pytest.mark.skipif(not leaves.AVAILABLE, reason="the interpreter has no OpenSSL that can be reached")
SIZES = st.sampled_from([0, 1, 3, LEAF_SIZE - 1, LEAF_SIZE, LEAF_SIZE + 1]) | st.integers(0, 3 * LEAF_SIZE)


def expected(data: bytes) -> bytes:
    parts = [data[at : at + LEAF_SIZE] for at in range(0, len(data), LEAF_SIZE)]
    return b"".join(sha256(b"\0" + part).digest() for part in parts)


def cut(sizes: list[int]) -> list[bytes | bytearray | memoryview]:
    whole = memoryview(bytes(range(251)) * (sum(sizes) // 251 + 1))
    pieces: list[bytes | bytearray | memoryview] = []
    for number, size in enumerate(sizes):
        piece, whole = whole[:size], whole[size:]
        pieces.append((bytes(piece), bytearray(piece), piece)[number % 3])
    return pieces


@settings(max_examples=60)
@given(st.lists(SIZES, max_size=5))
def test_pieces_of_any_size_are_hashed_as_one(sizes: list[int]) -> None:
    pieces = cut(sizes)
    right = expected(b"".join(pieces))
    assert leaf_hashes(pieces) == right
    assert _hashes_of_hashlib(pieces) == right


@needs_openssl
@settings(max_examples=60)
@given(st.lists(SIZES, max_size=5), st.data())
def test_what_stands_before_the_data_is_left_out(sizes: list[int], data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, sum(sizes)))
    pieces = cut(sizes)
    assert leaves.leaf_hashes(pieces, skip) == expected(b"".join(pieces)[skip:])


@needs_openssl
def test_wrong_calls_are_told() -> None:
    with pytest.raises(ValueError, match="cannot be left out"):
        leaves.leaf_hashes([b"abc"], 4)
    with pytest.raises(ValueError, match="cannot be left out"):
        leaves.leaf_hashes([b"abc"], -1)
    with pytest.raises(TypeError):
        leaves.leaf_hashes([b"abc", "abc"])  # type: ignore[list-item]
    with pytest.raises(BufferError):
        leaves.leaf_hashes([b"abc", memoryview(b"abcd")[::2]])


@needs_openssl
def test_buffers_are_given_back() -> None:
    buffer = bytearray(100)
    with pytest.raises(TypeError):
        leaves.leaf_hashes([buffer, None])  # type: ignore[list-item]
    leaves.leaf_hashes([buffer])
    buffer += b"more"  # fails while somebody holds it
    assert len(buffer) == 104


@needs_openssl
@settings(max_examples=100)
@given(st.integers(1, 70), st.data())
def test_way_up_is_that_of_python(width: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, width - 1))
    count = data.draw(st.integers(1, width - first))
    hashes = [sha256(bytes([number])).digest() for number in range(count)]
    proof = [sha256(b"proof" + bytes([number])).digest() for number in range(proof_hashes(first, first + count, width))]
    top = _climb(list(hashes), first, width, iter(proof))
    assert leaves.top_above(b"".join(hashes), first, width, b"".join(proof)) == top
    if proof:
        with pytest.raises(ValueError, match="too short"):
            leaves.top_above(b"".join(hashes), first, width, b"".join(proof[:-1]))


@needs_openssl
@pytest.mark.parametrize(("count", "low", "width"), [(0, 0, 1), (1, 1, 1), (2, 0, 1), (1, 5, 5), (3, 4, 6)])
def test_leaves_that_are_not_there_are_a_wrong_call(count: int, low: int, width: int) -> None:
    with pytest.raises(ValueError, match="no such leaves"):
        leaves.top_above(bytes(32 * count), low, width, b"")
