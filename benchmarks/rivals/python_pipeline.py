"""What one would write in Python: sealed blocks opened with PyNaCl, frames cut with struct, JSON read with json."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt as open_block
from tests.reference import framing

from librats.cli.measuring.messages import MESSAGE
from librats.cli.measuring.sample import Sample

__all__ = ["KEY", "python_pipeline_rate", "sealed_blocks"]

KEY = bytes(range(32))
NAME = "message"
JSON_KIND = 0

Handler = Callable[[str, object], None]


def sealed_blocks(count: int, *, singly: bool) -> list[bytes]:
    """Return blocks that hold so many messages: each in one of its own, or as many together as fit."""
    payload = json.dumps(MESSAGE, separators=(",", ":")).encode()
    frame = framing.frame(framing.MESSAGE, JSON_KIND, framing.message_body(NAME.encode(), payload))
    sealer = framing.Sealer(KEY)
    plaintexts = [frame] * count if singly else framing.plaintexts([frame] * count)
    return [sealer.block(plaintext) for plaintext in plaintexts]


def read_all(blocks: Sequence[bytes], handler: Handler) -> None:
    """Open every block and hand over what is in it."""
    waiting = bytearray()
    counter = 0
    for block in blocks:
        waiting += block
        while len(waiting) >= 4:
            (size,) = struct.unpack_from(">I", waiting)
            if len(waiting) < 4 + size:
                break
            sealed = bytes(waiting[4 : 4 + size])
            del waiting[: 4 + size]
            plaintext = open_block(sealed, b"", struct.pack("<4xQ", counter), KEY)
            counter += 1
            for name, payload in messages_in(plaintext):
                handler(name, json.loads(payload))


def messages_in(plaintext: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and payload of each message."""
    at = 0
    while at < len(plaintext):
        kind, _, length = struct.unpack_from(">BBH", plaintext, at)
        at += 4
        if kind == framing.MESSAGE:
            size = plaintext[at]
            yield plaintext[at + 1 : at + 1 + size].decode(), plaintext[at + 1 + size : at + length]
        at += length


def python_pipeline_rate(count: int, *, singly: bool) -> Sample:
    """Measure messages for each second of CPU time, from sealed bytes to a handler."""
    blocks = sealed_blocks(count, singly=singly)
    seen = 0

    def handler(name: str, data: object) -> None:
        nonlocal seen
        seen += 1

    started = time.process_time()
    read_all(blocks, handler)
    seconds = time.process_time() - started
    assert seen == count
    return Sample(count / seconds)
