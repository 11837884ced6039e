"""Ids that are bound to addresses: the vectors of BEP 42, and more of their kind."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.dht.node_ids import bound_node_id, is_bound, is_bound_to
from librats.errors import UsageError


@pytest.mark.vectors("dht/bep42_node_id")
def test_an_id_is_that_of_its_address_or_not(case: dict[str, Any]) -> None:
    node_id = bytes.fromhex(case["node_id"])
    assert is_bound(node_id, case["ip"]) == case["valid"]
    made = bound_node_id(case["ip"], node_id)
    assert is_bound(made, case["ip"])
    if "rand" in case:
        wanted = int(case["crc32c"], 16) >> 11
        assert int.from_bytes(made[:4]) >> 11 == wanted
    assert (made == node_id) == case["valid"] or case["id"].startswith("exempt")
    assert made[4:] == node_id[4:]


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "127.0.0.1", "192.168.0.1", "169.254.1.1", "::1", "fe80::1%eth0", "fd00::1"]
)
def test_in_a_local_network_any_id_will_do(host: str) -> None:
    assert is_bound(bytes(20), host)
    assert not is_bound(bytes(19), host)


def test_an_address_of_ipv4_within_ipv6_is_one_of_ipv4() -> None:
    made = bound_node_id("203.0.113.9", bytes(20))
    assert bound_node_id("::ffff:203.0.113.9", bytes(20)) == made
    assert is_bound(made, "::ffff:203.0.113.9")
    assert not is_bound(made, "203.0.113.10")


LOCAL = [
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("::1/128", "fe80::/10", "fc00::/7"),
    )
]


@given(host=st.ip_addresses(), chance=st.binary(min_size=20, max_size=20), other=st.binary(min_size=20, max_size=20))
def test_of_a_compact_address_the_same_is_told(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address, chance: bytes, other: bytes
) -> None:
    made = bound_node_id(str(host), chance)
    if getattr(host, "ipv4_mapped", None) is None:
        address = host.packed + b"\x1a\xe1"
        assert is_bound_to(made, address)
        assert is_bound_to(other, address) == is_bound(other, str(host))
        assert is_bound(bytes(20), str(host)) or not any(host in network for network in LOCAL)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="no IP address"):
        is_bound(bytes(20), "example.org")
    with pytest.raises(UsageError, match="20 random bytes"):
        bound_node_id("203.0.113.9", bytes(4))
