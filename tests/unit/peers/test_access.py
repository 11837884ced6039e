"""The lists of whom a client talks to."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from librats.config import RatsConfig
from librats.errors import ConfigError, UsageError
from librats.peers.entry.access import MAX_OWN, Access, AccessList

ID, OTHER = "0a" * 32, "0b" * 32


def test_entries_are_kept_in_one_spelling() -> None:
    entries = AccessList([ID, "10.0.0.0/8", "::ffff:192.0.2.7", "2001:0db8::/32"])
    assert list(entries) == [ID, "10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    assert len(entries) == 4
    for entry in (ID, "10.0.0.0/8", "192.0.2.7", "::ffff:10.0.0.0/104"):
        assert entry in entries
    for absent in (OTHER, "10.0.0.1", "10.0.0.0/9", "nonsense", 7):
        assert absent not in entries
    entries.remove("192.0.2.7", OTHER)
    assert "192.0.2.7/32" not in entries
    entries.clear()
    assert not entries


@pytest.mark.parametrize("entry", ["", "0A" * 32, "ab" * 31, "10.0.0.1/8", "example.org", "10.0.0.0/8 ", 7, None, b""])
def test_what_is_no_entry_is_an_error_and_nothing_is_added(entry: Any) -> None:
    entries = AccessList()
    with pytest.raises(UsageError):
        entries.add(ID, entry)
    assert not entries
    with pytest.raises(UsageError):
        entries.remove(entry)


def test_one_text_is_no_list() -> None:
    with pytest.raises(UsageError):
        AccessList("10.0.0.0/8")


def test_nothing_is_denied_by_empty_lists() -> None:
    access = Access()
    assert access.check_address("192.0.2.7") is access.check_id(ID) is None


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"])
def test_an_ipv4_address_is_found_however_it_is_written(host: str) -> None:
    for network in ("10.0.0.0/8", "::ffff:10.0.0.0/104"):
        denied = Access(deny=[network]).check_address(host)
        assert denied is not None
        assert (str(denied), denied.limit) == ("10.1.2.3 is in 10.0.0.0/8, which is on the deny list", "deny")
        assert Access(allow=[network]).check_address(host) is None


def test_allow_leaves_out_what_is_not_in_it_each_kind_for_itself() -> None:
    access = Access(allow=["192.0.2.0/24", "fe80::/10"])
    assert access.check_address("192.0.2.9") is access.check_address("fe80::9%2") is access.check_id(ID) is None
    denied = access.check_address("198.51.100.1")
    assert denied is not None
    assert denied.limit == "allow"
    access = Access(allow=[ID])
    assert access.check_address("198.51.100.1") is access.check_id(ID) is None
    assert access.check_id(OTHER) is not None


def test_deny_wins() -> None:
    access = Access(allow=["10.0.0.0/8", ID], deny=["10.9.0.0/16", ID])
    assert access.check_address("10.8.0.1") is None
    for denied in (access.check_address("10.9.0.1"), access.check_id(ID)):
        assert denied is not None
        assert denied.limit == "deny"


def test_a_mapped_network_does_not_reach_beyond_ipv4() -> None:
    access = Access(deny=["::ffff:0:0/96"])
    assert access.check_address("203.0.113.1") is not None
    assert access.check_address("2001:db8::1") is None
    assert Access(deny=["::/0"]).check_address("203.0.113.1") is None


def test_a_change_is_told() -> None:
    told: list[int] = []
    access = Access()
    access.changed = lambda: told.append(len(access.deny))
    access.deny.add(ID, "10.0.0.0/8")
    access.deny.remove(ID)
    access.allow.add(ID)
    access.deny.clear()
    assert told == [2, 1, 1, 0]


def test_threads_may_change_a_list_while_it_is_read() -> None:
    access = Access()

    def change(start: int) -> None:
        for number in range(300):
            access.deny.add(f"10.{start}.{number % 256}.0/24")

    threads = [threading.Thread(target=change, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        access.check_address("192.0.2.7")
    for thread in threads:
        thread.join()
    assert len(access.deny) == 4 * 256


def test_the_configuration_names_the_list_with_a_bad_entry() -> None:
    make: Any = RatsConfig
    for name in ("allow", "deny"):
        with pytest.raises(ConfigError, match=name):
            make(**{name: ["10.0.0.0/8"]})
        with pytest.raises(ConfigError, match=rf"{name}: not a peer id .* '10\.0\.0\.1/8'"):
            Access.of(make(**{name: ("10.0.0.1/8",)}))
    assert list(Access.of(RatsConfig(deny=(ID,))).deny) == [ID]


def test_the_lists_of_another_configuration_take_the_place_of_those_before() -> None:
    before, after = RatsConfig(allow=(ID,), deny=("10.0.0.0/8",)), RatsConfig(deny=("192.0.2.7",))
    access = Access.of(before)
    access.deny.add(OTHER)
    access.adopt(before, after)
    assert list(access.allow) == []
    assert list(access.deny) == [OTHER, "192.0.2.7/32"]
    with pytest.raises(ConfigError, match="allow"):
        access.adopt(after, RatsConfig(allow=("nonsense",), deny=(ID,)))
    assert list(access.deny) == [OTHER, "192.0.2.7/32"]


def test_no_more_addresses_of_ones_own_are_learnt_than_the_limit() -> None:
    access = Access()
    access.ignores_own = True
    hosts = [f"192.0.{number // 256}.{number % 256}" for number in range(MAX_OWN + 1)]
    for host in hosts:
        access.learn_own(host)
    assert [access.check_dial(host) is None for host in (hosts[0], hosts[-2], hosts[-1])] == [False, False, True]
