"""Manifests of offers written by hand, as docs/reference/transfer.md tells the form.

``python -m tests.reference.manifests`` writes the vectors of tests/vectors/transfer/manifests.json.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from typing import Any

from tests.reference.merkle_tree import root

File = tuple[str, bytes, int, bool]
"""Path, content, nanoseconds since 1970, and whether it may be run."""


def text(value: bytes) -> bytes:
    return b"%d:%b" % (len(value), value)


def written(name: str, is_folder: bool, files: list[File], empty: list[str]) -> bytes:
    """Write a manifest; the files and folders are in order already."""
    total = sum(len(content) for _, content, _, _ in files)
    head = b"d5:bytesi%de5:emptyi%de5:filesi%de6:folderi%de4:name%b1:vi1ee" % (
        *(total, len(empty), len(files), is_folder),
        text(name.encode()),
    )
    body = b"".join(
        b"l%bi%de%bi%dei%dee" % (text(path.encode()), len(content), text(root(content)), modified, executable)
        for path, content, modified, executable in files
    )
    return head + b"ll" + body + b"el" + b"".join(text(path.encode()) for path in empty) + b"ee"


OFFERS: list[tuple[str, str, bool, list[File], list[str]]] = [
    ("a file", "hello.txt", False, [("hello.txt", b"hello", 0, False)], []),
    ("an empty file that may be run", "run", False, [("run", b"", 1_790_000_000_123_456_789, True)], []),
    (
        "a folder",
        "Urlaub",
        True,
        [
            ("2026/a.jpg", b"a" * 65_536, 1, False),
            ("2026/b/c.jpg", b"b" * 65_537, 2, False),
            ("2026 b.txt", b"", 3, False),
            ("Grüße.txt", b"x", 4, True),
        ],
        ["2026/empty", "z"],
    ),
    ("a folder of folders", "tree", True, [], ["a/b/c"]),
]


def vector(what: str, name: str, is_folder: bool, files: list[File], empty: list[str]) -> dict[str, Any]:
    raw = written(name, is_folder, files, empty)
    timeless = written(name, is_folder, [(path, content, 0, may_run) for path, content, _, may_run in files], empty)
    return {
        "what": what,
        "raw": raw.hex(),
        "name": name,
        "is_folder": is_folder,
        "files": [[path, len(content), root(content).hex(), time, may_run] for path, content, time, may_run in files],
        "empty_folders": empty,
        "content_id": sha256(b"librats offer 1\0" + timeless).hexdigest(),
    }


def main() -> None:
    about = (
        "Made by python -m tests.reference.manifests, from BEP 3 (bencode), FIPS 180-4 (SHA-256) and the form "
        "that docs/reference/transfer.md tells. A file is its path, bytes, root, nanoseconds since 1970, and "
        "whether it may be run."
    )
    json.dump({"about": about, "vectors": [vector(*offer) for offer in OFFERS]}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
