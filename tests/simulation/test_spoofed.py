"""Packets with the addresses of others: what somebody on the way makes up, and floods from nowhere."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable

from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import PathChanged, PeerConnected, PeerDisconnected, RatsClient, Stream
from librats._core.rudp_packets import is_packet, parse, serialise
from librats.errors import DecodeError
from librats.rudp.constants import Body, PacketFlag, PacketKind
from librats.runtime.rudp import RudpPort
from librats.testing import SimHost, SimNetwork
from librats.testing.packets import Packet
from librats.testing.packets import PacketKind as Kind
from librats.types import Address

UDP_ONLY = ("udp",)
FLOOD = 3000


class Wiretap:
    """Sees every packet that a host sends, and puts packets of its own in front of hosts."""

    def __init__(self, net: SimNetwork, seen: Callable[[SimHost, Packet], object]) -> None:
        send = net.transport.send

        def tapped(host: SimHost, packet: Packet, lost: Callable[[], None]) -> None:
            seen(host, packet)
            send(host, packet, lost)

        net.transport.send = tapped  # type: ignore[method-assign]

    @staticmethod
    def put(host: SimHost, data: bytes, source: Address, target: Address) -> None:
        host.stack.receive_datagram(Packet(Kind.UDP, source, target, payload=data))


def forgeries(genuine: bytes, chance: random.Random) -> list[bytes]:
    """Return what somebody can make of a packet who has seen it, and has not the keys."""
    fields = parse(genuine)
    near = chance.choice((0, 1, 2, 50, -1))
    number = (fields["number"] + near) % (1 << 32)
    made = bytearray(genuine)
    made[chance.randrange(1, len(made))] ^= 1 << chance.randrange(8)
    later = genuine[:8] + number.to_bytes(4) + genuine[12:]
    kinds = (PacketKind.FIN, PacketKind.RESET, PacketKind.DATA, PacketKind.ACK, PacketKind.SYN, PacketKind.RETRY)
    old = [
        serialise(kind, conn_id=fields["conn_id"], number=number, ack=number, window=0, payload=payload)
        for kind in kinds
        for payload in ((b"", b"forged") if kind is PacketKind.DATA else (b"",))
    ]
    reset = bytes([0x16, 0, 0, Body.RESET]) + genuine[4:8] + number.to_bytes(4) + b"\0"
    bare = bytes([genuine[0], genuine[1] & ~4]) + genuine[2:-8]
    finished = bytes([genuine[0], genuine[1] | 2]) + genuine[2:]
    return [
        bytes(made),
        later,
        bare,
        finished,
        reset,
        reset + bytes(8),
        genuine[: chance.randrange(1, len(genuine))],
        *old,
    ]


def test_what_is_forged_between_two_of_ours_changes_nothing(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> Counter[str]:
        here, there = net.host("here"), net.host("there")
        a = await start_client(here, transports=UDP_ONLY)
        b = await start_client(there, transports=UDP_ONLY)
        chance = random.Random(5)  # noqa: S311 - nothing here is a secret
        hosts = {**dict.fromkeys(here.addresses, here), **dict.fromkeys(there.addresses, there)}
        done: Counter[str] = Counter()
        active = False
        last = 0.0

        def seen(host: SimHost, packet: Packet) -> None:
            nonlocal last
            if not active or packet.kind is not Kind.UDP or not is_packet(packet.payload) or net.time < last + 0.005:
                return  # what they send because of what is forged would be forged in turn
            last = net.time
            target = hosts[packet.destination.host]
            for data in forgeries(packet.payload, chance):
                done["forged"] += 1
                Wiretap.put(target, data, packet.source, packet.destination)
            # To the one who sent it, as if it came from the other; and a copy from somewhere else.
            Wiretap.put(host, chance.choice(forgeries(packet.payload, chance)), packet.destination, packet.source)
            Wiretap.put(target, packet.payload, Address("10.66.6.6", 666), packet.destination)

        Wiretap(net, seen)
        heard: list[int] = []
        b.on("n", lambda peer, data: heard.append(data))
        b.on("echo", lambda peer, data: data)
        got = bytearray()

        @b.on_stream("file/1")
        async def take(stream: Stream) -> None:
            async for piece in stream:
                got.extend(piece)

        with here:
            to_b = await a.connect(f"there:{PORT}")
        await until(lambda: b.peers)
        await to_b.ping()
        for client in (a, b):
            for event in (PathChanged, PeerConnected, PeerDisconnected):
                client.on_event(event, lambda event: done.update([type(event).__name__]))
        active = True
        data = random.Random(6).randbytes(300_000)  # noqa: S311 - as above
        stream = await to_b.open_stream("file/1")
        stream.write(data)
        for number in range(300):
            await to_b.send("n", number)
            if number % 100 == 0:
                assert await to_b.request("echo", number) == number
            await asyncio.sleep(0.01)
        await stream.close()
        await until(lambda: len(heard) == 300 and len(got) == len(data), within=60)
        assert heard == list(range(300))
        assert got == data
        await asyncio.sleep(60)  # whoever is thrown out by silence is by now
        assert await to_b.request("echo", "still") == "still"
        active = False
        await a.stop()
        await b.stop()
        return done

    done = simulate(scenario)
    assert done.pop("forged") > 2000
    assert done == {"PeerDisconnected": 2}, "nothing but the end"


def udp_port(client: RatsClient) -> RudpPort:
    listener = client._listener
    assert listener is not None
    assert listener.udp is not None
    return listener.udp


class Flood:
    """Syns, and the first packets behind them with a handshake that anybody could begin, each from another address.

    Args:
        net: Where.
        here: The host of somebody honest, of whose first packets those of the flood are made.
        there: Whom they go to.
    """

    def __init__(self, net: SimNetwork, here: SimHost, there: SimHost) -> None:
        self._here, self._there = here, there
        self._target = Address(there.addresses[0], PORT)
        self._sources = [Address(f"198.18.{number >> 8}.{number & 255}", 1024) for number in range(FLOOD)]
        self._firsts: list[bytes] = []
        # Packets and bytes from each address, and to each.
        self.packets, self._answers, self._bytes, self._answered = (
            Counter(dict.fromkeys(self._sources, 0)) for _ in range(4)
        )
        Wiretap(net, self._seen)

    @property
    def answers(self) -> int:
        return sum(self._answers.values())

    def _seen(self, host: SimHost, packet: Packet) -> None:
        """Look at each packet that goes to a source: never is more sent there than came from there so far."""
        source = packet.destination
        if host is self._there and source in self.packets:
            self._answers[source] += 1
            self._answered[source] += len(packet.payload)
            assert self._answers[source] <= self.packets[source]
            assert 4 * self._answered[source] <= 5 * self._bytes[source]
        elif host is self._here and is_packet(packet.payload) and len(self._firsts) < 4:
            self._firsts.append(packet.payload)

    def send(self, number: int) -> None:
        """Send what comes from one of the sources."""
        assert len(self._firsts) >= 3, "the Syn and what follows it"
        source = self._sources[number]
        sent = self._firsts if number % 3 else self._firsts[:1]
        if number % 5 == 0:
            flags = PacketFlag.EXTENDED if number % 2 else 0
            sent = [serialise(PacketKind.SYN, conn_id=1, number=1, window=1024, flags=flags), *self._firsts[1:]]
        for data in sent:
            made = data[:4] + (0x20000000 + 2 * number).to_bytes(4) + data[8:]
            self.packets[source] += 1
            self._bytes[source] += len(made)
            Wiretap.put(self._there, made, source, self._target)


def test_a_flood_from_addresses_of_others_holds_little_and_is_answered_with_no_more(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        here, there = net.host("here"), net.host("there")
        flood = Flood(net, here, there)
        victim = await start_client(there, transports=UDP_ONLY)
        honest = await start_client(here, port=0, transports=UDP_ONLY)
        victim.on("echo", lambda peer, data: data)

        async def talk() -> float:
            begun = net.time
            with here:
                peer = await honest.connect(f"there:{PORT}")
            assert await peer.request("echo", "hello") == "hello"
            await peer.close()
            return net.time - begun

        await talk()
        flood.send(0)
        await asyncio.sleep(60)
        gc.collect()
        tracemalloc.start()
        port = udp_port(victim)
        most = 0
        for number in range(1, FLOOD):
            flood.send(number)
            if number % 20 == 0:
                await asyncio.sleep(0.002)
                most = max(most, len(port))
            if number % 1000 == 0:
                assert await talk() < 3
        held, _ = tracemalloc.get_traced_memory()
        assert held < 16 << 20
        assert 500 < most <= 1024 + 8, "then cookies are asked for"
        await asyncio.sleep(60)
        assert len(port) == 0
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 4 << 20, "nothing is left but tables that are swept, and the numbers of the test"
        assert flood.answers > FLOOD // 2
        await honest.stop()
        await victim.stop()

    simulate(scenario)


def test_bytes_that_mean_nothing_are_neither_answered_nor_kept(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        there = net.host("there")
        victim = await start_client(there, transports=UDP_ONLY)
        answers: list[Packet] = []
        Wiretap(net, lambda host, packet: answers.append(packet))
        chance = random.Random(7)  # noqa: S311 - nothing here is a secret
        target = Address(there.addresses[0], PORT)
        for number in range(3000):
            data = bytes([0x10 + chance.randrange(16)]) + chance.randbytes(chance.randrange(60))
            try:
                is_known = is_packet(data) and parse(data)["kind"] in (PacketKind.SYN, PacketKind.DATA)
            except DecodeError:
                is_known = False
            Wiretap.put(there, data, Address(f"198.18.{number >> 8}.{number & 255}", 9), target)
            if number % 100 == 0:
                await asyncio.sleep(0.01)
            assert is_known or len(answers) <= number
        await asyncio.sleep(60)
        assert len(udp_port(victim)) == 0
        assert len(answers) <= 3000
        assert sum(len(packet.payload) for packet in answers) < 3000 * 30
        await victim.stop()

    simulate(scenario)
