"""The frames of a transfer: written, read, cut anywhere, and refused where they are not what they must be."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.transfer import frames
from librats.transfer.frames import Chunk, Features, Frame, FrameReader, FrameType, Offering, Piece, Refusal

OFFER = Offering(transfer=bytes(16), content_id=b"i" * 32, manifest_size=70, head=b"d1:ai1ee", message="für dich")
WRITTEN = {
    FrameType.OFFER: frames.encode_offer(OFFER),
    FrameType.FETCH: frames.encode_fetch(b"t" * 16, b"i" * 32),
    FrameType.ACCEPT: frames.encode_accept(1 << 40),
    FrameType.REFUSE: frames.encode_refusal(FrameType.REFUSE, "limit", "zu groß"),
    FrameType.MANIFEST_WANT: frames.encode_manifest_want(65_536, 100),
    FrameType.MANIFEST: frames.encode_piece(65_536, b"piece"),
    FrameType.WANT: frames.encode_ranges(FrameType.WANT, [(0, 16), (1 << 31, 1)]),
    FrameType.UNWANT: frames.encode_ranges(FrameType.UNWANT, [(0, 16)]),
    FrameType.PAUSE: frames.encode_plain(FrameType.PAUSE),
    FrameType.RESUME: frames.encode_plain(FrameType.RESUME),
    FrameType.CANCEL: frames.encode_refusal(FrameType.CANCEL, "cancelled", ""),
    FrameType.DONE: frames.encode_plain(FrameType.DONE),
    FrameType.FEATURES: frames.encode_features(Features.HASHES),
    FrameType.HASHES_WANT: frames.encode_ranges(FrameType.HASHES_WANT, [(3, 2048)]),
    FrameType.HASHES: frames.encode_hashes((3, 2), b"proof and hashes"),
}


def only(raw: bytes) -> Frame:
    [frame] = FrameReader().feed(raw)
    assert isinstance(frame, Frame)
    return frame


def test_every_frame_is_read_as_it_was_written() -> None:
    bodies = {kind: only(raw).body for kind, raw in WRITTEN.items()}
    assert frames.read_offer(bodies[FrameType.OFFER]) == OFFER
    assert frames.read_fetch(bodies[FrameType.FETCH]) == (b"t" * 16, b"i" * 32)
    assert frames.read_accept(bodies[FrameType.ACCEPT]) == 1 << 40
    assert frames.read_refusal(bodies[FrameType.REFUSE]) == Refusal("limit", "zu groß")
    assert frames.read_refusal(bodies[FrameType.CANCEL]) == Refusal("cancelled", "")
    assert frames.read_manifest_want(bodies[FrameType.MANIFEST_WANT]) == (65_536, 100)
    assert frames.read_piece(bodies[FrameType.MANIFEST]) == Piece(65_536, b"piece")
    assert frames.read_ranges(bodies[FrameType.WANT]) == [(0, 16), (1 << 31, 1)]
    assert frames.read_features(bodies[FrameType.FEATURES]) == Features.HASHES
    assert frames.read_ranges(bodies[FrameType.HASHES_WANT]) == [(3, 2048)]
    assert frames.read_hashes(bodies[FrameType.HASHES]) == ((3, 2), b"proof and hashes")
    assert set(bodies) == set(FrameType) - {FrameType.CHUNK}


@given(cuts=st.lists(st.integers(1, 40), max_size=60), sizes=st.lists(st.integers(1, 9000), max_size=4))
def test_frames_come_out_the_same_however_the_stream_is_cut(cuts: list[int], sizes: list[int]) -> None:
    chunks = [random.Random(size).randbytes(size) for size in sizes]  # noqa: S311 - nothing here is a secret
    raw = b"".join(WRITTEN.values())
    for number, chunk in enumerate(chunks):
        raw += frames.encode_chunk_head((number, 1), len(chunk)) + chunk + WRITTEN[FrameType.PAUSE]
    reader, found, at = FrameReader(), [], 0
    for cut in [*cuts, len(raw)]:
        found += reader.feed(raw[at : at + cut])
        at += cut
    assert reader.is_between
    assert [frame for frame in found if isinstance(frame, Frame)] == [
        *(only(part) for part in WRITTEN.values()),
        *[only(WRITTEN[FrameType.PAUSE])] * len(chunks),
    ]
    came = [frame for frame in found if isinstance(frame, Chunk)]
    assert [b"".join(chunk.pieces) for chunk in came] == chunks
    assert [(chunk.range, chunk.size) for chunk in came] == [((n, 1), len(c)) for n, c in enumerate(chunks)]


def test_a_frame_of_an_unknown_type_is_left_out() -> None:
    assert FrameReader().feed(b"\xc8\0\0\0\x03abc" + WRITTEN[FrameType.DONE]) == [only(WRITTEN[FrameType.DONE])]


@pytest.mark.parametrize("kind", [*FrameType, 0, 200])
def test_a_frame_that_is_too_long_is_refused_before_its_body_has_come(kind: int) -> None:
    most = frames.MAX_BODY.get(kind, 65_536)  # type: ignore[call-overload]
    assert FrameReader().feed(bytes([kind]) + most.to_bytes(4)) in ([], [Frame(kind, b"")])
    with pytest.raises(TransferError, match="more than one of its type") as refused:
        FrameReader().feed(bytes([kind]) + (most + 1).to_bytes(4))
    assert refused.value.code == "protocol"


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(TransferError, match="empty chunk"):
        FrameReader().feed(frames.encode_chunk_head((0, 1), 0))


def test_a_chunk_that_comes_in_crumbs_takes_few_objects() -> None:
    reader = FrameReader()
    reader.feed(frames.encode_chunk_head((0, 1), 100_000))
    for _ in range(99_999):
        reader.feed(b"x")
    assert len(reader._pieces) < 10
    [chunk] = reader.feed(b"y")
    assert isinstance(chunk, Chunk)
    assert b"".join(chunk.pieces) == b"x" * 99_999 + b"y"


BROKEN = [
    (frames.read_offer, b"short"),
    (frames.read_offer, WRITTEN[FrameType.OFFER][5:-1]),
    (frames.read_offer, WRITTEN[FrameType.OFFER][5:] + b"x"),
    (frames.read_offer, bytes(48) + (9).to_bytes(4) + (600).to_bytes(2) + bytes(2) + bytes(600)),
    (frames.read_offer, bytes(48) + bytes(4) + bytes(2) + (1).to_bytes(2) + b"\xff"),
    (frames.read_fetch, bytes(47)),
    (frames.read_accept, bytes(9)),
    (frames.read_refusal, b"\x05"),
    (frames.read_refusal, b"\x05\0\0limi"),
    (frames.read_refusal, b"\x05\0\0a b c"),
    (frames.read_refusal, b"\0\0\0"),
    (frames.read_refusal, b"\x21\0\0" + b"a" * 33),
    (frames.read_manifest_want, bytes(8)),
    (frames.read_manifest_want, bytes(4) + (65_537).to_bytes(4)),
    (frames.read_piece, bytes(4)),
    (frames.read_ranges, bytes(9)),
    (frames.read_features, bytes(3)),
    (frames.read_hashes, bytes(8)),
]


@pytest.mark.parametrize(("read", "body"), BROKEN)
def test_a_body_that_is_not_what_it_must_be_is_refused(read: object, body: bytes) -> None:
    with pytest.raises(TransferError) as refused:
        read(body)  # type: ignore[operator]
    assert refused.value.code == "protocol"


READERS = [getattr(frames, name) for name in frames.__all__ if name.startswith("read_")]


@given(body=st.binary(max_size=200))
def test_only_the_documented_error_escapes(body: bytes) -> None:
    for read in READERS:
        try:
            read(body)
        except TransferError as error:
            assert error.code == "protocol"  # noqa: PT017 - most bodies are refused, some are not
    reader = FrameReader()
    try:
        reader.feed(body)
    except TransferError as error:
        assert error.code == "protocol"  # noqa: PT017


def test_features_of_later_versions_are_left_out() -> None:
    assert frames.read_features(b"\xff\xff\xff\xfe") == Features(0)
    assert frames.read_features(b"\xff\xff\xff\xff" + bytes(60)) == Features.HASHES


def test_words_are_cut_between_two_characters() -> None:
    raw = frames.encode_refusal(FrameType.REFUSE, "limit", "ü" * 1000)
    assert frames.read_refusal(only(raw).body).words == "ü" * 512
