"""Chunks of a file in any order: none counts before its proof holds."""

from __future__ import annotations

import pytest
from tests.reference import merkle_tree as oracle

from librats.errors import TransferError, UsageError
from librats.transfer.tree import LEAF_SIZE, MAX_LENGTH, hash_file
from librats.transfer.verifying import MAX_CHUNK, FileVerifier

CONTENT = oracle.content(11 * LEAF_SIZE + 11)
TREE = hash_file([CONTENT])


def chunk(first: int, count: int) -> tuple[int, bytes, bytes]:
    return first, CONTENT[first * LEAF_SIZE : (first + count) * LEAF_SIZE], TREE.proof(first, count)


@pytest.fixture
def verifier() -> FileVerifier:
    return FileVerifier(TREE.root, TREE.length)


def test_chunks_are_counted_in_any_order(verifier: FileVerifier) -> None:
    assert [verifier.take(*chunk(first, count)) for first, count in [(11, 1), (0, 3), (6, 2), (3, 3)]] == [1, 3, 2, 3]
    assert (verifier.is_complete, list(verifier.missing())) == (False, [(8, 3)])
    assert verifier.take(*chunk(8, 3)) == 3
    assert verifier.is_complete
    assert list(verifier.missing()) == []


def test_a_chunk_that_came_already_counts_once(verifier: FileVerifier) -> None:
    assert [verifier.take(*chunk(2, 4)), verifier.take(*chunk(2, 4)), verifier.take(*chunk(4, 4))] == [4, 0, 2]
    assert verifier.leaves == 6


@pytest.mark.parametrize("at", [0, LEAF_SIZE - 1, LEAF_SIZE, 2 * LEAF_SIZE - 1])
def test_a_damaged_chunk_counts_for_nothing(verifier: FileVerifier, at: int) -> None:
    first, data, proof = chunk(4, 2)
    damaged = bytearray(data)
    damaged[at] ^= 1
    with pytest.raises(TransferError, match="not of the file") as refused:
        verifier.take(first, damaged, proof)
    assert refused.value.code == "bad_chunk"
    assert (verifier.leaves, verifier.have) == (0, bytes(2))
    assert verifier.take(first, data, proof) == 2


def test_every_bit_of_a_proof_matters(verifier: FileVerifier) -> None:
    first, data, proof = chunk(5, 1)
    for bit in range(0, 8 * len(proof), 7):
        forged = bytearray(proof)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TransferError):
            verifier.take(first, data, bytes(forged))
    assert verifier.leaves == 0


def test_a_chunk_in_another_place_is_refused(verifier: FileVerifier) -> None:
    first, data, proof = chunk(4, 2)
    for place in (0, 2, 6, 8):
        with pytest.raises(TransferError):
            verifier.take(place, data, proof)
    assert verifier.leaves == 0
    assert verifier.take(first, data, proof) == 2


def test_a_chunk_beyond_the_limit_is_refused_before_it_is_hashed() -> None:
    content = bytes(MAX_CHUNK + LEAF_SIZE)
    tree = hash_file([content])
    verifier = FileVerifier(tree.root, tree.length)
    with pytest.raises(TransferError, match=f"more than {MAX_CHUNK} bytes") as refused:
        verifier.take(0, content, b"")
    assert refused.value.code == "limit"
    assert list(verifier.missing()) == [(0, 64), (64, 1)]
    assert verifier.take(0, content[:MAX_CHUNK], tree.proof(0, 64)) == 64


def test_an_empty_file_is_complete_at_once() -> None:
    verifier = FileVerifier(hash_file([]).root, 0)
    assert verifier.is_complete
    assert list(verifier.missing()) == []
    with pytest.raises(TransferError):
        verifier.take(0, b"", b"")


def test_an_empty_file_with_another_root_is_refused() -> None:
    with pytest.raises(TransferError) as refused:
        FileVerifier(TREE.root, 0)
    assert refused.value.code == "bad_offer"


def test_a_file_beyond_the_limit_is_refused() -> None:
    with pytest.raises(TransferError, match=str(MAX_LENGTH)) as refused:
        FileVerifier(TREE.root, MAX_LENGTH + 1)
    assert refused.value.code == "limit"


def test_the_largest_file_takes_two_megabytes_and_is_looked_through_lazily() -> None:
    verifier = FileVerifier(TREE.root, MAX_LENGTH)
    assert len(verifier.have) == 1 << 21
    assert next(verifier.missing()) == (0, 64)


def test_a_transfer_is_resumed_from_what_is_there(verifier: FileVerifier) -> None:
    verifier.take(*chunk(0, 2))
    verifier.take(*chunk(9, 3))
    resumed = FileVerifier(TREE.root, TREE.length, have=verifier.have)
    assert resumed.leaves == 5
    assert [leaf for leaf in range(-1, 13) if resumed.has(leaf)] == [0, 1, 9, 10, 11]
    assert list(resumed.missing()) == [(2, 7)]
    assert list(resumed.missing(max_count=3)) == [(2, 3), (5, 3), (8, 1)]
    resumed.take(*chunk(2, 7))
    assert resumed.is_complete


@pytest.mark.parametrize("have", [b"", bytes(1), bytes(3), b"\0\x10", b"\0\xff"])
def test_what_is_there_must_be_of_that_file(have: bytes) -> None:
    with pytest.raises(UsageError):
        FileVerifier(TREE.root, TREE.length, have=have)


@pytest.mark.parametrize(("root", "length"), [(bytes(31), 1), (bytes(33), 1), (b"", 0), (bytes(32), -1)])
def test_a_root_or_length_that_cannot_be_is_refused(root: bytes, length: int) -> None:
    with pytest.raises(UsageError):
        FileVerifier(root, length)


def test_what_the_disk_has_lost_is_asked_for_again(verifier: FileVerifier) -> None:
    verifier.take(*chunk(0, 12))
    verifier.forget(3, 2)
    verifier.forget(4, 2)
    assert verifier.leaves == 9
    assert list(verifier.missing()) == [(3, 3)]
    for first, count in [(-1, 1), (11, 2), (0, -1)]:
        with pytest.raises(UsageError):
            verifier.forget(first, count)
