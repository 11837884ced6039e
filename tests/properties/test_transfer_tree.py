"""The tree of hashes beside one made by recursion: roots, proofs, and chunks that come in any order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostile.mutations import Mutator
from tests.reference import merkle_tree as oracle

from librats.errors import TransferError
from librats.transfer.tree import LEAF_SIZE, hash_file, leaf_count, proven_root
from librats.transfer.verifying import FileVerifier

LEAVES = st.integers(0, 21)
REST = st.sampled_from([0, 1, 2, LEAF_SIZE - 1]) | st.integers(0, LEAF_SIZE - 1)
CONTENTS = st.builds(
    lambda leaves, rest: b"".join(bytes([leaf + 1]) * LEAF_SIZE for leaf in range(leaves)) + b"\xff" * rest,
    LEAVES,
    REST,
)


@given(CONTENTS, st.data())
@settings(max_examples=60)
def test_root_and_proofs_are_those_of_the_oracle(content: bytes, data: st.DataObject) -> None:
    tree = hash_file([content])
    assert tree.root == oracle.root(content)
    count = leaf_count(len(content))
    if count:
        first = data.draw(st.integers(0, count - 1))
        number = data.draw(st.integers(1, count - first))
        proof = tree.proof(first, number)
        assert proof == oracle.proof(content, first, number)
        part = content[first * LEAF_SIZE : (first + number) * LEAF_SIZE]
        assert proven_root(len(content), first, part, proof) == tree.root


def test_every_range_of_a_small_tree_is_proven() -> None:
    for leaves in range(1, 10):
        content = b"".join(bytes([leaf]) * LEAF_SIZE for leaf in range(leaves))[:-1]
        tree = hash_file([content])
        for first in range(leaves):
            for count in range(1, leaves - first + 1):
                part = content[first * LEAF_SIZE : (first + count) * LEAF_SIZE]
                assert proven_root(len(content), first, part, tree.proof(first, count)) == tree.root


@given(st.integers(1, 20), st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=30)
def test_chunks_in_any_order_make_the_file(leaves: int, chance: object, size: int) -> None:
    content = b"".join(bytes([leaf]) * LEAF_SIZE for leaf in range(leaves))[:-3]
    tree = hash_file([content])
    verifier = FileVerifier(tree.root, tree.length)
    asked = list(verifier.missing(max_count=size))
    assert sum(count for _, count in asked) == leaves
    chance.shuffle(asked)  # type: ignore[attr-defined]
    for number, (first, count) in enumerate(asked):
        assert not verifier.is_complete
        part = content[first * LEAF_SIZE : (first + count) * LEAF_SIZE]
        assert verifier.take(first, part, tree.proof(first, count)) == count
        left = {leaf for at, many in verifier.missing() for leaf in range(at, at + many)}
        assert left == {leaf for at, many in asked[number + 1 :] for leaf in range(at, at + many)}
    assert verifier.is_complete


SMALL = b"".join(bytes([leaf]) * LEAF_SIZE for leaf in range(6))[:-9]
SMALL_TREE = hash_file([SMALL])


@given(st.integers(0, 5), st.integers(0, 2**32), st.booleans())
@settings(max_examples=150)
def test_a_chunk_or_proof_that_was_tampered_with_never_counts(first: int, seed: int, in_proof: bool) -> None:
    verifier = FileVerifier(SMALL_TREE.root, SMALL_TREE.length)
    part, proof = SMALL[first * LEAF_SIZE : (first + 1) * LEAF_SIZE], SMALL_TREE.proof(first, 1)
    changed = Mutator(seed).mutate(proof if in_proof else part, [SMALL_TREE.proof(3, 1)])
    if changed == (proof if in_proof else part):
        return
    with pytest.raises(TransferError):
        verifier.take(first, part if in_proof else changed, changed if in_proof else proof)
    assert verifier.leaves == 0
    assert verifier.take(first, part, proof) == 1


@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70), st.binary(max_size=70), st.binary(max_size=70))
def test_only_the_documented_error_comes_of_anything(length: int, first: int, data: bytes, proof: bytes) -> None:
    if data and (first, length, proof) == (0, len(data), b""):
        assert proven_root(length, first, data, proof) == oracle.root(data)
        return
    with pytest.raises(TransferError) as refused:
        proven_root(length, first, data, proof)
    assert refused.value.code == "bad_chunk"
