"""What two sides of a transfer say to each other on a stream: frames of a type, a length and a body.

The page docs/explanation/files.md tells them byte by byte. The side that has the files is called the giver, the other
one the taker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from librats.errors import TransferError
from librats.transfer.layout import Range
from librats.transfer.manifest import MAX_HEAD
from librats.transfer.tree import HASH_SIZE
from librats.transfer.verifying import MAX_CHUNK

__all__ = [
    "MAX_HASHES",
    "MAX_PIECE",
    "MAX_RANGES",
    "MAX_WORDS",
    "Chunk",
    "Features",
    "Frame",
    "FrameReader",
    "FrameType",
    "Offering",
    "Piece",
    "Refusal",
    "encode_accept",
    "encode_chunk_head",
    "encode_features",
    "encode_fetch",
    "encode_hashes",
    "encode_manifest_want",
    "encode_offer",
    "encode_piece",
    "encode_plain",
    "encode_ranges",
    "encode_refusal",
    "read_accept",
    "read_features",
    "read_fetch",
    "read_hashes",
    "read_manifest_want",
    "read_offer",
    "read_piece",
    "read_ranges",
    "read_refusal",
]

MAX_WORDS: Final = 1024
"""Bytes of UTF-8 that words for people have at most."""

MAX_CODE: Final = 32
"""Bytes that the code of a refusal has at most."""

MAX_PIECE: Final = 64 * 1024
"""Bytes of a manifest that one frame carries at most."""

MAX_RANGES: Final = 1024
"""Ranges that one frame names at most."""

MAX_HASHES: Final = 2048
"""Hashes of leaves that one frame carries at most."""

MAX_PROOFS = 2 * 2 * 24 * HASH_SIZE  # of the first and the last part: those between are whole files

HEAD = Struct(">BI")
RANGE = Struct(">II")
MANIFEST_WANT = Struct(">II")
PIECE = Struct(">I")
OFFER = Struct(">16s32sIHH")
ACCEPT = Struct(">Q")
FETCH = Struct(">16s32s")
REFUSAL = Struct(">BH")
FEATURES = Struct(">I")
MAX_FEATURES = 64

Buffer = bytes | bytearray | memoryview


class FrameType(IntEnum):
    """The first byte of a frame."""

    OFFER = 1
    """Giver: this is there to be taken."""
    FETCH = 2
    """Taker: give me what has this content id. The answer is an offer or a refusal."""
    ACCEPT = 3
    """Taker: I take it."""
    REFUSE = 4
    """Either: no."""
    MANIFEST_WANT = 5
    """Taker: give me a piece of the manifest."""
    MANIFEST = 6
    """Giver: a piece of the manifest."""
    WANT = 7
    """Taker: give me these ranges, in this order."""
    CHUNK = 8
    """Giver: a range, with its proofs."""
    UNWANT = 9
    """Taker: I have these ranges from elsewhere."""
    PAUSE = 10
    """Either: I pause."""
    RESUME = 11
    """Either: I go on."""
    CANCEL = 12
    """Either: this transfer ends, and is not taken up again."""
    DONE = 13
    """Taker: I have all of it."""
    FEATURES = 14
    """Giver, before its offer: what else I can do."""
    HASHES_WANT = 15
    """Taker: give me the hashes of these leaves, each range of one file."""
    HASHES = 16
    """Giver: the hashes of a range of leaves, with their proof."""


class Features(IntFlag):
    """What a giver can do that not every one could; the rest of its 32 bits is for later."""

    HASHES = 1
    """It gives hashes of leaves."""


PLAIN = frozenset({FrameType.PAUSE, FrameType.RESUME, FrameType.DONE})

MAX_BODY: Final = {
    FrameType.OFFER: OFFER.size + MAX_HEAD + MAX_WORDS,
    FrameType.FETCH: FETCH.size,
    FrameType.ACCEPT: ACCEPT.size,
    FrameType.REFUSE: REFUSAL.size + MAX_CODE + MAX_WORDS,
    FrameType.CANCEL: REFUSAL.size + MAX_CODE + MAX_WORDS,
    FrameType.MANIFEST_WANT: MANIFEST_WANT.size,
    FrameType.MANIFEST: PIECE.size + MAX_PIECE,
    FrameType.FEATURES: MAX_FEATURES,
    FrameType.HASHES_WANT: MAX_RANGES * RANGE.size,
    FrameType.HASHES: RANGE.size + MAX_PROOFS // 2 + MAX_HASHES * HASH_SIZE,
    FrameType.WANT: MAX_RANGES * RANGE.size,
    FrameType.UNWANT: MAX_RANGES * RANGE.size,
    FrameType.CHUNK: RANGE.size + MAX_PROOFS + MAX_CHUNK,
    **dict.fromkeys(PLAIN, 0),
}
MAX_UNKNOWN = 64 * 1024

CRUMB = 2048
MERGED = 32 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose body is whole, but for a chunk: see :class:`Chunk`."""

    type: int
    """A :class:`FrameType`."""

    body: bytes
    """What follows its length."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of leaves, with its proofs."""

    range: Range
    """First leaf and count, as the giver says."""

    pieces: Sequence[Buffer]
    """Proofs and data as they came: together they are the body that :meth:`Layout.check` takes."""

    size: int
    """Bytes of all pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """What a giver offers."""

    transfer: bytes
    """Number of the transfer that the giver has drawn, 16 bytes; the taker names it when it comes back."""

    content_id: bytes
    """Hash of the manifest, 32 bytes."""

    manifest_size: int
    """Bytes of the manifest."""

    head: bytes
    """How the manifest begins: its first value, or its first 512 bytes; :func:`read_head` reads it."""

    message: str = ""
    """Words for people."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a manifest."""

    offset: int
    """Where it begins in the manifest."""

    data: bytes
    """Its bytes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a side refuses or cancels."""

    code: str
    """A word."""

    words: str
    """For people; not to be trusted."""


def _bad(problem: str) -> TransferError:
    return TransferError("protocol", problem)


def _frame(kind: FrameType, body: bytes) -> bytes:
    return HEAD.pack(kind, len(body)) + body


def _words(text: str) -> bytes:
    """Return text as bytes, cut to what a frame takes between two characters."""
    raw = text.encode("utf-8", "replace")[:MAX_WORDS]
    return raw.decode("utf-8", "ignore").encode()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _bad("words that are no UTF-8") from None


# Writing


def encode_offer(offer: Offering) -> bytes:
    """Write an offer, as the first frame of a stream or the answer to a fetch."""
    words = _words(offer.message)
    fixed = OFFER.pack(offer.transfer, offer.content_id, offer.manifest_size, len(offer.head), len(words))
    return _frame(FrameType.OFFER, fixed + offer.head + words)


def encode_fetch(transfer: bytes, content_id: bytes) -> bytes:
    """Write a fetch: the number of a transfer that is taken up again, else 16 zero bytes; and what is wanted."""
    return _frame(FrameType.FETCH, FETCH.pack(transfer, content_id))


def encode_accept(have: int) -> bytes:
    """Write that an offer is taken, and how many bytes of it are there already."""
    return _frame(FrameType.ACCEPT, ACCEPT.pack(have))


def encode_refusal(kind: FrameType, code: str, words: str) -> bytes:
    """Write a refusal or a cancellation."""
    raw_code, raw = code.encode("ascii", "replace")[:MAX_CODE], _words(words)
    return _frame(kind, REFUSAL.pack(len(raw_code), len(raw)) + raw_code + raw)


def encode_manifest_want(offset: int, size: int) -> bytes:
    """Ask for a piece of the manifest."""
    return _frame(FrameType.MANIFEST_WANT, MANIFEST_WANT.pack(offset, size))


def encode_piece(offset: int, data: bytes) -> bytes:
    """Write a piece of the manifest."""
    return _frame(FrameType.MANIFEST, PIECE.pack(offset) + data)


def encode_ranges(kind: FrameType, ranges: Sequence[Range]) -> bytes:
    """Ask for ranges or their hashes, or no more for them."""
    return _frame(kind, b"".join(RANGE.pack(*wanted) for wanted in ranges))


def encode_plain(kind: FrameType) -> bytes:
    """Write a frame without a body."""
    return _frame(kind, b"")


def encode_chunk_head(wanted: Range, size: int) -> bytes:
    """Write how a chunk begins; so many bytes of proofs and data follow it."""
    return HEAD.pack(FrameType.CHUNK, RANGE.size + size) + RANGE.pack(*wanted)


def encode_features(features: Features) -> bytes:
    """Write what a giver can do."""
    return _frame(FrameType.FEATURES, FEATURES.pack(features))


def encode_hashes(wanted: Range, hashes: bytes) -> bytes:
    """Write the hashes of a range of leaves: its proof, and theirs behind it."""
    return _frame(FrameType.HASHES, RANGE.pack(*wanted) + hashes)


# Reading: everything raises TransferError("protocol") alone


def read_offer(body: bytes) -> Offering:
    """Read an offer. What it claims is not checked yet."""
    if len(body) < OFFER.size:
        raise _bad("an offer that is too short")
    transfer, content_id, manifest_size, head_size, words_size = OFFER.unpack_from(body)
    if len(body) != OFFER.size + head_size + words_size or head_size > MAX_HEAD:
        raise _bad("an offer of another length than it says")
    head = body[OFFER.size : OFFER.size + head_size]
    return Offering(
        transfer=transfer,
        content_id=content_id,
        manifest_size=manifest_size,
        head=head,
        message=_text(body[OFFER.size + head_size :]),
    )


def read_fetch(body: bytes) -> tuple[bytes, bytes]:
    """Read a fetch: number of the transfer, and content id."""
    if len(body) != FETCH.size:
        raise _bad("a fetch of another length")
    transfer, content_id = FETCH.unpack(body)
    return transfer, content_id


def read_accept(body: bytes) -> int:
    """Read an acceptance: the bytes that are there already."""
    if len(body) != ACCEPT.size:
        raise _bad("an acceptance of another length")
    have: int = ACCEPT.unpack(body)[0]
    return have


def read_refusal(body: bytes) -> Refusal:
    """Read a refusal or a cancellation."""
    if len(body) < REFUSAL.size:
        raise _bad("a refusal that is too short")
    code_size, words_size = REFUSAL.unpack_from(body)
    if code_size > MAX_CODE or len(body) != REFUSAL.size + code_size + words_size:
        raise _bad("a refusal of another length than it says")
    code = body[REFUSAL.size : REFUSAL.size + code_size]
    if not code.isascii() or not code.replace(b"_", b"").isalnum():
        raise _bad("a code that is no word")
    return Refusal(code.decode(), _text(body[REFUSAL.size + code_size :]))


def read_manifest_want(body: bytes) -> tuple[int, int]:
    """Read which piece of the manifest is wanted: where it begins, and its bytes."""
    if len(body) != MANIFEST_WANT.size:
        raise _bad("a piece of a manifest is not asked for as it must be")
    offset, size = MANIFEST_WANT.unpack(body)
    if not 0 < size <= MAX_PIECE:
        raise _bad(f"more than {MAX_PIECE} bytes of a manifest, or none, are asked for at once")
    return offset, size


def read_piece(body: bytes) -> Piece:
    """Read a piece of a manifest."""
    if len(body) <= PIECE.size:
        raise _bad("an empty piece of a manifest")
    return Piece(PIECE.unpack_from(body)[0], body[PIECE.size :])


def read_ranges(body: bytes) -> list[Range]:
    """Read which ranges are wanted, or are not any more. Whether there are such is not checked."""
    if len(body) % RANGE.size:
        raise _bad("ranges are not told as they must be")
    return list(RANGE.iter_unpack(body))


def read_features(body: bytes) -> Features:
    """Read what a giver can do. What is not known is left out, and so is what may follow in later versions."""
    if len(body) < FEATURES.size:
        raise _bad("features that are too short")
    return Features(FEATURES.unpack_from(body)[0] & sum(Features))


def read_hashes(body: bytes) -> tuple[Range, bytes]:
    """Read the hashes of leaves: of which range, and proof and hashes. Nothing of it is checked yet."""
    if len(body) <= RANGE.size:
        raise _bad("no hashes where there should be")
    return RANGE.unpack_from(body), body[RANGE.size :]


class FrameReader:
    """Puts frames together from what a stream yields. It never keeps more than one frame that is not whole.

    Example:
        >>> from librats.transfer.frames import FrameReader, FrameType, encode_plain
        >>> reader = FrameReader()
        >>> raw = encode_plain(FrameType.PAUSE) + encode_plain(FrameType.DONE)
        >>> reader.feed(raw[:3]), [frame.type for frame in reader.feed(raw[3:])]
        ([], [10, 13])
    """

    def __init__(self) -> None:
        self._begun = bytearray()  # of a head, and of a chunk's range with it
        self._pieces: list[Buffer] = []
        self._type = 0
        self._missing = 0
        self._size = 0
        self._in_body = False

    @property
    def is_between(self) -> bool:
        """True where no frame has begun."""
        return not self._in_body and not self._begun

    @property
    def missing(self) -> int:
        """Bytes of the frame that has begun which have not come; 1 where that is not known yet."""
        return max(self._missing, 1)

    def feed(self, data: Buffer) -> list[Frame | Chunk]:
        """Take what the stream has yielded, and return the frames that are whole now.

        Frames of unknown types are left out.

        Raises:
            TransferError: A frame is longer than one of its type can be (``"protocol"``).
        """
        frames: list[Frame | Chunk] = []
        view = memoryview(data)
        at, end = 0, len(data)
        while at < end or (self._in_body and not self._missing):
            if not self._in_body:
                taken = min(end - at, HEAD.size - len(self._begun))
                self._begun += view[at : at + taken]
                at += taken
                if len(self._begun) == HEAD.size:
                    self._begin_body()
                continue
            taken = min(end - at, self._missing)
            if taken:
                self._keep(data, view[at : at + taken])
                self._missing -= taken
                at += taken
            if not self._missing:
                self._end_body(frames)
        return frames

    def _keep(self, data: Buffer, part: memoryview) -> None:
        last = self._pieces[-1] if self._pieces else None
        if len(part) == len(data) and len(data) >= CRUMB:
            self._pieces.append(data)  # what came whole is kept whole, and need not be copied later
        elif len(part) >= CRUMB:
            self._pieces.append(part)
        elif isinstance(last, bytearray) and len(last) < MERGED:
            last += part
        else:
            self._pieces.append(bytearray(part))  # an object for each crumb would take many times the memory

    def _begin_body(self) -> None:
        self._type, self._size = HEAD.unpack(self._begun)
        if self._size > MAX_BODY.get(self._type, MAX_UNKNOWN):  # type: ignore[call-overload]
            raise _bad(f"a frame of {self._size} bytes, which is more than one of its type can have")
        if self._type == FrameType.CHUNK and self._size <= RANGE.size:
            raise _bad("an empty chunk")
        self._begun.clear()
        self._missing = self._size
        self._in_body = True

    def _end_body(self, frames: list[Frame | Chunk]) -> None:
        pieces, self._pieces, self._in_body = self._pieces, [], False
        if self._type == FrameType.CHUNK:
            frames.append(_chunk(pieces, self._size))
        elif self._type in MAX_BODY:
            frames.append(Frame(self._type, b"".join(pieces)))


def _chunk(pieces: list[Buffer], size: int) -> Chunk:
    while len(pieces[0]) < RANGE.size:
        pieces[:2] = [b"".join(pieces[:2])]
    wanted: Range = RANGE.unpack_from(pieces[0])
    pieces[0] = memoryview(pieces[0])[RANGE.size :]
    return Chunk(wanted, pieces, size - RANGE.size)
