"""Permissions, channels and data: who is let in, for how long, and what the bytes look like."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reference.turn_run import PEER, SERVER, TurnRun
from tests.reference.turn_server import ReferenceServer

from librats._core.stun import StunMessage, channel_data, parse, serialise
from librats.errors import LocalProtocolError, TurnError, UsageError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.allocation_events import TurnLost, TurnPeerRefused
from librats.turn.client_auth import Login
from librats.turn.client_events import RequestDone, RequestFailed
from librats.turn.client_peers import CHANNEL_COUNT, Channels
from librats.types import Address

BOB = Login("bob", "secret")
USERS = {"bob": "secret"}
OTHER = Address("203.0.113.10", 5000)


def allocated(server: ReferenceServer | None = None, **settings: Any) -> TurnRun:
    run = TurnRun(server or ReferenceServer(USERS), login=BOB, **settings)
    run.run(1.0)
    assert run.client.is_allocated
    return run


def done(run: TurnRun) -> list[int]:
    return [event.request for event in run.of(RequestDone)]


def test_peers_are_let_in_with_one_request() -> None:
    run = allocated()
    number = run.client.create_permission([PEER.host, OTHER.host, PEER.host], now=run.now)
    run.run(1.0)
    assert done(run) == [number]
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 1
    [allocation] = run.server.allocations.values()
    assert set(allocation.permissions) == {PEER.host, OTHER.host}


def test_many_peers_take_several_requests_and_are_done_together() -> None:
    run = allocated()
    hosts = [f"203.0.113.{n}" for n in range(1, 41)]
    number = run.client.create_permission(hosts, now=run.now)
    run.run(1.0)
    assert done(run) == [number]
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 3


def test_a_permission_that_is_there_is_done_at_once() -> None:
    run = allocated()
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    number = run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    assert done(run)[-1] == number
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 1


def test_permissions_and_channels_never_end_while_they_are_wanted() -> None:
    run = allocated()
    run.client.create_permission([PEER.host], now=run.now)
    run.client.bind_channel(OTHER, now=run.now)
    run.run(1.0)
    [allocation] = run.server.allocations.values()
    for _ in range(400):
        run.run(10.0)
        assert allocation.permissions[PEER.host] > run.now
        assert allocation.permissions[OTHER.host] > run.now
        assert all(expires > run.now for _, expires in allocation.channels.values())
    assert run.server.methods().count(Method.CREATE_PERMISSION) < 30


def test_a_dropped_permission_ends() -> None:
    run = allocated()
    run.client.bind_channel(PEER, now=run.now)
    run.run(1.0)
    run.client.drop_permission([PEER.host])
    run.run(601.0)
    [allocation] = run.server.allocations.values()
    assert allocation.permissions[PEER.host] < run.now
    assert all(expires < run.now for _, expires in allocation.channels.values())


def test_one_forbidden_peer_does_not_keep_the_others_out() -> None:
    server = ReferenceServer(USERS)
    server.forbidden = {OTHER.host}
    run = allocated(server)
    good = run.client.create_permission([PEER.host], now=run.now)
    both = run.client.create_permission([OTHER.host, "203.0.113.77"], now=run.now)
    run.run(1.0)
    assert done(run) == [good]
    [failed] = run.of(RequestFailed)
    assert failed.request == both
    assert isinstance(failed.error, TurnError)
    assert failed.error.code == 403
    [allocation] = server.allocations.values()
    assert set(allocation.permissions) == {PEER.host, "203.0.113.77"}


def test_a_peer_of_another_family_is_refused_before_it_is_asked_for() -> None:
    run = allocated()
    with pytest.raises(TurnError, match="dual") as caught:
        run.client.create_permission(["2001:db8::9"], now=run.now)
    assert caught.value.code == 443
    with pytest.raises(TurnError):
        run.client.bind_channel(Address("2001:db8::9", 1), now=run.now)
    assert not run.send(b"x", Address("2001:db8::9", 1))


# Data


def test_the_first_datagram_waits_for_the_permission_it_asks_for() -> None:
    run = allocated(channels=False)
    assert run.send(b"one")
    assert run.send(b"two")
    run.run(0.1)
    assert run.server.to_peers == [(b"one", PEER), (b"two", PEER)]
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 1
    assert Method.CHANNEL_BIND not in run.server.methods()
    assert parse(run.sent[-1]).method == Method.SEND


def test_a_peer_that_is_sent_to_gets_a_channel() -> None:
    run = allocated()
    run.send(b"one")
    run.run(0.1)
    run.send(b"two")
    run.run(0.1)
    assert run.server.to_peers == [(b"one", PEER), (b"two", PEER)]
    assert run.sent[-1][4:] == b"two"
    assert 0x40 <= run.sent[-1][0] <= 0x4F
    run.from_peer(b"back")
    run.run(0.1)
    assert run.data == [(b"back", PEER)]


def test_channel_data_is_padded_over_a_stream_only() -> None:
    for reliable, size in ((False, 7), (True, 8)):
        run = allocated(ReferenceServer(USERS, reliable=reliable), reliable=reliable)
        run.client.bind_channel(PEER, now=run.now)
        run.run(0.1)
        run.send(b"odd")
        assert len(run.sent[-1]) == size
        run.from_peer(b"x")
        run.run(0.1)
        assert run.data == [(b"x", PEER)]


def test_spellings_of_an_address_are_one_peer() -> None:
    run = allocated(family="ipv6")
    run.client.bind_channel(Address("2001:DB8:0:0::9", 9), now=run.now)
    run.run(0.1)
    run.send(b"same", Address("2001:db8:0::9", 9))
    run.send(b"same", Address("2001:db8::9", 9))
    run.run(0.1)
    assert run.server.methods().count(Method.CHANNEL_BIND) == 1
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 0
    assert len(run.server.to_peers) == 2


def test_what_waits_for_a_permission_is_bounded() -> None:
    run = allocated()
    run.copies = lambda _: ()
    taken = [run.send(bytes(1000)) for _ in range(100)]
    assert taken.count(True) == 32
    assert run.client.counters.dropped == 68
    assert sum(run.send(bytes(60_000), OTHER) for _ in range(10)) == 1


def test_a_refused_peer_is_told_once_and_not_asked_for_with_each_datagram() -> None:
    server = ReferenceServer(USERS)
    server.forbidden = {PEER.host}
    run = allocated(server)
    run.send(b"one")
    run.run(1.0)
    [refused] = run.of(TurnPeerRefused)
    assert refused.host == PEER.host
    before = len(server.requests)
    for _ in range(10):
        assert not run.send(b"again")
    run.run(1.0)
    assert len(server.requests) == before
    assert run.client.counters.dropped == 11
    run.run(40.0)
    server.forbidden = set()
    assert run.send(b"later")
    run.run(1.0)
    assert server.to_peers == [(b"later", PEER)]


def test_what_is_refused_for_every_port_of_a_host_may_be_permitted_for_one() -> None:
    def fault(method: Method, message: StunMessage) -> tuple[int, list[tuple[int, Any]]] | None:
        peer = message.get(Attribute.XOR_PEER_ADDRESS)
        return (403, []) if method == Method.CREATE_PERMISSION and peer == (PEER.host, 0) else None

    server = ReferenceServer(USERS)
    server.fault = fault
    run = allocated(server)
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    assert len(run.of(RequestFailed)) == 1
    assert run.send(b"data")
    run.run(1.0)
    assert server.to_peers == [(b"data", PEER)]


def test_a_channel_that_the_server_refuses_leaves_send_indications() -> None:
    server = ReferenceServer(USERS)
    server.fault = lambda method, _: (400, []) if method == Method.CHANNEL_BIND else None
    run = allocated(server)
    for _ in range(5):
        run.send(b"x")
        run.run(1.0)
    assert len(server.to_peers) == 5
    assert server.methods().count(Method.CHANNEL_BIND) == 1


def test_a_channel_asked_for_and_refused_is_an_error() -> None:
    server = ReferenceServer(USERS)
    server.forbidden = {PEER.host}
    run = allocated(server)
    number = run.client.bind_channel(PEER, now=run.now)
    run.run(1.0)
    assert number in [event.request for event in run.of(RequestFailed)]


def test_data_of_strangers_is_dropped() -> None:
    run = allocated()
    attributes = [(Attribute.XOR_PEER_ADDRESS, OTHER), (Attribute.DATA, b"spam")]
    indication = serialise(Method.DATA, MessageClass.INDICATION, b"twelve bytes", attributes)
    run.client.receive_datagrams([(indication, SERVER), (channel_data(0x4001, b"spam"), SERVER)], now=run.now)
    assert run.client.take_data() == []
    assert run.client.counters.uninvited == 2


def test_data_on_a_channel_that_has_ended_is_dropped() -> None:
    run = allocated()
    run.client.bind_channel(PEER, now=run.now)
    run.run(1.0)
    [(number, _)] = next(iter(run.server.allocations.values())).channels.items()
    run.client.drop_channel(PEER)
    run.run(601.0)
    run.client.receive_datagrams([(channel_data(number, b"late"), SERVER)], now=run.now)
    assert run.client.take_data() == []
    assert run.client.counters.uninvited == 1


def test_an_indication_with_unknown_attributes_is_dropped() -> None:
    run = allocated()
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    attributes = [(Attribute.XOR_PEER_ADDRESS, PEER), (Attribute.DATA, b"x"), (0x7777, b"what?")]
    indication = serialise(Method.DATA, MessageClass.INDICATION, b"twelve bytes", attributes)
    run.client.receive_datagrams([(indication, SERVER)], now=run.now)
    assert run.client.take_data() == []


def test_a_name_is_no_peer() -> None:
    run = allocated()
    with pytest.raises(UsageError):
        run.send(b"x", Address("peer.example", 1))


@pytest.mark.parametrize("code", [437, 441])
def test_a_permission_that_shows_the_allocation_is_gone_makes_another(code: int) -> None:
    server = ReferenceServer(USERS)
    faults = iter([code])
    run = allocated(server)
    server.fault = lambda method, _: (
        (found, []) if method == Method.CREATE_PERMISSION and (found := next(faults, 0)) else None
    )
    number = run.client.create_permission([PEER.host], now=run.now)
    run.run(2.0)
    assert len(run.of(TurnLost)) == 1
    assert done(run) == [number]


def test_a_renewal_that_fails_for_now_is_tried_again() -> None:
    server = ReferenceServer(USERS)
    run = allocated(server)
    run.client.create_permission([PEER.host], now=run.now)
    run.client.bind_channel(OTHER, now=run.now)
    run.run(1.0)
    server.fault = lambda method, _: (508, []) if method != Method.REFRESH else None
    run.run(240.0)
    server.fault = lambda *_: None
    run.run(20.0)
    [allocation] = server.allocations.values()
    assert allocation.permissions[PEER.host] > run.now + 200
    assert not run.of(TurnPeerRefused)


# Channel numbers


def test_a_number_stays_with_its_peer_until_it_has_cooled_down() -> None:
    channels = Channels()
    channel = channels.want(PEER, 0.0)
    channels.bound(channel, 0.0)
    channels.drop(PEER)
    assert channels.want(PEER, 10.0) is channel
    channels.drop(PEER)
    for n in range(1, CHANNEL_COUNT):
        channels.want(Address(PEER.host, PEER.port + n), 0.0)
    with pytest.raises(LocalProtocolError, match="4096"):
        channels.want(OTHER, 899.0)
    assert channels.want(OTHER, 901.0).number == channel.number


def test_numbers_are_those_of_channels() -> None:
    channels = Channels(0x4FFF)
    numbers = {channels.want(Address(PEER.host, n + 1), 0.0).number for n in range(CHANNEL_COUNT)}
    assert numbers == set(range(0x4000, 0x5000))
