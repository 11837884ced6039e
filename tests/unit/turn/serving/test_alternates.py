"""Clients for whom there is no room are told of another server (RFC 8489, 10)."""

from __future__ import annotations

import pytest
from tests.unit.turn.serving.rig import Rig, code_of

from librats._core.stun import parse
from librats.stun.constants import Attribute, Method
from librats.turn.serving.allocation import UDP, Allocation, Client
from librats.turn.serving.alternates import Alternate, Alternates
from librats.turn.serving.quotas import QuotaLimits
from librats.turn.serving.request import Request
from librats.types import Address

FOUR, FIVE = (Alternate(Address(host, 3478)) for host in ("192.0.2.4", "192.0.2.5"))
SIX = Alternate(Address("2001:db8::6", 3478))
SAFE = Alternate(Address("192.0.2.7", 5349), "other.example.org")
ALLOCATE = (Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP))


class Encrypted:
    """Connections, of which the first is one of TLS."""

    def is_connected(self, client: Client) -> bool:
        return True

    def is_encrypted(self, client: Client) -> bool:
        return client.listener == -1

    def connect(self, request: Request, allocation: Allocation, peer: tuple[str, int]) -> None:
        raise NotImplementedError

    def bind(self, request: Request) -> None:
        raise NotImplementedError


def full_rig(*plain: Alternate, encrypted: tuple[Alternate, ...] = (), authenticated: bool = True) -> Rig:
    rig = Rig(streams=Encrypted(), authenticated=authenticated)
    rig.shared.alternates = Alternates(plain, encrypted)
    rig.shared.draining = True
    return rig


def test_a_draining_server_names_others_in_turn() -> None:
    rig = full_rig(FOUR, FIVE)
    named = []
    for port in range(6000, 6004):
        answer = rig.client(port).ask(*ALLOCATE)
        assert code_of(answer) == 300
        assert answer.get(Attribute.ALTERNATE_DOMAIN) is None
        named.append(answer.get(Attribute.ALTERNATE_SERVER)[0])
    assert named == ["192.0.2.4", "192.0.2.5"] * 2
    assert len(rig.machine.tables) == 0


def test_who_is_not_known_is_asked_and_not_sent_elsewhere() -> None:
    rig = full_rig(FOUR)
    answer = rig.client().bare(*ALLOCATE)
    assert answer is not None
    assert code_of(answer) == 401


def test_the_answer_is_signed() -> None:
    caller = full_rig(FOUR).client()
    answer = caller.ask(*ALLOCATE)
    assert answer.check_integrity(caller.key)


def test_an_answer_to_anybody_stays_short() -> None:
    rig = full_rig(SIX, authenticated=False)
    caller = rig.client(host="2001:db8::1")
    request = caller.signed(*ALLOCATE)
    answer = caller.send(request)
    assert answer is not None
    assert code_of(parse(answer.data)) == 300
    assert len(answer.data) <= 2.4 * len(request)


def test_clients_are_sent_to_their_own_address_family() -> None:
    rig = full_rig(FOUR, SIX)
    assert rig.client(host="2001:db8::1").ask(*ALLOCATE).get(Attribute.ALTERNATE_SERVER)[0] == "2001:db8::6"
    assert rig.client().ask(*ALLOCATE).get(Attribute.ALTERNATE_SERVER)[0] == "192.0.2.4"
    assert full_rig(FOUR).client(host="2001:db8::1").code(*ALLOCATE) == 508


def test_clients_over_tls_are_sent_to_servers_with_tls_and_told_their_name() -> None:
    rig = full_rig(FOUR, encrypted=(SAFE,))
    answer = rig.stream(1).ask(*ALLOCATE)
    assert answer.get(Attribute.ALTERNATE_SERVER) == ("192.0.2.7", 5349)
    assert answer.get(Attribute.ALTERNATE_DOMAIN) == "other.example.org"
    assert rig.stream(2).ask(*ALLOCATE).get(Attribute.ALTERNATE_SERVER) == ("192.0.2.4", 3478)
    assert full_rig(FOUR).stream(1).code(*ALLOCATE) == 508


@pytest.mark.parametrize(
    ("limits", "code"),
    [(QuotaLimits(total_allocations=1), 300), (QuotaLimits(user_allocations=1), 486)],
)
def test_a_full_server_names_another_and_a_full_user_is_told(limits: QuotaLimits, code: int) -> None:
    rig = Rig(limits=limits)
    rig.shared.alternates = Alternates([FOUR])
    assert code_of(rig.client(6000).allocate()) == 0
    assert rig.client(6001).code(*ALLOCATE) == code
    assert rig.client(6000).code(Method.REFRESH) == 0


def test_a_server_without_ports_names_another_and_forgets_the_client() -> None:
    rig = Rig(limits=QuotaLimits(total_allocations=1))
    rig.shared.alternates = Alternates([FOUR])
    rig.ports.left = 0
    for even in ([], [(Attribute.EVEN_PORT, True)]):
        assert rig.client().code(*ALLOCATE, *even) == 300
    rig.ports.left = 1
    assert rig.client().code(*ALLOCATE) == 0


def test_a_reservation_that_is_gone_is_gone_elsewhere_too() -> None:
    rig = Rig()
    rig.shared.alternates = Alternates([FOUR])
    assert rig.client().code(*ALLOCATE, (Attribute.RESERVATION_TOKEN, bytes(8))) == 508
