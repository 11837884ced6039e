"""What no client may have of another one, and what no stranger may have without an end."""

from __future__ import annotations

import contextlib

import pytest
from tests.unit.turn.serving.rig import PEER, Rig, code_of
from tests.unit.turn.serving.test_peer_policy import NoStreams

from librats.stun.constants import Attribute, Method
from librats.turn.serving import machine
from librats.turn.serving.allocation import TCP
from librats.turn.serving.quotas import QuotaLimits, Quotas

WANTED = (Attribute.MOBILITY_TICKET, b"")
OVER_TCP = (Attribute.REQUESTED_TRANSPORT, TCP)


def test_a_tcp_allocation_has_no_channels() -> None:
    rig = Rig(streams=NoStreams())
    client = rig.stream()
    assert client.code(Method.ALLOCATE, OVER_TCP) == 0
    assert client.bind(0x4000, PEER) == 400
    assert (rig.plane.of("channel"), rig.plane.of("permission")) == ([], [])


def test_a_tcp_allocation_stays_with_its_connection() -> None:
    rig = Rig(streams=NoStreams())
    client = rig.stream(1)
    ticket = client.ask(Method.ALLOCATE, OVER_TCP, WANTED).get(Attribute.MOBILITY_TICKET)
    assert ticket
    assert rig.stream(2).code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 437
    assert [each.client for each in rig.machine.tables.all()] == [client.client]


def test_another_users_ticket_moves_nothing() -> None:
    rig = Rig(users={"ann": "secret", "bob": "secret"})
    client = rig.client(6000)
    ticket = client.allocate(WANTED).get(Attribute.MOBILITY_TICKET)
    assert rig.client(7000, user="ann").code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 441
    assert [each.client for each in rig.machine.tables.all()] == [client.client]
    assert client.code(Method.REFRESH) == 0


def test_a_connection_with_an_allocation_is_not_joined_with_a_peers() -> None:
    rig = Rig(streams=NoStreams())  # whose bind() is never to be called
    client = rig.stream()
    client.code(Method.ALLOCATE, OVER_TCP)
    assert client.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, 1)) == 400


def test_only_so_many_answers_that_ended_allocations_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_REMEMBERED", 5)
    rig = Rig()
    for port in range(6000, 6020):
        client = rig.client(port)
        client.allocate()
        assert client.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
        assert len(rig.machine._ended) <= 5


def test_a_stranger_gets_no_more_refusals_than_challenges() -> None:
    rig = Rig(source_answers=3)
    stranger = rig.client()
    refusals = [stranger.bare(Method.DATA) for _ in range(5)]
    assert [code_of(each) for each in refusals[:3]] == [400] * 3
    assert refusals[3:] == [None] * 2
    assert rig.machine.unanswered == 2


def test_places_of_introduced_nodes_are_given_back() -> None:
    quotas = Quotas(QuotaLimits(introduced_allocations=1, introduced_total=2), contextlib.nullcontext())
    for _ in range(3):
        assert [quotas.take(owner) for owner in ("@192.0.2.0", "@192.0.2.0", "@198.51.100.0", "@203.0.113.0")] == [
            *(1, 0, 1, -1)
        ]
        assert quotas.take("bob") == 1
        for owner in ("@192.0.2.0", "@198.51.100.0", "bob"):
            quotas.give_back(owner)
    assert (quotas.total, quotas.by_owner()) == (0, {})


def test_what_a_user_has_at_other_relays_counts() -> None:
    quotas = Quotas(QuotaLimits(user_allocations=3), contextlib.nullcontext())
    quotas.elsewhere = {"bob": 2}
    assert [quotas.take("bob"), quotas.take("bob"), quotas.take("ann")] == [1, 0, 1]
    quotas.elsewhere = {}
    assert quotas.take("bob") == 2
