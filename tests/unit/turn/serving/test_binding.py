"""Binding, with and without a second address (RFC 5780)."""

from __future__ import annotations

import pytest
from tests.unit.turn.serving.rig import Rig, code_of

from librats._core.relay import pack_address
from librats._core.stun import parse, serialise
from librats.stun.constants import Attribute, Method
from librats.turn.serving.allocation import Client
from librats.turn.serving.binding import Corner
from librats.types import Address

PLACES = [Address("198.51.100.1", 3478), Address("198.51.100.1", 3479)]
PLACES += [Address("198.51.100.2", 3478), Address("198.51.100.2", 3479)]
SQUARE = {
    number: Corner(PLACES[number], PLACES[number ^ 3], tuple(number ^ step for step in range(4)))  # type: ignore[arg-type]
    for number in range(4)
}
HOST, PORT = "203.0.113.1", 6000


def asked(listener: int, *attributes: tuple[int, object], square: bool = True):  # type: ignore[no-untyped-def]
    machine = Rig().new_machine(0, corners=SQUARE if square else {})
    client = Client(listener, pack_address(HOST, PORT), pack_address(*PLACES[listener]))
    answer = machine.receive(client, serialise(Method.BINDING, 0, bytes(12), attributes), now=0.0)
    assert answer is not None
    return answer


@pytest.mark.parametrize(("host", "most"), [(HOST, 1.6), ("2001:db8::7", 2.2)])
def test_a_client_is_told_where_it_is_in_few_bytes(host: str, most: float) -> None:
    request = serialise(Method.BINDING, 0, bytes(12))
    answer = Rig().client(6000, host).send(request)
    assert answer is not None
    message = parse(answer.data)
    assert message.values() == [(Attribute.XOR_MAPPED_ADDRESS, (host, 6000))]
    assert len(answer.data) <= most * len(request)


def test_a_fingerprint_is_answered_by_one_and_a_wrong_one_not_at_all() -> None:
    rig = Rig()
    answer = rig.client().bare(Method.BINDING, fingerprint=True)
    assert answer is not None
    assert answer.check_fingerprint()
    wrong = bytearray(serialise(Method.BINDING, 0, bytes(12), fingerprint=True))
    wrong[-1] ^= 1
    assert rig.client().send(bytes(wrong)) is None
    assert rig.machine.malformed == 1


@pytest.mark.parametrize("listener", range(4))
@pytest.mark.parametrize(("change", "step"), [(0, 0), (2, 1), (4, 2), (6, 3)])
def test_the_answer_comes_from_where_it_is_wanted(listener: int, change: int, step: int) -> None:
    answer = asked(listener, (Attribute.CHANGE_REQUEST, change))
    message = parse(answer.data)
    assert answer.listener == listener ^ step
    assert answer.client == pack_address(HOST, PORT)
    assert message.get(Attribute.RESPONSE_ORIGIN) == tuple(PLACES[listener ^ step])
    assert message.get(Attribute.OTHER_ADDRESS) == tuple(PLACES[listener ^ 3])


def test_the_answer_goes_to_the_port_where_it_is_wanted() -> None:
    answer = asked(0, (Attribute.RESPONSE_PORT, 7000))
    assert answer.client == pack_address(HOST, 7000)
    assert parse(answer.data).get(Attribute.XOR_MAPPED_ADDRESS) == (HOST, PORT)


def test_another_port_does_not_go_with_padding() -> None:
    answer = asked(0, (Attribute.RESPONSE_PORT, 7000), (Attribute.PADDING, bytes(100)))
    assert code_of(parse(answer.data)) == 400
    assert answer.client == pack_address(HOST, PORT)


def test_without_a_second_address_nothing_of_it_is_told_or_done() -> None:
    answer = asked(0, (Attribute.CHANGE_REQUEST, 6), square=False)
    assert (answer.listener, parse(answer.data).types()) == (0, [Attribute.XOR_MAPPED_ADDRESS])


def test_attributes_that_are_not_understood_are_told() -> None:
    answer = Rig().client().bare(Method.BINDING, (0x7F00, b""))
    assert code_of(answer) == 420


def test_methods_that_are_not_known_are_a_bad_request() -> None:
    assert code_of(Rig().client().bare(0x123)) == 400  # type: ignore[arg-type]


@pytest.mark.parametrize("message_class", [1, 2, 3])
def test_what_is_no_request_is_not_answered(message_class: int) -> None:
    assert Rig().client().send(serialise(Method.BINDING, message_class, bytes(12))) is None


def test_what_is_no_message_is_counted() -> None:
    rig = Rig()
    for data in (b"", b"\0" * 20, b"x" * 100, serialise(Method.BINDING, 0, bytes(12)) + b"\0"):
        assert rig.client().send(data) is None
    assert rig.machine.malformed == 4
