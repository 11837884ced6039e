"""What the threads of a relay receive of sessions over UDP, and what goes back through them, packet by packet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.joined_tables import Seeded

from librats._core.relay import pack_address
from librats._core.rudp import RudpTable
from librats._core.rudp_stream import RudpStream
from librats.relay import datagram_sessions
from librats.relay.datagram_sessions import Answers, DatagramSessions, Heard
from librats.testing import SimNetwork
from librats.types import Address

LISTENERS = (Address("203.0.113.10", 3478), Address("203.0.113.11", 3479))
MOMENT = 0.01


class Accepted(asyncio.Protocol):
    """The relay's end of a stream, which says again what it hears."""

    def __init__(self, made: list[Accepted]) -> None:
        self.is_lost = False
        made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


class Thread:
    """Notes what it is to send, and hands it to whom it is for."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sent: list[Heard] = []

    def answer(self, packets: Sequence[Heard]) -> None:
        self.sent += packets
        for number, there, _, data in packets:
            assert len(data) <= 1220
            client = self.rig.clients[there]
            client.table.receive([(data, LISTENERS[number])], client.loop.time())
            client.turn()


class Rig:
    """The sessions of a relay with two listeners."""

    def __init__(self, most: int = 8) -> None:
        self.clients: dict[bytes, Client] = {}
        self.accepted: list[Accepted] = []
        self.sessions = DatagramSessions(LISTENERS, lambda: Accepted(self.accepted), most=most, entropy=Seeded("relay"))


class Client:
    """A node with a stream to a relay, whose packets come in by one of the relay's threads."""

    def __init__(self, rig: Rig, host: str, thread: Thread, *, number: int = 0, local: str = "203.0.113.10") -> None:
        self.rig, self.thread, self.number = rig, thread, number
        self.loop = asyncio.get_running_loop()
        self.here, self.local = pack_address(host, 4000), pack_address(local, LISTENERS[number].port)
        self.table = RudpTable(entropy=Seeded(host), keep_alive=300.0)
        self.stream: RudpStream = self.table.dial(LISTENERS[number], self.loop.time())
        self.heard = b""
        rig.clients[self.here] = self
        self.turn()

    def turn(self) -> None:
        """Do what is due, and send what there is to say."""
        now = self.loop.time()
        self.table.handle_timer(now)
        self.table.events()
        self.heard += self.stream.take()
        packets = [(self.number, self.here, self.local, data) for data, _ in self.table.transmit(now)]
        if packets:
            self.rig.sessions.came(packets, self.thread.answer)

    async def asks(self, question: bytes) -> bytes:
        """Say something, and return what is said to it."""
        self.heard = b""
        self.stream.write(question)
        for _ in range(5):
            self.turn()
            await asyncio.sleep(MOMENT)
        return self.heard


def test_answers_leave_from_the_listener_and_the_address_that_was_asked(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        thread = Thread(rig)
        client = Client(rig, "198.51.100.1", thread, number=1, local="203.0.113.77")
        assert await client.asks(b"question") == b"question"
        assert {packet[:3] for packet in thread.sent} == {(1, client.here, client.local)}
        [accepted] = rig.accepted
        assert accepted.transport.get_extra_info("peername")[:2] == ("198.51.100.1", 4000)
        assert accepted.transport.get_extra_info("sockname")[:2] == ("203.0.113.77", 3479)
        rig.sessions.close()

    simulate(scenario)


def test_each_session_is_answered_by_the_thread_that_has_its_packets(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        threads = [Thread(rig), Thread(rig)]
        clients = [Client(rig, f"198.51.100.{number}", thread) for number, thread in enumerate(threads)]
        for _ in range(3):
            asked = [client.asks(b"at once") for client in clients]
            assert await asyncio.gather(*asked) == [b"at once"] * 2
        for client, thread in zip(clients, threads, strict=True):
            assert {there for _, there, _, _ in thread.sent} == {client.here}
        rig.sessions.close()

    simulate(scenario)


def test_a_session_whose_packets_come_to_another_thread_and_address_is_answered_there(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        before, after = Thread(rig), Thread(rig)
        client = Client(rig, "198.51.100.1", before)
        assert await client.asks(b"one") == b"one"
        sent = len(before.sent)
        client.thread, client.local = after, pack_address("203.0.113.99", 3478)
        assert await client.asks(b"two") == b"two"
        assert len(before.sent) == sent
        assert {local for _, _, local, _ in after.sent} == {client.local}
        rig.sessions.close()

    simulate(scenario)


def test_nothing_longer_is_sent_than_every_path_carries_and_silence_lasts_twenty_seconds(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        thread = Thread(rig)
        client = Client(rig, "198.51.100.1", thread)
        await client.asks(bytes(100_000))
        for _ in range(2000):
            client.turn()
            await asyncio.sleep(MOMENT)
        assert max(len(packet[3]) for packet in thread.sent) == 1220
        await asyncio.sleep(1)
        sent = len(thread.sent)
        await asyncio.sleep(18)
        assert len(thread.sent) == sent
        await asyncio.sleep(3)
        assert len(thread.sent) > sent
        rig.sessions.close()

    simulate(scenario)


def test_each_listener_has_no_more_sessions_than_it_may(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig(most=2)
        thread = Thread(rig)
        clients = [Client(rig, f"198.51.100.{number}", thread) for number in range(3)]
        assert [await client.asks(b"hello") for client in clients] == [b"hello", b"hello", b""]
        assert len(rig.accepted) == 2
        rig.sessions.close()

    simulate(scenario)


def test_sources_that_are_known_are_as_many_as_that_and_sessions_outlast_their_being_forgotten(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram_sessions, "KNOWN", 4)

    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        thread = Thread(rig)
        client = Client(rig, "198.51.100.1", thread)
        assert await client.asks(b"one") == b"one"
        for number in range(20):
            rig.sessions.came([(0, pack_address("192.0.2.9", 1 + number), client.local, b"\x16" * 40)], thread.answer)
            assert len(rig.sessions._listeners[0]._known) <= 4
        rig.accepted[0].transport.write(b"by itself")  # nothing has come from there since
        await asyncio.sleep(MOMENT)
        client.turn()
        assert client.heard == b"one" + b"by itself"
        rig.sessions.close()

    simulate(scenario)


@pytest.mark.parametrize("known", [datagram_sessions.KNOWN, 4])
def test_who_has_not_spoken_for_thousands_of_sources_is_answered_from_where_it_was_heard(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(datagram_sessions, "KNOWN", known)

    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        own, others = Thread(rig), Thread(rig)
        client = Client(rig, "198.51.100.1", own, local="203.0.113.77")
        assert await client.asks(b"one") == b"one"
        elsewhere = pack_address("203.0.113.10", 3478)
        for first in range(1, 5000, 500):
            strange = [(0, pack_address("192.0.2.9", first + at), elsewhere, b"\x16" * 40) for at in range(500)]
            rig.sessions.came(strange, others.answer)
        others.sent.clear()
        rig.accepted[0].transport.write(b"by itself")
        await asyncio.sleep(MOMENT)
        client.turn()
        assert client.heard == b"one" + b"by itself"
        if known > 4:  # where it was heard is remembered
            assert own.sent[-1][:3] == (0, client.here, client.local)
            assert others.sent == []
        rig.sessions.close()

    simulate(scenario)


def test_when_they_are_closed_sessions_end_and_nothing_is_taken_any_more(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        thread = Thread(rig)
        client = Client(rig, "198.51.100.1", thread)
        assert await client.asks(b"one") == b"one"
        rig.sessions.close()
        await asyncio.sleep(MOMENT)
        assert rig.accepted[0].is_lost
        thread.sent.clear()
        late = Client(rig, "198.51.100.2", thread)
        assert await late.asks(b"two") == b""
        assert len(rig.accepted) == 1
        assert thread.sent == []

    simulate(scenario)


def round_of(number: int, rig: Rig, answers: Answers) -> None:
    client = pack_address("192.0.2.9", 1 + number)
    rig.sessions.hand_in([(0, client, client, b"\x16" * 40)] * 2, answers)


def test_of_rounds_that_wait_for_the_loop_more_than_64_are_dropped_and_counted(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        rig = Rig()
        thread = Thread(rig)
        for number in range(70):
            round_of(number, rig, thread.answer)
        assert rig.sessions.counters == {"dropped_events": 2 * 6}
        assert len(rig.sessions._listeners[0]._known) == 0  # nothing is taken in another thread
        await asyncio.sleep(MOMENT)
        assert len(rig.sessions._listeners[0]._known) == 64
        round_of(70, rig, thread.answer)
        assert rig.sessions.counters == {"dropped_events": 2 * 6}
        await asyncio.sleep(MOMENT)
        rig.sessions.close()

    simulate(scenario)


def test_a_thread_that_hands_in_after_the_loop_has_ended_hears_of_no_error() -> None:
    async def begun() -> Rig:
        rig = Rig()
        rig.sessions.close()
        return rig

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        rig = loop.run_until_complete(begun())
    round_of(0, rig, Thread(rig).answer)
    assert rig.sessions.counters == {"dropped_events": 0}
