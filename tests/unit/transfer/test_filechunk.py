"""FileChunk messages on the wire: as librats 2 recorded them, and whatever else comes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.errors import DecodeError, TransferError
from librats.transfer.filechunk import (
    NodeChunk,
    NodeComplete,
    NodeFile,
    NodeFileEnd,
    NodeOffer,
    NodeOffering,
    NodeOp,
    NodePlain,
    NodeProgress,
    NodeResponse,
    decode_word,
    encode_chunk,
    encode_complete,
    encode_file_end,
    encode_offer,
    encode_plain,
    encode_progress,
    encode_response,
    read_offering,
)
from librats.transfer.manifest import ManifestLimits

FRAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "librats2" / "file_transfer.json").read_text(encoding="utf-8")
)["frames"]
UNKNOWN_OP = "file unknown op 77 ignored; duplicate extra bytes after RESPONSE ignored"
UNSAFE = "file client OFFER dir with ../ path -> RESPONSE reject"

parts = st.lists(st.text("abcxyz019_-", min_size=1, max_size=8), min_size=1, max_size=4).map(tuple)


def written(payload: bytes) -> bytes:  # noqa: PLR0911 - one for each kind of message
    """What a message is when it is read and written again."""
    match decode_word(payload):
        case NodeOffer() as offer:
            return encode_offer(offer.number, read_offering(offer))
        case NodeResponse(number, accepted):
            return encode_response(number, accepted=accepted)
        case NodeChunk(number, file, offset, data):
            return encode_chunk(number, file, offset, data)
        case NodeFileEnd(number, file, digest):
            return encode_file_end(number, file, digest)
        case NodeProgress(number, received):
            return encode_progress(number, received)
        case NodeComplete(number, succeeded):
            return encode_complete(number, succeeded=succeeded)
        case NodePlain(op, number):
            return encode_plain(op, number)


@pytest.mark.parametrize(
    "frame",
    [frame for frame in FRAMES if frame["note"] not in {UNKNOWN_OP, UNSAFE} or frame["dir"] == "node->client"],
    ids=lambda frame: f"{frame['payload'][:18]} {frame['note']}",
)
def test_every_recorded_message_is_read_and_written_as_librats_2_does(frame: dict[str, Any]) -> None:
    payload = bytes.fromhex(frame["payload"])
    assert written(payload) == payload


def test_an_unknown_op_is_told_apart() -> None:
    [frame] = [frame for frame in FRAMES if frame["note"] == UNKNOWN_OP]
    with pytest.raises(DecodeError, match="op 77"):
        decode_word(bytes.fromhex(frame["payload"]))


def test_the_recorded_offer_that_librats_2_refuses_is_refused() -> None:
    frame = next(frame for frame in FRAMES if frame["note"] == UNSAFE)
    offer = decode_word(bytes.fromhex(frame["payload"]))
    assert isinstance(offer, NodeOffer)
    with pytest.raises(TransferError) as refusal:
        read_offering(offer)
    assert refusal.value.code == "bad_name"


def test_recorded_folder_is_read() -> None:
    frame = next(frame for frame in FRAMES if frame["note"] == "file node offers directory d1")
    offer = decode_word(bytes.fromhex(frame["payload"]))
    assert isinstance(offer, NodeOffer)
    assert read_offering(offer) == NodeOffering(
        name="d1", is_folder=True, files=(NodeFile(("sub", "empty"), 0), NodeFile(("a.txt",), 1))
    )


def raw_offer(
    *files: tuple[bytes, int], name: bytes = b"d", flags: int = 1, total: int | None = None, behind: bytes = b""
) -> bytes:
    """An offer that nothing has checked."""
    whole = sum(size for _, size in files) if total is None else total
    raw = bytes([1]) + (9).to_bytes(8) + bytes([flags]) + whole.to_bytes(8) + len(name).to_bytes(2) + name
    raw += len(files).to_bytes(4)
    return raw + b"".join(len(path).to_bytes(2) + path + size.to_bytes(8) for path, size in files) + behind


def refusal_of(raw: bytes, limits: ManifestLimits | None = None) -> str:
    offer = decode_word(raw)
    assert isinstance(offer, NodeOffer)
    with pytest.raises(TransferError) as refusal:
        read_offering(offer, limits=limits)
    return refusal.value.code


@pytest.mark.parametrize(
    "path",
    [b"", b"..", b"a/../b", b"/etc/passwd", b"\\x", b"C:/x", b"a//b", b"./a", b"a\0b", b"con", b"a.", b"\xff", b"a:b"],
)
def test_unsafe_path_is_refused(path: bytes) -> None:
    assert refusal_of(raw_offer((path, 1))) == "bad_name"


@pytest.mark.parametrize("name", [b"", b"..", b"a/b", b"../x", b"nul.txt"])
def test_unsafe_name_is_refused_for_one_file_too(name: bytes) -> None:
    assert refusal_of(raw_offer((name, 1), name=name, flags=0)) == "bad_name"


def test_two_paths_that_are_one_file_somewhere_are_refused() -> None:
    assert refusal_of(raw_offer((b"a.txt", 1), (b"A.TXT", 1))) == "bad_name"


def test_file_and_folder_of_one_name_are_refused() -> None:
    assert refusal_of(raw_offer((b"a", 1), (b"a/b", 1))) == "bad_name"


@pytest.mark.parametrize(
    "raw",
    [
        raw_offer((b"a", 5), total=6),
        raw_offer((b"a", 5), name=b"b", flags=0),
        raw_offer((b"a", 5), (b"b", 5), name=b"a", flags=0),
        raw_offer((b"a" * 40, 5))[:-1],
    ],
)
def test_offer_that_does_not_agree_with_itself_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == "bad_offer"


def test_more_than_a_limit_is_refused_and_the_limit_named() -> None:
    assert refusal_of(raw_offer((b"a", 1), (b"b", 1)), ManifestLimits(files=1)) == "limit"
    assert refusal_of(raw_offer((b"a", 1 << 60))) == "limit"
    assert refusal_of(raw_offer((b"a/b", 1), (b"c/d", 1)), ManifestLimits(folders=1)) == "limit"


def test_count_that_the_rest_cannot_hold_is_no_offer() -> None:
    raw = bytearray(raw_offer((b"a", 1)))
    raw[21:25] = (1 << 31).to_bytes(4)
    with pytest.raises(DecodeError):
        decode_word(bytes(raw))


def test_any_flag_means_a_folder_and_bytes_behind_an_offer_are_for_later() -> None:
    offer = decode_word(raw_offer((b"a", 1), flags=0x82, behind=b"later"))
    assert isinstance(offer, NodeOffer)
    assert read_offering(offer).is_folder


@pytest.mark.parametrize("op", range(1, 10))
def test_message_that_breaks_off_is_no_message(op: int) -> None:
    whole = {
        1: raw_offer(name=b""),
        2: encode_response(1, accepted=True),
        3: encode_chunk(1, 0, 0, b""),
        4: encode_file_end(1, 0, bytes(32)),
        5: encode_progress(1, 1),
        6: encode_complete(1, succeeded=True),
    }.get(op) or encode_plain(NodeOp(op), 1)
    decode_word(whole)
    with pytest.raises(DecodeError):
        decode_word(whole[:-1])


@given(st.binary(max_size=200) | st.integers(1, 9).flatmap(lambda op: st.binary(max_size=200).map(bytes([op]).__add__)))
def test_whatever_comes_raises_what_is_documented(payload: bytes) -> None:
    with contextlib.suppress(DecodeError, TransferError):
        word = decode_word(payload)
        if isinstance(word, NodeOffer):
            read_offering(word)


@given(st.data())
def test_damaged_offer_raises_what_is_documented(data: st.DataObject) -> None:
    raw = bytearray(raw_offer((b"one/a", 3), (b"two", 1 << 40), name=b"things"))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError, TransferError):
        word = decode_word(bytes(raw))
        if isinstance(word, NodeOffer):
            found = read_offering(word)
            assert all(part not in {"", ".", ".."} and "/" not in part for file in found.files for part in file.path)


@given(st.integers(0, (1 << 64) - 1), st.lists(st.tuples(parts, st.integers(0, 1 << 30)), max_size=6))
def test_offer_that_is_written_is_read(number: int, files: list[tuple[tuple[str, ...], int]]) -> None:
    offering = NodeOffering(name="all", is_folder=True, files=tuple(NodeFile(path, size) for path, size in files))
    word = decode_word(encode_offer(number, offering))
    assert isinstance(word, NodeOffer)
    assert word.number == number
    with contextlib.suppress(TransferError):  # two of the paths are one
        assert read_offering(word) == offering
