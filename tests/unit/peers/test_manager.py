"""Which of several links to a peer is used, who is let in, and when a session begins and ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from librats.config import RatsConfig
from librats.peers.events import PathChanged, PeerConnected, PeerDisconnected
from librats.peers.handling.handlers import HandlerTable
from librats.peers.hello import Hello
from librats.peers.identity import Identity
from librats.peers.manager import PeerManager
from librats.runtime.entropy import SystemEntropy
from librats.runtime.tasks import TaskSet
from librats.session.events import DatagramReceived
from librats.session.frames import Kind, Reason
from librats.types import Address, ConnectionMethod

_ports = count(1000)


@dataclass(eq=False)
class FakeLink:
    """One side's end of a connection; what is said on it is kept for the other side."""

    peer_id: str
    initiator: bool
    incarnation: bytes = b"first"
    name: str = ""
    address: Address = field(default_factory=lambda: Address("192.0.2.7", next(_ports)))
    is_open: bool = True
    ready: bool = False
    retired: bool = False
    peer_is_done: bool = False
    admitted: bytes | None = None
    refused: str = ""
    aborted: bool = False
    is_spare: bool = False
    follows: Sequence[tuple[bytes, int]] = ()
    messages_in_order: int = 0
    speaks_librats2: bool = False
    own_id: str = ""
    path_token: bytes = b""
    method: ConnectionMethod = ConnectionMethod.TCP
    told: list[bytes] = field(default_factory=list)
    reason: tuple[str, str] = (Reason.LOST, "the connection was lost")

    @property
    def opened(self) -> Any:
        return SimpleNamespace(greeting=SimpleNamespace(incarnation=self.incarnation))

    @property
    def session(self) -> Any:
        counters = dict.fromkeys(
            ("bytes_sent", "bytes_received", "messages_sent", "messages_received", "frames_skipped", "queued"), 1
        )
        return SimpleNamespace(
            **counters, shortcut=None, streams=SimpleNamespace(count=0), round_trip=SimpleNamespace(smoothed=None)
        )

    @property
    def is_usable(self) -> bool:
        return self.ready and self.is_open and not self.peer_is_done

    def now(self) -> float:
        return 0.0

    def admit(self, hello: bytes) -> None:
        self.admitted = hello

    def send_succession(self, payload: bytes) -> None:
        self.told.append(payload)

    def refuse(self, error: Exception, code: str) -> None:
        self.is_open, self.refused = False, str(error)

    def retire(self, *, peer_is_done: bool = False) -> None:
        self.retired = True
        self.peer_is_done = self.peer_is_done or peer_is_done

    def reinstate(self) -> None:
        self.retired = False

    @property
    def order_id(self) -> bytes:
        return self.name.encode()

    def follow(self, links: Sequence[tuple[bytes, int]]) -> None:
        self.follows = links

    def once_taken(self, function: Callable[[], None]) -> None:
        function()

    def hang_up(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open, self.aborted = False, True


class Side:
    """A manager with ears."""

    def __init__(self, identity: Identity | None = None, **settings: Any) -> None:
        self.identity = identity or Identity.generate()
        self.told: list[Any] = []
        self.handlers = HandlerTable()
        for event in (PeerConnected, PeerDisconnected, PathChanged):
            self.handlers.listen(event, self.told.append)
        self.manager = PeerManager(
            self.identity,
            RatsConfig(**settings),
            self.handlers,
            TaskSet(),
            entropy=SystemEntropy(),
            new_key=SystemEntropy().token_bytes,
            agent="test",
        )

    def opened(self, link: FakeLink) -> None:
        link.own_id = link.own_id or self.identity.peer_id
        self.manager.link_opened(cast("Any", link))

    def is_ready(self, link: FakeLink) -> None:
        link.own_id = link.own_id or self.identity.peer_id
        link.ready = True
        self.manager.link_ready(cast("Any", link), b"{}")

    def closed(self, link: FakeLink) -> None:
        link.is_open = False
        self.manager.link_closed(cast("Any", link))

    def superseded(self, link: FakeLink) -> None:
        self.manager.link_going(cast("Any", link), Reason.SUPERSEDED, "")

    def in_use(self, peer_id: str) -> Any:
        return self.manager.peers[peer_id].link

    def counted(self, event: type) -> int:
        return sum(isinstance(told, event) for told in self.told)


@pytest.fixture(autouse=True)
async def running_loop() -> None:
    """Peers and tasks take their time from the loop."""


def smaller_and_greater() -> tuple[Identity, Identity]:
    first, second = sorted((Identity.generate(), Identity.generate()), key=lambda identity: identity.peer_id)
    return first, second


@pytest.mark.parametrize("seed", range(40))
async def test_both_sides_come_to_use_the_same_link_whatever_order_they_see(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - an order of events, no secret
    sides = [Side(identity) for identity in smaller_and_greater()]
    ends: list[tuple[FakeLink, FakeLink]] = []
    steps: list[Callable[[], None]] = []
    for number in range(chance.randrange(2, 6)):
        dialler = chance.randrange(2)
        pair = (
            FakeLink(sides[1].identity.peer_id, dialler == 0, name=str(number)),
            FakeLink(sides[0].identity.peer_id, dialler == 1, name=str(number)),
        )
        ends.append(pair)
        steps += [lambda n=n, pair=pair: sides[n].is_ready(pair[n]) for n in range(2)]  # type: ignore[misc]
    chance.shuffle(steps)
    for step in steps:
        step()
    # What one side has retired, it tells the other side in the end.
    for _ in range(len(ends)):
        for pair in ends:
            for n in range(2):
                if pair[n].retired and pair[n].is_open and not pair[1 - n].peer_is_done:
                    sides[1 - n].superseded(pair[1 - n])
        for pair in ends:
            if all(end.retired and end.peer_is_done and end.is_open for end in pair):
                for n in range(2):
                    sides[n].closed(pair[n])
    used = [side.in_use(other.identity.peer_id) for side, other in (sides, sides[::-1])]
    assert used[0].name == used[1].name
    assert [end.retired for end in used] == [False, False]
    assert all(end.is_open == (end.name == used[0].name) for pair in ends for end in pair)
    if any(pair[0].initiator for pair in ends):
        assert used[0].initiator, "what the smaller id dialled wins"
    for side in sides:
        assert side.counted(PeerConnected) == 1
        assert side.counted(PeerDisconnected) == 0


async def test_the_link_in_use_follows_what_was_sent_on_every_other_one_gone_or_not() -> None:
    side, peer_id = Side(), "f" * 64
    links = [FakeLink(peer_id, True, name=str(number), messages_in_order=number) for number in range(4)]
    for link in links[:3]:
        side.is_ready(link)
    assert [link.follows for link in links[:3]] == [(), [], [(b"1", 1)]]
    side.closed(links[1])
    side.is_ready(links[3])
    assert links[3].follows == [(b"1", 1), (b"2", 2)]
    side.closed(links[3])
    assert side.in_use(peer_id) is links[2]
    assert links[2].follows == [(b"1", 1), (b"3", 3)]


async def test_of_the_links_that_are_gone_the_last_sixteen_are_followed() -> None:
    side, peer_id = Side(), "f" * 64
    links = [FakeLink(peer_id, True, name=str(number), messages_in_order=1) for number in range(20)]
    side.is_ready(links[0])
    for old, new in pairwise(links):
        side.is_ready(new)
        side.closed(old)
    side.is_ready(FakeLink(peer_id, True))
    assert [name for name, _ in side.in_use(peer_id).follows] == [str(number).encode() for number in range(3, 20)]


async def test_of_opposite_links_that_of_the_smaller_id_lives() -> None:
    small, great = smaller_and_greater()
    for own, other, wins in ((small, great, True), (great, small, False)):
        for order in (0, 1):
            side = Side(own)
            dialled, taken = FakeLink(other.peer_id, True), FakeLink(other.peer_id, False)
            for link in (dialled, taken)[:: -1 if order else 1]:
                side.is_ready(link)
            assert side.in_use(other.peer_id) is (dialled if wins else taken)
            assert (dialled.retired, taken.retired) == (not wins, wins)
            assert not dialled.aborted
            assert not taken.aborted


async def test_a_peer_lives_as_long_as_one_of_its_links() -> None:
    side, other = Side(), Identity.generate()
    links = [FakeLink(other.peer_id, True) for _ in range(3)]
    for link in links:
        side.is_ready(link)
    assert side.in_use(other.peer_id) is links[2]
    side.closed(links[2])
    assert side.in_use(other.peer_id) is links[1]
    assert not links[1].retired
    side.closed(links[0])
    assert side.counted(PeerDisconnected) == 0
    links[1].reason = ("closed", "good night")
    side.closed(links[1])
    assert side.manager.peers == {}
    assert (side.told[-1].code, side.told[-1].reason) == ("closed", "good night")
    side.closed(links[1])
    assert side.counted(PeerDisconnected) == 1


async def test_a_link_that_the_peer_is_done_with_is_not_fallen_back_on() -> None:
    side, other = Side(), Identity.generate()
    first, second = FakeLink(other.peer_id, False), FakeLink(other.peer_id, False)
    side.is_ready(first)
    side.is_ready(second)
    side.superseded(first)
    side.closed(second)
    assert side.manager.peers == {}


async def test_a_dial_that_lost_the_race_is_drained_whichever_is_ready_first() -> None:
    for loser_first in (True, False):
        side, other = Side(), Identity.generate()
        winner, loser = FakeLink(other.peer_id, True), FakeLink(other.peer_id, True)
        for link in (winner, loser):
            side.opened(link)
        assert not side.manager.spare(cast("Any", loser)), "there is no other link yet"
        for link in (loser, winner) if loser_first else (winner,):
            side.is_ready(link)
        assert side.manager.spare(cast("Any", loser))
        if not loser_first:
            side.is_ready(loser)
        assert side.in_use(other.peer_id) is winner
        assert (winner.retired, loser.retired, loser.aborted) == (False, True, False)
        side.manager.closing = True
        assert not side.manager.spare(cast("Any", loser)), "what is closed is closed at once"


async def test_a_dial_that_lost_the_race_is_used_where_the_other_side_will_use_it() -> None:
    smaller, greater = smaller_and_greater()
    side = Side(smaller)
    theirs, spare = FakeLink(greater.peer_id, False), FakeLink(greater.peer_id, True)
    side.is_ready(theirs)
    side.opened(spare)
    assert side.manager.spare(cast("Any", spare))
    side.is_ready(spare)
    assert side.in_use(greater.peer_id) is spare
    assert theirs.retired


async def test_a_dial_on_which_nothing_was_said_is_not_spared() -> None:
    side, other = Side(), Identity.generate()
    side.is_ready(FakeLink(other.peer_id, True))
    assert not side.manager.spare(cast("Any", FakeLink(other.peer_id, True)))
    assert not side.manager.spare(cast("Any", FakeLink("", True)))


async def test_another_incarnation_ends_the_old_session_and_begins_a_new_one() -> None:
    side, other = Side(), Identity.generate()
    old = [FakeLink(other.peer_id, True), FakeLink(other.peer_id, True)]
    for link in old:
        side.is_ready(link)
    before = side.manager.peers[other.peer_id]
    new = FakeLink(other.peer_id, False, incarnation=b"second")
    side.is_ready(new)
    assert side.manager.peers[other.peer_id] is not before
    assert before.disconnected
    assert [link.aborted for link in old] == [True, True]
    for link in old:
        side.closed(link)
    assert side.in_use(other.peer_id) is new
    assert (side.counted(PeerConnected), side.counted(PeerDisconnected)) == (2, 1)


async def test_a_full_client_lets_in_only_who_is_there_already() -> None:
    side = Side(max_peers=1)
    there, stranger = Identity.generate().peer_id, Identity.generate().peer_id
    side.is_ready(FakeLink(there, False))
    again, late = FakeLink(there, False), FakeLink(stranger, False)
    for link in (again, late):
        side.opened(link)
    assert again.admitted is not None
    assert late.admitted is None
    assert "max_peers" in late.refused
    # Two that were let in at the same time, for one free place.
    side.is_ready(slipped := FakeLink(stranger, False))
    assert "max_peers" in slipped.refused
    assert list(side.manager.peers) == [there]
    side.closed(slipped)
    assert side.counted(PeerDisconnected) == 0


async def test_a_hello_that_does_not_parse_harms_nothing() -> None:
    side, link = Side(), FakeLink(Identity.generate().peer_id, True)
    link.ready = True
    side.manager.link_ready(cast("Any", link), b"{")
    assert side.manager.peers[link.peer_id].hello is None
    assert side.manager.dispatcher.bad_payloads == 1


async def test_traffic_of_those_who_are_gone_is_still_counted() -> None:
    side = Side()
    for _ in range(3):
        link = FakeLink(Identity.generate().peer_id, True)
        side.is_ready(link)
        side.closed(link)
    assert side.manager.gone.messages_sent == 3
    assert side.manager.counters["peers_disconnected"] == 3


async def test_an_answer_to_goodbye_ends_the_session_with_its_reason() -> None:
    side, link = Side(), FakeLink(Identity.generate().peer_id, True)
    side.is_ready(link)
    link.reason = ("closed", "bye")
    side.manager.link_going(cast("Any", link), "closed", "bye")
    assert not link.is_open
    side.closed(link)
    assert side.told[-1].reason == "bye"


async def test_after_a_rotation_peers_are_told_and_the_link_of_the_new_identity_wins() -> None:
    """Whoever dialled: the peer takes the two links for two peers, and does not choose."""
    for initiator in (True, False):
        for new_identity in smaller_and_greater():
            side = Side()
            peer = Identity.generate().peer_id
            old = FakeLink(peer, initiator=initiator)
            side.opened(old)
            side.is_ready(old)
            side.manager.become(new_identity, b"record")
            new = FakeLink(peer, initiator=not initiator, own_id=new_identity.peer_id)
            side.opened(new)
            side.is_ready(new)
            assert side.in_use(peer) is new
            assert (old.retired, new.retired) == (True, False)
            assert new.told == [b"record"]
            hello = Hello.decode(new.admitted or b"")
            assert hello.verify_key == new_identity.verify_key
            assert side.counted(PeerConnected) == 1


async def test_a_link_made_before_a_rotation_is_admitted_as_who_it_was_made() -> None:
    side = Side()
    link = FakeLink(Identity.generate().peer_id, initiator=True, own_id=side.identity.peer_id)
    side.manager.become(Identity.generate(), b"record")
    side.opened(link)
    assert Hello.decode(link.admitted or b"").verify_key == side.identity.verify_key
    assert link.told == [b"record"]


async def test_neither_identity_of_ours_is_a_peer() -> None:
    side = Side()
    side.manager.become(Identity.generate(), b"record")
    for identity in (side.identity, side.manager.identity):
        link = FakeLink(identity.peer_id, initiator=True)
        side.opened(link)
        assert "this client itself" in link.refused


async def test_a_datagram_that_overtakes_the_hello_of_the_next_session_is_not_of_the_last_one() -> None:
    side, other = Side(), Identity.generate()
    heard: list[bytes] = []
    side.handlers.listen("datagram", lambda peer, data: heard.append(data))
    side.is_ready(old := FakeLink(other.peer_id, True))
    side.opened(new := FakeLink(other.peer_id, False, incarnation=b"second"))
    for link, data in ((old, b"1"), (new, b"2")):
        side.manager.datagram_received(cast("Any", link), DatagramReceived(Kind.BYTES, data))
    side.is_ready(new)
    for link, data in ((old, b"3"), (new, b"4")):
        side.manager.datagram_received(cast("Any", link), DatagramReceived(Kind.BYTES, data))
    await asyncio.sleep(0)
    assert heard == [b"1", b"4"]
