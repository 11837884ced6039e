"""The allocation: made, kept, made again, moved, given back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.reference.turn_run import PEER, SERVER, TurnRun
from tests.reference.turn_server import ReferenceServer

from librats.errors import ClosedError, ConnectError, OperationTimeout, TurnError, UsageError
from librats.stun.constants import Attribute, Method
from librats.turn.allocation_events import TurnAllocated, TurnLost, TurnMoved
from librats.turn.client_auth import Login
from librats.turn.client_events import AllocationFailed, Closed, ConnectWanted, RequestDone, RequestFailed
from librats.types import Address

BOB = Login("bob", "secret")
USERS = {"bob": "secret"}


def allocated(server: ReferenceServer | None = None, **settings: Any) -> TurnRun:
    run = TurnRun(server or ReferenceServer(USERS), login=BOB, **settings)
    run.run(10.0)  # long enough for the allocation to count as one that lasts
    assert run.of(TurnAllocated), run.events
    return run


def failure(run: TurnRun) -> Exception:
    run.run(60.0)
    [failed] = run.of(AllocationFailed)
    return failed.error


def test_an_allocation_is_made_with_one_challenge() -> None:
    run = allocated()
    [event] = run.of(TurnAllocated)
    assert event.relayed == (Address("192.0.2.1", 50_001),)
    assert event.mapped == run.local
    assert (event.lifetime, event.again, event.missing) == (600.0, False, ())
    assert run.server.methods() == [Method.ALLOCATE, Method.ALLOCATE]
    assert run.client.counters.allocations == 1


def test_a_server_without_credentials_is_used_without() -> None:
    run = TurnRun(ReferenceServer())
    run.run(1.0)
    assert run.of(TurnAllocated)
    assert run.server.methods() == [Method.ALLOCATE]


@pytest.mark.parametrize(
    ("family", "hosts"), [("ipv4", ["192.0.2.1"]), ("ipv6", ["2001:db8::1"]), ("dual", ["192.0.2.1", "2001:db8::1"])]
)
def test_the_address_families_asked_for_are_relayed(family: str, hosts: list[str]) -> None:
    run = allocated(family=family)
    assert [address.host for address in run.of(TurnAllocated)[0].relayed] == hosts


def test_half_of_a_dual_allocation_tells_why_the_rest_is_missing() -> None:
    run = allocated(ReferenceServer(USERS, has_ipv6=False), family="dual")
    [missing] = run.of(TurnAllocated)[0].missing
    assert missing.code == 440


def test_a_missing_family_is_an_error_where_it_was_the_only_one() -> None:
    error = failure(TurnRun(ReferenceServer(USERS, has_ipv6=False), login=BOB, family="ipv6"))
    assert isinstance(error, TurnError)
    assert error.code == 440


def test_it_is_refreshed_a_minute_before_it_ends() -> None:
    run = allocated(keep_alive=10_000.0)
    run.run(530.0)
    assert Method.REFRESH not in run.server.methods()
    run.run(20.0)
    assert run.server.methods().count(Method.REFRESH) == 1
    run.run(5_000.0)
    assert not run.of(TurnLost)
    assert run.server.methods().count(Method.REFRESH) == pytest.approx(10, abs=1)


def test_a_short_lifetime_is_refreshed_at_its_half() -> None:
    run = allocated(lifetime=20, keep_alive=10_000.0)
    run.run(200.0)
    assert not run.of(TurnLost)
    assert run.server.methods().count(Method.REFRESH) == pytest.approx(20, abs=1)
    assert all(
        message.get(Attribute.LIFETIME) == 20 for method, message in run.server.requests if method == Method.REFRESH
    )


def test_a_silent_server_is_asked_for_a_sign_of_life() -> None:
    run = allocated(keep_alive=15.0)
    run.run(61.0)
    assert run.server.methods().count(Method.REFRESH) == 4


def test_only_the_mapping_is_kept_where_the_server_is_heard() -> None:
    run = allocated(keep_alive=15.0)
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    for _ in range(30):
        run.from_peer(b"here I am")
        run.run(2.0)
    assert Method.REFRESH not in run.server.methods()
    assert [message.method for message in run.server.indications] == [Method.BINDING] * 4


def test_a_server_that_was_started_again_is_noticed_and_used_again() -> None:
    run = allocated(keep_alive=15.0)
    done = run.client.create_permission([PEER.host], now=run.now)
    bound = run.client.bind_channel(PEER, now=run.now)
    run.run(1.0)
    assert {event.request for event in run.of(RequestDone)} == {done, bound}
    run.server.restart()
    run.run(16.0)
    first, second = run.of(TurnAllocated)
    assert (first.again, second.again) == (False, True)
    assert second.relayed != first.relayed
    assert len(run.of(TurnLost)) == 1
    assert not run.of(AllocationFailed)
    # Permissions and channels are there again, without being asked for.
    run.from_peer(b"hello again")
    run.run(0.1)
    assert run.data == [(b"hello again", PEER)]
    [allocation] = run.server.allocations.values()
    assert [peer for peer, _ in allocation.channels.values()] == [PEER]


def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.is_down = True
    run.run(600.0)
    assert len(run.of(TurnLost)) == 1
    assert len(run.of(ConnectWanted)) > 10
    assert not run.of(AllocationFailed)
    run.is_down = False
    run.run(40.0)
    assert run.of(TurnAllocated)[-1].again
    assert run.send(b"after the gap")


def test_the_delays_between_tries_grow_and_end() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.is_down = True
    times: list[float] = []
    while len(times) < 14:
        before = len(run.of(ConnectWanted))
        run.run(0.25)
        if len(run.of(ConnectWanted)) > before:
            times.append(run.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < gaps[4] < gaps[8]
    assert max(gaps) <= 30 + 8 + 0.5


def test_what_is_sent_in_a_gap_is_dropped_and_counted() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.is_down = True
    run.run(120.0)
    assert not run.send(b"into the void")
    assert run.client.counters.dropped == 1


def test_a_permission_asked_for_in_a_gap_is_made_after_it() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.is_down = True
    run.run(120.0)
    number = run.client.create_permission([PEER.host], now=run.now)
    run.run(10.0)
    assert not run.of(RequestDone)
    run.is_down = False
    run.run(60.0)
    assert [event.request for event in run.of(RequestDone)] == [number]


def test_an_allocation_that_expires_unrefreshed_is_made_again() -> None:
    server = ReferenceServer(USERS)
    run = allocated(server, keep_alive=10_000.0)
    server.fault = lambda method, _: (500, []) if method == Method.REFRESH else None
    run.run(650.0)
    assert "expired" in run.of(TurnLost)[0].reason
    assert run.of(TurnAllocated)[-1].again


def test_a_port_in_use_is_exchanged_for_a_fresh_one() -> None:
    server = ReferenceServer(USERS)
    mismatches = iter([437, 441])
    server.fault = lambda *_: (code, []) if (code := next(mismatches, None)) else None
    run = TurnRun(server, login=BOB)
    run.run(1.0)
    assert run.of(TurnAllocated)
    assert len(run.of(ConnectWanted)) == 3
    assert len({message.transaction_id for _, message in server.requests}) == len(server.requests)


@pytest.mark.parametrize("code", [437, 441])
def test_fresh_ports_are_not_tried_for_ever(code: int) -> None:
    server = ReferenceServer(USERS)
    server.fault = lambda *_: (code, [])
    run = TurnRun(server, login=BOB)
    error = failure(run)
    assert isinstance(error, TurnError)
    assert error.code == code
    assert len(run.of(ConnectWanted)) == 4


@pytest.mark.parametrize(("code", "words"), [(486, "close some"), (508, "another server"), (442, "transport")])
def test_a_refusal_tells_what_to_do(code: int, words: str) -> None:
    server = ReferenceServer(USERS)
    server.fault = lambda *_: (code, [])
    error = failure(TurnRun(server, login=BOB))
    assert isinstance(error, TurnError)
    assert error.code == code
    assert words in str(error)


def test_a_refusal_after_a_gap_is_tried_again() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.server.fault = lambda method, _: (486, []) if method == Method.ALLOCATE else None
    run.run(60.0)
    run.server.fault = lambda *_: None
    run.run(60.0)
    assert run.of(TurnAllocated)[-1].again
    assert not run.of(AllocationFailed)


def test_a_server_that_never_answers_is_a_timeout() -> None:
    run = TurnRun(login=BOB)
    run.is_down = True
    assert isinstance(failure(run), OperationTimeout)


def test_a_way_that_does_not_come_about_is_the_error() -> None:
    run = TurnRun(login=BOB, start=False)
    run.opens = False
    run.client.start()
    run.pump()
    refused = ConnectError(str(SERVER), reason="refused")
    run.client.transport_failed(refused, now=run.now)
    assert failure(run) is refused


def test_an_explicit_refresh_sets_the_lifetime() -> None:
    run = allocated()
    number = run.client.refresh(1200, now=run.now)
    run.run(1.0)
    assert [event.request for event in run.of(RequestDone)] == [number]
    [allocation] = run.server.allocations.values()
    assert allocation.expires == pytest.approx(run.now + 1200, abs=2)


def test_closing_gives_the_allocation_back() -> None:
    run = allocated()
    run.client.close(now=run.now)
    run.run(1.0)
    assert run.of(Closed)
    assert not run.server.allocations
    with pytest.raises(ClosedError):
        run.client.create_permission([PEER.host], now=run.now)
    assert not run.send(b"too late")


def test_closing_waits_no_longer_than_a_second() -> None:
    run = allocated()
    run.is_down = True
    number = run.client.create_permission([PEER.host], now=run.now)
    run.client.close(now=run.now)
    run.run(1.01)
    assert run.of(Closed)
    [failed] = run.of(RequestFailed)
    assert failed.request == number
    assert isinstance(failed.error, ClosedError)
    assert run.client.next_timer() is None


def test_an_allocation_moves_to_another_port_with_its_ticket() -> None:
    run = allocated(ReferenceServer(USERS, mobility=True), mobility=True)
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    before = run.local
    for _ in range(2):  # each move needs the newest ticket
        number = run.client.move(now=run.now)
        run.run(1.0)
        assert run.of(RequestDone)[-1].request == number
    assert run.local != before
    assert len(run.of(TurnMoved)) == 2
    assert len(run.of(TurnAllocated)) == 1
    run.from_peer(b"still there?")
    run.run(0.1)
    assert run.data == [(b"still there?", PEER)]


def test_a_permission_on_its_way_survives_a_move() -> None:
    run = allocated(ReferenceServer(USERS, mobility=True), mobility=True)
    run.copies = lambda _: ()
    number = run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    run.copies = lambda _: (0.01,)
    run.client.move(now=run.now)
    run.run(0.3)
    assert number in {event.request for event in run.of(RequestDone)}


def test_an_allocation_without_a_ticket_is_exchanged_for_another() -> None:
    run = allocated(mobility=True)
    assert not run.client.is_movable
    before = run.local
    number = run.client.move(now=run.now)
    run.run(1.0)
    assert [event.request for event in run.of(RequestDone)] == [number]
    assert run.local != before
    assert run.of(TurnAllocated)[-1].again


def test_a_move_in_a_gap_tries_at_once() -> None:
    run = allocated(keep_alive=15.0)
    run.server.restart()
    run.is_down = True
    run.run(300.0)
    run.is_down = False
    number = run.client.move(now=run.now)
    run.run(0.1)
    assert [event.request for event in run.of(RequestDone)] == [number]


def test_the_old_path_is_used_on_where_there_is_no_new_one() -> None:
    run = allocated(ReferenceServer(USERS, mobility=True), mobility=True)
    run.opens = False
    number = run.client.move(now=run.now)
    run.pump()
    run.client.transport_failed(ConnectError(str(SERVER), reason="no route"), now=run.now)
    run.pump()
    assert [event.request for event in run.of(RequestFailed)] == [number]
    run.opens = True
    done = run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    assert [event.request for event in run.of(RequestDone)] == [done]
    assert not run.of(TurnLost)


def test_an_old_connection_may_break_while_a_new_one_comes_about() -> None:
    run = allocated(ReferenceServer(USERS, reliable=True, mobility=True), reliable=True, mobility=True)
    run.opens = False
    run.client.move(now=run.now)
    run.pump()
    run.client.transport_lost("the old network is gone", now=run.now)
    run.pump()
    assert not run.of(TurnLost)
    run.local = Address(run.local.host, run.local.port + 1)
    assert run.client.transport_ready(SERVER, now=run.now)
    run.run(1.0)
    assert run.of(TurnMoved)
    assert not run.of(TurnLost)


def test_a_path_that_comes_too_late_is_not_used() -> None:
    run = allocated()
    assert not run.client.transport_ready(SERVER, now=run.now)


def test_an_allocation_that_is_lost_at_once_is_not_made_in_a_hurry() -> None:
    run = allocated(keep_alive=15.0)
    run.server.fault = lambda method, _: (437, []) if method == Method.CREATE_PERMISSION else None
    run.client.create_permission([PEER.host], now=run.now)
    run.run(60.0)
    assert 3 <= len(run.of(TurnAllocated)) < 12


def test_a_lifetime_asked_for_is_asked_for_from_then_on() -> None:
    run = allocated(keep_alive=15.0)
    run.client.refresh(3000, now=run.now)
    run.run(100.0)
    [allocation] = run.server.allocations.values()
    assert allocation.expires > run.now + 2900


def test_an_allocation_that_the_server_ends_is_made_again() -> None:
    run = allocated(keep_alive=15.0)
    refreshed = run.server._refreshed
    run.server._refreshed = lambda *_: [(Attribute.LIFETIME, 0)]  # type: ignore[method-assign]
    run.run(16.0)
    run.server._refreshed = refreshed  # type: ignore[method-assign]
    assert "ended" in run.of(TurnLost)[0].reason
    run.server.restart()
    run.run(60.0)
    assert run.of(TurnAllocated)[-1].again


def test_a_refresh_that_is_refused_is_an_error() -> None:
    run = allocated()
    run.server.fault = lambda method, _: (508, []) if method == Method.REFRESH else None
    number = run.client.refresh(3000, now=run.now)
    run.run(1.0)
    [failed] = run.of(RequestFailed)
    assert failed.request == number
    assert not run.of(TurnLost)


def test_a_server_that_forbids_mobility_is_used_without() -> None:
    server = ReferenceServer(USERS)
    server.fault = lambda _, message: (405, []) if message.get(Attribute.MOBILITY_TICKET) is not None else None
    assert not allocated(server, mobility=True).client.is_movable


def test_a_move_that_the_server_refuses_ends_in_a_new_allocation() -> None:
    run = allocated(ReferenceServer(USERS, mobility=True), mobility=True)
    run.server.mobility = False
    number = run.client.move(now=run.now)
    run.run(2.0)
    assert len(run.of(TurnLost)) == 1
    assert [event.request for event in run.of(RequestDone)] == [number]
    assert run.of(TurnAllocated)[-1].again


def test_a_broken_connection_is_made_again() -> None:
    run = allocated(ReferenceServer(USERS, reliable=True), reliable=True)
    run.client.transport_lost("reset", now=run.now)
    run.run(2.0)
    assert [event.reason for event in run.of(TurnLost)] == ["reset"]
    assert run.of(TurnAllocated)[-1].again


def test_a_broken_connection_keeps_its_allocation_where_there_is_a_ticket() -> None:
    run = allocated(ReferenceServer(USERS, reliable=True, mobility=True), reliable=True, mobility=True)
    run.client.transport_lost("reset", now=run.now)
    run.run(2.0)
    assert run.of(TurnMoved)
    assert not run.of(TurnLost)


def test_a_connection_that_carries_nonsense_is_of_no_use() -> None:
    run = allocated(ReferenceServer(USERS, reliable=True), reliable=True)
    assert not run.client.receive_data(b"SSH-2.0-OpenSSH_9.9\r\n", now=run.now)
    assert run.client.counters.malformed == 1


def test_a_permission_for_a_name_is_refused() -> None:
    run = allocated()
    with pytest.raises(UsageError, match=r"peer\.example"):
        run.client.create_permission(["peer.example"], now=run.now)


def test_nothing_but_the_server_is_listened_to() -> None:
    run = TurnRun(ReferenceServer(), start=False)
    run.copies = lambda _: ()
    run.client.start()
    run.pump()
    [request] = run.sent
    [(answer, _)] = run.server.receive(request, run.local, run.now)
    stranger = Address(SERVER.host, SERVER.port + 1)
    run.client.receive_datagrams([(answer, stranger)], now=run.now)
    assert not run.client.is_allocated
    assert run.client.counters.foreign == 1
    run.client.receive_datagrams([(answer, SERVER)], now=run.now)
    assert run.client.is_allocated


@pytest.mark.parametrize("data", [b"", b"\0", b"\x01\x03\0\0", b"GET / HTTP/1.1\r\n\r\n.....", b"\x40\0\0\xff"])
def test_nonsense_of_the_server_is_counted(data: bytes) -> None:
    run = allocated()
    run.client.receive_datagrams([(data, SERVER)], now=run.now)
    assert run.client.counters.malformed == 1
    assert run.client.is_allocated
