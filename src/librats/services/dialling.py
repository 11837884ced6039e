"""One TCP connection to whoever is at one of several addresses, though packets get lost and addresses are dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from librats.runtime.tasks import end_all
from librats.types import Address

__all__ = ["dial_first"]

STAGGER = 0.3
"""Seconds after which the next one is dialled, too."""

MAX_ADDRESSES = 4


class _TooLate(asyncio.Protocol):
    """A connection that came when there was another one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        if isinstance(transport, asyncio.Transport):
            transport.abort()


async def dial_first(
    dial: Callable[[Callable[[], asyncio.BaseProtocol], Address], Coroutine[Any, Any, None]],
    factory: Callable[[], asyncio.BaseProtocol],
    addresses: Sequence[Address],
    *,
    timeout: float,
    stagger: float = STAGGER,
    tries: int = 2,
) -> None:
    """Connect to one of several addresses, and give the first connection to a protocol.

    Each is dialled twice where nothing comes of the first time: systems wait for a second before they repeat a SYN that
    was lost.

    Args:
        dial: Connects to one address, and gives the connection to the protocol that it is handed the maker of.
        factory: Makes the protocol; called once at the most.
        addresses: IP addresses and ports, the best first; four at the most are used.
        timeout: Seconds for everything.
        stagger: Seconds after which the next one is dialled, too.
        tries: How often each is dialled.

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
    waiting = [*addresses[:MAX_ADDRESSES]] * tries
    running: dict[asyncio.Task[None], Address] = {}
    problem: BaseException = OSError("it has no address")
    try:
        async with asyncio.timeout(timeout):
            while not is_there and (waiting or running):
                if waiting:
                    address = waiting.pop(0)
                    running[loop.create_task(dial(first, address), name=f"librats dials {address}")] = address
                pause = stagger if waiting else None
                done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    address, error = running.pop(task), task.exception()
                    if error is not None:
                        problem = error
                        waiting = [each for each in waiting if each != address]
    finally:
        await end_all(running)
    if not is_there:
        raise problem
