"""The ways between the two ends of the pipeline benchmark: bytes arrive in the order in which they were written."""

from __future__ import annotations

import asyncio

from librats.cli.measuring.pipeline import _Way


class Taking(asyncio.BufferedProtocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.taken = b""
        self._buffer = bytearray(2)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for two bytes."""
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Keep them."""
        self.taken += self._buffer[:nbytes]


async def test_what_was_written_before_a_way_was_held_arrives_first() -> None:
    target = Taking()
    way = _Way(("127.0.0.1", 1), Taking(), target)
    way.write(b"one ")
    way.hold()
    way.write(b"two ")
    way.release()
    way.write(b"three")
    await asyncio.sleep(0)
    assert target.taken == b"one two three"


async def test_what_is_held_is_given_at_once_where_it_is_asked_for() -> None:
    target = Taking()
    way = _Way(("127.0.0.1", 1), Taking(), target)
    way.hold()
    way.write(b"some")
    await asyncio.sleep(0)
    assert target.taken == b""
    way.feed_held()
    assert target.taken == b"some"
