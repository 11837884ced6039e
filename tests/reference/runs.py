"""Runs of messages: made as the network would make them, and taken apart for tests that look at each message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.messages import MessageRun
from librats._core.unframing import BlockReader

__all__ = ["each", "run_of"]

KEY = bytes(32)
ROOM = 1 << 20


def each(items: Iterable[Any]) -> Iterator[Any]:
    """Yield frames or events, and for a run each of its messages."""
    for item in items:
        if isinstance(item, MessageRun):
            yield from item
        else:
            yield item


def run_of(kind: int, name: str, payloads: Iterable[bytes]) -> MessageRun:
    """Return the run of messages that have travelled together; each costs 65 and what name and payload have bytes."""
    queue, writer = FrameQueue(), BlockWriter(Cipher(KEY))
    for payload in payloads:
        queue.add_message(kind, name.encode(), payload)
    writer.begin(ROOM)
    writer.put_queue(queue)
    [run] = BlockReader(Cipher(KEY), ROOM).feed(writer.finish())
    assert isinstance(run, MessageRun)
    return run
