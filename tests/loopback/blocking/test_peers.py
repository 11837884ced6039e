"""Peers of blocking clients: who they are, when they come, and when they go."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

import librats
from librats import PeerNotConnected, UsageError
from librats.blocking import Peer, RatsClient

if TYPE_CHECKING:
    from tests.loopback.blocking.conftest import Meet, NewClient, Pair

TIMEOUT = 20


def test_a_peer_is_the_same_object_everywhere(pair: Pair) -> None:
    heard: SimpleQueue[Peer] = SimpleQueue()
    pair.b.on("chat", lambda peer, data: heard.put(peer))
    pair.b.on_stream("s/1", lambda stream: heard.put(stream.peer))
    pair.a.send("chat")
    assert heard.get(timeout=TIMEOUT) is pair.a_seen_by_b
    with pair.a.open_stream(pair.b_seen_by_a, "s/1") as stream:
        assert stream.peer is pair.b_seen_by_a
        assert heard.get(timeout=TIMEOUT) is pair.a_seen_by_b
    assert pair.b.peers == {pair.a.peer_id: pair.a_seen_by_b}
    assert pair.a.connect(("127.0.0.1", pair.b.listen_port)) is pair.b_seen_by_a


def test_a_peer_tells_about_itself(pair: Pair) -> None:
    peer = pair.b_seen_by_a
    assert peer.ping() > 0
    assert peer.id == pair.b.peer_id
    assert peer.address == ("127.0.0.1", pair.b.listen_port)
    assert peer.method == librats.ConnectionMethod.TCP
    assert peer.is_connected
    assert peer.outgoing
    assert not pair.a_seen_by_b.outgoing
    assert peer.agent.startswith("librats-python/")
    assert peer.rtt is not None
    assert peer.stats.bytes_sent > 0
    assert [attempt.error for attempt in peer.attempts] == [""]
    assert pair.b.peer_id in peer.explain()
    assert repr(peer) == f"<Peer {pair.b.peer_id[:8]} at 127.0.0.1:{pair.b.listen_port}>"
    assert peer.try_send("nobody listens")


def test_another_clients_peer_is_refused(pair: Pair) -> None:
    calls: list[Callable[[], object]] = [
        lambda: pair.a.send("chat", to=pair.a_seen_by_b),
        lambda: pair.a.request(pair.a_seen_by_b, "ask"),
        lambda: pair.a.disconnect(pair.a_seen_by_b),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="another client"):
            call()


def test_connecting_and_parting_are_told_in_order_with_blocking_peers(new_client: NewClient) -> None:
    told: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    gate = threading.Event()
    with new_client() as a, new_client() as b:

        @b.on_connect
        def connected(peer: Peer) -> None:
            gate.wait(TIMEOUT)
            told.put(("connected", peer))

        @b.on_disconnect
        def disconnected(peer: Peer, reason: str) -> None:
            told.put(("disconnected", peer))

        b.on_event(librats.PeerConnected, lambda event: told.put(("event", event.peer)))
        peer = a.connect(("127.0.0.1", b.listen_port))
        a.disconnect(peer, "bye")
        assert not peer.is_connected
        gate.set()
        found = [told.get(timeout=TIMEOUT) for _ in range(3)]
        assert [word for word, _ in found] == ["connected", "event", "disconnected"]
        assert len({peer for _, peer in found}) == 1
        assert isinstance(found[0][1], Peer)
        with pytest.raises(PeerNotConnected):
            peer.send("chat")


def test_parting_is_told_even_where_the_client_itself_stops(new_client: NewClient, meet: Meet) -> None:
    told: list[str] = []
    with new_client() as a, new_client() as b:
        a.on_disconnect(lambda peer, reason: told.append(peer.id))
        meet(a, b)
        a.stop()
        assert told == [b.peer_id]


def test_a_failing_listener_is_logged_counted_and_harmless(
    caplog: pytest.LogCaptureFixture, new_client: NewClient, meet: Meet
) -> None:
    with new_client() as a, new_client() as b:
        failed = threading.Event()

        @b.on_connect
        def fail(peer: Peer) -> None:
            raise LookupError("a mistake in the application")

        b.on_event(librats.PeerConnected, lambda event: failed.set())
        meet(a, b)
        assert failed.wait(TIMEOUT)  # it comes behind the failure
        assert b.statistics()["handler_errors"] == 1
    assert "the handler for connect failed" in caplog.text


def test_the_incoming_hook_may_wait_and_refuse(new_client: NewClient) -> None:
    with new_client() as a, new_client() as b:
        asked: SimpleQueue[Any] = SimpleQueue()

        @b.on_incoming
        def admit(who: Any) -> bool:
            asked.put(who)
            return not isinstance(who, Peer)

        with pytest.raises(librats.ConnectError):
            a.connect(("127.0.0.1", b.listen_port))
        assert asked.get(timeout=TIMEOUT).host == "127.0.0.1"
        assert asked.get(timeout=TIMEOUT).id == a.peer_id


def test_familiar_names_work(pair: Pair, new_client: NewClient) -> None:
    called: SimpleQueue[Any] = SimpleQueue()
    with new_client() as c:
        c.set_connection_callback(called.put)
        c.set_advanced_connection_callback(lambda peer, result: called.put((peer, result.success)))
        result = c.connect_to_peer("127.0.0.1", pair.b.listen_port)
        assert result.success
        assert result.peer_id == pair.b.peer_id
        first, second = called.get(timeout=TIMEOUT), called.get(timeout=TIMEOUT)
        assert isinstance(first, Peer)
        assert second == (first, True)
        tried = c.test_connection_strategies("127.0.0.1", pair.a.listen_port, ["direct"])
        assert [result.success for result in tried.values()] == [True]


def test_the_lists_of_whom_a_client_talks_to_work_from_any_thread(pair: Pair) -> None:
    gone: SimpleQueue[str] = SimpleQueue()
    pair.b.on_disconnect(lambda peer, reason: gone.put(reason))
    pair.b.deny.add(pair.a.peer_id)
    assert gone.get(timeout=20.0) == f"peer {pair.a.peer_id[:8]} is on the deny list"
    assert list(pair.b.deny) == [pair.a.peer_id]
    assert list(pair.b.allow) == []


def test_the_peer_book_is_that_of_the_async_client(pair: Pair) -> None:
    book = pair.a.book
    assert list(book) == [pair.b.peer_id]
    assert len(book) == len(book.ever) == 1
    assert book[pair.b.peer_id].met == "dialled"
    assert book.addresses_of(pair.b.peer_id) == [("127.0.0.1", pair.b.listen_port)]
    book.add("ab" * 32, ["192.0.2.7:8081"])
    book.set_favourite("ab" * 32)
    assert pair.a.book["ab" * 32].favourite
    assert book.forget("ab" * 32)
    assert repr(book) == "<PeerBook of 1 peers>"


@pytest.mark.parametrize("timeout", [-1, 0, math.nan])
def test_a_timeout_is_above_zero(pair: Pair, timeout: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        pair.a.connect(("127.0.0.1", pair.b.listen_port), timeout=timeout)
    with pytest.raises(UsageError, match="above 0"):
        pair.a.request(pair.b_seen_by_a, "ask", timeout=timeout)
    with pytest.raises(UsageError, match="above 0"):
        pair.b_seen_by_a.request("ask", timeout=timeout)
    with pytest.raises(UsageError, match="above 0"):
        pair.b_seen_by_a.ping(timeout=timeout)


def test_a_peer_of_another_client_is_refused(pair: Pair, new_client: NewClient) -> None:
    with new_client() as other:
        for client in (other, pair.b):
            with pytest.raises(UsageError, match="another client's peer"):
                client.send("n", to=pair.b_seen_by_a)
            with pytest.raises(UsageError, match="another client's peer"):
                client.request(pair.b_seen_by_a, "ask")
            with pytest.raises(UsageError, match="another client's peer"):
                client.disconnect(pair.b_seen_by_a)
            # The form that the asyncio client gives out is no way around that.
            with pytest.raises(UsageError, match="another client's peer"):
                client.send_text("", to=pair.b_seen_by_a._peer)  # type: ignore[arg-type]


def test_how_a_peer_is_reached_is_told_as_values_and_step_by_step() -> None:
    config = librats.RatsConfig(listen_host="127.0.0.1", nat=librats.NatTraversalConfig.offline())
    with ExitStack() as stack:
        makes = (RatsClient(config=config, identity=librats.Identity.generate()) for _ in range(3))
        reach_step_by_step(*(stack.enter_context(client) for client in makes))


def reach_step_by_step(alice: RatsClient, bob: RatsClient, carol: RatsClient) -> None:
    told: SimpleQueue[tuple[str, str]] = SimpleQueue()
    alice.set_nat_traversal_progress_callback(lambda peer_id, step: told.put((peer_id, step)))
    found: SimpleQueue[tuple[str, str]] = SimpleQueue()
    alice.set_ice_candidate_callback(lambda peer_id, candidate: found.put((peer_id, candidate.type)))
    for client in (alice, bob):
        client.connect(("127.0.0.1", carol.listen_port))
    result = alice.connect_to_peer("", 0, "ice", peer_id=bob.peer_id)
    assert result.success, result
    assert found.get(timeout=TIMEOUT) == (bob.peer_id, "host")
    steps = [told.get(timeout=TIMEOUT) for _ in range(5)]
    assert steps == [(bob.peer_id, step) for step in ("started", "offered", "answered", "found", "connected")]
    peer = alice.peers[bob.peer_id]
    report = peer.report()
    assert str(report) == peer.explain()
    assert report.used_candidates == result.used_candidates
    assert peer.nat_type is librats.NatType.UNKNOWN
    missing = alice.connect_to_peer("127.0.0.1", 1, "relay")
    assert missing.reason is librats.AttemptReason.NOT_CONFIGURED
