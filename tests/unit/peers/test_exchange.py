"""The policy of peer exchange: who is told of whom, what is believed, and who is dialled when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.session.joined import CountingEntropy

from librats.config import RatsConfig
from librats.errors import ConfigError, ConnectError
from librats.peers.events import PeerDiscovered
from librats.peers.exchange import (
    ASK_INTERVAL,
    BURST,
    MAX_DIALS,
    MAX_REMEMBERED,
    REDIAL_INTERVAL,
    REFILL,
    PeerExchange,
)
from librats.peers.handling.dispatch import Dispatcher
from librats.peers.handling.handlers import HandlerTable
from librats.peers.hello import Hello
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.session.dial_budget import DialBudget
from librats.session.events import PeersOffered, PeersWanted
from librats.session.exchange import MAX_ENTRIES, KnownPeer, decode_exchange
from librats.types import Address, ConnectionMethod

OWN = "00" * 32


class Clock:
    """Stands for the loop where only its time is asked for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@dataclass(eq=False)
class FakePeer:
    """A peer and its link and session in one, which keeps what is sent to it."""

    number: int
    host: str = "127.0.0.1"
    outgoing: bool = True
    method: ConnectionMethod = ConnectionMethod.TCP
    hello: Hello | None = None
    sent: list[object] = field(default_factory=list)

    @property
    def id(self) -> str:
        return peer_id(self.number)

    @property
    def address(self) -> Address:
        return Address(self.host, 1000 + self.number)

    @property
    def link(self) -> FakePeer:
        return self

    session = link

    def send_exchange(self, payload: bytes) -> None:
        self.sent.append(decode_exchange(payload))

    def request_flush(self) -> None:
        pass


def peer_id(number: int) -> str:
    return f"{number:064x}"


def known(number: int, host: str = "127.0.0.1") -> KnownPeer:
    return KnownPeer(Address(host, 1000 + number), peer_id(number))


class Room:
    """A client's peer exchange among peers that are made up."""

    def __init__(self, **settings: Any) -> None:
        self.peers: dict[str, FakePeer] = {}
        self.dialled: list[KnownPeer] = []
        self.discovered: list[PeerDiscovered] = []
        self.hold = asyncio.Event()
        self.error: Exception | None = None
        handlers = HandlerTable()
        handlers.listen(PeerDiscovered, self.discovered.append)
        self.tasks = TaskSet()
        config = RatsConfig(peer_exchange=True, **settings)
        self.clock = Clock()
        self.exchange = PeerExchange(
            OWN,
            config,
            cast("dict[str, Peer]", self.peers),
            Dispatcher(handlers, self.tasks, config.session),
            self.tasks,
            entropy=CountingEntropy(),
            dial=self.dial,
        )
        self.exchange._loop = cast("asyncio.AbstractEventLoop", self.clock)

    async def dial(self, entry: KnownPeer) -> None:
        self.dialled.append(entry)
        await self.hold.wait()
        if self.error is not None:
            raise self.error

    def join(self, number: int, **fields: Any) -> FakePeer:
        peer = FakePeer(number, **fields)
        self.peers[peer.id] = peer
        self.exchange.joined(cast("Peer", peer))
        return peer

    def leave(self, peer: FakePeer) -> None:
        del self.peers[peer.id]
        self.exchange.left(cast("Peer", peer))

    async def hear(self, peer: FakePeer, event: PeersWanted | PeersOffered) -> None:
        self.exchange.heard(cast("Peer", peer), event)
        await asyncio.sleep(0)

    async def offered(self, peer: FakePeer, *entries: KnownPeer) -> list[KnownPeer]:
        """Let a peer tell of others; returns whom that made dialled."""
        before = len(self.dialled)
        await self.hear(peer, PeersOffered(entries))
        return self.dialled[before:]


@pytest.fixture
async def room() -> Any:
    made = Room()
    yield made
    await made.tasks.close()


# Asking and answering


async def test_a_peer_is_asked_when_it_joins_until_there_are_enough(room: Room) -> None:
    peers = [room.join(number) for number in range(1, 20)]
    assert [peer.sent for peer in peers[:15]] == [[PeersWanted(MAX_ENTRIES)]] * 15
    assert [peer.sent for peer in peers[15:]] == [[]] * 4
    assert room.exchange.counters["asked"] == 15


async def test_an_answer_tells_of_everybody_but_the_asker(room: Room) -> None:
    asker, *others = [room.join(number) for number in range(1, 6)]
    asker.sent.clear()
    await room.hear(asker, PeersWanted(32))
    (answer,) = asker.sent
    assert isinstance(answer, PeersOffered)
    assert sorted(answer.entries) == sorted(known(other.number) for other in others)
    assert (room.exchange.counters["answered"], room.exchange.counters["peers_told"]) == (1, 4)


@pytest.mark.parametrize(("most", "count"), [(0, None), (1, 1), (5, 5), (32, 32), (65535, 32)])
async def test_an_answer_is_as_long_as_wanted_and_never_longer_than_32(
    room: Room, most: int, count: int | None
) -> None:
    asker, *_ = [room.join(number) for number in range(1, 60)]
    asker.sent.clear()
    await room.hear(asker, PeersWanted(most))
    answers = [len(answer.entries) for answer in asker.sent if isinstance(answer, PeersOffered)]
    assert answers == ([] if count is None else [count])


async def test_answers_are_not_always_of_the_same_peers(room: Room) -> None:
    asker, *_ = [room.join(number) for number in range(1, 100)]
    asker.sent.clear()
    for _ in range(BURST):
        await room.hear(asker, PeersWanted(8))
    told = {entry for answer in asker.sent if isinstance(answer, PeersOffered) for entry in answer.entries}
    assert len(told) > 16


async def test_whoever_knows_nobody_does_not_answer(room: Room) -> None:
    asker = room.join(1)
    asker.sent.clear()
    await room.hear(asker, PeersWanted(32))
    assert asker.sent == []


@pytest.mark.parametrize(
    ("peer", "where"),
    [
        (FakePeer(2), Address("127.0.0.1", 1002)),
        (FakePeer(2, host="::ffff:127.0.0.1"), Address("127.0.0.1", 1002)),
        (FakePeer(2, outgoing=False), None),
        (FakePeer(2, method=ConnectionMethod.CARRIED), None),
        (FakePeer(2, outgoing=False, hello=Hello(listen=["10.0.0.9:77", "[::1]:78"])), Address("127.0.0.1", 77)),
        (FakePeer(2, outgoing=False, hello=Hello(listen=["nonsense", "x:0", "10.0.0.9:79"])), Address("127.0.0.1", 79)),
    ],
)
async def test_a_peer_is_told_of_where_it_can_be_dialled(room: Room, peer: FakePeer, where: Address | None) -> None:
    asker = room.join(1)
    room.peers[peer.id] = peer
    asker.sent.clear()
    await room.hear(asker, PeersWanted(32))
    assert asker.sent == ([] if where is None else [PeersOffered((KnownPeer(where, peer.id),))])


HOSTS = ["127.0.0.1", "10.1.2.3", "100.64.0.1", "8.8.8.8"]


@pytest.mark.parametrize(("near", "told"), [("127.0.0.1", 4), ("10.0.0.1", 3), ("fd00::1", 3), ("9.9.9.9", 1)])
async def test_nobody_is_told_of_what_is_nearer_to_us_than_it_is(room: Room, near: str, told: int) -> None:
    asker = room.join(1, host=near)
    for number, host in enumerate([*HOSTS, "fe80::1", "169.254.1.1"], 2):
        room.join(number, host=host)
    asker.sent.clear()
    await room.hear(asker, PeersWanted(32))
    (answer,) = asker.sent
    assert isinstance(answer, PeersOffered)
    assert {entry.address.host for entry in answer.entries} == set(HOSTS[-told:])


# Learning and dialling


async def test_who_is_learnt_of_is_dialled_and_told_about(room: Room) -> None:
    teller = room.join(1)
    assert await room.offered(teller, known(2), known(3, "::ffff:127.0.0.1")) == [known(2), known(3)]
    assert room.discovered == [
        PeerDiscovered(peer_id(number), (known(number).address,), "", "peer-exchange") for number in (2, 3)
    ]
    assert room.exchange.counters["dials"] == room.exchange.counters["peers_learnt"] == 2


@pytest.mark.parametrize("near", ["127.0.0.1", "10.0.0.1", "100.64.0.1", "fd00::1", "8.8.8.8", "2606:4700::1111"])
async def test_no_address_is_believed_that_is_nearer_to_us_than_who_tells_of_it(room: Room, near: str) -> None:
    teller = room.join(1, host=near)
    hosts = {
        *("127.0.0.1", "::1", "10.0.0.2", "192.168.0.1", "172.16.0.1", "100.64.9.9", "fd00::2", "9.9.9.9", "2a00::2"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "::", "224.0.0.1", "169.254.169.254"),  # noqa: S104 - nothing listens
        *("fe80::2", "255.255.255.255", "192.0.2.1"),
    }
    room.exchange._budget = DialBudget(at_once=len(hosts), per_minute=len(hosts))
    for number, host in enumerate(sorted(hosts), 2):
        room.clock.now += REFILL
        room.exchange._dialling.clear()
        await room.offered(teller, known(number, host))
    reached = {entry.address.host for entry in room.dialled}
    public = {"9.9.9.9", "2a00::2"}
    private = {"10.0.0.2", "192.168.0.1", "172.16.0.1", "100.64.9.9", "fd00::2"}
    own = {"127.0.0.1", "::1", "64:ff9b::7f00:1", "2002:7f00:1::"}
    near_ones = {"127.0.0.1": public | private | own, "8.8.8.8": public, "2606:4700::1111": public}
    assert reached == near_ones.get(near, public | private)
    assert room.exchange.counters["addresses_refused"] >= 6


async def test_neither_ourselves_nor_who_is_there_nor_port_0_is_dialled(room: Room) -> None:
    teller, _ = room.join(1), room.join(2)
    own = KnownPeer(Address("127.0.0.1", 5), OWN)
    assert await room.offered(teller, own, known(1), known(2), KnownPeer(Address("127.0.0.1", 0), peer_id(9))) == []
    assert room.discovered == []


async def test_no_more_is_dialled_than_wanted() -> None:
    room = Room(peer_target=4)
    teller, _ = room.join(1), room.join(2)
    assert await room.offered(teller, *map(known, range(3, 20))) == [known(3), known(4)]
    assert len(room.discovered) == 17
    room.hold.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await room.offered(teller, known(5)) == [known(5)]
    await room.tasks.close()
    full = Room(peer_target=50, max_peers=2)
    teller = full.join(1)
    assert len(await full.offered(teller, *map(known, range(2, 20)))) == 1
    await full.tasks.close()


async def test_few_are_dialled_at_once_and_few_in_a_minute() -> None:
    room = Room(peer_target=1000, peer_dials_per_minute=12)
    teller = room.join(1)
    assert len(await room.offered(teller, *map(known, range(2, 30)))) == MAX_DIALS
    room.hold.set()
    await asyncio.sleep(0.01)
    assert len(await room.offered(teller, *map(known, range(30, 60)))) == 12 - MAX_DIALS
    room.clock.now += 59
    await asyncio.sleep(0.01)
    assert await room.offered(teller, known(60)) == []
    room.clock.now += 2
    assert await room.offered(teller, known(60)) == [known(60)]
    await room.tasks.close()


async def test_an_address_is_dialled_again_after_five_minutes_only(room: Room) -> None:
    teller = room.join(1)
    room.error = ConnectError("x")
    room.hold.set()
    assert await room.offered(teller, known(2)) == [known(2)]
    await asyncio.sleep(0.01)
    assert room.exchange.counters["dials_failed"] == 1
    for _ in range(3):
        room.clock.now += REDIAL_INTERVAL / 4
        assert await room.offered(teller, known(2)) == []
        assert await room.offered(teller, KnownPeer(known(2).address, peer_id(77))) == []
    room.clock.now += REDIAL_INTERVAL / 4
    assert await room.offered(teller, known(2)) == [known(2)]
    assert len(room.discovered) == 1


async def test_a_peer_that_is_dialled_at_one_address_is_not_dialled_at_another_meanwhile(room: Room) -> None:
    teller = room.join(1)
    first, second = known(2), KnownPeer(known(3).address, known(2).peer_id)
    assert await room.offered(teller, first, second) == [first]
    room.error = ConnectError("x")
    room.hold.set()
    await asyncio.sleep(0.01)
    assert await room.offered(teller, second) == [second]


async def test_what_is_remembered_is_bounded(room: Room) -> None:
    teller = room.join(1)
    for start in range(2, 2 * MAX_REMEMBERED, MAX_ENTRIES):
        room.clock.now += REFILL
        await room.offered(teller, *map(known, range(start, start + MAX_ENTRIES)))
    assert len(room.exchange._remembered) == MAX_REMEMBERED


async def test_a_peer_that_says_too_much_is_not_heard_for_a_while(room: Room) -> None:
    noisy, quiet = room.join(1), room.join(2)
    for peer in (noisy, quiet):
        peer.sent.clear()
    for _ in range(100):
        await room.hear(noisy, PeersWanted(32))
    assert len(noisy.sent) == BURST
    assert room.exchange.counters["ignored"] == 100 - BURST
    await room.hear(quiet, PeersWanted(32))
    assert len(quiet.sent) == 1
    room.clock.now += REFILL
    for _ in range(3):
        await room.hear(noisy, PeersWanted(32))
    assert len(noisy.sent) == BURST + 1
    assert await room.offered(noisy, known(9)) == []


async def test_a_peer_that_is_gone_is_forgotten(room: Room) -> None:
    peer = room.join(1)
    room.leave(peer)
    await room.hear(peer, PeersWanted(32))
    assert room.exchange._allowances == {}
    assert room.exchange.counters["ignored"] == 1


async def test_peers_are_asked_again_as_long_as_more_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(peer_target=3)
    peers = [room.join(1), room.join(2)]
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        room.clock.now += seconds
        await real_sleep(0)

    monkeypatch.setattr("librats.peers.exchange.asyncio.sleep", sleep)
    started = room.clock.now
    asking = asyncio.ensure_future(room.exchange.keep_asking())
    while room.clock.now < started + 10 * ASK_INTERVAL:
        await real_sleep(0)
    assert [10 <= len(peer.sent) <= 11 for peer in peers] == [True, True]
    peers.append(room.join(3))
    counts = [len(peer.sent) for peer in peers]
    while room.clock.now < started + 20 * ASK_INTERVAL:
        await real_sleep(0)
    assert [len(peer.sent) for peer in peers] == counts
    asking.cancel()
    await asyncio.wait([asking])
    await room.tasks.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("peer_exchange", 1), ("peer_exchange", "yes"), ("peer_target", 0), ("peer_dials_per_minute", -1)],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        RatsConfig(**{name: value})
