"""The tree of hashes over a file, slow and plain: by recursion, as RFC 6962, 2.1 splits its trees.

``python -m tests.reference.merkle_tree`` writes the vectors of tests/vectors/transfer/trees.json.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256, shake_128

LEAF = 65_536


def digest(kind: int, data: bytes) -> bytes:
    return sha256(bytes([kind]) + data).digest()


def leaves_of(content: bytes) -> list[bytes]:
    return [content[at : at + LEAF] for at in range(0, len(content), LEAF)]


def split(count: int) -> int:
    """Return the largest power of two that is less than the count."""
    return 1 << (count - 1).bit_length() - 1


def top(leaves: list[bytes]) -> bytes:
    if not leaves:
        return b""
    if len(leaves) == 1:
        return digest(0, leaves[0])
    middle = split(len(leaves))
    return digest(1, top(leaves[:middle]) + top(leaves[middle:]))


def root(content: bytes) -> bytes:
    return digest(2, len(content).to_bytes(8, "big") + top(leaves_of(content)))


def outside(leaves: list[bytes], first: int, end: int) -> list[tuple[int, int, bytes]]:
    """Return the tops of the largest subtrees that have none of the leaves: height, number from the left, hash."""
    found = []

    def walk(low: int, high: int) -> None:
        if high <= first or low >= end:
            level = (high - low - 1).bit_length()
            found.append((level, low, top(leaves[low:high])))
        elif high - low > 1:
            middle = low + split(high - low)
            walk(low, middle)
            walk(middle, high)

    walk(0, len(leaves))
    return found


def proof(content: bytes, first: int, count: int) -> bytes:
    """Return the same from the other end: what a verifier lacks, from below, the left one of a level first."""
    leaves = leaves_of(content)
    lacking = outside(leaves, first, first + count)
    placed = []
    for level, low, value in lacking:
        # A subtree that is left over goes up: it is met where its sibling on the left is whole.
        while low >> level & 1 == 0 and low + (1 << level) >= len(leaves):
            level += 1  # noqa: PLW2901
        placed.append((level, low, value))
    return b"".join(value for _, _, value in sorted(placed))


def content(length: int) -> bytes:
    """Return the content of a vector: SHAKE128 of its length in ASCII."""
    return shake_128(b"%d" % length).digest(length)


LENGTHS = (0, 1, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF, 3 * LEAF, 5 * LEAF + 7, 8 * LEAF, 11 * LEAF + 11)


def vector(length: int) -> dict[str, object]:
    data = content(length)
    count = len(leaves_of(data))
    ranges = {(0, count), (0, 1), (count - 1, 1), (count // 2, count - count // 2), (count // 3, 1)} if count else ()
    proofs = [
        {"first": first, "count": number, "proof": proof(data, first, number).hex()} for first, number in sorted(ranges)
    ]
    return {"length": length, "root": root(data).hex(), "proofs": proofs}


def main() -> None:
    about = (
        "Made by python -m tests.reference.merkle_tree, from FIPS 180-4 (SHA-256 of hashlib) and the rules in "
        "librats/transfer/tree.py. The content is SHAKE128 of the length in ASCII, as many bytes as the length says."
    )
    json.dump({"about": about, "vectors": [vector(length) for length in LENGTHS]}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
