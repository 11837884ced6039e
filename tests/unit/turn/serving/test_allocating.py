"""Allocate and Refresh: what is granted, and what is refused with which code."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.turn.serving.rig import OUTSIDE, PEER, PEER6, Rig, code_of, relayed

from librats._core.relay import pack_address
from librats._core.stun import parse
from librats.stun.constants import Attribute, Method
from librats.turn.serving.allocation import IPV4, IPV6, TCP, UDP
from librats.turn.serving.quotas import QuotaLimits

TRANSPORT = (Attribute.REQUESTED_TRANSPORT, UDP)
V6 = (Attribute.REQUESTED_ADDRESS_FAMILY, IPV6)
BOTH = (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6)


def refused(*attributes: tuple[int, Any], rig: Rig | None = None) -> int:
    rig = rig or Rig()
    code = rig.client().code(Method.ALLOCATE, *attributes)
    assert not rig.ports.open_now or not code
    assert rig.shared.quotas.total == (not code)
    return code


def test_an_allocation_has_a_relayed_address_a_lifetime_and_tells_where_the_client_is() -> None:
    rig = Rig()
    client = rig.client(6000)
    answer = client.allocate()
    assert answer.get(Attribute.XOR_RELAYED_ADDRESS) == (OUTSIDE[IPV4], 5001)
    assert answer.get(Attribute.LIFETIME) == 600
    assert answer.get(Attribute.XOR_MAPPED_ADDRESS) == ("203.0.113.1", 6000)
    assert answer.check_integrity(client.key)
    assert rig.plane.of("allocation") == [
        ("allocation", 1, 0, client.client.address, 5001, 1600.0, client.client.local)
    ]
    assert rig.witness.seen == [("allocated", "bob")]


@pytest.mark.parametrize(("wanted", "granted"), [(1, 600), (600, 600), (601, 601), (3600, 3600), (0xFFFFFFFF, 3600)])
def test_the_lifetime_is_kept_within_bounds(wanted: int, granted: int) -> None:
    rig = Rig()
    client = rig.client()
    assert client.allocate((Attribute.LIFETIME, wanted)).get(Attribute.LIFETIME) == granted
    assert client.ask(Method.REFRESH, (Attribute.LIFETIME, wanted)).get(Attribute.LIFETIME) == granted
    assert rig.plane.of("refresh") == [("refresh", 1, 1000.0 + granted)]


@pytest.mark.parametrize(
    ("code", "attributes"),
    [
        (400, ()),
        (442, [(Attribute.REQUESTED_TRANSPORT, 99)]),
        (400, [(Attribute.REQUESTED_TRANSPORT, TCP)]),
        (440, [TRANSPORT, (Attribute.REQUESTED_ADDRESS_FAMILY, 3)]),
        (400, [TRANSPORT, V6, BOTH]),
        (400, [TRANSPORT, (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV4)]),
        (400, [TRANSPORT, BOTH, (Attribute.EVEN_PORT, True)]),
        (400, [TRANSPORT, (Attribute.RESERVATION_TOKEN, bytes(8)), (Attribute.EVEN_PORT, False)]),
        (400, [TRANSPORT, (Attribute.RESERVATION_TOKEN, bytes(8)), V6]),
        (508, [TRANSPORT, (Attribute.RESERVATION_TOKEN, bytes(8))]),
        (400, [TRANSPORT, (Attribute.MOBILITY_TICKET, b"x")]),
    ],
)
def test_what_does_not_go_together_is_refused(code: int, attributes: list[tuple[int, Any]]) -> None:
    assert refused(*attributes) == code


def test_dont_fragment_is_refused_where_the_system_cannot_set_it() -> None:
    rig = Rig()
    assert code_of(rig.client(6000).allocate((Attribute.DONT_FRAGMENT, True))) == 0
    rig.plane.can_keep_whole = False
    answer = rig.client(6001).allocate((Attribute.DONT_FRAGMENT, True))
    assert code_of(answer) == 420
    assert answer.get(Attribute.UNKNOWN_ATTRIBUTES) == (Attribute.DONT_FRAGMENT,)


@pytest.mark.parametrize(
    "more", [(Attribute.DONT_FRAGMENT, True), (Attribute.EVEN_PORT, False), (Attribute.RESERVATION_TOKEN, bytes(8))]
)
def test_a_tcp_allocation_goes_without_what_is_for_datagrams(more: tuple[int, Any]) -> None:
    rig = Rig()
    assert rig.stream().code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, TCP), more) == 400
    assert rig.stream().code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, TCP)) == 0


def test_a_second_allocation_of_a_client_is_a_mismatch() -> None:
    client = Rig().client()
    client.allocate()
    assert code_of(client.allocate()) == 437


def test_the_same_request_gets_the_same_answer_again() -> None:
    rig = Rig()
    client = rig.client()
    request = client.signed(Method.ALLOCATE, TRANSPORT)
    first = client.send(request)
    assert first is not None
    assert client.send(request) == first
    assert len(rig.ports.open_now) == 1


def test_an_answer_is_kept_for_forty_seconds() -> None:
    rig = Rig()
    client = rig.client()
    request = client.signed(Method.ALLOCATE, TRANSPORT)
    first = client.send(request)
    for seconds, code in ((40, 0), (1, 437)):
        rig.now += seconds
        rig.machine.handle_timer(now=rig.now)
        again = client.send(request)
        assert again is not None
        assert (again == first, code_of(parse(again.data))) == (code == 0, code)


def test_ipv6_and_both_families_are_granted() -> None:
    rig = Rig()
    only = rig.client(6000).allocate(V6)
    assert only.get_all(Attribute.XOR_RELAYED_ADDRESS) == [(OUTSIDE[IPV6], 5001)]
    both = rig.client(6001).allocate(BOTH)
    assert [host for host, _ in both.get_all(Attribute.XOR_RELAYED_ADDRESS)] == [OUTSIDE[IPV4], OUTSIDE[IPV6]]
    assert rig.plane.of("relay") == [("relay", 2, 5003)]


def test_a_family_that_the_relay_has_not_is_refused_or_told_as_missing() -> None:
    assert refused(TRANSPORT, V6, rig=Rig(families=[IPV4])) == 440
    answer = Rig(families=[IPV4]).client().allocate(BOTH)
    assert len(answer.get_all(Attribute.XOR_RELAYED_ADDRESS)) == 1
    assert answer.get(Attribute.ADDRESS_ERROR_CODE)[:2] == (IPV6, 440)


def test_an_even_port_is_given_and_the_next_one_kept_for_who_has_the_token() -> None:
    rig = Rig()
    answer = rig.client(6000).allocate((Attribute.EVEN_PORT, True))
    host, port = relayed(answer)
    token = answer.get(Attribute.RESERVATION_TOKEN)
    assert port % 2 == 0
    second = rig.client(6001).allocate((Attribute.RESERVATION_TOKEN, token))
    assert relayed(second) == (host, port + 1)
    assert code_of(rig.client(6002).allocate((Attribute.RESERVATION_TOKEN, token))) == 508


def test_an_even_port_alone_reserves_nothing() -> None:
    rig = Rig()
    answer = rig.client().allocate((Attribute.EVEN_PORT, False))
    assert relayed(answer)[1] % 2 == 0
    assert answer.get(Attribute.RESERVATION_TOKEN) is None


def test_a_reserved_port_is_given_up_after_a_while() -> None:
    rig = Rig()
    token = rig.client(6000).allocate((Attribute.EVEN_PORT, True)).get(Attribute.RESERVATION_TOKEN)
    rig.now += 31
    assert code_of(rig.client(6001).allocate((Attribute.RESERVATION_TOKEN, token))) == 508
    assert len(rig.ports.open_now) == 1


def test_reserved_ports_that_nobody_takes_are_closed() -> None:
    rig = Rig()
    rig.client(6000).allocate((Attribute.EVEN_PORT, True))
    rig.machine.handle_timer(now=rig.now + 29)
    assert len(rig.ports.open_now) == 2
    rig.machine.handle_timer(now=rig.now + 30)
    assert len(rig.ports.open_now) == 1


def test_reserved_ports_are_counted_in_the_quota_of_who_had_them_reserved() -> None:
    rig = Rig(limits=QuotaLimits(user_allocations=2), users={"ann": "secret", "bob": "secret"})
    reserving = (Attribute.EVEN_PORT, True)
    for _ in range(5):  # each time anew, with the same allocation's place
        client = rig.client(6000)
        assert client.allocate(reserving).get(Attribute.RESERVATION_TOKEN)
        assert code_of(rig.client(6001).allocate()) == 486
        assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
        assert code_of(rig.client(6002).allocate(reserving)) == 486
        assert len(rig.ports.open_now) == rig.shared.quotas.total == 1
        rig.now += 30
        rig.machine.handle_timer(now=rig.now)
        assert (rig.ports.open_now, rig.shared.quotas.by_owner()) == ({}, {})
    token = client.allocate(reserving).get(Attribute.RESERVATION_TOKEN)
    assert code_of(rig.client(6001).allocate((Attribute.RESERVATION_TOKEN, token))) == 0
    assert rig.shared.quotas.by_owner() == {"bob": 2}
    rig.machine.tables.close()
    assert rig.shared.quotas.by_owner() == {}


def test_who_has_no_place_left_gets_no_reserved_port_either() -> None:
    rig = Rig(limits=QuotaLimits(user_allocations=2), users={"ann": "secret", "bob": "secret"})
    token = rig.client(6000).allocate((Attribute.EVEN_PORT, True)).get(Attribute.RESERVATION_TOKEN)
    for port in (7000, 7001):
        rig.client(port, user="ann").allocate()
    assert code_of(rig.client(7002, user="ann").allocate((Attribute.RESERVATION_TOKEN, token))) == 486
    assert len(rig.ports.open_now) == rig.shared.quotas.total == 3


def test_a_relay_that_drains_waits_for_no_reserved_port() -> None:
    rig = Rig()
    client = rig.client(6000)
    client.allocate((Attribute.EVEN_PORT, True))
    rig.shared.draining = True
    assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
    rig.machine.handle_timer(now=rig.now)
    assert (rig.ports.open_now, rig.shared.quotas.total) == ({}, 0)


def test_quotas_are_kept() -> None:
    rig = Rig(limits=QuotaLimits(user_allocations=2, total_allocations=3), users={"ann": "secret", "bob": "secret"})
    assert [code_of(rig.client(6000 + n, user="bob").allocate()) for n in range(3)] == [0, 0, 486]
    assert [code_of(rig.client(7000 + n, user="ann").allocate()) for n in range(2)] == [0, 508]
    assert rig.client(6000).code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
    assert code_of(rig.client(7001, user="ann").allocate()) == 0


def test_without_a_port_left_there_is_no_capacity_and_no_trace() -> None:
    rig = Rig()
    rig.ports.left = 0
    assert refused(TRANSPORT, rig=rig) == 508
    assert rig.shared.quotas.by_owner() == {}


def test_no_more_than_the_tables_hold() -> None:
    rig = Rig()
    rig.machine.tables.capacity = 1
    assert [code_of(rig.client(6000 + n).allocate()) for n in range(2)] == [0, 508]


def test_while_draining_nothing_new_is_allocated_and_what_there_is_goes_on() -> None:
    rig = Rig()
    client = rig.client(6000)
    client.allocate()
    rig.shared.draining = True
    assert code_of(rig.client(6001).allocate()) == 508
    assert client.code(Method.REFRESH) == 0
    assert client.permit(PEER) == 0


def test_the_bandwidth_of_a_user_is_shared_by_its_allocations() -> None:
    rig = Rig(limits=QuotaLimits(user_bandwidth=1000))
    rig.client(6000).allocate()
    assert rig.plane.of("limit") == [("limit", 1, 1000)]
    rig.client(6001).allocate()
    rig.machine.handle_timer(now=rig.now)
    assert rig.plane.of("limit")[1:] == [("limit", 2, 500), ("limit", 1, 500)]
    rig.client(6000).code(Method.REFRESH, (Attribute.LIFETIME, 0))
    rig.shared.quotas.limits = QuotaLimits(user_bandwidth=2000)
    rig.machine.handle_timer(now=rig.now)
    assert rig.plane.of("limit")[3:] == [("limit", 2, 2000)]
    rig.shared.quotas.limits = QuotaLimits()
    rig.machine.handle_timer(now=rig.now)
    assert rig.plane.of("limit")[4:] == [("limit", 2, 0)]


def test_a_lifetime_of_zero_ends_the_allocation() -> None:
    rig = Rig()
    client = rig.client()
    client.allocate()
    answer = client.ask(Method.REFRESH, (Attribute.LIFETIME, 0))
    assert answer.get(Attribute.LIFETIME) == 0
    assert (rig.ports.open_now, rig.plane.allocations, len(rig.shared.live)) == ({}, set(), 0)
    assert rig.witness.seen[-1] == ("deleted", "bob")
    assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 437


def test_a_deletion_that_is_asked_for_again_is_answered_alike() -> None:
    client = Rig().client()
    client.allocate()
    request = client.signed(Method.REFRESH, (Attribute.LIFETIME, 0))
    first = client.send(request)
    assert first is not None
    assert client.send(request) == first


def test_one_half_of_an_allocation_of_both_families_can_be_ended() -> None:
    rig = Rig()
    client = rig.client()
    client.allocate(BOTH)
    assert (client.permit(PEER), client.bind(0x4000, PEER6)) == (0, 0)
    assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0), (Attribute.REQUESTED_ADDRESS_FAMILY, IPV4)) == 0
    assert [relay.family for relay in rig.ports.open_now.values()] == [IPV6]
    assert client.permit(PEER) == 443
    assert client.permit(PEER6) == 0
    assert client.code(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, IPV4)) == 443
    assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
    assert rig.ports.open_now == {}


def test_an_allocation_ends_when_its_time_is_over() -> None:
    rig = Rig()
    rig.client().allocate()
    rig.machine.handle_timer(now=rig.now + 599)
    assert rig.plane.allocations == {1}
    rig.machine.handle_timer(now=rig.now + 600)
    assert (rig.plane.allocations, rig.ports.open_now) == (set(), {})
    assert rig.witness.seen[-1] == ("expired", "bob")


def test_an_allocation_ends_even_if_the_observer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.client(6000).allocate()
    rig.client(6001).allocate()
    monkeypatch.setattr(rig.witness, "released", lambda *_: 1 / 0)
    for left in ({2}, set()):
        with pytest.raises(ZeroDivisionError):
            rig.machine.handle_timer(now=rig.now + 600)
        assert rig.plane.allocations == left
    assert (rig.ports.open_now, rig.shared.quotas.by_owner()) == ({}, {})


def test_another_user_cannot_refresh_an_allocation() -> None:
    rig = Rig(users={"ann": "secret", "bob": "secret"})
    rig.client(6000, user="ann").allocate()
    assert rig.client(6000, user="bob").code(Method.REFRESH) == 441
    assert rig.client(6000, user="bob").permit(PEER) == 441


def test_a_client_that_disconnects_loses_its_allocation() -> None:
    rig = Rig()
    client = rig.stream()
    client.allocate()
    rig.machine.disconnect(client.client)
    rig.machine.disconnect(client.client)
    assert (rig.plane.allocations, rig.ports.open_now) == (set(), {})
    assert rig.witness.seen[-1] == ("disconnected", "bob")


def test_closing_ends_everything() -> None:
    rig = Rig()
    for number in range(3):
        rig.client(6000 + number).allocate()
    rig.machine.tables.close()
    assert (rig.plane.allocations, rig.ports.open_now, len(rig.shared.live)) == (set(), {}, 0)
    assert rig.shared.quotas.by_owner() == {}


def test_clients_are_told_apart_by_the_address_that_they_send_to() -> None:
    rig = Rig()
    one = rig.client(6000)
    other = rig.client(6000)
    other.client = other.client._replace(local=pack_address("198.51.100.2", 3478))
    assert code_of(one.allocate()) == code_of(other.allocate()) == 0
