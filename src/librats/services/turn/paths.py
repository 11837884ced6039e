"""The way to a TURN server: a UDP port of ours, or a connection over TCP or TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from librats.runtime.udp import DatagramEndpoint
from librats.types import Address

__all__ = ["DatagramPath", "ServerPath", "StreamPath", "problem_of"]

HIGH_WATER = 256 * 1024


def problem_of(error: OSError) -> str:
    """Tell in words why a connection did not come about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError) or not error.errno:
        return str(error)
    return os.strerror(error.errno).lower()  # asyncio's own words do not tell


class ServerPath(Protocol):
    """What carries messages to the server."""

    server: Address
    """Where they go."""

    @property
    def has_room(self) -> bool:
        """False where datagrams of the application should not be added to what waits."""

    def write(self, messages: Sequence[bytes]) -> int:
        """Send messages, and return how many found room."""

    async def wait_for_room(self) -> None:
        """Wait until there is room."""

    def close(self) -> None:
        """Give the way up. Idempotent."""


class DatagramPath:
    """A UDP port.

    Args:
        endpoint: The port.
        server: The server.
    """

    def __init__(self, endpoint: DatagramEndpoint, server: Address) -> None:
        self.server = server
        self._endpoint = endpoint

    @property
    def has_room(self) -> bool:
        """True: the kernel says for each datagram."""
        return True

    def write(self, messages: Sequence[bytes]) -> int:
        """Send messages, and return how many found room."""
        server = self.server
        if len(messages) == 1:
            return int(self._endpoint.send(messages[0], server))
        return self._endpoint.send_many([(message, server) for message in messages])

    async def wait_for_room(self) -> None:
        """Wait until the kernel takes more."""
        await self._endpoint.wait_for_room()

    def close(self) -> None:
        """Let the port go."""
        self._endpoint.close()


class StreamPath(asyncio.Protocol):
    """A connection, as the protocol of its transport.

    Args:
        server: The server.
        received: Called with this path and the bytes that have come.
        lost: Called with this path and the reason when the connection has ended, but not after :meth:`close`.
    """

    def __init__(
        self,
        server: Address,
        received: Callable[[StreamPath, bytes], None],
        lost: Callable[[StreamPath, str], None],
    ) -> None:
        self.server = server
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    @property
    def has_room(self) -> bool:
        """False while much waits to be taken by the network."""
        return self._room.is_set()

    def write(self, messages: Sequence[bytes]) -> int:
        """Send messages; those of the client itself are few, and always find room."""
        if self._transport is not None and not self._closed:
            self._transport.write(b"".join(messages))
        return len(messages)

    async def wait_for_room(self) -> None:
        """Wait until less waits."""
        await self._room.wait()

    def close(self) -> None:
        """Send what waits, and close."""
        self._closed = True
        self._room.set()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        if self._closed:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Hand on what has come."""
        if not self._closed:
            self._received(self, data)

    def eof_received(self) -> None:
        """Close: a TURN server that says no more is of no use."""

    def pause_writing(self) -> None:
        """Much waits."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Less waits."""
        self._room.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it has ended."""
        self._room.set()
        if not self._closed:
            self._closed = True
            self._lost(self, f"the connection broke: {error}" if error else "the server closed the connection")
