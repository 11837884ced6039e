"""Falling back to NAT-PMP, and asking by it."""

from __future__ import annotations

import pytest
from tests.unit.portmap.scripted import ANY, LOCAL, PUBLIC, TCP, UDP, UNSUPPORTED, Rig

from librats import Address, MappedTransport, PortMappingProtocol
from librats.portmap.mapper_events import GatewaySilent, MappingGranted, MappingLost, MappingRefused
from librats.portmap.natpmp_wire import (
    NatPmpMapping,
    NatPmpPublicAddress,
    NatPmpRefusal,
    NatPmpRequest,
    decode_natpmp_request,
)
from librats.portmap.pcp_wire import PcpResponse, encode_pcp_response

NAT_PMP = PortMappingProtocol.NAT_PMP


def natpmp(rig: Rig) -> list[NatPmpRequest]:
    return [decode_natpmp_request(data) for data in rig.sent() if data[0] == 0]


def tell_address(rig: Rig, host: str = PUBLIC, epoch: int | None = None) -> None:
    rig.hear_natpmp(NatPmpPublicAddress(epoch=int(rig.now) if epoch is None else epoch, host=host))


def grant(
    rig: Rig, transport: MappedTransport = UDP, port: int = 8080, *, external: int | None = None, lifetime: int = 7200
) -> None:
    rig.hear_natpmp(
        NatPmpMapping(
            epoch=int(rig.now),
            transport=transport,
            internal_port=port,
            external_port=port if external is None else external,
            lifetime=lifetime,
        )
    )


def speaking(*ports: tuple[MappedTransport, int]) -> Rig:
    """Return a rig whose gateway knows NAT-PMP alone, with mappings asked for."""
    rig = Rig()
    for transport, port in ports or ((UDP, 8080),):
        rig.add(transport, port)
    rig.sent()
    rig.hear(UNSUPPORTED)
    assert natpmp(rig) == [NatPmpRequest()]
    tell_address(rig)
    return rig


def test_a_gateway_that_knows_no_pcp_is_asked_by_natpmp_at_once() -> None:
    rig = speaking()
    assert rig.mapper.protocol is NAT_PMP
    wanted = NatPmpRequest(transport=UDP, internal_port=8080, external_port=8080, lifetime=7200)
    assert natpmp(rig) == [wanted]
    grant(rig, external=40000, lifetime=3600)
    external = Address(PUBLIC, 40000)
    assert rig.told() == [MappingGranted(key=1, external=external, lifetime=3600, protocol=NAT_PMP)]


def test_a_gateway_that_knows_an_older_pcp_is_asked_by_natpmp_at_once() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    rig.hear(encode_pcp_response(PcpResponse(version=1, opcode=1, result=1, lifetime=60, epoch=1)))
    assert natpmp(rig) == [NatPmpRequest()]


def test_a_gateway_that_is_silent_to_pcp_is_asked_by_natpmp_after_half_a_second() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    times = [when for when, data in rig.go(200.0) if data[0] == 0]
    assert times == pytest.approx([0.5, 0.75, 1.25, 2.25, 4.25, 8.25, 16.25, 32.25, 64.25])


def test_both_ways_are_open_until_one_answers() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    rig.go(10.0)
    rig.answer(data)
    assert rig.mapper.protocol is PortMappingProtocol.PCP
    assert [sent for _, sent in rig.go(100.0) if sent[0] == 0] == []


def test_mappings_are_asked_for_one_after_the_other() -> None:
    rig = speaking((TCP, 8080), (UDP, 8080), (UDP, 8081))
    asked = []
    for _ in range(3):
        [request] = natpmp(rig)
        assert request.transport is not None
        asked.append((request.transport, request.internal_port))
        grant(rig, request.transport, request.internal_port)
    assert asked == [(TCP, 8080), (UDP, 8080), (UDP, 8081)]
    assert len([event for event in rig.told() if isinstance(event, MappingGranted)]) == 3


def test_a_request_is_sent_nine_times_and_then_given_up() -> None:
    rig = speaking()
    times = [0.0 for _ in natpmp(rig)] + [when for when, data in rig.go(130.0) if data[0] == 0]
    assert times[:9] == pytest.approx([0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75, 63.75])
    [refused] = [event for event in rig.told() if isinstance(event, MappingRefused)]
    assert (refused.code, refused.retry_in) == ("no_answer", 300)


def test_after_long_silence_pcp_is_tried_again() -> None:
    rig = speaking()
    sent = [data for _, data in rig.go(500.0)]
    assert any(data[0] == 2 for data in sent)


def test_a_mapping_is_renewed_and_lost_where_nobody_answers() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig)
    rig.told()
    renewals = [when for when, data in rig.go(7199.0) if data[1:2] == b"\1"]
    assert 3600 <= renewals[0] <= 4500
    assert rig.told() == []
    rig.go(2.0)
    assert rig.told() == [MappingLost(key=1, reason="it was not renewed in time")]


def test_a_mapping_is_removed() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig)
    rig.told()
    rig.mapper.remove(1, now=rig.now)
    rig.mapper.handle_timer(now=rig.now)
    assert natpmp(rig) == [NatPmpRequest(transport=UDP, internal_port=8080, external_port=0, lifetime=0)]
    grant(rig, external=0, lifetime=0)
    assert len(rig.mapper) == 0
    assert rig.told() == []


def test_a_removal_is_sent_three_times_and_then_left_to_time() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig)
    rig.mapper.remove(1, now=rig.now)
    assert len([data for _, data in rig.go(5.0) if data[0] == 0]) + len(natpmp(rig)) == 3
    assert len(rig.mapper) == 0


def test_a_late_answer_to_a_request_does_not_end_its_removal() -> None:
    rig = speaking()
    natpmp(rig)
    rig.mapper.remove(1, now=rig.now)
    rig.mapper.handle_timer(now=rig.now)
    assert [request.lifetime for request in natpmp(rig)] == [0]
    grant(rig)
    assert [request.lifetime for request in natpmp(rig)] == [0]
    grant(rig, external=0, lifetime=0)
    assert len(rig.mapper) == 0


def test_another_public_address_is_told_of_every_mapping() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig, external=40000)
    rig.told()
    rig.now += 30.0
    tell_address(rig, "203.0.113.8")
    assert [event.external for event in rig.told() if isinstance(event, MappingGranted)] == [
        Address("203.0.113.8", 40000)
    ]
    [request] = natpmp(rig)  # the mapping may have gone with the old address
    assert (request.transport, request.external_port) == (UDP, 40000)


def test_a_gateway_that_has_begun_to_count_anew_is_asked_again() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig)
    rig.now += 120.0
    tell_address(rig, epoch=3)
    [request] = natpmp(rig)
    assert (request.transport, request.internal_port) == (UDP, 8080)


def test_the_public_address_is_asked_for_every_two_minutes() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig)
    assert next(when for when, data in rig.go(121.0) if data == b"\0\0") == pytest.approx(120.0)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (2, "not_authorized"),
        (3, "network_failure"),
        (4, "no_resources"),
        (5, "unsupported"),
        (77, "refused"),
    ],
)
def test_a_refusal_is_told(result: int, code: str) -> None:
    rig = speaking()
    natpmp(rig)
    rig.hear_natpmp(NatPmpRefusal(epoch=int(rig.now), transport=UDP, result=result))
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert (refused.code, refused.protocol, refused.retry_in) == (code, NAT_PMP, 30)


def test_a_gateway_without_an_address_is_told() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    rig.hear(UNSUPPORTED)
    rig.sent()
    tell_address(rig, ANY)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert refused.code == "network_failure"


def test_a_gateway_that_refuses_to_tell_its_address_is_told() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    rig.hear(UNSUPPORTED)
    rig.sent()
    rig.hear_natpmp(NatPmpRefusal(epoch=1, transport=None, result=3))
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert (refused.code, refused.protocol) == ("network_failure", NAT_PMP)


def test_what_was_not_asked_is_not_believed() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    tell_address(rig)
    grant(rig)
    assert rig.told() == []
    assert rig.mapper.protocol is None
    assert rig.mapper.counters.unmatched == 2
    rig = speaking()
    natpmp(rig)
    grant(rig, TCP)
    grant(rig, UDP, 8081)
    assert rig.told() == []
    assert rig.mapper.counters.unmatched == 2


def test_port_0_is_no_mapping() -> None:
    rig = speaking()
    natpmp(rig)
    grant(rig, external=0)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert refused.code == "absurd_answer"


def test_a_gateway_that_knows_neither_is_silent_in_the_end() -> None:
    rig = Rig()
    rig.add()
    for _ in range(3):
        rig.sent()
        rig.hear(UNSUPPORTED)
    rig.go(20.0)
    assert [type(event) for event in rig.told()] == [GatewaySilent]
    assert rig.mapper.local == LOCAL
