"""The TURN client over networks that lose, copy and reorder datagrams, beside servers that fail, and fed with junk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.reference.turn_run import PEER, SERVER, TurnRun
from tests.reference.turn_server import ReferenceServer

from librats._core.stun import serialise
from librats.errors import UsageError
from librats.stun.constants import Attribute
from librats.turn.allocation_events import TurnAllocated, TurnLost
from librats.turn.client_auth import Login
from librats.turn.client_events import AllocationFailed, RequestDone, RequestFailed
from librats.types import Address

BOB = Login("bob", "secret")
USERS = {"bob": "secret"}

# For each datagram in turn: when its copies arrive. At most two in a row are lost, so seven transmissions suffice.
FATES = st.lists(
    st.one_of(
        st.just([0.01]),
        st.just([]),
        st.lists(st.floats(0.001, 0.4), min_size=1, max_size=3),
    ),
    max_size=60,
)


def spoil(run: TurnRun, fates: list[list[float]]) -> None:
    left = iter(fates)
    lost = 0

    def copies(_data: bytes) -> list[float]:
        nonlocal lost
        fate = next(left, [0.01])
        lost = 0 if fate else lost + 1
        return fate if lost < 3 else [0.01]

    run.copies = copies


@settings(max_examples=40)
@given(fates=FATES, modern=st.booleans(), stale=st.booleans())
def test_losses_copies_and_disorder_change_nothing(fates: list[list[float]], modern: bool, stale: bool) -> None:
    server = ReferenceServer(USERS, modern=modern)
    server.nonce_limit = 3 if stale else None
    run = TurnRun(server, login=BOB, start=False, patience=40.0, keep_alive=20.0)
    spoil(run, fates)
    run.client.start()
    run.run(60.0)
    assert len(run.of(TurnAllocated)) == 1
    numbers = [run.client.create_permission([PEER.host], now=run.now), run.client.bind_channel(PEER, now=run.now)]
    run.run(60.0)
    assert sorted(event.request for event in run.of(RequestDone)) == numbers
    run.send(b"ping")
    run.run(1000.0)
    assert not run.of(TurnLost)
    assert not run.of(AllocationFailed)
    assert not run.of(RequestFailed)
    assert run.client.counters.forged == run.client.counters.malformed == 0
    run.copies = lambda _data: (0.01,)
    run.from_peer(b"pong")
    run.run(0.1)
    assert run.data == [(b"pong", PEER)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0.0, 400.0)),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("down"), st.booleans()),
        st.tuples(st.just("fault"), st.sampled_from([0, 300, 400, 401, 403, 437, 438, 441, 486, 500, 508])),
        st.tuples(st.just("permit"), st.integers(1, 5)),
        st.tuples(st.just("bind"), st.integers(1, 5)),
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("drop"), st.integers(1, 5)),
        st.tuples(st.just("refresh"), st.none()),
        st.tuples(st.just("move"), st.none()),
        st.tuples(st.just("break"), st.none()),
    ),
    max_size=25,
)


def take(run: TurnRun, step: str, value: Any) -> None:
    client, now = run.client, run.now
    peer = Address(f"203.0.113.{value}", 4000)

    def fail() -> None:
        run.server.fault = lambda *_: (value, []) if value else None

    actions: dict[str, Callable[[], object]] = {
        "wait": lambda: run.run(value),
        "restart": run.server.restart,
        "down": lambda: setattr(run, "is_down", value),
        "fault": fail,
        "permit": lambda: client.create_permission([peer.host], now=now),
        "bind": lambda: client.bind_channel(peer, now=now),
        "send": lambda: run.send(b"data", peer),
        "drop": lambda: client.drop_permission([peer.host]),
        "refresh": lambda: client.refresh(now=now),
        "move": lambda: client.move(now=now),
        "break": lambda: client.transport_lost("reset", now=now),
    }
    actions[step]()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_the_server_does_the_client_comes_back(steps: list[tuple[str, object]]) -> None:
    server = ReferenceServer(USERS, mobility=True)
    run = TurnRun(server, login=BOB, mobility=True)
    run.run(1.0)
    for step, value in steps:
        take(run, step, value)
        run.pump()
    run.is_down = False
    server.fault = lambda *_: None
    run.run(150.0)
    assert run.client.is_allocated
    assert not run.of(AllocationFailed)
    number = run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    assert number in [event.request for event in run.of(RequestDone)]
    settled = [event.request for event in run.of(RequestDone)] + [event.request for event in run.of(RequestFailed)]
    assert len(settled) == len(set(settled))
    run.client.close(now=run.now)
    run.run(2.0)
    assert run.client.next_timer() is None


@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda rest: b"\x40\x00\x00\x10" + rest)))
def test_junk_of_the_server_raises_nothing(data: bytes) -> None:
    for reliable in (False, True):
        run = TurnRun(ReferenceServer(USERS, reliable=reliable), login=BOB, reliable=reliable)
        run.run(1.0)
        if reliable:
            run.client.receive_data(data, now=run.now)
        else:
            run.client.receive_datagrams([(data, SERVER)], now=run.now)
        run.run(1.0)


@given(
    kind=st.integers(0, 3),
    method=st.sampled_from([1, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
    attributes=st.lists(st.tuples(st.sampled_from(list(Attribute)), st.binary(max_size=24)), max_size=5),
)
def test_odd_answers_to_an_allocation_raise_nothing(
    kind: int, method: int, attributes: list[tuple[int, bytes]]
) -> None:
    run = TurnRun(ReferenceServer(), start=False)
    run.copies = lambda _data: ()
    run.client.start()
    run.pump()
    message = bytearray(serialise(method, kind, run.sent[0][8:20]))
    for number, value in attributes:
        message += number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    message[2:4] = (len(message) - 20).to_bytes(2, "big")
    run.client.receive_datagrams([(bytes(message), SERVER)], now=run.now)
    run.run(60.0)
    assert run.client.is_allocated or run.of(AllocationFailed)


@given(st.text(max_size=8), st.text(max_size=8))
def test_logins_are_taken_or_refused_by_name(username: str, password: str) -> None:
    try:
        run = TurnRun(ReferenceServer(USERS), login=Login(username, password))
    except UsageError:
        return
    run.run(60.0)
    assert run.of(AllocationFailed)
