"""Streams over real sockets: by batches of the kernel without an object for each datagram, and by lists."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import pytest

from librats._core.datagram import BatchSocket, Inbox, batches_work
from librats._core.rudp import RudpTable
from librats._core.rudp_stream import RudpStream
from librats.rudp.constants import StreamEvent
from librats.runtime.datagrams import Origin
from librats.runtime.entropy import SystemEntropy
from librats.runtime.udp_sockets import UDP_GRO, ask_kernel
from librats.types import Address

SECONDS = 30
DATA = os.urandom(1 << 20) * 12
FOREIGN = b"\x00\x01\x00\x00\x21\x12\xa4\x42somebody else's"


def origin(host: str, port: int, _local: str | None, _ecn: int, flow: bytes) -> Origin:
    made = Origin(host, port)
    made.flow = flow
    return made


class Host:
    """A socket, a table, and what a driver does with them."""

    def __init__(self, *, batched: bool) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        self.table = RudpTable(entropy=SystemEntropy(), max_datagram=1472)
        self.batches: BatchSocket | None = None
        if batched:
            if not batches_work(self.socket.fileno()):
                pytest.skip("the system has no batches")
            ask_kernel(self.socket, *UDP_GRO, 1)
            self.batches = BatchSocket(self.socket.fileno(), -1, Inbox(), Origin, origin)
        self.address = Address(*self.socket.getsockname())
        self.streams: list[RudpStream] = []
        self.others: list[tuple[bytes, Address]] = []

    def round(self) -> None:
        now = time.monotonic()
        if self.batches is not None:
            self.others += self.table.receive_from(self.batches, 4, now)
        else:
            self.others += self.table.receive(self.waiting(), now)
        due = self.table.next_timer()
        if due is not None and due <= now:
            self.table.handle_timer(now)
        for stream, bits in self.table.events():
            if bits & StreamEvent.INCOMING:
                self.streams.append(stream)
        if self.batches is not None:
            self.table.transmit_through(self.batches, now)
        else:
            for data, target in self.table.transmit(now):
                try:
                    self.socket.sendto(data, target)
                except BlockingIOError:
                    break  # the rest is lost, and sent again

    def waiting(self) -> Iterator[tuple[bytes, Address]]:
        try:
            for _ in range(64):
                data, source = self.socket.recvfrom(65535)
                yield data, Address(*source)
        except BlockingIOError:
            return


@pytest.mark.parametrize("batched", [True, False], ids=["batches", "lists"])
def test_bytes_and_what_is_not_ours_come_through(batched: bool) -> None:
    a, b = Host(batched=batched), Host(batched=batched)
    stream = a.table.dial(b.address, time.monotonic())
    written, got = 0, bytearray()
    a.socket.sendto(FOREIGN, b.address)
    until = time.monotonic() + SECONDS
    while len(got) < len(DATA) and time.monotonic() < until:
        if stream.is_open:
            written += stream.write(memoryview(DATA)[written : written + 200_000])
        for host in (a, b):
            host.round()
        if b.streams:
            got += b.streams[0].take()
        select.select([a.socket, b.socket], [], [], 0.001)
    assert got == DATA
    assert b.others == [(FOREIGN, a.address)]
    assert b.streams[0].address == a.address
    if a.batches is not None and b.batches is not None:
        assert a.batches.sent == a.table.counters["sent"]
        assert b.batches.received >= b.table.counters["received"]
    for host in (a, b):
        host.socket.close()


@pytest.mark.long
def test_two_thousand_streams_share_a_socket() -> None:
    a, b = Host(batched=False), Host(batched=False)
    now = time.monotonic()
    dialled: list[RudpStream] = []
    until = now + SECONDS
    while len(dialled) < 2000:
        for _ in range(100):
            dialled.append(a.table.dial(b.address, time.monotonic()))
        while not all(stream.is_open for stream in dialled) and time.monotonic() < until:
            a.round()
            b.round()
    assert all(stream.is_open for stream in dialled)
    for stream in dialled:
        assert stream.write(b"one of many") == 11
    while sum(stream.readable for stream in b.streams) < 2000 * 11 and time.monotonic() < until:
        a.round()
        b.round()
    assert len(b.streams) == 2000
    assert {stream.take() for stream in b.streams} == {b"one of many"}
    assert max(stream.statistics()["memory"] for stream in (*dialled, *b.streams)) < 10_000
    for host in (a, b):
        host.socket.close()
