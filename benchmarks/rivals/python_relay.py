"""A relay as one would write it in Python: ``python -m benchmarks.rivals.python_relay 3478``, on uvloop.

No users, permissions or lifetimes, and one channel for each client: on the loopback only.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any, cast

import uvloop

from librats._core.stun import parse, serialise
from librats.stun.constants import Attribute, MessageClass, Method

HOST = "127.0.0.1"
HEAD = struct.Struct(">HH")
CHANNEL_BITS = 0x40
ROOM = 4 << 20


def udp_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    sock.bind((HOST, port))
    return sock


class Allocation(asyncio.DatagramProtocol):
    """The relayed address of one client."""

    def __init__(self, listener: Listener, client: Any) -> None:
        self.listener = listener
        self.client = client
        self.channel = 0
        self.peer: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self.peer:
            self.listener.transport.sendto(HEAD.pack(self.channel, len(data)) + data, self.client)


class Listener(asyncio.DatagramProtocol):
    """Where the clients send to."""

    def __init__(self) -> None:
        self.allocations: dict[Any, Allocation] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not data[0] & CHANNEL_BITS:
            task = asyncio.get_running_loop().create_task(self.answer(data, addr))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        allocation = self.allocations.get(addr)
        channel, size = HEAD.unpack_from(data)
        if allocation is not None and channel == allocation.channel:
            allocation.transport.sendto(data[HEAD.size : HEAD.size + size], allocation.peer)

    async def answer(self, data: bytes, client: Any) -> None:
        """Answer a request as if its sender might do everything."""
        message = parse(data)
        attributes: list[tuple[int, Any]] = []
        if message.method == Method.ALLOCATE:
            allocation = self.allocations[client] = Allocation(self, client)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: allocation, sock=udp_socket(0))
            attributes.append((Attribute.XOR_RELAYED_ADDRESS, transport.get_extra_info("sockname")[:2]))
        elif message.method == Method.CHANNEL_BIND:
            bound = self.allocations[client]
            bound.channel, bound.peer = message.get(Attribute.CHANNEL_NUMBER), message.get(Attribute.XOR_PEER_ADDRESS)
        answer = serialise(message.method, MessageClass.SUCCESS_RESPONSE, message.transaction_id, attributes)
        self.transport.sendto(answer, client)


async def serve(port: int) -> None:
    """Relay until killed."""
    await asyncio.get_running_loop().create_datagram_endpoint(Listener, sock=udp_socket(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
