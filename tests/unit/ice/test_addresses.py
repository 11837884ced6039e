from __future__ import annotations

import pytest

from librats.ice.addresses import AddressPolicy, Reach, reach_of
from librats.types import Address

HOSTS = {
    "192.0.2.7": Reach.GLOBAL,
    "8.8.8.8": Reach.GLOBAL,
    "2001:db8::7": Reach.GLOBAL,
    "10.1.2.3": Reach.PRIVATE,
    "172.31.0.1": Reach.PRIVATE,
    "192.168.1.1": Reach.PRIVATE,
    "100.64.0.1": Reach.PRIVATE,
    "fd00::1": Reach.PRIVATE,
    "fe80::1%eth0": Reach.LINK,
    "169.254.1.1": Reach.LINK,
    "127.0.0.1": Reach.LOOPBACK,
    "127.255.0.1": Reach.LOOPBACK,
    "::1": Reach.LOOPBACK,
    "169.254.169.254": Reach.NEVER,
    "fd00:ec2::254": Reach.NEVER,
    "100.100.100.200": Reach.NEVER,
    "0.0.0.0": Reach.NEVER,  # noqa: S104 - that is what is refused
    "0.1.2.3": Reach.NEVER,
    "255.255.255.255": Reach.NEVER,
    "240.0.0.1": Reach.NEVER,
    "224.0.0.251": Reach.NEVER,
    "ff02::1": Reach.NEVER,
    "::": Reach.NEVER,
    "4000::1": Reach.NEVER,
    "host.local": Reach.NEVER,
    "::ffff:127.0.0.1": Reach.LOOPBACK,
    "::ffff:192.0.2.7": Reach.GLOBAL,
    "::10.0.0.1": Reach.PRIVATE,
    "64:ff9b::a9fe:a9fe": Reach.NEVER,
    "2002:a00:1::": Reach.PRIVATE,
    "2002:7f00:1::": Reach.LOOPBACK,
}


@pytest.mark.parametrize(("host", "reach"), HOSTS.items())
def test_how_far_an_address_reaches_shows_through_every_spelling(host: str, reach: str) -> None:
    assert reach_of(host) == reach


def refused(policy: AddressPolicy, host: str, *, proven: bool = False) -> bool:
    return bool(policy.refusal(Address(host, 5000), proven=proven))


@pytest.mark.parametrize("strangers", [False, True])
@pytest.mark.parametrize("host", [host for host, reach in HOSTS.items() if reach == Reach.NEVER])
def test_what_is_no_peer_is_never_checked(host: str, strangers: bool) -> None:
    policy = AddressPolicy(strangers=strangers, same_network=True)
    for own in ("127.0.0.1", "169.254.1.2", "fe80::2", "10.0.0.1"):
        policy.note_base(own)
    assert refused(policy, host, proven=True)


def test_port_0_is_never_checked() -> None:
    assert AddressPolicy().refusal(Address("192.0.2.7", 0))


@pytest.mark.parametrize("strangers", [False, True])
@pytest.mark.parametrize(("own", "host"), [("127.0.0.1", "127.0.0.2"), ("::1", "::1"), ("fe80::2%eth0", "fe80::1")])
def test_what_is_on_this_host_or_link_is_checked_where_we_are_there(own: str, host: str, strangers: bool) -> None:
    policy = AddressPolicy(strangers=strangers)
    policy.note_base("10.0.0.1")
    assert refused(policy, host, proven=True)
    policy.note_base(own)
    assert not refused(policy, host, proven=True)


def test_private_addresses_of_strangers_are_checked_where_both_share_a_network() -> None:
    policy = AddressPolicy(strangers=True)
    policy.note_base("10.0.0.2")
    assert refused(policy, "10.0.0.7")
    assert not refused(policy, "10.0.0.7", proven=True)
    assert not refused(policy, "192.0.2.7")
    policy.note_own("203.0.113.1")
    policy.note_peer("203.0.113.2")
    policy.note_peer("10.0.0.7")
    assert refused(policy, "10.0.0.7")
    policy.note_peer("203.0.113.1")
    assert not refused(policy, "10.0.0.7")


def test_one_ipv6_network_is_a_shared_one() -> None:
    policy = AddressPolicy(strangers=True)
    policy.note_base("2001:db8:0:1::2")
    policy.note_peer("2001:db8:0:2::7")
    assert refused(policy, "fd00::7")
    policy.note_peer("2001:db8:0:1::7")
    assert not refused(policy, "fd00::7")


@pytest.mark.parametrize("known", [False, True])
def test_who_knows_better_decides(known: bool) -> None:
    policy = AddressPolicy(strangers=True, same_network=known)
    policy.note_own("203.0.113.1")
    policy.note_peer("203.0.113.1" if not known else "203.0.113.2")
    assert refused(policy, "10.0.0.7") is not known


def test_addresses_of_another_network_are_unlikely() -> None:
    policy = AddressPolicy()
    assert not policy.is_unlikely(Address("10.0.0.7", 5000))
    policy.note_own("203.0.113.1")
    policy.note_peer("203.0.113.2")
    assert policy.is_unlikely(Address("10.0.0.7", 5000))
    assert not policy.is_unlikely(Address("203.0.113.2", 5000))
    policy.note_peer("203.0.113.1")
    assert not policy.is_unlikely(Address("10.0.0.7", 5000))
