"""Asking one gateway by PCP: what is sent when, what is believed, and what is told of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace
from tests.unit.portmap.scripted import ANY, GATEWAY6, LOCAL, LOCAL6, PUBLIC, SERVER, TCP, UDP, Rig

from librats import Address, PortMappingProtocol, UsageError
from librats.portmap.mapper_events import GatewaySilent, MappingGranted, MappingLost, MappingRefused
from librats.portmap.pcp_wire import (
    MapRequest,
    Opcode,
    PcpResponse,
    PcpResult,
    encode_announcement,
    encode_pcp_response,
)

PCP = PortMappingProtocol.PCP


def test_a_mapping_is_asked_for_at_once_and_granted() -> None:
    rig = Rig()
    key = rig.add(TCP, 8080)
    [request] = rig.requests()
    assert (request.client, request.lifetime, request.prefer_failure) == (LOCAL, 7200, False)
    assert request.data is not None
    assert (request.data.transport, request.data.internal_port) == (TCP, 8080)
    assert request.data.external == Address(ANY, 8080)
    rig.answer(request.data, external=Address(PUBLIC, 40000), lifetime=3600)
    external = Address(PUBLIC, 40000)
    assert rig.told() == [MappingGranted(key=key, external=external, lifetime=3600, protocol=PCP)]
    assert rig.mapper.protocol is PCP


def test_each_mapping_has_a_nonce_of_its_own_and_keeps_it() -> None:
    rig = Rig()
    rig.add(TCP)
    rig.add(UDP)
    first, second = (request.data for request in rig.requests())
    assert first is not None
    assert second is not None
    assert first.nonce != second.nonce
    later = [request.nonce for request in rig.asked_within(5.0)]
    assert set(later) == {first.nonce, second.nonce}


def test_a_wanted_port_is_suggested_and_one_that_must_be_it_says_so() -> None:
    rig = Rig()
    key = rig.add(UDP, 8080, external_port=443, exact=True)
    [request] = rig.requests()
    assert request.prefer_failure
    assert request.data is not None
    assert request.data.external.port == 443
    rig.answer(request.data, result=PcpResult.CANNOT_PROVIDE_EXTERNAL, lifetime=60)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert (refused.key, refused.code, refused.retry_in) == (key, "conflict", 60)


def test_without_an_answer_the_request_is_sent_again_ever_more_rarely() -> None:
    rig = Rig()
    rig.add()
    rig.sent()
    times = [when for when, data in rig.go(100.0) if data[0] == 2]
    assert len(times) == 5
    gaps = [times[0], *(b - a for a, b in pairwise(times))]
    assert 2.7 <= gaps[0] <= 3.3
    assert all(1.9 <= b / a <= 2.1 for a, b in pairwise(gaps))


def test_that_a_gateway_is_silent_is_told_once() -> None:
    rig = Rig()
    rig.add()
    rig.go(200.0)
    assert rig.told() == [GatewaySilent(waited=10.0)]


def test_a_late_answer_counts_all_the_same() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    rig.go(400.0)
    rig.told()
    rig.answer(data)
    assert isinstance(rig.told()[0], MappingGranted)


# Renewal


def test_a_mapping_is_renewed_between_a_half_and_five_eighths_of_its_lifetime() -> None:
    rig = Rig()
    key, first = rig.held()
    [(when, _)] = [item for item in rig.go(4500.0) if len(item[1]) > 24]
    assert 3600 <= when <= 4500
    rig.answer(first)
    assert [type(event) for event in rig.told()] == [MappingGranted]
    assert [data for _, data in rig.go(3500.0) if len(data) > 24] == []
    assert len(rig.mapper) == 1
    assert key == 1


def test_a_renewal_that_is_not_answered_is_tried_at_three_quarters_and_seven_eighths() -> None:
    rig = Rig()
    rig.held()
    renewals = [when / 7200 for when, data in rig.go(7000.0) if len(data) > 24]
    assert len(renewals) >= 3
    assert 0.5 <= renewals[0] <= 0.625
    assert 0.75 <= renewals[1] <= 0.8125
    assert 0.875 <= renewals[2] <= 0.90625
    assert rig.told() == []


def test_a_mapping_that_is_not_renewed_is_lost_and_asked_for_again() -> None:
    rig = Rig()
    key, data = rig.held()
    rig.go(7199.0)
    assert rig.told() == []
    sent = [data for _, data in rig.go(2.0)]
    assert rig.told() == [MappingLost(key=key, reason="it was not renewed in time")]
    assert len(sent) >= 1
    rig.answer(data)
    assert isinstance(rig.told()[0], MappingGranted)


def test_a_renewal_suggests_what_was_granted() -> None:
    rig = Rig()
    rig.add(UDP, 8080)
    rig.answer(rig.data(), external=Address(PUBLIC, 40000))
    [renewal] = rig.asked_within(4600.0)
    assert renewal.external == Address(PUBLIC, 40000)


def test_renewals_of_a_short_lease_are_four_seconds_apart_at_least() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    rig.answer(data, lifetime=12)
    times: list[float] = []
    while len(times) < 8:
        rig.next()
        for sent in rig.sent():
            if len(sent) > 24:
                times.append(rig.now)
                rig.answer(data, lifetime=12)
    assert min(b - a for a, b in pairwise(times)) >= 4.0


# Removal


def test_a_removed_mapping_is_taken_back_with_its_nonce() -> None:
    rig = Rig()
    key, first = rig.held()
    rig.mapper.remove(key, now=rig.now)
    [request] = rig.requests()
    assert isinstance(request, MapRequest)
    assert request.data is not None
    assert (request.lifetime, request.data.nonce, request.data.internal_port) == (0, first.nonce, 8080)
    rig.answer(request.data, lifetime=0)
    assert len(rig.mapper) == 0
    assert rig.mapper.next_timer() is None
    assert rig.told() == []


def test_a_removal_is_sent_three_times_and_then_left_to_time() -> None:
    rig = Rig()
    key, _ = rig.held()
    rig.mapper.remove(key, now=rig.now)
    times = [0.0 for _ in rig.sent()] + [when for when, _ in rig.go(5.0)]
    assert times == pytest.approx([0.0, 0.25, 0.75])
    assert len(rig.mapper) == 0


def test_what_was_asked_of_a_silent_gateway_is_taken_back_without_waiting() -> None:
    rig = Rig()
    key = rig.add()
    rig.sent()
    rig.mapper.remove(key, now=rig.now)
    [request] = rig.requests()
    assert request.lifetime == 0
    assert len(rig.mapper) == 0


def test_several_mappings_live_and_end_by_themselves() -> None:
    rig = Rig()
    keys = {port: rig.add(transport, port) for transport, port in ((TCP, 8080), (UDP, 8081), (UDP, 8082))}
    requests = rig.requests()
    for request in reversed(requests):
        assert request.data is not None
        rig.answer(request.data)
    granted = {event.key: event.external.port for event in rig.told() if isinstance(event, MappingGranted)}
    assert granted == {keys[port]: port for port in keys}
    rig.mapper.remove(keys[8081], now=rig.now)
    assert len(rig.requests()) == 1
    rig.mapper.remove_all(now=rig.now)
    assert len(rig.requests()) == 2


def test_one_port_is_mapped_once() -> None:
    rig = Rig()
    rig.add(UDP, 8080)
    rig.add(TCP, 8080)
    with pytest.raises(UsageError):
        rig.add(UDP, 8080)
    with pytest.raises(UsageError):
        rig.add(UDP, 0)


def test_a_port_that_is_wanted_again_while_it_is_being_removed_keeps_its_nonce() -> None:
    rig = Rig()
    key, first = rig.held()
    rig.mapper.remove(key, now=rig.now)
    rig.requests()
    assert rig.add() == key
    [request] = rig.requests()
    assert request.data is not None
    assert (request.data.nonce, request.lifetime, len(rig.mapper)) == (first.nonce, 7200, 1)


# Refusals


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (PcpResult.NOT_AUTHORIZED, "not_authorized"),
        (PcpResult.NO_RESOURCES, "no_resources"),
        (PcpResult.USER_EX_QUOTA, "no_resources"),
        (PcpResult.NETWORK_FAILURE, "network_failure"),
        (PcpResult.ADDRESS_MISMATCH, "address_mismatch"),
        (PcpResult.UNSUPP_OPCODE, "unsupported"),
        (99, "refused"),
    ],
)
def test_a_refusal_is_told_and_the_gateway_left_alone_for_its_time(result: int, code: str) -> None:
    rig = Rig()
    key = rig.add()
    data = rig.data()
    rig.answer(data, result=result, lifetime=300)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert (refused.key, refused.code, refused.retry_in) == (key, code, 300)
    assert [sent for _, sent in rig.go(299.0) if len(sent) > 24] == []
    assert len([sent for _, sent in rig.go(2.0) if len(sent) > 24]) == 1


def test_a_refused_renewal_leaves_the_mapping_until_it_ends() -> None:
    rig = Rig()
    key, data = rig.held()
    rig.go(4600.0)
    rig.answer(data, result=PcpResult.NO_RESOURCES, lifetime=1800)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    rig.go(2599.0)
    assert rig.told() == []
    rig.go(2.0)
    assert MappingLost(key=key, reason="it was not renewed in time") in rig.told()


# State loss


def test_a_gateway_that_has_begun_to_count_anew_is_asked_for_everything_again() -> None:
    rig = Rig()
    rig.add(TCP)
    rig.add(UDP)
    first, second = (request.data for request in rig.requests())
    assert first is not None
    assert second is not None
    rig.answer(first)
    rig.answer(second)
    rig.told()
    rig.now += 100.0
    rig.answer(first, epoch=3)  # a renewal that it pushes by itself
    [request] = rig.requests()
    assert request.data is not None
    assert request.data.nonce == second.nonce
    assert request.data.external == Address(PUBLIC, 8080)
    rig.answer(second, epoch=3)
    assert all(isinstance(event, MappingGranted) for event in rig.told())


def test_an_announcement_of_lost_state_is_heeded_within_five_seconds_of_chance() -> None:
    delays = []
    for seed in range(20):
        rig = Rig(seed=seed)
        rig.held()
        rig.now += 50.0
        rig.hear(encode_announcement(0))
        assert rig.sent() == []
        delays.append(min(when for when, data in rig.go(5.1) if len(data) > 24))
    assert 0 <= min(delays) < 1.5
    assert 3.5 < max(delays) <= 5.0


def test_a_mapping_that_a_restarted_gateway_does_not_give_back_is_lost_after_a_minute() -> None:
    rig = Rig()
    key, _ = rig.held()
    rig.now += 50.0
    rig.hear(encode_announcement(0))
    rig.go(59.0)
    assert rig.told() == []
    rig.go(10.0)
    assert rig.told() == [MappingLost(key=key, reason="it was not renewed in time")]


def test_the_gateway_is_asked_for_its_count_every_two_minutes() -> None:
    rig = Rig()
    rig.held()
    watches = [(when, data) for when, data in rig.go(250.0) if len(data) == 24]
    assert [when for when, _ in watches] == [120.0, 240.0]
    assert {data[1] for _, data in watches} == {Opcode.ANNOUNCE}
    rig.hear(encode_announcement(2))  # the answer to that is heeded at once
    assert len(rig.requests()) == 1


# Hostile answers


def test_only_the_gateway_is_believed() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    answer = encode_pcp_response(PcpResponse(version=2, opcode=1, lifetime=7200, epoch=1, data=data))
    for sender in (Address("192.168.1.2", 5351), SERVER._replace(port=5350), Address("203.0.113.9", 5351)):
        rig.hear(answer, sender)
    assert rig.told() == []
    assert rig.mapper.counters.foreign == 3


def test_an_answer_with_another_nonce_port_or_transport_is_not_believed() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    rig.answer(data, nonce=bytes(12))
    for other in (("transport", TCP), ("internal_port", 8081)):
        rig.answer(replace(data, **{other[0]: other[1]}))
    assert rig.told() == []
    assert rig.mapper.counters.unmatched == 3
    assert rig.mapper.protocol is None


def test_an_answer_before_the_question_is_not_believed() -> None:
    rig = Rig()
    rig.hear(encode_pcp_response(PcpResponse(version=2, opcode=1, lifetime=9, epoch=1, data=None)) + bytes(36))
    assert rig.told() == []


@pytest.mark.parametrize(
    "external",
    [
        Address(ANY, 8080),
        Address("127.0.0.1", 8080),
        Address("224.0.0.1", 8080),
        Address("255.255.255.255", 8080),
        Address("169.254.1.1", 8080),
        Address("::", 8080),
        Address("ff02::1", 8080),
        Address(PUBLIC, 0),
    ],
)
def test_an_external_address_that_cannot_be_is_refused(external: Address) -> None:
    rig = Rig()
    rig.add()
    rig.answer(rig.data(), external=external)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert refused.code == "absurd_answer"
    assert rig.mapper.counters.absurd == 1


def test_a_lifetime_of_years_is_taken_for_a_day_and_one_of_a_second_for_nonsense() -> None:
    rig = Rig()
    rig.add()
    data = rig.data()
    rig.answer(data, lifetime=0xFFFFFFFF)
    [granted] = rig.told()
    assert isinstance(granted, MappingGranted)
    assert granted.lifetime == 86400
    rig.answer(data, lifetime=1)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert refused.code == "absurd_answer"


def test_a_mapping_that_the_gateway_ends_by_itself_is_asked_for_later() -> None:
    rig = Rig()
    _, data = rig.held()
    rig.answer(data, lifetime=0)
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert refused.retry_in == 30


def test_damaged_answers_are_counted() -> None:
    rig = Rig()
    rig.add()
    for damaged in (b"", b"\2", b"\2\x81" + bytes(22), b"\2\x81" + bytes(1200), b"\0\x80\0"):
        rig.hear(damaged)
    assert rig.mapper.counters.malformed == 5
    assert rig.told() == []


# IPv6


def test_over_ipv6_a_hole_in_the_firewall_is_asked_for_from_the_address_itself() -> None:
    rig = Rig(GATEWAY6, LOCAL6)
    key = rig.add(TCP, 8080)
    [request] = rig.requests()
    assert request.client == LOCAL6
    assert request.data is not None
    assert request.data.external == Address("::", 8080)
    rig.hear(b"", Address("fe80::1%eth1", 5351))
    rig.answer(request.data, external=Address(LOCAL6, 8080))
    [granted] = rig.told()
    assert granted == MappingGranted(key=key, external=Address(LOCAL6, 8080), lifetime=7200, protocol=PCP)


def test_over_ipv6_there_is_no_natpmp() -> None:
    rig = Rig(GATEWAY6, LOCAL6)
    rig.add()
    assert {data[0] for _, data in rig.go(100.0)} == {2}
    rig.hear(bytes.fromhex("00 80 0001 00000064"))
    assert rig.mapper.counters.malformed == 1


def test_over_ipv6_another_version_is_a_refusal() -> None:
    rig = Rig(GATEWAY6, LOCAL6)
    rig.add()
    rig.hear(encode_pcp_response(PcpResponse(version=1, opcode=1, result=1, lifetime=60, epoch=1)))
    [refused] = rig.told()
    assert isinstance(refused, MappingRefused)
    assert (refused.code, refused.retry_in) == ("unsupported", 1800)
