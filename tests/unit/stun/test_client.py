from __future__ import annotations

import struct

import pytest
from tests.reference.stun_server import COOKIE, attribute, binding_reply, message, packed
from tests.unit.stun.scripted import SeededEntropy

from librats._core.stun import serialise
from librats.stun.client import Answered, Refused, Returned, StunClient, TimedOut
from librats.stun.constants import Attribute, MessageClass, Method
from librats.types import Address

SERVER = Address("192.0.2.1", 3478)
OTHER = Address("192.0.2.2", 3478)
US = ("203.0.113.9", 5000)


def ask(client: StunClient, server: Address = SERVER, now: float = 0.0, **options: object) -> bytes:
    """Ask, and return the request as it is sent."""
    client.ask(server, now=now, **options)  # type: ignore[arg-type]
    [(_, data, to)] = client.datagrams_to_send()
    assert to == server
    return data


def answer(request: bytes, endpoint: Address = SERVER) -> bytes:
    reply = binding_reply(request, US, 0, [(endpoint.host, endpoint.port)])
    assert reply is not None
    return reply[1]


@pytest.fixture
def client() -> StunClient:
    return StunClient(SeededEntropy())


def test_an_answer_tells_where_we_are_seen_and_how_long_it_took(client: StunClient) -> None:
    request = ask(client)
    client.receive_datagram(answer(request), SERVER, now=0.03)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert (event.mapped, event.server, event.source, event.rtt) == (Address(*US), SERVER, SERVER, 0.03)
    assert (client.next_event(), client.next_timer(), len(client), client.ignored) == (None, None, 0, 0)


def test_the_request_is_the_shortest_there_is(client: StunClient) -> None:
    request = ask(client)
    assert request[:8] == struct.pack("!HHI", 1, 0, COOKIE)
    assert len(request) == 20


def test_servers_are_asked_at_once_and_a_dead_one_holds_up_nobody(client: StunClient) -> None:
    ask(client)
    request = ask(client, OTHER)
    client.receive_datagram(answer(request, OTHER), OTHER, now=0.01)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert event.server == OTHER


def test_a_server_that_never_answers_is_asked_seven_times_and_given_up(client: StunClient) -> None:
    request = ask(client)
    sent = 1
    while (due := client.next_timer()) is not None:
        client.handle_timer(now=due)
        again = client.datagrams_to_send()
        assert all(item == (0, request, SERVER) for item in again)
        sent += len(again)
        last = due
    assert (sent, last) == (7, 39.5)
    assert isinstance(client.next_event(), TimedOut)
    assert client.next_event() is None


def refused(client: StunClient, data: bytes, source: Address = SERVER, socket: int = 0) -> bool:
    """Whether a datagram changes nothing but the count."""
    before = client.ignored
    client.receive_datagram(data, source, now=0.1, socket=socket)
    return (client.next_event(), client.ignored, len(client)) == (None, before + 1, 1)


def test_what_is_no_answer_to_what_was_asked_changes_nothing(client: StunClient) -> None:
    request = ask(client)
    good = answer(request)
    transaction = request[8:20]
    mapped = attribute(0x0020, packed(US, struct.pack("!I", COOKIE) + transaction))
    assert refused(client, good, OTHER)
    assert refused(client, good, Address(SERVER.host, 3479))
    assert refused(client, good, socket=1)
    assert refused(client, good[:8] + bytes(12) + good[20:])
    assert refused(client, good[:4] + bytes(4) + good[8:])
    assert refused(client, good[:-1])
    assert refused(client, message(0x0103, transaction, mapped))
    assert refused(client, message(0x0011, transaction, mapped))
    assert refused(client, b"")
    assert refused(client, good[:-4] + b"")
    assert refused(client, message(0x0101, transaction, mapped, attribute(0x8028, bytes(4))))
    client.receive_datagram(good, SERVER, now=0.1)
    assert isinstance(client.next_event(), Answered)


def test_a_right_fingerprint_is_taken(client: StunClient) -> None:
    request = ask(client)
    data = serialise(1, 2, request[8:20], [(0x0020, US)], fingerprint=True)
    client.receive_datagram(data, SERVER, now=0.1)
    assert isinstance(client.next_event(), Answered)


def test_a_second_answer_is_ignored(client: StunClient) -> None:
    good = answer(ask(client))
    client.receive_datagram(good, SERVER, now=0.1)
    client.receive_datagram(good, SERVER, now=0.2)
    assert isinstance(client.next_event(), Answered)
    assert (client.next_event(), client.ignored) == (None, 1)


def test_an_answer_may_come_from_another_address_only_where_that_was_asked_for(client: StunClient) -> None:
    request = ask(client, sources=(OTHER,), socket=3)
    assert refused(client, answer(request), SERVER, socket=3)
    client.receive_datagram(answer(request), OTHER, now=0.1, socket=3)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert (event.source, event.server, event.socket) == (OTHER, SERVER, 3)


def test_addresses_are_compared_by_what_they_mean(client: StunClient) -> None:
    request = ask(client, Address("2001:DB8:0::1", 3478))
    client.receive_datagram(answer(request), Address("2001:db8::1", 3478), now=0.1)
    assert isinstance(client.next_event(), Answered)


def test_a_mapped_address_of_old_servers_is_taken(client: StunClient) -> None:
    request = ask(client)
    client.receive_datagram(message(0x0101, request[8:20], attribute(0x0001, packed(US))), SERVER, now=0.1)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert event.mapped == Address(*US)


@pytest.mark.parametrize(
    ("kind", "attributes", "code"),
    [
        (0x0111, [attribute(0x0009, bytes([0, 0, 4, 20]) + b"Unknown Attribute")], 420),
        (0x0111, [attribute(0x0009, bytes([0, 0, 3, 0]) + b"Try Alternate")], 300),
        (0x0111, [], 400),
        (0x0101, [], 400),
        (0x0101, [attribute(0x0001, packed(US)), attribute(0x7777, b"")], 400),
        (0x0101, [attribute(0x0020, b"\x00\x09\x00\x00\x00\x00\x00\x00")], 400),
    ],
    ids=["420", "300", "no code", "no address", "unknown attribute", "a family that is none"],
)
def test_a_refusal_and_an_answer_that_cannot_be_used_end_it(
    client: StunClient, kind: int, attributes: list[bytes], code: int
) -> None:
    request = ask(client)
    client.receive_datagram(message(kind, request[8:20], *attributes), SERVER, now=0.1)
    event = client.next_event()
    assert isinstance(event, Refused)
    assert (event.code, event.server, len(client)) == (code, SERVER, 0)


@pytest.mark.parametrize(
    ("server", "mapped", "taken"),
    [
        ("192.0.2.1", ("10.0.0.7", 5000), True),  # within a carrier's network, for example
        ("192.0.2.1", ("203.0.113.9", 0), False),
        ("192.0.2.1", ("127.0.0.1", 22), False),
        ("192.0.2.1", ("224.0.0.251", 5353), False),
        ("192.0.2.1", ("0.0.0.0", 5000), False),  # noqa: S104 - what a server may say
        ("192.0.2.1", ("255.255.255.255", 67), False),
        ("127.0.0.1", ("127.0.0.1", 5000), True),
        ("2001:db8::1", ("::1", 22), False),
        ("2001:db8::1", ("ff02::fb", 5353), False),
        ("2001:db8::1", ("::ffff:127.0.0.1", 22), False),
        ("::1", ("::1", 5000), True),
        ("fe80::1%1", ("fe80::2", 5000), True),
    ],
)
def test_an_address_at_which_no_server_can_see_us_is_not_believed(
    client: StunClient, server: str, mapped: tuple[str, int], taken: bool
) -> None:
    where = Address(server, 3478)
    request = ask(client, where)
    reply = serialise(
        Method.BINDING, MessageClass.SUCCESS_RESPONSE, request[8:20], [(Attribute.XOR_MAPPED_ADDRESS, mapped)]
    )
    client.receive_datagram(reply, where, now=0.01)
    event = client.next_event()
    assert isinstance(event, Answered) if taken else isinstance(event, Refused)
    assert len(client) == 0


def test_our_own_request_that_comes_back_is_told(client: StunClient) -> None:
    request = ask(client, socket=2)
    client.receive_datagram(request, Address(*US), now=0.1, socket=4)
    event = client.next_event()
    assert isinstance(event, Returned)
    assert (event.transaction_id, event.socket) == (request[8:20], 4)


def test_a_request_that_is_cancelled_is_heard_of_no_more(client: StunClient) -> None:
    request = ask(client)
    client.cancel(request[8:20])
    client.receive_datagram(answer(request), SERVER, now=0.1)
    assert (client.next_event(), client.next_timer(), client.ignored) == (None, None, 1)
