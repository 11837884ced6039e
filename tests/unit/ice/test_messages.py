from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from librats._core.stun import parse, serialise
from librats.ice.events import IceRole
from librats.ice.messages import (
    CheckRequest,
    Credentials,
    read_message,
    read_request,
    read_response,
    write_error,
    write_response,
)
from librats.stun.constants import Attribute, MessageClass, Method
from librats.types import Address

Load = Callable[[str], list[dict[str, Any]]]
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
ID = bytes(range(12))
US, PEER = Credentials("evtj", PASSWORD), Credentials("h6vY", "x" * 22)


def sample(load: Load, name: str) -> bytes:
    return bytes.fromhex(next(case["raw"] for case in load("stun/messages_standard") if case["id"] == name))


def test_the_standards_sample_of_a_check_is_read(load_vectors: Load) -> None:
    message = read_message(sample(load_vectors, "rfc5769-2.1"))
    assert message is not None
    assert read_request(message, US) == CheckRequest(
        transaction_id=bytes.fromhex("b7e7a701bc34d686fa87dfae"),
        peer_ufrag="h6vY",
        priority=0x6E0001FF,
        role=IceRole.CONTROLLED,
        tie_breaker=0x932FF9B151263B36,
    )


def test_the_standards_sample_of_an_answer_is_read(load_vectors: Load) -> None:
    message = read_message(sample(load_vectors, "rfc5769-2.2"))
    assert message is not None
    found = read_response(message, US)
    assert found is not None
    assert found.mapped == Address("192.0.2.1", 32853)
    assert read_response(message, PEER) is None


def request(**changes: Any) -> CheckRequest:
    fields: dict[str, Any] = {
        "transaction_id": ID,
        "peer_ufrag": PEER.ufrag,
        "priority": 1845494271,
        "role": IceRole.CONTROLLING,
        "tie_breaker": 7,
    }
    return CheckRequest(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_candidate": True}, {"use_candidate": True, "nomination": 3}, {"role": IceRole.CONTROLLED}],
)
def test_a_check_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    wanted = request(**changes)
    message = read_message(wanted.write(US))
    assert message is not None
    assert read_request(message, US) == wanted
    assert message.unknown_required() == ()


@pytest.mark.parametrize(
    "receiver", [Credentials("evtj", PASSWORD[::-1]), Credentials("evtk", PASSWORD), Credentials("evt", PASSWORD)]
)
def test_a_check_for_somebody_else_is_not_read(receiver: Credentials) -> None:
    message = read_message(request().write(US))
    assert message is not None
    assert read_request(message, receiver) is None


def written(attributes: list[tuple[int, Any]], **options: Any) -> bytes:
    return serialise(Method.BINDING, MessageClass.REQUEST, ID, attributes, **options)


NAME = (Attribute.USERNAME, "evtj:h6vY")
PRIORITY = (Attribute.PRIORITY, 5)
CONTROLS = (Attribute.ICE_CONTROLLING, 7)


@pytest.mark.parametrize(
    "attributes",
    [
        [PRIORITY, CONTROLS],
        [(Attribute.USERNAME, "evtj"), PRIORITY, CONTROLS],
        [(Attribute.USERNAME, "evtj:"), PRIORITY, CONTROLS],
        [NAME, CONTROLS],
        [NAME, (Attribute.PRIORITY, 0), CONTROLS],
        [NAME, (Attribute.PRIORITY, 1 << 31), CONTROLS],
        [NAME, PRIORITY],
        [NAME, PRIORITY, CONTROLS, (Attribute.ICE_CONTROLLED, 7)],
    ],
)
def test_a_check_that_lacks_something_is_not_read(attributes: list[tuple[int, Any]]) -> None:
    message = read_message(written(attributes, key=US.key, fingerprint=True))
    assert message is not None
    assert read_request(message, US) is None


def test_what_has_no_fingerprint_is_no_check() -> None:
    assert read_message(written([NAME, PRIORITY, CONTROLS], key=US.key)) is None
    assert read_message(b"data") is None
    damaged = bytearray(request().write(US))
    damaged[30] ^= 1
    assert read_message(bytes(damaged)) is None


def test_answers_are_read_as_they_were_written() -> None:
    seen = Address("fe80::1%eth0", 5000)
    message = read_message(write_response(ID, seen, US))
    assert message is not None
    found = read_response(message, US)
    assert found is not None
    assert (found.transaction_id, found.mapped, found.code) == (ID, Address("fe80::1", 5000), 0)
    error = read_message(write_error(ID, 487, US))
    assert error is not None
    refused = read_response(error, US)
    assert refused is not None
    assert (refused.mapped, refused.code) == (None, 487)


def test_an_answer_that_names_no_address_is_an_error() -> None:
    data = serialise(Method.BINDING, MessageClass.SUCCESS_RESPONSE, ID, [], key=US.key, fingerprint=True)
    found = read_response(parse(data), US)
    assert found is not None
    assert found.code == 400
