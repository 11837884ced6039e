"""Clients that take their allocations along (RFC 8016)."""

from __future__ import annotations

import pytest
from tests.unit.turn.serving.rig import PEER, Caller, Rig, code_of

from librats._core.stun import parse
from librats.stun.constants import Attribute, Method
from librats.turn.serving.allocation import Allocation, Client
from librats.turn.serving.answers import Refused
from librats.turn.serving.machine import Machine
from librats.turn.serving.mobility import Ticket
from librats.turn.serving.request import Request

WANTED = (Attribute.MOBILITY_TICKET, b"")


def with_ticket(rig: Rig) -> tuple[Caller, bytes]:
    client = rig.client(6000)
    ticket = client.allocate(WANTED).get(Attribute.MOBILITY_TICKET)
    assert ticket
    return client, ticket


def test_a_client_moves_with_its_permissions_and_channels() -> None:
    rig = Rig()
    client, ticket = with_ticket(rig)
    client.permit(PEER)
    client.bind(0x4000, (PEER[0], 1))
    moved = rig.client(7000, "203.0.113.99")
    answer = moved.ask(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket))
    assert code_of(answer) == 0
    assert answer.get(Attribute.MOBILITY_TICKET) not in (None, ticket)
    assert [each.client for each in rig.machine.tables.all()] == [moved.client]
    assert [heard[3] for heard in rig.plane.of("allocation")] == [client.client.address, moved.client.address]
    assert len(rig.plane.of("channel")) == 2
    assert len(rig.plane.of("permission")) == 3
    assert client.code(Method.REFRESH) == 437
    assert moved.bind(0x4000, (PEER[0], 1)) == 0


def test_a_ticket_is_good_once() -> None:
    rig = Rig()
    _, ticket = with_ticket(rig)
    moved = rig.client(7000)
    moved.code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket))
    assert rig.client(7001).code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 437


def test_a_ticket_is_renewed_without_a_move() -> None:
    rig = Rig()
    client, ticket = with_ticket(rig)
    answer = client.ask(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket))
    assert answer.get(Attribute.MOBILITY_TICKET) not in (None, ticket)
    assert len(rig.plane.of("allocation")) == 1


@pytest.mark.parametrize("change", [b"x", b""])
def test_a_ticket_that_was_not_made_here_is_a_bad_request(change: bytes) -> None:
    rig = Rig()
    _, ticket = with_ticket(rig)
    forged = ticket[:-1] + (change or bytes([ticket[-1] ^ 1]))
    forged = forged + b"x" if change else forged
    assert rig.client(7000).code(Method.REFRESH, (Attribute.MOBILITY_TICKET, forged)) == 400


def test_a_ticket_of_another_user_is_refused() -> None:
    rig = Rig(users={"ann": "secret", "bob": "secret"})
    _, ticket = with_ticket(rig)
    assert rig.client(7000, user="ann").code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 441


def test_a_client_that_has_an_allocation_cannot_take_another_one() -> None:
    rig = Rig()
    _, ticket = with_ticket(rig)
    other = rig.client(7000)
    other.allocate()
    assert other.code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 437


def test_moves_can_be_forbidden() -> None:
    rig = Rig(mobility=False)
    client = rig.client()
    assert code_of(client.allocate(WANTED)) == 405
    client.allocate()
    assert client.code(Method.REFRESH, (Attribute.MOBILITY_TICKET, bytes(22))) == 405
    assert rig.ports.open_now.keys() == {5001}


class Threads:
    """Two machines, each of another thread, which hand allocations over."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.asked: list[tuple[Ticket, Request]] = []
        self.second: Machine = self.rig.new_machine(1, hand_over=lambda *asked: self.asked.append(asked))


def test_an_allocation_moves_from_thread_to_thread() -> None:
    threads = Threads()
    rig, second = threads.rig, threads.second
    _, ticket = with_ticket(rig)
    moved = rig.client(7000, machine=second)
    assert moved.send(moved.signed(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket))) is None
    [(read, request)] = threads.asked
    allocation = rig.machine.give_up(read, request.login)
    answer = parse(second.take_over(request, allocation).data)
    assert code_of(answer) == 0
    assert answer.get(Attribute.MOBILITY_TICKET)
    assert len(rig.machine.tables) == 0
    assert [each.client for each in second.tables.all()] == [moved.client]
    with pytest.raises(Refused, match="437"):
        rig.machine.give_up(read, request.login)


def test_an_allocation_ends_whose_client_makes_another_one_while_it_moves() -> None:
    threads = Threads()
    rig, second = threads.rig, threads.second
    _, ticket = with_ticket(rig)
    moved = rig.client(7000, machine=second)
    moved.send(moved.signed(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)))
    [(read, request)] = threads.asked
    kept = moved.allocate().get(Attribute.XOR_RELAYED_ADDRESS)
    assert code_of(parse(second.take_over(request, rig.machine.give_up(read, request.login)).data)) == 437
    assert [each.relays[0].port for each in second.tables.all()] == [kept[1]]
    assert rig.witness.seen[-1] == ("disconnected", "bob")
    assert rig.shared.quotas.by_owner() == {"bob": 1}
    assert (len(rig.ports.open_now), len(rig.shared.live)) == (1, 1)


class Gone:
    """Connections of clients, of which none is there any more."""

    def is_connected(self, client: Client) -> bool:
        return False

    def is_encrypted(self, client: Client) -> bool:
        return False

    def connect(self, request: Request, allocation: Allocation, peer: tuple[str, int]) -> None:
        raise AssertionError

    def bind(self, request: Request) -> None:
        raise AssertionError


def test_an_allocation_ends_whose_clients_new_connection_is_gone_before_it_has_moved() -> None:
    rig, asked = Rig(), list[tuple[Ticket, Request]]()
    second = rig.new_machine(1, hand_over=lambda *handed: asked.append(handed), streams=Gone())
    _, ticket = with_ticket(rig)
    moved = rig.stream()
    moved.machine = second
    moved.send(moved.signed(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)))
    [(read, request)] = asked
    assert code_of(parse(second.take_over(request, rig.machine.give_up(read, request.login)).data)) == 437
    assert (rig.ports.open_now, rig.shared.quotas.total, len(second.tables)) == ({}, 0, 0)


def test_an_allocation_ends_that_finds_no_place_where_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    rig, second = threads.rig, threads.second
    _, ticket = with_ticket(rig)
    moved = rig.client(7000, machine=second)
    moved.send(moved.signed(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)))
    [(read, request)] = threads.asked
    moving = rig.machine.give_up(read, request.login)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(second.tables.plane, "add_allocation", full)
    with pytest.raises(MemoryError):
        second.take_over(request, moving)
    assert (rig.ports.open_now, rig.shared.quotas.total, len(rig.shared.live)) == ({}, 0, 0)
