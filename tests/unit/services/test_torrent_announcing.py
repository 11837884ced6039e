"""A tracker that has addresses of both families is told over both, each the port that its peers reach us at."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from librats._core import bencode
from librats.bittorrent.extensions import compact_peer
from librats.bittorrent.tracker_http import AnnounceRequest
from librats.errors import RemoteProtocolError
from librats.runtime.datagrams import Origin, Receive
from librats.runtime.network import SystemNetwork
from librats.services.torrenting import announcing
from librats.services.torrenting.announcing import Announcer
from librats.types import Address

HERE = ["127.0.0.1", "::1"]
PEERS = {False: Address("192.0.2.1", 1), True: Address("2001:db8::1", 2)}
PORTS = {False: 40_000, True: 50_000}


def describe(is_ipv6: bool) -> list[AnnounceRequest]:
    return [AnnounceRequest(info_hash=b"h" * 20, peer_id=b"p" * 20, port=PORTS[is_ipv6])]


class Named(SystemNetwork):
    """This machine, on which one name has the addresses of the loopback that are wanted."""

    def __init__(self, hosts: Sequence[str]) -> None:
        super().__init__()
        self.hosts = hosts

    async def resolve(self, address: Address) -> list[Address]:
        return [Address(host, address.port) for host in self.hosts]


class UdpTracker(asyncio.DatagramProtocol):
    def __init__(self, told: list[tuple[bool, int]], *, is_ipv6: bool) -> None:
        self.told, self.is_ipv6, self.forgets = told, is_ipv6, False
        self.connections = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[8:12] == bytes(4):
            self.connections += 1
            self.transport.sendto(bytes(4) + data[12:16] + self.connections.to_bytes(8), addr)
        elif 0 < int.from_bytes(data[:8]) <= self.connections and not self.forgets:
            self.told.append((self.is_ipv6, int.from_bytes(data[96:98])))
            head = (1).to_bytes(4) + data[12:16] + (600 + self.is_ipv6).to_bytes(4) + bytes(8)
            self.transport.sendto(head + compact_peer(PEERS[self.is_ipv6]), addr)
        else:
            self.forgets = False
            self.transport.sendto((3).to_bytes(4) + data[12:16] + b"who are you?", addr)


@pytest.mark.parametrize(
    ("tracker", "told"),
    [
        ("192.0.2.9", ["192.0.2.1"]),
        ("10.0.0.9", ["192.0.2.1", "10.0.0.1"]),
        ("127.0.0.1", ["192.0.2.1", "10.0.0.1", "127.0.0.1", "::1", "localhost"]),
    ],
)
async def test_a_tracker_has_us_dial_nobody_nearer_than_itself(
    monkeypatch: pytest.MonkeyPatch, tracker: str, told: list[str]
) -> None:
    hosts = ["192.0.2.1", "10.0.0.1", "127.0.0.1", "::1", "localhost", "224.0.0.1", "0.0.0.0"]  # noqa: S104 - told
    peers = [{b"ip": host.encode(), b"port": 80} for host in hosts]

    async def answer(*_args: object, **_options: object) -> bytes:
        return bencode.encode({b"peers": peers})

    monkeypatch.setattr(announcing, "ask_http", answer)
    announcer = Announcer(Named([tracker]), "http://tracker.example/announce", [False])
    reply = await announcer.announce(describe)
    assert [peer.host for peer in reply.peers] == told


@asynccontextmanager
async def udp_trackers(told: list[tuple[bool, int]]) -> AsyncIterator[tuple[str, list[UdpTracker]]]:
    """Run one tracker for each family, on the same port; yield the URL of both."""
    loop = asyncio.get_running_loop()
    port, trackers = 0, []
    for host in HERE:
        transport, tracker = await loop.create_datagram_endpoint(
            partial(UdpTracker, told, is_ipv6=":" in host), (host, port)
        )
        port = transport.get_extra_info("sockname")[1]
        trackers.append(tracker)
    try:
        yield f"udp://tracker.example:{port}/announce", trackers
    finally:
        for tracker in trackers:
            tracker.transport.close()


@asynccontextmanager
async def http_trackers(told: list[tuple[bool, int]]) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        is_ipv6 = ":" in writer.get_extra_info("sockname")[0]
        fields = dict(parse_qsl(urlsplit(head.split()[1]).query, encoding="latin-1"))
        told.append((is_ipv6, int(fields["port"])))
        key = b"peers6" if is_ipv6 else b"peers"
        body = bencode.encode({b"interval": 600 + is_ipv6, key: compact_peer(PEERS[is_ipv6])})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    first = await asyncio.start_server(serve, HERE[0], 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(serve, HERE[1], port)
    async with first, second:
        yield f"http://tracker.example:{port}/announce"


async def test_a_udp_tracker_is_told_over_both_families() -> None:
    told: list[tuple[bool, int]] = []
    async with udp_trackers(told) as (url, _):
        reply = await Announcer(Named(HERE), url, {False, True}).announce(describe)
    assert sorted(told) == [(False, 40_000), (True, 50_000)]
    assert set(reply.peers) == set(PEERS.values())
    assert reply.interval == 601


async def test_an_http_tracker_is_told_over_both_families() -> None:
    pytest.importorskip("aiohttp")
    told: list[tuple[bool, int]] = []
    async with http_trackers(told) as url:
        reply = await Announcer(Named(HERE), url, {False, True}).announce(describe)
    assert sorted(told) == [(False, 40_000), (True, 50_000)]
    assert set(reply.peers) == set(PEERS.values())
    assert reply.interval == 601


@pytest.mark.parametrize("is_ipv6", [False, True])
async def test_a_family_that_is_not_listened_on_is_left_out_where_the_tracker_has_the_other_one(is_ipv6: bool) -> None:
    told: list[tuple[bool, int]] = []
    async with udp_trackers(told) as (url, _):
        await Announcer(Named(HERE), url, {is_ipv6}).announce(describe)
        assert told == [(is_ipv6, PORTS[is_ipv6])]
        told.clear()
        await Announcer(Named(HERE[:1]), url, {True}).announce(describe)
        assert told == [(False, 40_000)]


async def test_one_family_that_is_silent_does_not_keep_the_answer_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[bool, int]] = []
    async with udp_trackers(told) as (url, trackers):
        monkeypatch.setattr(trackers[1], "datagram_received", lambda *_: None)
        reply = await Announcer(Named(HERE), url, {False, True}).announce(describe, grace=0.05)
    assert reply.peers == (PEERS[False],)


async def test_what_no_family_answers_is_the_reason_of_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "UDP_TIMEOUT", 0.05)
    async with udp_trackers([]) as (url, trackers):
        for tracker in trackers:
            monkeypatch.setattr(tracker, "datagram_received", lambda *_: None)
        with pytest.raises(TimeoutError):
            await Announcer(Named(HERE), url, {False, True}).announce(describe)
    with pytest.raises(RemoteProtocolError, match="elsewhere than to HTTP"):
        await Announcer(Named(HERE), "gopher://tracker.example/announce", {False, True}).announce(describe)
    with pytest.raises(OSError, match="no address"):
        await Announcer(Named([]), url, {False, True}).announce(describe)


def refuse_all(tracker: UdpTracker, data: bytes, addr: Any) -> None:
    """Answer those who connect, and hold every connection for a wrong one."""
    head = bytes(4) + data[12:16] + bytes(8) if data[8:12] == bytes(4) else (3).to_bytes(4) + data[12:16] + b"no"
    tracker.transport.sendto(head, addr)


async def test_a_udp_tracker_that_has_forgotten_the_connection_is_asked_for_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[bool, int]] = []
    async with udp_trackers(told) as (url, (tracker, _)):
        announcer = Announcer(Named(HERE[:1]), url, {False})
        await announcer.announce(describe)
        await announcer.announce(describe)
        assert tracker.connections == 1
        tracker.forgets = True
        await announcer.announce(describe)
        assert (tracker.connections, len(told)) == (2, 3)
        monkeypatch.setattr(tracker, "datagram_received", lambda data, addr: refuse_all(tracker, data, addr))
        with pytest.raises(RemoteProtocolError, match="refuses: no"):
            await announcer.announce(describe)


async def test_nothing_is_kept_of_what_somebody_sends_in_the_name_of_a_udp_tracker() -> None:
    network, here = Lent(), Origin("192.0.2.1", 6969)
    task = asyncio.create_task(Announcer(network, "udp://192.0.2.1:6969", {False}).announce(describe))
    await network.opened.wait()
    flood = [bytes([number % 256]) * 40 for number in range(1000)]
    before = [sys.getrefcount(data) for data in flood]
    network.receive([(data, here) for data in flood])
    assert [sys.getrefcount(data) for data in flood] == before
    for number in (1, 2):  # each answer is one to what was sent last, and comes twice
        await network.sent.wait()
        network.sent.clear()
        head = (number - 1).to_bytes(4) + network.packets[-1][12:16]
        body = number.to_bytes(8) if number == 1 else (600).to_bytes(4) + bytes(8) + compact_peer(PEERS[False])
        network.receive([(head + body, here)] * 2)
    assert (await task).peers == (PEERS[False],)


class Lent(SystemNetwork):
    """A network in which the test says what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.sent = asyncio.Event(), asyncio.Event()
        self.packets: list[bytes] = []
        self.sent_to: list[Address] = []

    async def open_datagram(self, host: str = "", port: int = 0, *, receive: Receive, **options: Any) -> Any:
        self.receive = receive
        self.opened.set()
        return SimpleNamespace(send=self._send, close=lambda: None)

    def _send(self, data: bytes, address: Address) -> None:
        self.packets.append(data)
        self.sent_to.append(address)
        self.sent.set()


@pytest.mark.parametrize("over", ["udp", "http"])
async def test_a_tracker_is_told_of_each_info_hash(over: str) -> None:
    told: list[tuple[bool, int]] = []

    def both(_is_ipv6: bool) -> list[AnnounceRequest]:
        return [AnnounceRequest(info_hash=bytes([n]) * 20, peer_id=b"p" * 20, port=n) for n in (1, 2)]

    if over == "udp":
        async with udp_trackers(told) as (url, _):
            reply = await Announcer(Named(HERE[:1]), url, {False}).announce(both)
    else:
        pytest.importorskip("aiohttp")
        async with http_trackers(told) as url:
            reply = await Announcer(Named(HERE[:1]), url, {False}).announce(both)
    assert sorted(told) == [(False, 1), (False, 2)]
    assert reply.peers == (PEERS[False],)
