"""CreatePermission and ChannelBind: what is let through, and what is refused with which code."""

from __future__ import annotations

import ipaddress

import pytest
from tests.unit.turn.serving.rig import PEER, PEER6, Caller, Rig

from librats._core.relay import pack_address
from librats.stun.constants import Attribute, Method
from librats.turn.serving.allocation import IPV6

HOST = ipaddress.IPv4Address(PEER[0]).packed
OTHER = ("203.0.113.8", 4000)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def client(rig: Rig) -> Caller:
    client = rig.client()
    client.allocate()
    return client


def test_a_permission_lasts_five_minutes_and_begins_anew_when_asked_for_again(rig: Rig, client: Caller) -> None:
    assert client.permit(PEER) == 0
    rig.now += 200
    assert client.permit(PEER) == 0
    assert rig.plane.of("permission") == [
        ("permission", 1, HOST, 1300.0, False),
        ("permission", 1, HOST, 1500.0, False),
    ]


def test_several_peers_are_permitted_at_once_or_none_of_them(rig: Rig, client: Caller) -> None:
    assert client.permit(PEER, ("10.0.0.1", 1)) == 403
    assert client.permit(PEER, PEER6) == 443
    assert rig.plane.of("permission") == []
    assert client.permit(PEER, OTHER) == 0
    assert len(rig.plane.of("permission")) == 2


def test_a_permission_without_a_peer_is_a_bad_request(client: Caller) -> None:
    assert client.permit() == 400


def test_a_channel_lasts_ten_minutes_and_makes_a_permission(rig: Rig, client: Caller) -> None:
    assert client.bind(0x4000, PEER) == 0
    assert rig.plane.of("permission") == [("permission", 1, HOST, 1300.0, False)]
    assert rig.plane.of("channel") == [("channel", 1, 0x4000, pack_address(*PEER), 1600.0)]


@pytest.mark.parametrize(
    ("number", "code"), [(0, 400), (0x3FFF, 400), (0x4000, 0), (0x4FFF, 0), (0x7FFF, 0), (0x8000, 400), (0xFFFF, 400)]
)
def test_channels_have_numbers_of_a_range(client: Caller, number: int, code: int) -> None:
    assert client.bind(number, PEER) == code


def test_a_channel_goes_with_one_peer_and_a_peer_with_one_channel(client: Caller) -> None:
    assert client.bind(0x4000, PEER) == 0
    assert client.bind(0x4000, OTHER) == 400
    assert client.bind(0x4001, PEER) == 400
    assert client.bind(0x4000, PEER) == 0
    assert client.bind(0x4001, OTHER) == 0


def test_a_channel_that_is_over_may_be_bound_to_another_peer(rig: Rig, client: Caller) -> None:
    client.bind(0x4000, PEER)
    client.code(Method.REFRESH, (Attribute.LIFETIME, 3600))
    rig.now += 599
    assert client.bind(0x4000, OTHER) == 400
    rig.now += 1
    assert client.bind(0x4000, OTHER) == 0


@pytest.mark.parametrize("missing", ["number", "peer", "port"])
def test_a_channel_without_a_number_or_a_peer_is_a_bad_request(client: Caller, missing: str) -> None:
    number, peer = (Attribute.CHANNEL_NUMBER, 0x4000), (Attribute.XOR_PEER_ADDRESS, PEER)
    nowhere = (Attribute.XOR_PEER_ADDRESS, (PEER[0], 0))
    given: list[tuple[int, object]] = {"number": [peer], "peer": [number], "port": [number, nowhere]}[missing]  # type: ignore[assignment]
    assert client.code(Method.CHANNEL_BIND, *given) == 400


def test_a_peer_of_another_family_is_a_mismatch(rig: Rig, client: Caller) -> None:
    assert client.permit(PEER6) == client.bind(0x4000, PEER6) == 443
    other = rig.client(6001)
    other.allocate((Attribute.REQUESTED_ADDRESS_FAMILY, IPV6))
    assert other.permit(PEER) == other.bind(0x4000, PEER) == 443
    assert other.permit(PEER6) == 0


def test_without_an_allocation_there_is_nothing_to_permit(rig: Rig) -> None:
    assert rig.client(6001).permit(PEER) == rig.client(6001).bind(0x4000, PEER) == 437


def test_permissions_are_limited_and_those_that_are_over_do_not_count() -> None:
    rig = Rig(max_permissions=2)
    client = rig.client()
    client.allocate()
    peers = [(f"203.0.113.{number}", 1) for number in range(3)]
    assert [client.permit(peer) for peer in peers] == [0, 0, 508]
    assert client.permit(peers[0]) == 0
    assert client.permit(peers[0], ("203.0.113.0", 2)) == 0
    rig.now += 300
    assert client.permit(peers[2]) == 0


def test_channels_are_limited_and_those_that_are_over_do_not_count() -> None:
    rig = Rig(max_channels=2)
    client = rig.client()
    client.allocate((Attribute.LIFETIME, 3600))
    assert [client.bind(0x4000 + number, (PEER[0], 1 + number)) for number in range(3)] == [0, 0, 508]
    rig.now += 600
    assert client.bind(0x4002, (PEER[0], 3)) == 0


def test_attributes_that_are_not_understood_are_told(client: Caller) -> None:
    answer = client.ask(Method.CREATE_PERMISSION, (0x7F7F, b"abcd"), (Attribute.XOR_PEER_ADDRESS, PEER))
    assert answer.get(Attribute.ERROR_CODE)[0] == 420
    assert answer.get(Attribute.UNKNOWN_ATTRIBUTES) == (0x7F7F,)


@pytest.mark.parametrize("raw", [b"", b"\0\1", bytes(8), b"\0\3" + bytes(6), bytes(20)])
def test_a_peer_that_is_no_address_is_a_bad_request(client: Caller, raw: bytes) -> None:
    signed = client.signed(Method.CREATE_PERMISSION, (0x7F12, raw))
    forged = resigned(client, signed.replace(b"\x7f\x12", b"\x00\x12", 1))
    answer = client.send(forged)
    assert answer is not None
    assert b"\x00\x00\x04\x00" in answer.data


def resigned(client: Caller, message: bytes) -> bytes:
    """Return a message with the integrity that it should have."""
    import hmac  # noqa: PLC0415

    body = message[:-24]
    return body + b"\x00\x08\x00\x14" + hmac.digest(client.key, body, "sha1")
