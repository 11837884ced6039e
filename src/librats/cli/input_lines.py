"""Lines from standard input as they come, be it a terminal, a pipe or a file."""

from __future__ import annotations

import asyncio
import codecs
import concurrent.futures
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator

__all__ = ["input_lines"]

READ = 65536
LONGEST = 65536
WAITING = 64


async def input_lines() -> AsyncIterator[str]:
    """Iterate over the lines of standard input, up to its end; one that is overlong comes in pieces.

    The event loop cannot wait for files, and on some systems not for terminals, so a thread reads. It is a daemon:
    what blocks in a read for ever holds nobody up.
    """
    lines: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
    loop = asyncio.get_running_loop()
    gone = threading.Event()
    threading.Thread(target=_read, args=(loop, lines, gone), name="librats standard input", daemon=True).start()
    try:
        while (line := await lines.get()) is not None:
            yield line
    finally:
        gone.set()


def _read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str | None], gone: threading.Event) -> None:
    def put(line: str | None) -> None:
        waiting = lines.put(line)
        try:
            handed_over = asyncio.run_coroutine_threadsafe(waiting, loop)
        except RuntimeError:  # the loop is closed
            waiting.close()
            raise
        handed_over.result()

    # An error or the loop's end while a line waits: nobody wants the rest.
    with contextlib.suppress(RuntimeError, concurrent.futures.CancelledError):
        for line in _lines():
            if gone.is_set():
                return
            put(line)
        put(None)


def _lines() -> Iterator[str]:
    """Yield lines from the descriptor: the lock of sys.stdin, held by a thread, would break the interpreter's end."""
    if sys.stdin is None:
        return
    decoder = codecs.getincrementaldecoder(sys.stdin.encoding or "utf-8")("replace")
    descriptor = sys.stdin.fileno()
    text = ""
    while True:
        try:
            data = os.read(descriptor, READ)
        except OSError:  # a terminal that was hung up
            data = b""
        *whole, text = (text + decoder.decode(data, final=not data)).split("\n")
        yield from (line.removesuffix("\r") for line in whole)
        if not data or len(text) > LONGEST:
            if text:
                yield text
            text = ""
        if not data:
            return
