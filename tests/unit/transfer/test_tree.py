"""The tree of hashes: its vectors, and what must not pass for a part of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.reference import merkle_tree as oracle

from librats.errors import TransferError, UsageError
from librats.transfer import tree as trees
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, TreeBuilder, hash_file, proven_root

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/transfer/trees.json").read_text(encoding="utf-8"))["vectors"]


def part(content: bytes, first: int, count: int) -> bytes:
    return content[first * LEAF_SIZE : (first + count) * LEAF_SIZE]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["length"]))
def test_the_vectors_hold(vector: dict[str, Any]) -> None:
    content = oracle.content(vector["length"])
    tree = hash_file([content])
    assert (tree.length, tree.root.hex()) == (vector["length"], vector["root"])
    for proof in vector["proofs"]:
        assert tree.proof(proof["first"], proof["count"]).hex() == proof["proof"]
        data = part(content, proof["first"], proof["count"])
        assert proven_root(len(content), proof["first"], data, bytes.fromhex(proof["proof"])) == tree.root


def test_the_vectors_are_those_that_the_oracle_makes() -> None:
    assert len(VECTORS) == len(oracle.LENGTHS)
    assert [oracle.vector(vector["length"]) for vector in VECTORS] == VECTORS


def test_the_root_of_small_files_is_that_of_the_documented_hashes() -> None:
    leaf = sha256(b"\x00x").digest()
    assert hash_file([b"x"]).root == sha256(b"\x02" + (1).to_bytes(8) + leaf).digest()
    assert hash_file([]).root == sha256(b"\x02" + bytes(8)).digest()


def test_a_tree_without_the_length_is_that_of_rfc_6962() -> None:
    """Leaves and nodes are those of RFC 6962, 2.1, whose vectors of Certificate Transparency have shorter leaves."""
    leaves = [oracle.content(LEAF_SIZE), b"x"]
    left, right = (sha256(b"\x00" + leaf).digest() for leaf in leaves)
    top = sha256(b"\x01" + left + right).digest()
    assert hash_file(leaves).root == sha256(b"\x02" + (LEAF_SIZE + 1).to_bytes(8) + top).digest()


@pytest.mark.parametrize(
    "sizes", [[1] * 20, [LEAF_SIZE], [7, LEAF_SIZE, 3], [LEAF_SIZE - 1, 1, 5], [2 * LEAF_SIZE + 9, 0, 8]]
)
def test_the_buffers_of_a_file_may_be_of_any_size(sizes: list[int]) -> None:
    content = oracle.content(sum(sizes))
    rest = memoryview(content)
    buffers = []
    for size in sizes:
        buffers.append(bytearray(rest[:size]))
        rest = rest[size:]
    assert hash_file(buffers).root == oracle.root(content)


def test_a_buffer_may_be_used_again_while_the_file_is_hashed() -> None:
    buffer = bytearray(1000)

    def rounds() -> Iterator[bytearray]:
        for number in range(200):
            buffer[:] = bytes([number]) * 1000
            yield buffer

    assert hash_file(rounds()).root == oracle.root(b"".join(bytes([number]) * 1000 for number in range(200)))


def test_numbers_are_hashed_as_the_bytes_that_they_are() -> None:
    content = bytes(range(256)) * 4
    assert hash_file([memoryview(content).cast("Q")]).root == oracle.root(content)


def test_a_builder_goes_on_after_its_tree_was_asked_for() -> None:
    builder = TreeBuilder()
    builder.update(b"one")
    assert builder.finish().root == oracle.root(b"one")
    builder.update(b"two")
    assert builder.finish().root == oracle.root(b"onetwo")


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_LENGTH", 10)
    assert hash_file([bytes(5), bytes(5)]).length == 10
    with pytest.raises(TransferError, match="a file of more than 10 bytes") as refused:
        hash_file([bytes(5), bytes(6)])
    assert refused.value.code == "limit"


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 4), (3, 1), (-1, 1), (-1, 2), (1, -1)])
def test_there_is_no_proof_for_leaves_that_are_not_there(first: int, count: int) -> None:
    with pytest.raises(UsageError):
        hash_file([bytes(2 * LEAF_SIZE + 1)]).proof(first, count)


def test_an_empty_file_has_no_leaf_to_prove() -> None:
    with pytest.raises(UsageError):
        hash_file([]).proof(0, 1)
    with pytest.raises(TransferError):
        proven_root(0, 0, b"", b"")


def test_a_node_does_not_pass_as_a_leaf() -> None:
    """Without separation, 64 bytes of two hashes are a file whose root is that of two leaves."""
    tree = hash_file([oracle.content(2 * LEAF_SIZE)])
    children = tree.proof(1, 1) + tree.proof(0, 1)
    assert hash_file([children]).root != tree.root
    assert proven_root(len(children), 0, children, b"") != tree.root


def test_a_file_of_another_length_has_another_root_though_its_hashes_are_the_same() -> None:
    """The last leaf of a short file passes for a leaf of a longer one, but for the length in the root."""
    content = oracle.content(LEAF_SIZE + 5)
    tree = hash_file([content])
    last = content[LEAF_SIZE:]
    assert proven_root(LEAF_SIZE + 5, 1, last, tree.proof(1, 1)) == tree.root
    with pytest.raises(TransferError):
        proven_root(LEAF_SIZE + 6, 1, last, tree.proof(1, 1))
    roots = {trees._root(length, tree.root) for length in range(LEAF_SIZE + 1, LEAF_SIZE + 100)}
    assert len(roots) == 99


BAD_CHUNKS = [
    *[
        (2 * LEAF_SIZE + 5, 0, size)
        for size in (0, 1, LEAF_SIZE - 1, LEAF_SIZE + 1, 2 * LEAF_SIZE + 4, 2 * LEAF_SIZE + 6)
    ],
    *[(2 * LEAF_SIZE + 5, 2, size) for size in (0, 4, 6, LEAF_SIZE)],
    *[(2 * LEAF_SIZE + 5, first, LEAF_SIZE) for first in (-1, 2, 3, 1 << 80, -(1 << 80))],
    *[(length, 0, 5) for length in (-1, 0, 4, 6, trees.MAX_LENGTH + 1, 1 << 100)],
]


@pytest.mark.parametrize(("length", "first", "size"), BAD_CHUNKS)
def test_a_chunk_that_fits_no_leaves_is_refused(length: int, first: int, size: int) -> None:
    with pytest.raises(TransferError, match="fit the leaves") as refused:
        proven_root(length, first, bytes(size), bytes(2 * HASH_SIZE))
    assert refused.value.code == "bad_chunk"


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 65, 96, 1 << 20])
def test_a_proof_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(TransferError, match="size") as refused:
        proven_root(3 * LEAF_SIZE, 0, bytes(LEAF_SIZE), bytes(size))
    assert refused.value.code == "bad_chunk"


def test_a_proof_of_the_largest_file_is_checked_at_once() -> None:
    proof = bytes(24 * HASH_SIZE)
    assert len(proven_root(trees.MAX_LENGTH, 12345, bytes(LEAF_SIZE), proof)) == HASH_SIZE
