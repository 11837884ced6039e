"""The driver that asks for hashes: whom it asks, and what it takes for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from librats.errors import TransferError
from librats.services.transferring.reusing import reuse
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.frames import Features, Frame, FrameReader, FrameType, encode_hashes, encode_plain
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.reusing import LeafIndex, Reusing
from librats.transfer.tree import LEAF_SIZE, hash_file

TREE = hash_file([bytes([leaf]) * LEAF_SIZE for leaf in range(5)])
FILE = OfferedFile(path=("x",), size=TREE.length, root=TREE.root)
LAYOUT = Layout(Manifest(name="x", is_folder=False, files=(FILE,)))
ANSWER = encode_hashes((0, 5), TREE.leaves(0, 5))


class Scripted:
    """A stream with a giver that says what it was to say."""

    def __init__(self, *said: bytes, features: Features = Features.HASHES) -> None:
        self.features = features
        self.left = list(said)
        self.asked: list[bytes] = []

    def send(self, *buffers: bytes) -> None:
        self.asked += buffers

    async def next_frame(self, _seconds: float) -> Frame:
        (frame,) = FrameReader().feed(self.left.pop(0))
        assert isinstance(frame, Frame)
        return frame


class Old:
    """A disk that has the first two leaves."""

    def __init__(self) -> None:
        self.read: list[Range] = []

    async def reuse(self, _layout: Layout, wanted: Range, index: LeafIndex) -> Sequence[Range]:
        self.read.append(wanted)
        return [(index.take(TREE.leaves(leaf, 1))[0], 1) for leaf in (0, 1)]


async def run(wire: Any) -> tuple[FileVerifiers, Old]:
    verifiers = FileVerifiers(FileTable([FILE]), copies={}, whole=bytearray(1))
    old: Any = Old()
    await reuse(wire, Reusing(LAYOUT, verifiers, [0]), LAYOUT, old, stall_timeout=1.0)
    return verifiers, old


async def test_what_is_found_counts_as_there() -> None:
    verifiers, old = await run(Scripted(ANSWER))
    assert list(verifiers[0].missing()) == [(2, 3)]
    assert old.read == [(0, 5)]


async def test_a_giver_may_pause_and_go_on_meanwhile() -> None:
    wire = Scripted(encode_plain(FrameType.PAUSE), encode_plain(FrameType.RESUME), ANSWER)
    verifiers, _ = await run(wire)
    assert verifiers[0].leaves == 2
    assert len(wire.asked) == 1


async def test_one_that_has_not_said_that_it_gives_hashes_is_not_asked() -> None:
    wire = Scripted(features=Features(0))
    _, old = await run(wire)
    assert (wire.asked, old.read) == ([], [])


async def test_any_other_answer_is_refused() -> None:
    with pytest.raises(TransferError, match="protocol"):
        await run(Scripted(encode_plain(FrameType.DONE)))
