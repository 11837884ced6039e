"""Waiting until a program that was started takes connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["until_it_listens"]


async def until_it_listens(
    process: asyncio.subprocess.Process, host: str, port: int, said: Callable[[], str] = str
) -> None:
    """Wait until a port takes a connection; fails with what the program has said, where that ends before."""
    while True:
        assert process.returncode is None, said()
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        await writer.wait_closed()
        return
