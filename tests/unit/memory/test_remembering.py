"""What is noted of who comes and goes, and whom a client dials again by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from librats import Address, ConnectError, ConnectionAttempt, ReconnectConfig
from librats.connector import Target
from librats.memory.remembering import Remembering
from librats.peers.book import PeerBook
from librats.runtime.tasks import TaskSet
from librats.session.frames import Reason
from librats.testing.entropy import SeededEntropy
from librats.types import ConnectionMethod

US, A, B = "0" * 64, "a" * 64, "b" * 64
HERE = Address("192.0.2.7", 8081)


class Hello:
    verify_key = bytes(range(32))

    @staticmethod
    def listen_for(host: str) -> tuple[str, ...]:
        return (f"{host}:9",)


def a_peer(peer_id: str = A, *, outgoing: bool = False, hello: object = None) -> Any:
    stats = SimpleNamespace(connected_seconds=1.0)
    return SimpleNamespace(id=peer_id, address=HERE, outgoing=outgoing, agent="x", hello=hello, stats=stats)


class Scene:
    """A client's memory, and a manager that is connected to nobody."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        self.book = PeerBook(clock=lambda: self.now)
        self.manager = SimpleNamespace(
            peers={}, closing=False, dispatcher=SimpleNamespace(announce=lambda event: None), observer=None
        )
        self.memory = Remembering(
            cast("Any", SimpleNamespace(peer_id=US, connect=None)),
            cast("Any", self.manager),
            self.book,
            None,
            config=ReconnectConfig(**{"initial_delay": 3600.0, "max_delay": 3600.0, **settings}),
            entropy=SeededEntropy(1),
            tasks=TaskSet(),
        )

    def come(self, peer: Any, *, dialled: bool = False) -> None:
        self.memory.connected(peer)
        if dialled:
            self.memory.reached(Target.parse(str(HERE)), peer)


async def test_when_a_peer_was_seen_last_is_when_its_session_has_ended() -> None:
    scene = Scene()
    scene.come(a_peer())
    scene.now = 2000.0
    scene.memory.parted(a_peer(hello=Hello()), Reason.CLOSED)
    assert (scene.book[A].last_seen, scene.book[A].listen) == (2000.0, ("192.0.2.7:9",))


async def test_what_a_peer_says_of_itself_is_noted_and_a_node_of_librats_2_says_nothing() -> None:
    scene = Scene()
    scene.come(a_peer(A, hello=Hello()))
    scene.come(a_peer(B))
    assert scene.book[A].verify_key == Hello.verify_key.hex()
    assert (scene.book[A].listen, scene.book[B].listen, scene.book[B].verify_key) == (("192.0.2.7:9",), (), "")


@pytest.mark.parametrize("code", [Reason.LOST, Reason.TIMEOUT])
async def test_who_was_dialled_is_dialled_again_when_it_is_lost(code: str) -> None:
    scene = Scene()
    scene.come(a_peer(outgoing=True), dialled=True)
    scene.memory.parted(a_peer(), code)
    assert scene.memory.reconnecting == [A]
    await scene.memory.close()
    assert scene.memory.reconnecting == []


async def test_nobody_else_is_dialled_again() -> None:
    scene = Scene()
    scene.come(a_peer(A))  # it has dialled us
    scene.memory.parted(a_peer(A), Reason.LOST)
    scene.memory.parted(a_peer(B), Reason.LOST)  # the application has had it forgotten
    assert scene.memory.reconnecting == []


@pytest.mark.parametrize("why_not", ["disabled", "closing", "there again", "closed"])
async def test_who_was_dialled_is_not_dialled_again_where_nobody_wants_it(why_not: str) -> None:
    scene = Scene(enabled=why_not != "disabled")
    scene.come(a_peer(), dialled=True)
    scene.manager.closing = why_not == "closing"
    if why_not == "there again":
        scene.manager.peers[A] = a_peer()
    scene.memory.parted(a_peer(), Reason.CLOSED if why_not == "closed" else Reason.LOST)
    assert scene.memory.reconnecting == []


async def test_a_session_that_was_closed_makes_it_one_that_was_not_dialled() -> None:
    scene = Scene()
    scene.come(a_peer(), dialled=True)
    scene.memory.parted(a_peer(), Reason.CLOSED)
    scene.come(a_peer())
    scene.memory.parted(a_peer(), Reason.LOST)
    assert scene.memory.reconnecting == []


async def test_saved_peers_are_dialled_at_the_start_but_not_ourselves() -> None:
    for dial_saved in (False, True):
        scene = Scene()
        for peer_id in (US, A):
            scene.come(a_peer(peer_id, outgoing=True))
        scene.memory.start(dial_saved=dial_saved)
        assert scene.manager.observer is scene.memory
        assert scene.memory.reconnecting == [A] * dial_saved
        await scene.memory.stop_dialling()
        assert scene.memory.reconnecting == []


async def test_leaving_tells_whether_it_was_being_dialled() -> None:
    scene = Scene()
    scene.come(a_peer(), dialled=True)
    assert not scene.memory.leave(A)
    scene.come(a_peer(), dialled=True)
    scene.memory.parted(a_peer(), Reason.LOST)
    assert scene.memory.leave(A)


async def test_a_host_name_that_led_to_a_peer_is_noted_and_a_number_is_not() -> None:
    scene = Scene()
    scene.come(a_peer())
    for text in ("rats.example:80", "192.0.2.9:80"):
        scene.memory.reached(Target.parse(text), a_peer())
    assert scene.memory.addresses_of(A) == [Address("rats.example", 80)]


async def test_an_address_that_failed_counts_against_it_where_it_was_tried() -> None:
    scene = Scene()
    scene.come(a_peer(outgoing=True))
    tried = ConnectionAttempt(address=HERE, method=ConnectionMethod.TCP, duration=1.0, error="refused")

    def failures() -> int:
        return scene.book[A].addresses[str(HERE)].failures

    scene.memory.failed(A, ConnectError("it", attempts=(tried,), reason="the network is down"))
    scene.memory.failed(None, ConnectError("it", attempts=(tried,)))
    assert failures() == 0
    scene.memory.failed(A, ConnectError("it", attempts=(tried,)))
    assert failures() == 1


@pytest.mark.parametrize(("is_lost", "is_there"), [(False, False), (True, False), (True, True)])
async def test_who_is_followed_to_a_new_identity_is_dialled_under_that_one(is_lost: bool, is_there: bool) -> None:
    scene = Scene()
    scene.come(a_peer(A), dialled=True)
    if is_lost:
        scene.memory.parted(a_peer(A), Reason.LOST)
    if is_there:
        scene.manager.peers[B] = a_peer(B)
    scene.memory._followed(A, B)
    assert scene.memory.reconnecting == ([B] if is_lost and not is_there else [])
    await scene.memory.close()
    scene.manager.peers.clear()
    scene.memory.parted(a_peer(B), Reason.LOST)
    assert scene.memory.reconnecting == [B]


async def test_the_new_identity_of_a_peer_that_was_not_dialled_is_not_dialled() -> None:
    scene = Scene()
    scene.come(a_peer(A))
    scene.memory._followed(A, B)
    scene.memory.parted(a_peer(B), Reason.LOST)
    assert scene.memory.reconnecting == []
