"""Bytes that have come already, for a protocol that takes a connection over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["give"]


def give(current: Callable[[], asyncio.BaseProtocol], data: bytes) -> None:
    """Give bytes to a protocol of either kind, as a transport does.

    Args:
        current: Returns the protocol, which may be another one behind each piece.
        data: The bytes.
    """
    rest = data
    while rest:
        protocol = current()
        if not isinstance(protocol, asyncio.BufferedProtocol):
            cast("asyncio.Protocol", protocol).data_received(rest)
            return
        buffer = memoryview(protocol.get_buffer(len(rest))).cast("B")
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        protocol.buffer_updated(size)
        rest = rest[size:]
