"""What an introducer does beside introducing, and how what it grants is bounded."""

from __future__ import annotations

import threading

import pytest

from librats.errors import ConfigError, DecodeError
from librats.introduce.services import Services
from librats.relay.introducing import Grants, network_of
from librats.servers import introducer_place
from librats.stun.credentials import PasswordAlgorithm, long_term_key, userhash
from librats.turn.serving.credentials import Credentials, GrantedNames
from librats.turn.serving.quotas import INTRODUCED, QuotaLimits, Quotas
from librats.types import Address

ID = "0a" * 32


def test_services_are_read_as_they_were_written() -> None:
    told = Services(stun_port=3478, turn_port=3479, username="1:@a", password="b", lifetime=600.0)
    assert Services.decode(told.encode()) == told
    assert told.relays
    assert Services.decode(b'{"later": 1}') == Services()
    assert not Services(turn_port=3478).relays


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"stun_port":65536}',
        b'{"turn_port":-1}',
        b'{"lifetime":-1}',
        b'{"username":"' + b"x" * 300 + b'"}',
    ],
)
def test_services_of_another_form_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        Services.decode(body)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2001:db8:7:8::9", "2001:db8:7::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_neighbours_count_as_one_network(host: str, network: str) -> None:
    assert network_of(host) == network


def test_what_is_granted_is_taken_by_the_relay_until_it_expires_also_behind_a_hash() -> None:
    names = GrantedNames("rats", "s")
    username, password = Grants(lifetime=600, wall=lambda: 1000.0, names=names).credentials("203.0.113.77")
    credentials = Credentials(realm="rats", users={}, secrets=("other",), granted=names)
    account = credentials.account(username, PasswordAlgorithm.SHA256)
    assert account is not None
    assert account.owner == INTRODUCED + "203.0.113.0"
    assert account.expires == 1620  # rounded up to a minute
    assert long_term_key(username, "rats", password, PasswordAlgorithm.SHA256) in account.keys
    assert credentials.name_of(userhash(username, "rats")) == username
    assert credentials.name_of(userhash("1620:somebody", "rats")) is None


def test_allocations_of_introduced_nodes_are_bounded_by_network_and_in_all_and_those_of_users_are_not() -> None:
    limits = QuotaLimits(introduced_allocations=2, introduced_total=3, user_allocations=1)
    quotas = Quotas(limits, threading.Lock())
    assert [quotas.take("@a") for _ in range(3)] == [1, 2, 0]
    assert quotas.take("ann") == 1
    assert quotas.take("ann") == 0
    assert [quotas.take("@b") for _ in range(2)] == [1, -1]
    assert quotas.take("bob") == 1
    quotas.give_back("@a")
    assert quotas.take("@b") == 2
    assert quotas.take("@c") == -1


def test_an_introducer_is_named_by_id_and_address() -> None:
    assert introducer_place(f"{ID}@relay.example.org:3478") == (ID, Address("relay.example.org", 3478))
    assert introducer_place(f"{ID}@[2001:db8::1]:3478")[1] == Address("2001:db8::1", 3478)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID,
        "relay.example.org:3478",
        f"{ID}@",
        f"{ID}@relay.example.org",
        f"{ID}@x:0",
        f"{ID.upper()}@x:1",
        f"{ID}@:5",
    ],
)
def test_what_names_no_introducer_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        introducer_place(text)
    assert caught.value.field == "introducers"
