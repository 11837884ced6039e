"""One connection to whoever is there in one of several ways, though packets get lost and ways are dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from librats.runtime.tasks import end_all

__all__ = ["dial_first"]

STAGGER = 0.3
"""Seconds after which the next one is dialled, too."""

MAX_WAYS = 4

Way = TypeVar("Way")


class _TooLate(asyncio.Protocol):
    """A connection that came when there was another one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        if isinstance(transport, asyncio.Transport):
            transport.abort()


async def dial_first(
    dial: Callable[[Callable[[], asyncio.BaseProtocol], Way], Coroutine[Any, Any, None]],
    factory: Callable[[], asyncio.BaseProtocol],
    ways: Sequence[Way],
    *,
    timeout: float,
    stagger: float = STAGGER,
    again: Sequence[Way] = (),
) -> None:
    """Connect in one of several ways, and give the first connection to a protocol.

    Args:
        dial: Connects in one way, and gives the connection to the protocol that it is handed the maker of.
        factory: Makes the protocol; called once at the most.
        ways: IP addresses and ports, for example, the best first; four at the most are used.
        timeout: Seconds for everything.
        stagger: Seconds after which the next one is tried, too.
        again: Those of them that are tried a second time where nothing comes of the first, as is worth while with TCP:
            systems wait for a second before they repeat a SYN that was lost.

    Raises:
        OSError: There is no connection: the last of what went wrong, a TimeoutError where the time was up.
        RatsError: Likewise, where `dial` raises such.
    """
    is_there = False

    def first() -> asyncio.BaseProtocol:
        nonlocal is_there
        if is_there:
            return _TooLate()
        is_there = True
        return factory()

    loop = asyncio.get_running_loop()
    waiting = [*ways[:MAX_WAYS]]
    waiting += [way for way in again if way in waiting]
    running: dict[asyncio.Task[None], Way] = {}
    problem: BaseException = OSError("it has no address")
    try:
        async with asyncio.timeout(timeout):
            while not is_there and (waiting or running):
                if waiting:
                    way = waiting.pop(0)
                    running[loop.create_task(dial(first, way), name=f"librats dials {way}")] = way
                pause = stagger if waiting else None
                done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    way, error = running.pop(task), task.exception()
                    if error is not None:
                        problem = error
                        waiting = [each for each in waiting if each != way]
    finally:
        await end_all(running)
    if not is_there:
        raise problem
