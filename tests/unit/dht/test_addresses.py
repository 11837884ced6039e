"""Compact addresses, and which of them strangers may tell of."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.dht.addresses import block_of, compact, host_of, may_be_told, network_of
from librats.errors import UsageError

INSIDE = [
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("fe80::/10", "fc00::/7"),
    )
]
UNUSED = [ipaddress.ip_network(network) for network in ("0.0.0.0/8", "240.0.0.0/4", "::ffff:0:0/96")]
PUBLIC, INNER, OWN = compact("198.51.100.7", 6881), compact("192.168.1.7", 6881), compact("127.0.0.1", 6881)


@given(host=st.ip_addresses(), port=st.integers(0, 65535))
def test_a_compact_address_tells_its_host(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    address = compact(str(host), port)
    mapped = getattr(host, "ipv4_mapped", None)
    assert host_of(address) == str(mapped or host)
    assert address[-2:] == port.to_bytes(2)


def test_what_is_no_address_is_refused() -> None:
    for host, port in (("example.org", 1), ("192.0.2.7", 65536), ("192.0.2.7", -1)):
        with pytest.raises(UsageError, match="no address"):
            compact(host, port)


def test_a_network_is_a_host_of_ipv4_and_64_bits_of_ipv6() -> None:
    assert network_of(PUBLIC) == PUBLIC[:4]
    assert network_of(compact("2001:db8:1:2::1", 1)) == network_of(compact("2001:db8:1:2:ffff::9", 2))
    assert network_of(compact("2001:db8:1:2::1", 1)) != network_of(compact("2001:db8:1:3::1", 1))
    assert network_of(compact("::2", 1)) == network_of(compact("::2", 2))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_on_the_host_itself_each_port_is_a_network(host: str) -> None:
    assert network_of(compact(host, 1)) != network_of(compact(host, 2))


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.0.1", "169.254.1.1", "100.64.0.1", "fe80::1", "fd00::1"]
)
def test_an_inner_address_is_taken_from_inner_nodes_only(host: str) -> None:
    address = compact(host, 80)
    assert [may_be_told(address, by=by) for by in (PUBLIC, INNER, OWN)] == [False, True, True]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_an_address_of_the_host_itself_is_taken_from_itself_only(host: str) -> None:
    address = compact(host, 80)
    assert [may_be_told(address, by=by) for by in (PUBLIC, INNER, OWN)] == [False, False, True]


@pytest.mark.parametrize("host", ["0.0.0.1", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_an_address_that_nobody_has_is_taken_from_nobody(host: str) -> None:
    assert not any(may_be_told(compact(host, 80), by=by) for by in (PUBLIC, INNER, OWN))


def test_a_mapped_address_a_port_of_0_and_another_size_are_taken_from_nobody() -> None:
    mapped = bytes(10) + b"\xff\xff" + PUBLIC
    assert not any(may_be_told(address, by=OWN) for address in (mapped, PUBLIC[:4] + b"\0\0", PUBLIC[:5], b""))


@given(host=st.ip_addresses(v=4))
def test_what_is_global_is_taken_from_everybody(host: ipaddress.IPv4Address) -> None:
    expected = host.is_global and not host.is_multicast
    assert not expected or may_be_told(compact(str(host), 80), by=PUBLIC)


@given(host=st.ip_addresses())
def test_what_is_taken_is_what_the_networks_of_the_standards_allow(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    address = host.packed + (80).to_bytes(2)
    expected = [True, True, True]
    if host.is_multicast or host.is_unspecified or any(host in network for network in UNUSED):
        expected = [False, False, False]
    elif host.is_loopback:
        expected = [False, False, True]
    elif any(host in network for network in INSIDE):
        expected = [False, True, True]
    assert [may_be_told(address, by=by) for by in (PUBLIC, INNER, OWN)] == expected


def test_a_block_is_wider_than_a_network() -> None:
    assert block_of(PUBLIC) == PUBLIC[:2]
    assert block_of(compact("2001:db8:1::1", 1)) == block_of(compact("2001:db8:2::1", 2))
    assert block_of(compact("2001:db8::1", 1)) != block_of(compact("2001:db9::1", 1))
