"""Datagrams between a node and its socket: bounded work in a turn, one flush for it, and no room now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.loopback.conftest import until_true

from librats._core import krpc
from librats.dht.addresses import compact
from librats.dht.node import DhtNode
from librats.runtime.datagrams import Origin
from librats.runtime.tasks import TaskSet
from librats.services.dht_driving.traffic import AT_ONCE, MOST_UNSENT, MOST_WAITING, DhtTraffic
from librats.testing.entropy import SeededEntropy
from librats.types import Address

PING = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"


class Socket:
    """Takes so many datagrams, and has no room then."""

    local_addresses = (Address("192.0.2.1", 6881),)
    is_closed = False

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.sent: list[tuple[bytes, Address]] = []
        self.calls = 0
        self.has_room = asyncio.Event()

    def send_many(self, items: Iterable[tuple[bytes, Address]]) -> int:
        taken = list(items)[: max(self.room - len(self.sent), 0)]
        self.calls += 1
        self.sent += taken
        return len(taken)

    async def wait_for_room(self) -> None:
        await self.has_room.wait()


def traffic_of(sock: Socket, tasks: TaskSet | None = None) -> DhtTraffic:
    loop = asyncio.get_running_loop()
    node = DhtNode(SeededEntropy(1), now=loop.time())
    return DhtTraffic(node, sock, TaskSet() if tasks is None else tasks, lambda: None)  # type: ignore[arg-type]


def pings(count: int) -> list[tuple[bytes, Origin]]:
    return [(PING, Origin(f"198.51.{number >> 8}.{number & 255}", 7)) for number in range(count)]


async def test_a_turn_of_the_loop_has_bounded_work_and_one_flush() -> None:
    sock = Socket()
    traffic = traffic_of(sock)
    traffic.receive(pings(3 * AT_ONCE))
    for turn in (1, 2, 3):
        answered = [krpc.parse(data).kind for data, _ in sock.sent].count(krpc.RESPONSE)
        assert (answered, sock.calls) == (turn * AT_ONCE, turn)
        await asyncio.sleep(0)
    traffic.close()


async def test_what_comes_faster_than_it_can_be_worked_on_is_dropped_and_counted() -> None:
    traffic = traffic_of(Socket())
    traffic.receive(pings(MOST_WAITING + 5))
    assert traffic.dropped_in == 5
    traffic.receive(pings(MOST_WAITING))
    assert traffic.dropped_in == 5 + MOST_WAITING - AT_ONCE
    assert traffic.received == AT_ONCE
    traffic.close()


async def test_answers_leave_from_where_the_query_came_to() -> None:
    sock = Socket()
    traffic = traffic_of(sock)
    origin = Origin("198.51.100.7", 7)
    traffic.receive([(PING, origin)])
    assert sock.sent[0][1] is origin
    traffic.close()


async def test_nobody_is_answered_at_port_0() -> None:
    sock = Socket()
    traffic = traffic_of(sock)
    traffic.receive([(PING, Origin("198.51.100.7", 0))])
    assert sock.sent == []
    assert traffic.received == 0
    traffic.close()


async def test_what_finds_no_room_is_sent_once_there_is() -> None:
    sock, tasks = Socket(room=2), TaskSet()
    traffic = traffic_of(sock, tasks)
    traffic.receive(pings(5))
    assert len(sock.sent) == 2
    traffic.receive(pings(1))
    assert len(sock.sent) == 2
    sock.room = 1 << 30
    sock.has_room.set()
    await until_true(lambda: not len(tasks))
    assert [address.host for _, address in sock.sent] == [f"198.51.0.{number}" for number in (*range(5), 0)]
    assert (traffic.sent, traffic.dropped_out) == (6, 0)
    traffic.close()


async def test_of_what_finds_no_room_for_long_so_much_waits_and_no_more() -> None:
    sock, tasks = Socket(room=0), TaskSet()
    traffic = traffic_of(sock, tasks)
    for first in range(0, MOST_UNSENT + AT_ONCE, AT_ONCE):
        traffic.receive([(PING, Origin(f"203.0.{first >> 8}.{(first + n) & 255}", 7)) for n in range(AT_ONCE)])
    assert traffic.dropped_out > 0
    traffic.close()
    await tasks.close()


async def test_what_is_closed_takes_and_sends_nothing() -> None:
    sock = Socket()
    traffic = traffic_of(sock)
    traffic.receive(pings(2 * AT_ONCE))
    traffic.flush_soon()
    before = len(sock.sent)
    traffic.close()
    traffic.receive(pings(1))
    traffic.flush()
    traffic.flush_soon()
    await asyncio.sleep(0)
    assert len(sock.sent) == before


async def test_a_timer_is_set_and_does_what_is_due() -> None:
    loop = asyncio.get_running_loop()
    sock = Socket()
    first = compact("198.51.100.1", 6881)
    node = DhtNode(SeededEntropy(1), now=loop.time() - 100.0, bootstrap=[first])
    stepped = 0

    def count() -> None:
        nonlocal stepped
        stepped += 1

    traffic = DhtTraffic(node, sock, TaskSet(), count)  # type: ignore[arg-type]
    traffic.flush()
    assert sock.sent[0][1] == Address("198.51.100.1", 6881)
    await until_true(lambda: node.transactions.counts["failed"])
    assert stepped > 1
    traffic.close()
