"""What need not come, by machine: whatever is older, alike or there, the files come out whole, and little comes."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.services.disk.old_files import found_chunks
from librats.services.disk.part import Chunk, check_chunk
from librats.transfer import reusing as module
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.frames import Frame, FrameReader, read_hashes
from librats.transfer.layout import Layout
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.pacing import RateLimit
from librats.transfer.receiving import Receiving
from librats.transfer.reusing import Reusing
from librats.transfer.sending import Sending
from librats.transfer.tree import LEAF_SIZE, HashTree, hash_file, leaf_count
from librats.transfer.twins import Twins

contents = st.builds(
    lambda letters, tail: b"".join(bytes([letter]) * LEAF_SIZE for letter in letters) + b"t" * tail,
    st.lists(st.integers(0, 5), max_size=9),
    st.sampled_from([0, 1, 1000]),
)


class Disk:
    """Files in memory, and what is offered of them."""

    def __init__(self, files: list[bytes], *, there: list[tuple[int, int]]) -> None:
        self.files = files
        self.trees = [hash_file([data]) for data in files]
        offered = [
            OfferedFile(path=(f"{number:02}",), size=tree.length, root=tree.root)
            for number, tree in enumerate(self.trees)
        ]
        self.layout = Layout(Manifest(name="x", is_folder=True, files=tuple(offered)))
        begun: dict[int, bytearray] = {}
        for number, leaf in there:
            if number < len(files) and leaf < (leaves := leaf_count(len(files[number]))):
                bits = begun.setdefault(number, bytearray(-(-leaves // 8)))
                bits[leaf // 8] |= 1 << leaf % 8
        whole = bytearray(not data for data in files)
        self.verifiers = FileVerifiers(FileTable(offered), copies=self.layout.copies, whole=whole, begun=begun)
        self.written = [bytearray(len(data)) for data in files]
        for number, leaf in there:
            if number in begun and leaf < leaf_count(len(files[number])):
                place = slice(leaf * LEAF_SIZE, (leaf + 1) * LEAF_SIZE)
                self.written[number][place] = files[number][place]

    @property
    def more_than_a_leaf(self) -> dict[int, HashTree]:
        return {number: tree for number, tree in enumerate(self.trees) if tree.length > LEAF_SIZE}

    def write(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            data = b"".join(chunk.data)
            at = chunk.first * LEAF_SIZE
            assert not self.verifiers[chunk.file].has(chunk.first)  # nothing is written twice
            self.written[chunk.file][at : at + len(data)] = data

    def is_whole(self) -> bool:
        return all(
            self.written[self.layout.copies.get(number, number)] == data for number, data in enumerate(self.files)
        )


def find(disk: Disk, old: dict[int, bytes]) -> Twins:
    """Ask for hashes, and look through what is older."""
    giver = Sending(disk.layout, b"x", disk.more_than_a_leaf, RateLimit(None))
    reusing = Reusing(disk.layout, disk.verifiers, old)
    while reusing.next_window():
        while not reusing.is_window_whole:
            for wanted in reusing.wants():
                (frame,) = FrameReader().feed(giver.hashes(wanted))
                assert isinstance(frame, Frame)
                reusing.take(*read_hashes(frame.body))
        for wanted in reusing.to_read():
            (part,) = disk.layout.parts(wanted)
            chunks = found_chunks(disk.layout, old[part.file][part.offset : part.offset + part.size], reusing.index)
            disk.write(chunks)
            found = [(disk.layout.start(c.file) + c.first, len(c.leaves) // 32) for c in chunks]
            reusing.found(found, wanted[1])
        reusing.end_window()
    return reusing.twins


def take_rest(disk: Disk, twins: Twins) -> int:
    """Have the rest come, and return how many bytes that are."""
    receiving = Receiving(disk.layout, disk.verifiers, RateLimit(None), 0.0, chunk=4 * LEAF_SIZE, twins=twins)
    giver = Sending(disk.layout, b"x", disk.more_than_a_leaf, RateLimit(None))
    receiving.add_source("giver", 0.0)
    came = 0
    while not receiving.is_complete:
        wants = receiving.next_wants("giver", 0.0)
        assert wants
        giver.want(wants)
        while job := giver.next_parts(0.0):
            wanted, parts = job
            data = [disk.files[part.file][part.offset : part.offset + part.size] for part in parts]
            raw = b"".join(giver.chunk(wanted, parts, data))
            disk.write(check_chunk(disk.layout, wanted, [raw[13:]], twins))
            assert receiving.arrived("giver", wanted, 0.0)
            receiving.stored(wanted, 0.0)
            came += sum(map(len, data))
    assert receiving.done == disk.layout.total
    assert receiving.reused == disk.layout.total - came
    assert receiving.files_done == len(disk.files)
    return came


@settings(max_examples=60)
@given(
    files=st.lists(contents, min_size=1, max_size=4),
    old=st.dictionaries(st.integers(0, 3), contents, max_size=4),
    there=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=4),
    least=st.sampled_from([2, 4, 99]),
    at_once=st.sampled_from([2, 5, 2048]),
    known=st.sampled_from([5, 12, 32_768]),
)
def test_whatever_is_there_the_files_come_out_whole(
    files: list[bytes], old: dict[int, bytes], there: list[tuple[int, int]], least: int, at_once: int, known: int
) -> None:
    disk = Disk(files, there=there)
    older = {number: data for number, data in old.items() if number < len(files)}
    with (
        patch.object(module, "LEAST", least),
        patch.object(module, "MAX_HASHES", at_once),
        patch.object(module, "MAX_KNOWN", known),
    ):
        twins = find(disk, older)
    take_rest(disk, twins)
    assert disk.is_whole()


@settings(max_examples=30)
@given(old=contents, new=contents)
def test_each_content_that_the_older_version_lacks_comes_once(old: bytes, new: bytes) -> None:
    disk = Disk([new], there=[])
    with patch.object(module, "LEAST", 2):
        twins = find(disk, {0: old})
    came = take_rest(disk, twins)
    if leaf_count(len(new)) > 1:
        ours = {old[: len(new)][at : at + LEAF_SIZE] for at in range(0, len(old[: len(new)]), LEAF_SIZE)}
        theirs = {new[at : at + LEAF_SIZE] for at in range(0, len(new), LEAF_SIZE)}
        assert came == sum(map(len, theirs - ours))


@given(answers=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.binary(max_size=200)), max_size=6))
def test_hashes_of_all_kinds_raise_the_documented_error_and_change_nothing(
    answers: list[tuple[int, int, bytes]],
) -> None:
    disk = Disk([bytes(5 * LEAF_SIZE), b"a" * 7 * LEAF_SIZE], there=[])
    reusing = Reusing(disk.layout, disk.verifiers, [0, 1])
    assert reusing.next_window()
    asked = reusing.wants()
    for first, count, body in answers:
        try:
            reusing.take((first, count), body)
        except TransferError as error:
            assert error.code in {"protocol", "bad_chunk"}  # noqa: PT017 - none of them is right
        else:
            raise AssertionError("what is no hash was taken for one")
    reusing.ask_again()
    assert reusing.wants() == asked
    assert not list(reusing.index.alike())
