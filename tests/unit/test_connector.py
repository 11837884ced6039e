"""From a target to addresses and attempts: what is read, in which order it is tried, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from librats.config import RatsConfig
from librats.connector import MAX_ADDRESSES, Connector, Target
from librats.errors import ConnectError, HandshakeError, OperationTimeout, PeerLimitReached, UsageError
from librats.peers.entry.access import Access
from librats.peers.entry.admission import Admission
from librats.peers.handling.dispatch import Dispatcher
from librats.peers.handling.handlers import HandlerTable
from librats.runtime.tasks import TaskSet
from librats.session.shared_limits import SharedLimits
from librats.types import Address, ConnectionMethod

PEER_ID = "ab" * 32
V4 = [Address("192.0.2.7", port) for port in range(1, 9)]
V6 = [Address("2001:db8::7", port) for port in range(1, 9)]


@pytest.mark.parametrize(
    ("target", "expect_id", "addresses", "peer_id"),
    [
        ("192.0.2.7:80", None, (Address("192.0.2.7", 80),), None),
        (" host.example:80 ", None, (Address("host.example", 80),), None),
        ("[2001:db8::7]:80", PEER_ID, (Address("2001:db8::7", 80),), PEER_ID),
        (("host", "80"), None, (Address("host", 80),), None),
        (["host", 80], None, (Address("host", 80),), None),
        (PEER_ID, None, (), PEER_ID),
        (f"{PEER_ID}@192.0.2.7:80", None, (Address("192.0.2.7", 80),), PEER_ID),
        (f"{PEER_ID}@192.0.2.7:80", PEER_ID, (Address("192.0.2.7", 80),), PEER_ID),
    ],
)
def test_targets_are_read(
    target: Any, expect_id: str | None, addresses: tuple[Address, ...], peer_id: str | None
) -> None:
    read = Target.parse(target, expect_id)
    assert (read.addresses, read.peer_id) == (addresses, peer_id)


@pytest.mark.parametrize(
    ("target", "expect_id"),
    [
        ("", None),
        ("host", None),
        ("host:0", None),
        ("host:65536", None),
        ("host:-1", None),
        ("host:٣", None),
        ("2001:db8::7:80", None),
        (PEER_ID.upper(), None),
        (PEER_ID[:-1], None),
        (f"{PEER_ID}@", None),
        (f"@{PEER_ID}", None),
        ("me@host:80", None),
        (f"{PEER_ID}@host:80", "cd" * 32),
        ("host:80", "cd"),
        (("host", 0), None),
        (("host", 65536), None),
        (("host", "http"), None),
        (("host", True), None),
        (("host", 80.5), None),
        (("host", float("inf")), None),
        ((b"host", 80), None),
        ((None, 80), None),
        (("host", 80, 0), None),
        (80, None),
        (None, None),
    ],
)
def test_targets_without_sense_are_refused(target: Any, expect_id: str | None) -> None:
    with pytest.raises(UsageError):
        Target.parse(target, expect_id)


class FakeLink:
    def __init__(self) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready = False
        self.error: Exception | None = None
        self.reason = ("lost", "the connection was lost")
        self.refused_here = False
        self.aborted = False
        self.peer_id = PEER_ID

    def succeed(self) -> None:
        self.ready = True
        self.settled.set_result(None)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.settled.set_result(None)

    def abort(self) -> None:
        self.aborted = True


class World:
    """A network and a manager that do as they are told."""

    def __init__(self, *, found: list[Address] | None = None, **settings: Any) -> None:
        self.dialled: list[Address] = []
        self.links: list[FakeLink] = []
        self.found = found
        self.answer: dict[Address, Callable[[FakeLink], object]] = {}
        self.peers: dict[str, Any] = {}
        config = RatsConfig(**{"attempt_delay": 0.001, **settings})
        handlers, tasks = HandlerTable(), TaskSet()
        admission = Admission(
            config,
            handlers,
            Dispatcher(handlers, tasks, config.session),
            tasks,
            self.peers,
            access=Access(),
            shared=SharedLimits(config),
        )
        self.spared: list[FakeLink] = []
        manager = SimpleNamespace(
            peers=self.peers,
            new_link=self._new_link,
            admission=admission,
            spare=self.spared.append,
            paths=SimpleNamespace(methods=(ConnectionMethod.TCP,)),
        )
        self.connector = Connector(cast("Any", manager), cast("Any", self), config)

    def _new_link(self, *, expect_id: str | None) -> FakeLink:
        self.links.append(FakeLink())
        return self.links[-1]

    async def resolve(self, address: Address) -> list[Address]:
        return [address] if self.found is None else self.found

    async def dial_tcp(self, factory: Callable[[], FakeLink], address: Address, *, timeout: float | None) -> None:
        self.dialled.append(address)
        link = factory()
        if address in self.answer:
            self.answer[address](link)

    def succeeds(self, link: FakeLink) -> None:
        self.peers.setdefault(PEER_ID, SimpleNamespace(id=PEER_ID, attempts=()))
        link.succeed()

    async def connect(self, *addresses: Address, **settings: Any) -> Any:
        return await self.connector.connect("the target", list(addresses), **settings)


def refuse(_link: FakeLink) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


async def test_families_take_turns_beginning_with_the_resolvers_first() -> None:
    for first, second in ((V4, V6), (V6, V4)):
        world = World(found=[*first[:3], *second[:2], first[0]])
        world.answer = dict.fromkeys([*V4, *V6], refuse)
        with pytest.raises(ConnectError) as raised:
            await world.connect(Address("host", 1))
        assert world.dialled == [first[0], second[0], first[1], second[1], first[2]]
        assert [attempt.address for attempt in raised.value.attempts] == world.dialled
        assert {attempt.error for attempt in raised.value.attempts} == {"connection refused"}


async def test_a_refusal_starts_the_next_attempt_without_delay() -> None:
    world = World(found=[V4[0], V6[0]], attempt_delay=3600.0)
    world.answer = {V4[0]: refuse, V6[0]: world.succeeds}
    async with asyncio.timeout(10):
        peer = await world.connect(Address("host", 1))
    assert [bool(attempt.error) for attempt in peer.attempts] == [True, False]


async def test_slow_attempts_run_on_while_others_start_and_end_when_one_wins() -> None:
    world = World(found=V4[:3])

    def third(link: FakeLink) -> None:
        world.succeeds(world.links[0])

    world.answer = {V4[2]: third}
    async with asyncio.timeout(10):
        peer = await world.connect(Address("host", 1))
    assert [link.aborted for link in world.links] == [False, True, True]
    assert [(attempt.address, attempt.error) for attempt in peer.attempts] == [
        (V4[0], ""),
        (V4[1], "another way was quicker"),
        (V4[2], "another way was quicker"),
    ]


async def test_no_more_addresses_are_tried_than_the_limit() -> None:
    many = [Address("192.0.2.7", port) for port in range(1, 100)]
    world = World(found=many)
    world.answer = dict.fromkeys(many, refuse)
    with pytest.raises(ConnectError):
        await world.connect(Address("host", 1))
    assert len(world.dialled) == MAX_ADDRESSES


async def test_time_runs_out_for_all_attempts_together() -> None:
    world = World(found=V4[:2])
    with pytest.raises(ConnectError, match=r"no answer within 0\.05 s") as raised:
        await world.connect(Address("host", 1), timeout=0.05)
    assert len(raised.value.attempts) == 2
    assert all(link.aborted for link in world.links)


async def test_a_server_on_the_way_that_is_silent_is_told_and_not_taken_for_the_peer() -> None:
    def silent_server(link: FakeLink) -> None:
        raise OperationTimeout("no allocation on 192.0.2.1:3478 over udp within 5 seconds")

    def silent_peer(link: FakeLink) -> None:
        raise TimeoutError

    world = World(dial_timeout=0.3)
    world.answer = {V4[0]: silent_server, V4[1]: silent_peer}
    with pytest.raises(ConnectError) as raised:
        await world.connect(*V4[:2])
    assert [attempt.error for attempt in raised.value.attempts] == [
        "no allocation on 192.0.2.1:3478 over udp within 5 seconds",
        "no connection within 0.3 s",
    ]


async def test_why_a_handshake_failed_is_told() -> None:
    world = World()
    world.answer = {V4[0]: lambda link: link.fail(HandshakeError("expected somebody else"))}
    with pytest.raises(ConnectError, match="expected somebody else") as raised:
        await world.connect(V4[0])
    assert isinstance(raised.value.__cause__, HandshakeError)


async def test_our_own_limit_is_an_error_of_its_own_and_the_peers_is_not() -> None:
    def full(link: FakeLink, *, here: bool) -> None:
        link.refused_here = here
        link.fail(PeerLimitReached("the limit is max_peers") if here else HandshakeError("the peer refused: limit"))

    world = World()
    world.answer = {V4[0]: lambda link: full(link, here=True)}
    with pytest.raises(PeerLimitReached):
        await world.connect(V4[0])
    world.answer = {V4[0]: lambda link: full(link, here=False)}
    with pytest.raises(ConnectError, match="the peer refused"):
        await world.connect(V4[0])


async def test_our_limit_is_told_too_where_it_was_reached_after_the_handshake() -> None:
    def late(link: FakeLink) -> None:
        link.refused_here = True
        link.error = PeerLimitReached("the limit is max_peers")
        link.succeed()

    world = World()
    world.answer = {V4[0]: late}
    with pytest.raises(PeerLimitReached):
        await world.connect(V4[0])


async def test_a_session_that_ends_at_once_is_a_connect_error() -> None:
    world = World()
    world.answer = {V4[0]: FakeLink.succeed}
    with pytest.raises(ConnectError, match="ended at once: the connection was lost"):
        await world.connect(V4[0])


async def test_an_address_dialled_before_gives_the_peer_that_is_there() -> None:
    world = World()
    there = SimpleNamespace(id=PEER_ID, is_connected=True, outgoing=True, address=V4[0])
    world.peers[PEER_ID] = there
    assert await world.connect(V4[0]) is there
    assert world.dialled == []
    there.outgoing = False
    world.answer = {V4[0]: world.succeeds}
    assert await world.connect(V4[0]) is there
    assert world.dialled == [V4[0]]


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_ends_every_attempt(turns: int, count: int) -> None:
    world = World(found=V4[:count])
    task = asyncio.create_task(world.connect(Address("host", 1)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(link.aborted for link in world.links)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_only_attempt_needs_no_task_and_the_next_turn_ends_it() -> None:
    world = World()
    tasks = []

    def answer(link: FakeLink) -> None:
        tasks.append(len(asyncio.all_tasks()))
        world.succeeds(link)

    world.answer = {V4[0]: answer}
    connecting = asyncio.create_task(world.connect(V4[0]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert connecting.done()
    assert tasks == [2]


async def test_the_only_attempt_is_told_when_its_time_is_up() -> None:
    world = World()
    with pytest.raises(ConnectError) as raised:
        await world.connect(V4[0], timeout=0.01)
    assert [(attempt.address, attempt.error) for attempt in raised.value.attempts] == [
        (V4[0], "no answer within 0.01 s")
    ]
    assert [link.aborted for link in world.links] == [True]


async def test_closing_ends_every_connect_under_way() -> None:
    world = World()
    tasks = [asyncio.create_task(world.connect(address)) for address in V4[:3]]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await world.connector.close()
    assert all(link.aborted for link in world.links)
    for task in tasks:
        with pytest.raises(ConnectError, match="the client was stopped"):
            await task
    await world.connector.close()
