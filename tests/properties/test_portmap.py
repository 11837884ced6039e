"""Whatever a gateway, or somebody in its place, sends: nothing breaks, and nothing is believed that was not asked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.portmap.scripted import GATEWAY, LOCAL, PUBLIC, SERVER, TCP, UDP, UNSUPPORTED

from librats import Address, DecodeError, MappedTransport, PortMappingProtocol
from librats.portmap.mapper import PortMapper
from librats.portmap.mapper_events import MappingGranted, MappingLost, MappingRefused
from librats.portmap.natpmp_wire import (
    NatPmpMapping,
    NatPmpPublicAddress,
    NatPmpRefusal,
    NatPmpRequest,
    NatPmpResponse,
    decode_natpmp_request,
    decode_natpmp_response,
    encode_natpmp_request,
    encode_natpmp_response,
)
from librats.portmap.pcp_wire import (
    MapData,
    PcpResponse,
    decode_pcp_request,
    decode_pcp_response,
    encode_map_request,
    encode_pcp_response,
)
from librats.testing.entropy import SeededEntropy
from librats.testing.gateways import PortMappingServer

ports, words = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
transports = st.sampled_from(MappedTransport)
hosts = (
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    .map(str)
    .filter(lambda host: "." in host or "ffff:" not in host)
)
map_datas = st.builds(
    MapData,
    nonce=st.binary(min_size=12, max_size=12),
    transport=transports,
    internal_port=ports,
    external=st.builds(Address, hosts, ports),
)
pcp_responses = st.builds(
    PcpResponse,
    version=st.just(2),
    opcode=st.just(1),
    result=st.integers(0, 255),
    lifetime=words,
    epoch=words,
    data=map_datas,
)
natpmp_responses = st.one_of(
    st.builds(NatPmpPublicAddress, epoch=words, host=st.ip_addresses(v=4).map(str)),
    st.builds(
        NatPmpMapping, epoch=words, transport=transports, internal_port=ports, external_port=ports, lifetime=words
    ),
    st.builds(NatPmpRefusal, epoch=words, transport=transports, result=st.integers(2, 0xFFFF)),
)


@given(map_datas, hosts, words, st.booleans())
def test_pcp_requests_come_back_as_they_were(data: MapData, client: str, lifetime: int, exact: bool) -> None:
    request = decode_pcp_request(encode_map_request(data, client=client, lifetime=lifetime, prefer_failure=exact))
    assert (request.data, request.client, request.lifetime, request.prefer_failure) == (data, client, lifetime, exact)


@given(pcp_responses)
def test_pcp_responses_come_back_as_they_were(response: PcpResponse) -> None:
    assert decode_pcp_response(encode_pcp_response(response)) == response


@given(natpmp_responses)
def test_natpmp_responses_come_back_as_they_were(response: NatPmpResponse) -> None:
    assert decode_natpmp_response(encode_natpmp_response(response)) == response


@given(st.builds(NatPmpRequest, transport=transports, internal_port=ports, external_port=ports, lifetime=words))
def test_natpmp_requests_come_back_as_they_were(request: NatPmpRequest) -> None:
    assert decode_natpmp_request(encode_natpmp_request(request)) == request


@given(st.binary(max_size=1200))
def test_arbitrary_bytes_raise_nothing_but_decode_errors(data: bytes) -> None:
    for read in (decode_pcp_response, decode_pcp_request, decode_natpmp_response, decode_natpmp_request):
        try:
            read(data)
        except DecodeError:
            continue


garbage = st.one_of(
    st.binary(max_size=100),
    st.binary(max_size=64).map(lambda data: b"\2\x81\0\0" + data),
    st.binary(max_size=16).map(lambda data: b"\0\x81\0\0" + data),
    pcp_responses.map(encode_pcp_response),
    st.just(UNSUPPORTED),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), garbage),
        st.tuples(st.just("natpmp"), natpmp_responses.map(encode_natpmp_response)),
        st.tuples(st.just("wait"), st.floats(0.0, 5000.0)),
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(1, 4)),
    ),
    max_size=40,
)


@given(steps, st.integers(0, 1000))
def test_nothing_that_the_gateway_sends_breaks_the_mapper(steps: list[tuple[str, object]], seed: int) -> None:
    now = 0.0
    mapper = PortMapper(GATEWAY, LOCAL, entropy=SeededEntropy(seed), now=now)
    keys: set[int] = set()
    nonces: set[bytes] = set()
    for what, value in steps:
        if what in ("hear", "natpmp") and isinstance(value, bytes):
            mapper.receive_datagram(value, SERVER, now=now)
        elif isinstance(value, float):
            until = now + value
            turns = 0
            while (due := mapper.next_timer()) is not None and due <= until:
                now = max(now, due)
                mapper.handle_timer(now=now)
                turns += 1
                assert turns < 10_000, "it does not come to rest"
            now = until
        elif what == "add" and isinstance(value, int) and len(mapper) < 8:
            keys.add(mapper.add(UDP if value % 2 else TCP, 8000 + len(keys), now=now))
        elif isinstance(value, int):
            mapper.remove(value, now=now)
        for data, address in mapper.datagrams_to_send():
            assert address == SERVER
            if data[0] == 2 and len(data) > 24:
                request = decode_pcp_request(data)
                assert request.data is not None
                nonces.add(request.data.nonce)
        while (event := mapper.next_event()) is not None:
            if isinstance(event, MappingGranted):
                # The nonce of twelve bytes cannot be guessed, so that only NAT-PMP can grant anything here.
                assert event.protocol is PortMappingProtocol.NAT_PMP
                assert event.external.port > 0
            if isinstance(event, MappingGranted | MappingLost | MappingRefused):
                assert event.key in keys


@settings(max_examples=50)
@given(
    st.integers(0, 10_000),
    st.sampled_from([("pcp",), ("nat-pmp",), ("pcp", "nat-pmp")]),
    st.floats(0.0, 0.6),
    st.lists(st.floats(100.0, 20_000.0), max_size=3),
    st.integers(120, 86400),
)
def test_over_a_lossy_network_every_mapping_comes_and_stays(
    seed: int, protocols: tuple[str, ...], loss: float, restarts: list[float], longest: int
) -> None:
    """The gateway restarts now and then; half an hour after the last time everything is mapped again."""
    entropy = SeededEntropy(seed)
    table: dict[tuple[MappedTransport, Address], float] = {}

    def grant(transport: MappedTransport, inner: Address, port: int, exact: bool, until: float) -> Address:
        table[transport, inner] = until
        return Address(PUBLIC, port or inner.port)

    def revoke(transport: MappedTransport, inner: Address) -> None:
        del table[transport, inner]

    server = PortMappingServer(frozenset(map(PortMappingProtocol, protocols)), grant, revoke)
    server.max_lifetime = longest
    mapper = PortMapper(GATEWAY, LOCAL, entropy=entropy, now=0.0)
    source = Address(LOCAL, 50000)
    for transport in (TCP, UDP):
        mapper.add(transport, 8080, now=0.0)
    now, end = 0.0, max(restarts, default=0.0) + 1800.0 + 2 * longest
    pending = sorted(restarts)
    while now < end:
        for data, _ in mapper.datagrams_to_send():
            if entropy.uniform(0.0, 1.0) < loss:
                continue
            answer = server.answer(data, source, PUBLIC, now)
            if answer is not None and entropy.uniform(0.0, 1.0) >= loss:
                mapper.receive_datagram(answer, SERVER, now=now + 0.001)
        due = mapper.next_timer()
        assert due is not None
        now = max(now, due)
        if pending and pending[0] <= now:
            server.restart(pending.pop(0))
            table.clear()
        mapper.handle_timer(now=now)
    if loss < 0.3:
        assert len(table) == 2
        assert min(table.values()) > now - 1
    assert len(mapper) == 2
