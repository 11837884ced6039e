"""One measurement of datagrams: ``python -m benchmarks.datagrams in librats 100 50000 asyncio``.

In a process of its own, because what asyncio's transport costs depends on what the allocator has seen before: each of
its calls asks for 256 KiB. Over loopback. Receiving is measured while a pile that was sent before is read: the sender's
part is not counted. Sending is measured without the reader's part, to a socket that is emptied in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.rivals.c_programs import BUILT

LOOPBACK = "127.0.0.1"
BUFFER = 4 << 20
PILE = 2048  # datagrams that wait to be read; what does not fit into the kernel's buffer is not counted
BURST = 512  # datagrams sent before the sink is emptied
UDP_GRO = (17, 104)


class Counting(asyncio.DatagramProtocol):
    """Counts what comes, one call each."""

    def __init__(self) -> None:
        self.count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.bind((LOOPBACK, 0))
    sock.setblocking(False)
    return sock


async def read_piles(counting: Counting, address: tuple[str, int], size: int, amount: int) -> float:
    """Send piles, and measure how long it takes to read them, until the amount has been read."""
    data = bytes(size)
    seconds = 0.0
    with udp_socket() as sender:
        while counting.count < amount:
            for _ in range(PILE):
                sender.sendto(data, address)
            before, started = -1, time.process_time()
            while counting.count > before:
                before, last = counting.count, time.process_time()
                for _ in range(4):
                    await asyncio.sleep(0)
            seconds += last - started
    return counting.count / seconds


async def librats_in(size: int, amount: int) -> float:
    from librats.runtime.datagrams import Origin
    from librats.runtime.udp import open_datagram

    counting = Counting()

    def receive(batch: list[tuple[bytes, Origin]]) -> None:
        for data, origin in batch:
            counting.datagram_received(data, origin)

    endpoint = await open_datagram(LOOPBACK, receive=receive, buffer_size=BUFFER)
    try:
        return await read_piles(counting, endpoint.local_address, size, amount)
    finally:
        endpoint.close()


async def transport_in(size: int, amount: int) -> float:
    loop = asyncio.get_running_loop()
    transport, counting = await loop.create_datagram_endpoint(Counting, sock=udp_socket())
    try:
        return await read_piles(counting, transport.get_extra_info("sockname"), size, amount)
    finally:
        transport.close()


def time_bursts(send: Callable[[tuple[str, int]], object], amount: int) -> float:
    """Measure how long bursts take that are sent to a socket which takes merged datagrams as they are."""
    seconds = 0.0
    with udp_socket() as sink:
        with contextlib.suppress(OSError):
            sink.setsockopt(*UDP_GRO, 1)
        address = sink.getsockname()
        for _ in range(0, amount, BURST):
            started = time.process_time()
            send(address)
            seconds += time.process_time() - started
            with contextlib.suppress(BlockingIOError):
                while True:
                    sink.recv(1 << 16)
    return amount / seconds


async def librats_out(size: int, amount: int) -> float:
    from librats.runtime.udp import open_datagram
    from librats.types import Address

    endpoint = await open_datagram(LOOPBACK, receive=lambda _batch: None, buffer_size=BUFFER)
    data = bytes(size)
    try:
        return time_bursts(lambda to: endpoint.send_many([(data, Address(*to))] * BURST), amount)
    finally:
        endpoint.close()


async def singly_out(size: int, amount: int) -> float:
    """Send as where the kernel cuts no messages, or where no two datagrams in a row go to the same address."""
    from librats.runtime import udp

    setattr(udp, "has_option", lambda *_args: False)  # noqa: B010 - not declared to be exported
    return await librats_out(size, amount)


async def transport_out(size: int, amount: int) -> float:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=udp_socket())
    data = bytes(size)

    def send(to: tuple[str, int]) -> None:
        for _ in range(BURST):
            transport.sendto(data, to)

    try:
        return time_bursts(send, amount)
    finally:
        transport.close()


async def sendmmsg_out(size: int, amount: int) -> float:
    """Send as plain C would, from here: the least that it takes."""
    library = ctypes.CDLL(str(BUILT / "udp_burst"))
    data = bytes(size)
    with udp_socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

        def send(to: tuple[str, int]) -> None:
            if library.udp_burst(sock.fileno(), to[1], data, ctypes.c_size_t(size), BURST) != BURST:
                raise OSError("the system has no room")

        return time_bursts(send, amount)


WHAT: dict[tuple[str, str], Callable[[int, int], Coroutine[Any, Any, float]]] = {
    ("in", "librats"): librats_in,
    ("in", "transport"): transport_in,
    ("out", "librats"): librats_out,
    ("out", "singly"): singly_out,
    ("out", "transport"): transport_out,
    ("out", "sendmmsg"): sendmmsg_out,
}


def main(direction: str, who: str, size: str, amount: str, loop: str) -> None:
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(runner.run(WHAT[direction, who](int(size), int(amount))))


if __name__ == "__main__":
    main(*sys.argv[1:])
