"""PCP and NAT-PMP messages, byte for byte as the RFCs lay them out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from librats import Address, DecodeError, MappedTransport
from librats.portmap.natpmp_wire import (
    NatPmpMapping,
    NatPmpPublicAddress,
    NatPmpRefusal,
    NatPmpRequest,
    decode_natpmp_request,
    decode_natpmp_response,
    encode_natpmp_request,
    encode_natpmp_response,
)
from librats.portmap.pcp_wire import (
    MapData,
    MapRequest,
    PcpResponse,
    announce_request,
    decode_pcp_request,
    decode_pcp_response,
    encode_announcement,
    encode_map_request,
    encode_pcp_response,
)

ANY = "0.0.0.0"  # noqa: S104 - stands for any address
TCP, UDP = MappedTransport.TCP, MappedTransport.UDP
NONCE = bytes(range(12))
WANTED = MapData(nonce=NONCE, transport=UDP, internal_port=8080, external=Address(ANY, 8081))

# RFC 6887, 7.1 and 11.1: version, opcode, reserved, lifetime, client; nonce, protocol, reserved, ports, external.
MAP_REQUEST = bytes.fromhex(
    "02 01 0000 00001c20 00000000000000000000ffffc0a8010b"
    "000102030405060708090a0b 11 000000 1f90 1f91 00000000000000000000ffff00000000"
)
# 7.2: version, R and opcode, reserved, result, lifetime, epoch, reserved.
MAP_RESPONSE = bytes.fromhex(
    "02 81 00 00 00000e10 00000064 000000000000000000000000"
    "000102030405060708090a0b 11 000000 1f90 9c40 00000000000000000000ffffcb007107"
)


def test_a_map_request_is_as_the_rfc_has_it() -> None:
    assert encode_map_request(WANTED, client="192.168.1.11", lifetime=7200) == MAP_REQUEST
    assert decode_pcp_request(MAP_REQUEST) == MapRequest(
        version=2, opcode=1, lifetime=7200, client="192.168.1.11", data=WANTED
    )


def test_prefer_failure_is_an_option_without_data() -> None:
    request = encode_map_request(WANTED, client="192.168.1.11", lifetime=7200, prefer_failure=True)
    assert request == MAP_REQUEST + bytes.fromhex("02 00 0000")
    assert decode_pcp_request(request).prefer_failure


def test_a_request_over_ipv6_has_ipv6_addresses_without_zones() -> None:
    wanted = replace(WANTED, transport=TCP, external=Address("::", 0))
    request = encode_map_request(wanted, client="2001:db8::b%eth0", lifetime=0)
    assert request[8:24].hex() == "20010db800000000000000000000000b"
    assert (request[36], request[42:44].hex(), request[44:].hex()) == (6, "0000", "00" * 16)
    assert decode_pcp_request(request).data == wanted


def test_a_map_response_is_read() -> None:
    granted = replace(WANTED, external=Address("203.0.113.7", 40000))
    response = PcpResponse(version=2, opcode=1, result=0, lifetime=3600, epoch=100, data=granted)
    assert decode_pcp_response(MAP_RESPONSE) == response
    assert encode_pcp_response(response) == MAP_RESPONSE


def test_options_of_a_response_are_skipped() -> None:
    assert decode_pcp_response(MAP_RESPONSE + bytes.fromhex("83 00 0004 01020304")) == decode_pcp_response(MAP_RESPONSE)


def test_announcements_have_the_epoch_alone() -> None:
    assert announce_request("192.168.1.11").hex() == "02000000" + "00000000" + "00000000000000000000ffffc0a8010b"
    assert encode_announcement(5).hex() == "02800000" + "00000000" + "00000005" + "00" * 12
    assert decode_pcp_response(encode_announcement(5)) == PcpResponse(version=2, opcode=0, epoch=5)


def test_another_version_is_told_as_it_is() -> None:
    refusal = bytes.fromhex("01 81 00 01 00000708 00000064") + bytes(12)
    told = decode_pcp_response(refusal)
    assert (told.version, told.result, told.lifetime, told.data) == (1, 1, 1800, None)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        MAP_RESPONSE[:20],
        MAP_RESPONSE[:24],
        MAP_RESPONSE[:-4],
        MAP_RESPONSE[:-1],
        MAP_RESPONSE + bytes(1100),
        bytes([2, 1]) + MAP_RESPONSE[2:],  # a request
        MAP_RESPONSE[:36] + bytes([1]) + MAP_RESPONSE[37:],  # ICMP
    ],
)
def test_a_damaged_response_is_refused(damaged: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_pcp_response(damaged)


@pytest.mark.parametrize(
    "damaged", [b"", MAP_REQUEST[:24], MAP_REQUEST[:-1], MAP_RESPONSE, MAP_REQUEST + bytes.fromhex("02 00 0008")]
)
def test_a_damaged_request_is_refused(damaged: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_pcp_request(damaged)


# NAT-PMP: RFC 6886, 3.2 to 3.5

NATPMP_REQUESTS = [
    ("00 00", NatPmpRequest()),
    (
        "00 01 0000 1f90 1f91 00001c20",
        NatPmpRequest(transport=UDP, internal_port=8080, external_port=8081, lifetime=7200),
    ),
    ("00 02 0000 1f90 0000 00000000", NatPmpRequest(transport=TCP, internal_port=8080)),
]
NATPMP_RESPONSES = [
    ("00 80 0000 00000064 cb007107", NatPmpPublicAddress(epoch=100, host="203.0.113.7")),
    (
        "00 81 0000 00000064 1f90 9c40 00000e10",
        NatPmpMapping(epoch=100, transport=UDP, internal_port=8080, external_port=40000, lifetime=3600),
    ),
    (
        "00 82 0000 00000064 1f90 1f90 00000e10",
        NatPmpMapping(epoch=100, transport=TCP, internal_port=8080, external_port=8080, lifetime=3600),
    ),
    ("00 82 0002 00000064", NatPmpRefusal(epoch=100, transport=TCP, result=2)),
    ("00 80 0003 00000064", NatPmpRefusal(epoch=100, transport=None, result=3)),
]


@pytest.mark.parametrize(("data", "request_"), NATPMP_REQUESTS)
def test_natpmp_requests_are_as_the_rfc_has_them(data: str, request_: NatPmpRequest) -> None:
    assert encode_natpmp_request(request_) == bytes.fromhex(data)
    assert decode_natpmp_request(bytes.fromhex(data)) == request_


@pytest.mark.parametrize(("data", "response"), NATPMP_RESPONSES)
def test_natpmp_responses_are_as_the_rfc_has_them(data: str, response: NatPmpMapping) -> None:
    assert encode_natpmp_response(response) == bytes.fromhex(data)
    assert decode_natpmp_response(bytes.fromhex(data)) == response


def test_a_refusal_with_the_ports_of_the_request_tells_which() -> None:
    told = decode_natpmp_response(bytes.fromhex("00 81 0004 00000064 1f90 0000 00000000"))
    assert told == NatPmpRefusal(epoch=100, transport=UDP, result=4, internal_port=8080)


@pytest.mark.parametrize("data", ["00 00 0001 00000064", "00 81 0001 00000064"])
def test_that_the_version_is_not_known_is_told_with_and_without_the_bit_of_responses(data: str) -> None:
    assert decode_natpmp_response(bytes.fromhex(data)) == NatPmpRefusal(epoch=100, transport=None, result=1)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "00 80 0000 000000",
        "00 80 0000 00000064 cb0071",
        "00 81 0000 00000064 1f90 9c40 00000e",
        "00 01 0000 00000064 1f90 9c40 00000e10",  # a request
        "00 83 0000 00000064",
        "02 80 0000 00000064 cb007107",
    ],
)
def test_a_damaged_natpmp_response_is_refused(damaged: str) -> None:
    with pytest.raises(DecodeError):
        decode_natpmp_response(bytes.fromhex(damaged))


@pytest.mark.parametrize("damaged", ["", "00", "00 80", "00 03 0000", "00 01 0000 1f90"])
def test_a_damaged_natpmp_request_is_refused(damaged: str) -> None:
    with pytest.raises(DecodeError):
        decode_natpmp_request(bytes.fromhex(damaged))
