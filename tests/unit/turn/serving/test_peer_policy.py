"""Which peers are let through: every denied range, in every form of address, by every way to reach a peer."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

import pytest
from tests.unit.turn.serving.rig import OUTSIDE, PEER, PEER6, Caller, Rig

from librats._core.relay import pack_address
from librats.errors import UsageError
from librats.stun.constants import Attribute, ErrorCode, Method
from librats.turn.serving.allocation import TCP, Allocation, Client
from librats.turn.serving.peer_policy import PeerPolicy, Verdict, embedded_addresses, parse_network
from librats.turn.serving.request import Request

FORBIDDEN = int(ErrorCode.FORBIDDEN)

RANGES = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1"],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.254"],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1"],
    "unique local": ["fc00::1", "fd12:3456::1"],
    "site-local": ["fec0::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 - not bound to
    "broadcast": ["255.255.255.255"],
    "reserved": ["240.0.0.1", "192.0.0.1", "198.18.0.1", "192.88.99.1", "4000::1", "100::1", "5f00::1"],
    "benchmarks": ["2001:2::1"],
    "own": list(OUTSIDE.values()),
}


def as_is(host: str) -> str:
    return host


def mapped(host: str) -> str:
    return f"::ffff:{host}"


def compatible(host: str) -> str:
    return f"::{host}"


def translated(host: str) -> str:
    return f"::ffff:0:{host}"


def six_to_four(host: str) -> str:
    return str(ipaddress.IPv6Address(0x2002 << 112 | int(ipaddress.IPv4Address(host)) << 80 | 1))


def nat64(host: str) -> str:
    return f"64:ff9b::{host}"


def local_nat64(host: str) -> str:
    return f"64:ff9b:1::{host}"


def teredo_client(host: str) -> str:
    hidden = int(ipaddress.IPv4Address(host)) ^ 0xFFFFFFFF
    return str(ipaddress.IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | hidden))


def teredo_server(host: str) -> str:
    return str(ipaddress.IPv6Address(0x20010000 << 96 | int(ipaddress.IPv4Address(host)) << 64 | 0xF7F7F7F7))


def isatap(host: str) -> str:
    return f"2001:4860::5efe:{host}"


FORMS = [as_is, mapped, compatible, translated, six_to_four, nat64, local_nat64, teredo_client, teredo_server, isatap]


def cells() -> Iterator[tuple[str, str]]:
    for kind, hosts in RANGES.items():
        for host in hosts:
            for form in FORMS if ":" not in host else [as_is]:
                yield f"{kind}-{form.__name__}-{host}", form(host)


CELLS = dict(cells())


class NoStreams:
    """Connects to nobody, and notes to whom it should have."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def connect(self, request: Request, allocation: Allocation, peer: tuple[str, int]) -> None:
        self.asked.append(peer)

    def is_connected(self, client: Client) -> bool:
        return True

    def is_encrypted(self, client: Client) -> bool:
        return False

    def bind(self, request: Request) -> None:
        raise AssertionError


def by_permission(host: str) -> int:
    rig = Rig()
    client = allocated(rig, host)
    code = client.permit((host, 4000))
    assert bool(rig.plane.of("permission")) == (code == 0)
    return code


def by_channel(host: str) -> int:
    rig = Rig()
    client = allocated(rig, host)
    code = client.bind(0x4000, (host, 4000))
    assert bool(rig.plane.of("channel")) == bool(rig.plane.of("permission")) == (code == 0)
    return code


def by_send(host: str) -> int:
    """A Send indication needs a permission, for which there is no other request than the two above."""
    rig = Rig()
    client = allocated(rig, host)
    client.permit((host, 4000))
    client.bind(0x4000, (host, 4000))
    return 0 if rig.plane.of("permission") else FORBIDDEN


def by_connect(host: str) -> int:
    streams = NoStreams()
    rig = Rig(streams=streams)
    client = rig.stream()
    family = 2 if ":" in host else 1
    answer = client.ask(
        Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, TCP), (Attribute.REQUESTED_ADDRESS_FAMILY, family)
    )
    assert answer.get(Attribute.ERROR_CODE) is None
    sent = client.send(client.signed(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, (host, 4000))))
    assert (sent is None) == bool(streams.asked)
    return 0 if sent is None else FORBIDDEN


def allocated(rig: Rig, host: str) -> Caller:
    client = rig.client()
    client.allocate((Attribute.REQUESTED_ADDRESS_FAMILY, 2 if ":" in host else 1))
    return client


WAYS: list[Callable[[str], int]] = [by_permission, by_channel, by_send, by_connect]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("host", CELLS.values(), ids=CELLS.keys())
def test_what_is_not_public_is_forbidden(host: str, way: Callable[[str], int]) -> None:
    assert way(host) == FORBIDDEN


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    "host", [PEER[0], PEER6[0], "8.8.8.8", "2606:4700::1", "2002:808:808::1", "64:ff9b::808:808", isatap("8.8.8.8")]
)
def test_what_is_public_is_let_through(host: str, way: Callable[[str], int]) -> None:
    assert way(host) == 0


def test_a_network_is_opened_in_its_own_form_only() -> None:
    policy = PeerPolicy(allow=[parse_network("10.1.0.0/16")])
    assert policy.judge("10.1.2.3") is Verdict.ALLOWED
    assert policy.judge("10.2.2.3") is Verdict.DENIED
    for form in (mapped, compatible, translated, local_nat64):
        assert policy.judge(form("10.1.2.3")) is Verdict.DENIED


def test_an_opened_network_is_reached_through_public_forms_of_it() -> None:
    policy = PeerPolicy(allow=[parse_network("10.1.0.0/16")])
    assert policy.judge(six_to_four("10.1.2.3")) is Verdict.ALLOWED
    assert policy.judge(six_to_four("10.2.2.3")) is Verdict.DENIED


def test_the_loopback_of_ipv6_can_be_opened() -> None:
    assert PeerPolicy(allow=[parse_network("::1")]).judge("::1") is Verdict.ALLOWED


def test_a_closed_network_is_closed_in_every_form() -> None:
    policy = PeerPolicy(deny=[parse_network("8.8.8.0/24")])
    for form in FORMS:
        assert policy.judge(form("8.8.8.8")) is Verdict.DENIED
    assert policy.judge("8.8.9.9") is Verdict.ALLOWED


def test_the_longest_prefix_decides_and_a_tie_is_denied() -> None:
    policy = PeerPolicy(
        allow=[parse_network("10.0.0.0/8"), parse_network("10.1.1.1"), parse_network("10.2.0.0/16")],
        deny=[parse_network("10.1.0.0/16"), parse_network("10.2.0.0/16")],
    )
    verdicts = {host: policy.judge(host).name for host in ("10.3.0.1", "10.1.0.1", "10.1.1.1", "10.2.0.1")}
    assert verdicts == {"10.3.0.1": "ALLOWED", "10.1.0.1": "DENIED", "10.1.1.1": "ALLOWED", "10.2.0.1": "DENIED"}


def test_opening_the_network_of_the_relay_opens_the_relay() -> None:
    policy = PeerPolicy(allow=[parse_network("127.0.0.0/8")], own=["127.0.0.1"])
    assert policy.judge("127.0.0.1") is Verdict.ALLOWED


def test_own_hosts_are_told_apart_from_denied_ones() -> None:
    policy = PeerPolicy(own=["198.51.100.1"])
    assert policy.judge("198.51.100.1") is Verdict.OWN
    assert policy.judge(six_to_four("198.51.100.1")) is Verdict.DENIED


def test_more_hosts_than_are_remembered_are_judged_all_the_same() -> None:
    policy = PeerPolicy()
    hosts = [str(ipaddress.IPv4Address(0x08000000 + number)) for number in range(5000)]
    assert {policy.judge(host) for host in hosts} == {Verdict.ALLOWED}
    assert policy.judge("10.0.0.1") is Verdict.DENIED


def test_addresses_inside_of_others_are_found() -> None:
    found = {form.__name__: embedded_addresses(ipaddress.ip_address(form("10.1.2.3"))) for form in FORMS}
    inner = [ipaddress.IPv4Address("10.1.2.3")]
    other = ipaddress.IPv4Address("8.8.8.8")
    assert found == {
        "as_is": [],
        "local_nat64": [],  # denied as a whole: its prefix may be of another length
        "teredo_client": [other, *inner],
        "teredo_server": [*inner, ipaddress.IPv4Address("8.8.8.8")],
        **{form.__name__: inner for form in (mapped, compatible, translated, six_to_four, nat64, isatap)},
    }


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "example.org", "10.0.0.0/33", "10.0.0.0/8 x"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="not a network"):
        parse_network(text)


def test_another_allocation_is_reached_at_its_relayed_address_and_nowhere_else() -> None:
    rig = Rig()
    first, second = rig.client(6000), rig.client(6001)
    first.allocate()
    host, port = second.allocate().get(Attribute.XOR_RELAYED_ADDRESS)
    assert first.permit((host, port + 1)) == FORBIDDEN
    assert first.permit((host, 0)) == FORBIDDEN
    assert first.permit((host, port)) == 0
    [(_, _, peer, _, exact)] = rig.plane.of("permission")
    assert peer == pack_address(host, port)
    assert exact


def test_a_relayed_address_is_forbidden_again_once_its_allocation_is_gone() -> None:
    rig = Rig()
    first, second = rig.client(6000), rig.client(6001)
    first.allocate()
    peer = second.allocate().get(Attribute.XOR_RELAYED_ADDRESS)
    assert second.code(Method.REFRESH, (Attribute.LIFETIME, 0)) == 0
    assert first.bind(0x4000, peer) == FORBIDDEN


def test_a_port_of_the_relay_that_is_another_transports_is_somebody_elses() -> None:
    streams = NoStreams()
    rig = Rig(streams=streams)
    over_udp, over_tcp, beside = rig.client(6000), rig.stream(1), rig.stream(2)
    transport = (Attribute.REQUESTED_TRANSPORT, TCP)
    of_udp = over_udp.allocate().get(Attribute.XOR_RELAYED_ADDRESS)
    of_tcp = over_tcp.ask(Method.ALLOCATE, transport).get(Attribute.XOR_RELAYED_ADDRESS)
    beside.ask(Method.ALLOCATE, transport)
    assert over_udp.permit(of_tcp) == FORBIDDEN
    assert over_udp.bind(0x4000, of_tcp) == FORBIDDEN
    assert beside.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, of_udp)) == FORBIDDEN
    assert beside.send(beside.signed(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, of_tcp))) is None
    assert streams.asked == [of_tcp]


def test_public_peers_are_permitted_on_every_port() -> None:
    rig = Rig()
    client = rig.client()
    client.allocate()
    client.permit(PEER)
    [(_, _, peer, _, exact)] = rig.plane.of("permission")
    assert peer == ipaddress.IPv4Address(PEER[0]).packed
    assert not exact
