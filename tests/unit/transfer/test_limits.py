"""The limits of a transfer's frames: each holds to the very number, on both sides of it."""

from __future__ import annotations

import pytest

from librats.errors import TransferError
from librats.transfer import frames
from librats.transfer.frames import HEAD, Chunk, FrameReader, FrameType, Offering

LONGEST = {
    FrameType.OFFER: 16 + 32 + 4 + 2 + 2 + 512 + 1024,
    FrameType.FETCH: 16 + 32,
    FrameType.ACCEPT: 8,
    FrameType.REFUSE: 1 + 2 + 32 + 1024,
    FrameType.CANCEL: 1 + 2 + 32 + 1024,
    FrameType.MANIFEST_WANT: 8,
    FrameType.MANIFEST: 4 + 65_536,
    FrameType.WANT: 1024 * 8,
    FrameType.UNWANT: 1024 * 8,
    FrameType.CHUNK: 8 + 2 * 2 * 24 * 32 + 4_194_304,
    FrameType.PAUSE: 0,
    FrameType.RESUME: 0,
    FrameType.DONE: 0,
    FrameType.FEATURES: 64,
    FrameType.HASHES_WANT: 1024 * 8,
    FrameType.HASHES: 8 + 2 * 24 * 32 + 2048 * 32,
}
"""Bytes of a body, by what PROTOCOL says of each type."""

UNKNOWN = 99


@pytest.mark.parametrize("kind", [*FrameType, UNKNOWN])
def test_a_frame_is_refused_by_its_head_where_it_is_longer_than_one_of_its_type_can_be(kind: int) -> None:
    longest = 65_536 if kind == UNKNOWN else LONGEST[FrameType(kind)]
    FrameReader().feed(HEAD.pack(kind, longest))
    with pytest.raises(TransferError) as refused:
        FrameReader().feed(HEAD.pack(kind, longest + 1))
    assert refused.value.code == "protocol"


def test_the_longest_chunk_is_read_whole() -> None:
    size = LONGEST[FrameType.CHUNK] - 8
    (chunk,) = FrameReader().feed(frames.encode_chunk_head((0, 64), size) + bytes(size))
    assert isinstance(chunk, Chunk)
    assert chunk.size == size


def offer(head: int, words: int) -> bytes:
    offering = Offering(
        transfer=bytes(16), content_id=bytes(32), manifest_size=1, head=bytes(head), message="w" * words
    )
    return frames.encode_offer(offering)[HEAD.size :]


def test_an_offer_has_512_bytes_of_the_manifest_and_1024_of_words() -> None:
    read = frames.read_offer(offer(512, 1025))
    assert (len(read.head), len(read.message)) == (512, 1024)
    with pytest.raises(TransferError):
        frames.read_offer(offer(513, 0))


def test_words_are_cut_between_characters() -> None:
    body = frames.encode_refusal(FrameType.REFUSE, "c" * 33, "w" * 1023 + "ü")[HEAD.size :]
    read = frames.read_refusal(body)
    assert (read.code, read.words) == ("c" * 32, "w" * 1023)


@pytest.mark.parametrize(("size", "is_taken"), [(0, False), (1, True), (65_536, True), (65_537, False)])
def test_a_piece_of_a_manifest_has_64_kib_at_most(size: int, is_taken: bool) -> None:
    body = frames.encode_manifest_want(0, size)[HEAD.size :]
    if is_taken:
        assert frames.read_manifest_want(body) == (0, size)
    else:
        with pytest.raises(TransferError):
            frames.read_manifest_want(body)


@pytest.mark.parametrize(("size", "is_taken"), [(32, True), (33, False)])
def test_a_code_of_a_refusal_has_32_letters_at_most(size: int, is_taken: bool) -> None:
    body = frames.REFUSAL.pack(size, 0) + b"c" * size
    if is_taken:
        assert frames.read_refusal(body).code == "c" * 32
    else:
        with pytest.raises(TransferError):
            frames.read_refusal(body)
