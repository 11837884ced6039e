"""The data plane of a simulated relay, packet by packet: what it forwards, what it drops, and why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.unit.testing.test_datagrams import Ear, ear_on

from librats._core.relay import pack_address
from librats._core.stun import channel_data, parse, parse_channel_data, serialise
from librats.errors import ConfigError, UsageError
from librats.relay.config import RelayConfig
from librats.stun.constants import Attribute, MessageClass, Method
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.testing.relay_plane import SimPlane
from librats.testing.relays import RelayPorts
from librats.turn.serving.allocation import IPV4, IPV6, TCP, Client
from librats.types import Address

LISTENING, PORT = Address("10.0.0.1", 3478), 9000
CLIENT, PEER = Address("10.0.0.2", PORT), Address("10.0.0.3", PORT)
SIX = Address("fd00:0:0:3::1", PORT)
NUMBER, CHANNEL = 1, 0x4000


class Rig:
    """A plane with one allocation of both families, a client and a peer."""

    def __init__(self, net: SimNetwork) -> None:
        self.net = net
        self.requests: list[tuple[Client, bytes]] = []
        self.written: list[tuple[int, bytes]] = []
        self.relayed: dict[int, Address] = {}
        self.plane: SimPlane
        self.client: Ear
        self.peer: Ear

    async def start(self, *, listener: int = 0) -> None:
        host: SimHost = self.net.host("relay")
        self.ports = RelayPorts(host, host.addresses, (20_000, 20_100))
        with host:
            self.plane = SimPlane(
                lambda client, data: self.requests.append((client, data)),
                lambda number, data: self.written.append((number, data)),
                self.ports.sockets,
            )
        listening = host.stack.datagram_socket(socket.AF_INET)
        listening.bind(tuple(LISTENING))
        assert self.plane.listen(listening) == 0
        self.client, self.peer = await ear_on(self.net.host("client")), await ear_on(self.net.host("peer"))
        self.relays = [self.ports.open(family, near=b"") for family in (IPV4, IPV6)]
        for relay in self.relays:
            assert relay is not None
            self.relayed[relay.family] = Address(relay.host, relay.port)
        first, second = self.relays
        assert first is not None
        assert second is not None
        self.plane.add_allocation(NUMBER, listener, packed(CLIENT), first.fd, 600.0, packed(LISTENING))
        self.plane.add_relay(NUMBER, second.fd)

    async def say(self, ear: Ear, data: bytes, to: Address) -> None:
        ear.endpoint.send(data, to)
        await asyncio.sleep(0.1)

    async def ask(self, data: bytes) -> None:
        await self.say(self.client, data, LISTENING)

    def drops(self) -> dict[str, int]:
        found = self.plane.statistics()
        return {name.removeprefix("dropped_"): n for name, n in found.items() if name.startswith("dropped_") and n}

    async def stop(self) -> None:
        if NUMBER in self.plane._relaying:
            self.plane.remove(NUMBER)
        for relay in self.relays:
            assert relay is not None
            self.ports.close(relay)
        self.plane.close()
        self.client.endpoint.close()
        self.peer.endpoint.close()


def packed(address: Address) -> bytes:
    return pack_address(*address)


def send_to(peer: Address, data: bytes, *extra: tuple[int, Any]) -> bytes:
    attributes = [(Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data), *extra]
    return serialise(Method.SEND, MessageClass.INDICATION, bytes(12), attributes)


def on_rig(test: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main(net: SimNetwork) -> None:
        rig = Rig(net)
        await rig.start(**options)
        await test(rig)
        await rig.stop()

    with SimNetwork(seed=1) as net:
        net.run(main(net))
        assert net.left_behind() == []


def test_requests_are_handed_over_and_answered() -> None:
    async def test(rig: Rig) -> None:
        request = serialise(Method.BINDING, MessageClass.REQUEST, bytes(12), [])
        await rig.ask(request)
        assert rig.requests == [(Client(0, packed(CLIENT), packed(LISTENING)), request)]
        rig.plane.send(0, packed(CLIENT), packed(LISTENING), b"answer")
        rig.plane.send(0, packed(CLIENT), b"", b"another")
        await asyncio.sleep(0.1)
        assert rig.client.data == [b"answer", b"another"]

    on_rig(test)


def test_datagrams_go_both_ways_by_indication_and_by_channel() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER)[8:12], 300.0)
        await rig.ask(send_to(PEER, b"one"))
        assert rig.peer.origins[-1] == rig.relayed[IPV4]
        await rig.say(rig.peer, b"two", rig.relayed[IPV4])
        message = parse(rig.client.data[-1])
        assert (message.get(Attribute.DATA), message.get(Attribute.XOR_PEER_ADDRESS)) == (b"two", tuple(PEER))
        assert rig.plane.bind_channel(NUMBER, CHANNEL, packed(PEER), 600.0)
        await rig.ask(channel_data(CHANNEL, b"three"))
        await rig.say(rig.peer, b"four", rig.relayed[IPV4])
        assert parse_channel_data(rig.client.data[-1]) == (CHANNEL, b"four")
        assert rig.peer.data == [b"one", b"three"]
        assert rig.plane.traffic(NUMBER) == (2, 8, 2, 7)
        assert rig.drops() == {}

    on_rig(test)


def test_the_second_family_has_a_socket_of_its_own() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(SIX), 300.0)
        await rig.ask(send_to(SIX, b"six"))
        assert (rig.peer.data, rig.peer.origins) == ([b"six"], [rig.relayed[IPV6]])
        await rig.say(rig.peer, b"back", rig.relayed[IPV6])
        assert parse(rig.client.data[-1]).get(Attribute.DATA) == b"back"

    on_rig(test)


def test_connected_clients_are_written_to() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0)
        rig.plane.bind_channel(NUMBER, CHANNEL, packed(PEER), 600.0)
        assert rig.plane.forward(NUMBER, channel_data(CHANNEL, b"out", padded=True)) == 1
        await asyncio.sleep(0.1)
        assert rig.peer.data == [b"out"]
        await rig.say(rig.peer, b"in", rig.relayed[IPV4])
        assert rig.written == [(NUMBER, channel_data(CHANNEL, b"in", padded=True))]

    on_rig(test, listener=-7)


def test_what_is_not_permitted_is_dropped() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(send_to(PEER, b"x"))
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert rig.drops() == {"no_permission": 2}
        rig.plane.set_permission(NUMBER, packed(PEER._replace(port=7)), 300.0, exact=True)
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert rig.drops() == {"no_permission": 3}
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0, exact=True)
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert rig.drops() == {"no_permission": 3}
        await asyncio.sleep(300)
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert rig.drops() == {"no_permission": 4}
        assert rig.plane.expire(rig.net.time) == []
        assert len(rig.client.data) == 1

    on_rig(test)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        *(
            (b"", "malformed"),
            (b"\x80", "malformed"),
            (b"\x01\x01", "malformed"),
            (b"\x00\x01" + bytes(9), "malformed"),
        ),
        *((b"\x00\x16" + bytes(9), "malformed"), (b"\x40\x00", "malformed")),
        (channel_data(CHANNEL + 1, b"x"), "no_channel"),
        (send_to(PEER, b"x", (Attribute.DONT_FRAGMENT, True)), "dont_fragment"),
        (send_to(PEER, b"x", (0x7FFF, b"")), "malformed"),
        (serialise(Method.SEND, MessageClass.INDICATION, bytes(12), []), "malformed"),
    ],
)
def test_what_cannot_be_forwarded_is_dropped_and_counted(data: bytes, why: str) -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0)
        await rig.ask(data)
        assert rig.drops() == {why: 1}
        assert rig.peer.data == []
        assert rig.requests == []

    on_rig(test)


def test_responses_and_indications_of_other_kinds_are_ignored() -> None:
    async def test(rig: Rig) -> None:
        for method, kind in ((Method.BINDING, MessageClass.SUCCESS_RESPONSE), (Method.DATA, MessageClass.INDICATION)):
            await rig.ask(serialise(method, kind, bytes(12), []))
        assert rig.plane.statistics()["ignored"] == 2
        assert (rig.requests, rig.drops()) == ([], {})

    on_rig(test)


def test_nothing_is_forwarded_for_those_without_an_allocation() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 10_000.0)
        stranger = await ear_on(rig.net.host("stranger"))
        await rig.say(stranger, send_to(PEER, b"x"), LISTENING)
        assert rig.drops() == {"no_allocation": 1}
        await asyncio.sleep(600)
        await rig.ask(send_to(PEER, b"x"))
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert rig.drops() == {"no_allocation": 3}
        rig.plane.refresh(NUMBER, 2000.0)
        await rig.ask(send_to(PEER, b"in time"))
        assert rig.peer.data == [b"in time"]
        rig.plane.remove(NUMBER)
        await rig.ask(send_to(PEER, b"x"))
        assert rig.drops() == {"no_allocation": 4}
        stranger.endpoint.close()

    on_rig(test)


def test_channels_and_permissions_end_with_their_time() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 500.0)
        rig.plane.bind_channel(NUMBER, CHANNEL, packed(PEER), 100.0)
        await asyncio.sleep(101)
        await rig.ask(channel_data(CHANNEL, b"x"))
        assert rig.drops() == {"no_channel": 1}
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        rig.plane.expire(rig.net.time)
        await rig.say(rig.peer, b"x", rig.relayed[IPV4])
        assert [parse(data).get(Attribute.DATA) for data in rig.client.data] == [b"x", b"x"]

    on_rig(test)


@pytest.mark.parametrize("whose", ["one", "all"])
def test_what_is_relayed_is_limited(whose: str) -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0)
        if whose == "one":
            rig.plane.limit(NUMBER, 10_000)
        else:
            rig.plane.limit_total(10_000)
        for _ in range(100):
            rig.client.endpoint.send(send_to(PEER, bytes(1000)), LISTENING)
        await asyncio.sleep(0.1)
        assert len(rig.peer.data) == 65
        assert rig.drops() == {"over_limit": 35}
        await asyncio.sleep(2)
        await rig.say(rig.peer, bytes(15_000), rig.relayed[IPV4])
        assert len(rig.client.data) == 1

    on_rig(test)


def test_what_becomes_too_long_is_dropped() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0)
        await rig.say(rig.peer, bytes(65_500), rig.relayed[IPV4])
        assert rig.drops() == {"oversized": 1}

    on_rig(test)


def test_peers_without_a_way_there_are_unreachable() -> None:
    async def test(rig: Rig) -> None:
        rig.plane.set_permission(NUMBER, packed(PEER), 300.0)
        rig.net.hosts[0].interfaces["eth0"].down()
        rig.plane.forward(NUMBER, send_to(PEER, b"x"))
        assert rig.drops() == {"unreachable": 1}
        rig.net.hosts[0].interfaces["eth0"].up()

    on_rig(test)


def test_ports_are_opened_one_by_one_and_in_pairs() -> None:
    async def test(rig: Rig) -> None:
        assert rig.ports.has(IPV4)
        even = rig.ports.open(IPV4, near=b"", even=True)
        pair = rig.ports.open_pair(IPV4, near=b"")
        assert even is not None
        assert pair is not None
        assert (even.port % 2, pair[0].port % 2, pair[1].port - pair[0].port) == (0, 0, 1)
        assert rig.ports.open(IPV4, near=b"", transport=TCP) is None
        many = [rig.ports.open(IPV4, near=b"") for _ in range(300)]
        assert {20_000 <= relay.port <= 20_100 for relay in many if relay is not None} == {True}
        assert None in many
        assert rig.ports.open_pair(IPV4, near=b"") is None
        for relay in (even, *pair, *many):
            if relay is not None:
                rig.ports.close(relay)
        only_six = RelayPorts(rig.net.hosts[0], ["fd00:0:0:1::1"], (20_000, 20_001))
        assert (only_six.has(IPV4), only_six.has(IPV6)) == (False, True)
        assert only_six.open(IPV4, near=b"") is None

    on_rig(test)


def test_a_relay_starts_on_a_host_and_where_it_finds_room() -> None:
    async def main(net: SimNetwork) -> None:
        relay = SimRelay(RelayConfig(no_auth=True))
        with pytest.raises(UsageError, match="no host"):
            await relay.start()
        host = net.host("host")
        with host:
            async with relay:
                assert [str(address) for address in relay.addresses] == ["0.0.0.0:3478", "[::]:3478"]
                with pytest.raises(ConfigError, match="listen"):
                    await SimRelay(RelayConfig(no_auth=True)).start()
            taken = await host.listen_tcp(asyncio.Protocol, "", 3478)
            with pytest.raises(ConfigError, match="listen"):
                await relay.start()
            taken.close()
            async with SimRelay(RelayConfig(no_auth=True, max_connections=1)) as small:
                streams = [await asyncio.open_connection("10.0.0.1", 3478) for _ in range(2)]
                assert await streams[1][0].read() == b""
                request = serialise(Method.BINDING, MessageClass.REQUEST, bytes(12), [])
                streams[0][1].write(request)
                answer = parse(await streams[0][0].read(1000))
                assert answer.get(Attribute.XOR_MAPPED_ADDRESS) == streams[0][1].get_extra_info("sockname")
                assert small.statistics().connections == 1
                for _, writer in streams:
                    writer.close()
            await relay.close()
        await asyncio.sleep(1)

    with SimNetwork(seed=1) as net:
        net.run(main(net))
        assert net.left_behind() == []
