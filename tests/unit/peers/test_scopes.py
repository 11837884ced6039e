"""How far addresses reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.peers.scopes import Scope, plain_address, scope_of
from librats.types import Address

REACH = {
    Scope.NOWHERE: [
        *("0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.251", "ff02::fb"),  # noqa: S104 - nothing listens
        *("255.255.255.255", "240.0.0.1", "192.0.2.7", "198.51.100.1", "203.0.113.9", "198.18.0.1", "2001:db8::7"),
        *("::ffff:0.0.0.0", "::ffff:169.254.0.1", "64:ff9b::a9fe:1", "2002:a9fe:1::", "example.org", "", "1.2.3"),
    ],
    Scope.HOST: ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"],
    Scope.SITE: [
        *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255"),
        *("fc00::1", "fdff::1", "::ffff:10.0.0.1", "64:ff9b::c0a8:101", "64:ff9b:1::a00:1", "2002:c0a8:101::1"),
    ],
    Scope.GLOBAL: [
        *("8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.167.1.1", "11.0.0.1"),
        *("2606:4700::1111", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
}


@pytest.mark.parametrize(("host", "scope"), [(host, scope) for scope, hosts in REACH.items() for host in hosts])
def test_an_address_reaches_as_far_as_it_does(host: str, scope: Scope) -> None:
    assert scope_of(host) == scope


@given(st.ip_addresses())
def test_every_address_has_a_reach(ip: object) -> None:
    assert scope_of(str(ip)) in Scope


@given(st.ip_addresses(v=4))
def test_a_mapped_address_reaches_as_far_as_what_it_maps(ip: object) -> None:
    assert scope_of(f"::ffff:{ip}") == scope_of(str(ip))
    assert plain_address(Address(f"::ffff:{ip}", 7)) == Address(str(ip), 7)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org", "fe80::1%eth0"])
def test_an_address_that_is_not_mapped_is_left_alone(host: str) -> None:
    assert plain_address(Address(host, 7)) == Address(host, 7)
