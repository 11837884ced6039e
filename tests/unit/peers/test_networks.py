"""Addresses as limits and lists see them."""

from __future__ import annotations

import pytest

from librats.peers.entry.networks import ip_of, network_of, source_of


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a name", "a name"),
        ("", ""),
    ],
)
def test_a_source_is_an_ipv4_address_or_a_network_of_64_bits(host: str, source: str) -> None:
    assert source_of(host) == source


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_is_read(text: str, network: str) -> None:
    assert str(network_of(text)) == network


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "fe80::1%eth0/64 ", "example.org", "1.2.3"])
def test_what_is_no_network_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the standard library says of it
        network_of(text)


def test_a_name_is_no_address() -> None:
    assert ip_of("localhost") is None
    assert str(ip_of("fe80::1%eth0")) == "fe80::1"
