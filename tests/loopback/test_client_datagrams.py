"""Datagrams of clients over UDP: they go by themselves, past what got lost, and only once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Pair, until_true
from tests.loopback.test_client_paths import paths_of

from librats import Address, ConnectionMethod, Peer
from librats.runtime.rudp_transport import RudpTransport
from librats.services.link.verbs import LinkVerbs
from librats.session.frames import Kind

UDP_ONLY = ("udp",)


class Lossy(asyncio.DatagramProtocol):
    """Passes datagrams on between whoever sends first and a target, but for those that ``loses`` names."""

    def __init__(self, target: Address) -> None:
        self._target = tuple(target)
        self._caller: tuple[str, int] | None = None
        self.loses: Callable[[bytes], bool] = lambda data: False
        self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr == self._target:
            self.transport.sendto(data, self._caller)
            return
        self._caller = addr
        if self.loses(data):
            self.lost += 1
        else:
            self.transport.sendto(data, self._target)


def heard_by(pair: Pair) -> list[bytes]:
    got: list[bytes] = []
    pair.b.on_datagram(lambda peer, data: got.append(data))
    return got


def transport_to(peer: Peer) -> RudpTransport:
    transport = peer.link._transport
    assert isinstance(transport, RudpTransport)
    return transport


async def over_udp(make_client: MakeClient, connect: Connect) -> Pair:
    return await connect(await make_client(transports=UDP_ONLY), await make_client(transports=UDP_ONLY))


async def test_later_ones_do_not_wait_for_one_that_got_lost(make_client: MakeClient) -> None:
    a, b = await make_client(transports=UDP_ONLY), await make_client(transports=UDP_ONLY)
    got: list[bytes] = []
    b.on_datagram(lambda peer, data: got.append(data))
    numbers: list[int] = []
    b.on("n", lambda peer, data: numbers.append(data))
    loop = asyncio.get_running_loop()
    transport, road = await loop.create_datagram_endpoint(
        lambda: Lossy(Address(LOOPBACK, b.listen_port)), local_addr=(LOOPBACK, 0)
    )
    try:
        to_b = await a.connect(transport.get_extra_info("sockname"))
        road.loses = lambda data: True
        to_b.send_datagram(b"lost" * 100)
        await to_b.send("n", 1)
        await until_true(lambda: road.lost >= 2)
        road.loses = lambda data: len(data) < 350  # what was in the stream goes on being lost
        for number in range(50):
            to_b.send_datagram(b"%04d" % number * 100)
        await until_true(lambda: len(got) == 50)
        assert [int(data[:4]) for data in got] == list(range(50))
        assert not numbers
        road.loses = lambda data: False
        await until_true(lambda: numbers)
        assert await to_b.ping() > 0
        assert len(got) == 50
    finally:
        transport.close()
        await a.stop()


async def test_forged_and_repeated_ones_are_ignored(make_client: MakeClient, connect: Connect) -> None:
    pair = await over_udp(make_client, connect)
    got = heard_by(pair)
    sealed = pair.to_b.link._datagrams
    assert sealed is not None
    raw = sealed.seal(Kind.BYTES, b"once")
    for data in (raw, raw, raw[:-1] + bytes([raw[-1] ^ 1]), b"", bytes(40), raw):
        assert transport_to(pair.to_b).send_datagram(data)
    pair.to_b.send_datagram(b"last")
    await until_true(lambda: b"last" in got)
    assert got == [b"once", b"last"]
    theirs = pair.to_a.link._datagrams
    assert theirs is not None
    assert theirs.ignored == 5
    assert await pair.to_b.ping() > 0


async def test_the_longest_goes_beside_the_stream_and_a_longer_one_in_it(
    make_client: MakeClient, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await over_udp(make_client, connect)
    got = heard_by(pair)
    beside: list[int] = []
    real = LinkVerbs.take_datagrams

    def take(self: LinkVerbs, items: list[bytes]) -> None:
        beside.extend(map(len, items))
        real(self, items)

    monkeypatch.setattr(LinkVerbs, "take_datagrams", take)
    transport_to(pair.to_a).on_datagrams(pair.to_a.link.take_datagrams)
    limit = pair.to_b.max_datagram
    assert limit > 1000
    pair.to_b.send_datagram(bytes(limit))
    await until_true(lambda: len(got) == 1)
    assert len(beside) == 1
    fits = pair.to_b.max_datagram >= 65_000  # loopback carries long ones, once that has been found out
    pair.to_b.send_datagram(bytes(65_000))
    await until_true(lambda: len(got) == 2)
    assert [len(data) for data in got] == [limit, 65_000]
    assert len(beside) == 1 + fits


async def test_they_change_with_the_path(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(), await make_client())
    got = heard_by(pair)
    assert pair.to_b.max_datagram == 0
    target = Address(LOOPBACK, pair.b.listen_port)
    sent = 0
    for method in [ConnectionMethod.UDP, ConnectionMethod.TCP] * 3:
        await paths_of(pair.a).move(pair.to_b.link, target, method)
        assert (pair.to_b.max_datagram > 0) is (method is ConnectionMethod.UDP)
        pair.to_b.send_datagram(b"%d" % sent)
        sent += 1
        await until_true(lambda: len(got) == sent)  # noqa: B023 - awaited here
    assert [int(data) for data in got] == list(range(sent))


async def test_a_flood_takes_no_memory_without_bound(make_client: MakeClient, connect: Connect) -> None:
    pair = await over_udp(make_client, connect)
    got = heard_by(pair)
    for _ in range(5000):
        pair.to_b.send_datagram(bytes(1000))
    assert await pair.to_b.ping() > 0
    await until_true(lambda: got)
    assert len(got) <= 5000
    assert transport_to(pair.to_b).get_extra_info("rudp")["memory"] < 8 << 20
