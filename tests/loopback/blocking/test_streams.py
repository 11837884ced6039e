"""Streams between two blocking clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from librats import ClosedError, RemoteError
from librats.blocking import Stream
from librats.blocking.workers import POOL_SIZE

if TYPE_CHECKING:
    from tests.loopback.blocking.conftest import OnAThread, Pair

TIMEOUT = 20


def test_a_stream_carries_much_both_ways_with_half_close(pair: Pair) -> None:
    @pair.b.on_stream("upload/1")
    def take(stream: Stream) -> None:
        digest, size = hashlib.sha256(), 0
        for piece in stream:
            digest.update(piece)
            size += len(piece)
        stream.write(f"{size} {digest.hexdigest()}".encode())

    block = os.urandom(1024 * 1024)
    with pair.a.open_stream(pair.b_seen_by_a, "upload/1") as stream:
        assert (stream.protocol, stream.peer_id) == ("upload/1", pair.b.peer_id)
        for _ in range(8):
            stream.write(block)
        stream.drain()
        assert not stream.is_closing
        stream.write_eof()
        expected = hashlib.sha256(block * 8).hexdigest()
        assert stream.read().decode() == f"{len(block) * 8} {expected}"
        assert stream.read(10) == b""
    with pytest.raises(ClosedError):
        stream.write(b"more")


def test_writing_waits_for_the_reader(pair: Pair, on_a_thread: OnAThread) -> None:
    streams: SimpleQueue[Stream] = SimpleQueue()
    gate = threading.Event()

    @pair.b.on_stream("slow/1")
    def hold(stream: Stream) -> None:
        streams.put(stream)
        gate.wait(TIMEOUT)

    stream = pair.b_seen_by_a.open_stream("slow/1")
    size = 16 * 1024 * 1024
    writing = on_a_thread(lambda: stream.write(bytes(size)))
    other_end = streams.get(timeout=TIMEOUT)
    assert other_end.read(1) == b"\0"
    assert pair.b_seen_by_a.ping() > 0
    assert not writing.done()
    assert other_end.readexactly(size - 1) == bytes(size - 1)
    writing.result(TIMEOUT)
    stream.reset("enough")
    with pytest.raises(RemoteError, match="enough"):
        other_end.read()
    gate.set()


def test_a_stream_that_ends_early_and_a_handler_that_fails_are_told(pair: Pair) -> None:
    pair.b.on_stream("short/1", lambda stream: stream.write(b"abc"))

    @pair.b.on_stream("fail/1")
    def fail(stream: Stream) -> None:
        raise LookupError("not here")

    with pair.a.open_stream(pair.b_seen_by_a, "short/1") as stream, pytest.raises(EOFError) as ended:
        stream.readexactly(4)
    assert isinstance(ended.value, asyncio.IncompleteReadError)
    assert ended.value.partial == b"abc"
    with pytest.raises(RemoteError, match="LookupError"), pair.b_seen_by_a.open_stream("fail/1") as stream:
        stream.read()


def test_more_streams_than_workers_do_not_hold_up_messages(pair: Pair) -> None:
    gate = threading.Event()
    pair.b.on("ask", lambda peer, data: data)
    pair.b.on_stream("hold/1", lambda stream: gate.wait(TIMEOUT))
    streams = [pair.b_seen_by_a.open_stream("hold/1") for _ in range(POOL_SIZE + 8)]
    assert pair.b_seen_by_a.request("ask", 7) == 7
    gate.set()
    assert [stream.read() for stream in streams] == [b""] * len(streams)
