"""What a relay is told, in options and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from librats.cli.relay_options import add_options, read_arguments
from librats.config import CarryLimits
from librats.errors import ConfigError, StoreError, UsageError
from librats.relay.config import (
    RelayConfig,
    make_relay_config,
    parse_listen,
    parse_metrics,
    parse_user,
    read_relay_config,
)
from librats.turn.serving.alternates import Alternate
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

USERS = {"users": {"bob": "secret"}}
WHOLE = """
listen = ["192.0.2.1:3478", "[2001:db8::1]:5000", "7000"]
certificate = "/etc/relay.pem"
secrets = "one"
external_hosts = {"10.0.0.1" = "192.0.2.1"}
relay_ports = [20000, 30000]
allow_peers = ["10.0.0.0/8", "::1"]
nonce_lifetime = 60
try_alternate = ["192.0.2.2:3478", "[2001:db8::2]:3478"]
try_alternate_tls = "two.example.org=192.0.2.2:5349"
metrics = "9641"

[users]
bob = "secret"

[quotas]
user_allocations = 5
total_bandwidth = 1000

[settings]
max_permissions = 7
permission_lifetime = 60
"""


def test_a_file_says_everything(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(WHOLE, encoding="utf-8")
    config = read_relay_config(file)
    assert config.listen == (
        Address("192.0.2.1", 3478),
        Address("2001:db8::1", 5000),
        Address("0.0.0.0", 7000),  # noqa: S104
        Address("::", 7000),
    )
    assert config.tls_listen == (Address("0.0.0.0", 5349), Address("::", 5349))  # noqa: S104
    assert config.secrets == ("one",)
    assert config.try_alternate == (Alternate(Address("192.0.2.2", 3478)), Alternate(Address("2001:db8::2", 3478)))
    assert config.try_alternate_tls == (Alternate(Address("192.0.2.2", 5349), "two.example.org"),)
    assert config.allow_peers == (parse_network("10.0.0.0/8"), parse_network("::1"))
    assert (config.relay_ports, config.nonce_lifetime) == ((20000, 30000), 60.0)
    assert config.metrics == Address("127.0.0.1", 9641)
    assert (config.quotas.user_allocations, config.quotas.total_bandwidth) == (5, 1000)
    assert (config.settings.max_permissions, config.settings.permission_lifetime) == (7, 60)


def test_what_is_given_besides_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(WHOLE, encoding="utf-8")
    config = read_relay_config(file, {"realm": "x", "users": {"ann": "p"}}, {"user_allocations": 9})
    assert (config.realm, config.users) == ("x", {"ann": "p"})
    assert (config.quotas.user_allocations, config.quotas.total_bandwidth) == (9, 1000)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("colour", {"colour": 1}),
        ("listen", {"listen": []}),
        ("listen", {"listen": "relay.example:3478"}),
        ("listen", {"listen": [3478]}),
        ("tcp", {"tcp": "yes"}),
        ("threads", {"threads": 0}),
        ("threads", {"threads": True}),
        ("realm", {"realm": ""}),
        ("realm", {"realm": 5}),
        ("relay_ports", {"relay_ports": "80-90"}),
        ("relay_ports", {"relay_ports": "x-y"}),
        ("nonce_lifetime", {"nonce_lifetime": -1}),
        ("nonce_lifetime", {"nonce_lifetime": float("nan")}),
        ("users", {"users": {"bob": 5}}),
        ("users", {"users": []}),
        ("users", {"users": {}}),
        ("no_auth", {"no_auth": True}),
        ("tls_listen", {"tls_listen": "127.0.0.1:1"}),
        ("alternate", {"alternate": "192.0.2.2:3479"}),
        ("alternate", {"listen": "192.0.2.1:3478", "alternate": "192.0.2.1:3479"}),
        ("alternate", {"listen": "192.0.2.1:0", "alternate": "192.0.2.2:3479"}),
        ("quotas", {"quotas": 5}),
        ("quotas.colour", {"quotas": {"colour": 1}}),
        ("quotas.total_allocations", {"quotas": {"total_allocations": "many"}}),
        ("settings.mobility", {"settings": {"mobility": 1}}),
        ("settings.max_lifetime", {"settings": {"max_lifetime": -1}}),
        ("metrics", {"metrics": "somewhere"}),
        ("metrics", {"metrics": "localhost:9641"}),
        ("relay_hosts", {"relay_hosts": "relay.example"}),
        ("external_hosts", {"external_hosts": {"192.0.2.1": "relay.example"}}),
        ("external_hosts", {"external_hosts": {"relay.example": "192.0.2.1"}}),
        ("nonce_lifetime", {"nonce_lifetime": float("inf")}),
        ("introduced_lifetime", {"introduced_lifetime": float("inf")}),
        ("users", {"users": "bob:secret"}),
        ("users", {"users": {"bob": ""}}),
        ("users", {"users": {"": "secret"}}),
        ("secrets", {"secrets": ""}),
        ("secrets", {"secrets": ["one", ""]}),
        ("quotas.user_bandwidth", {"quotas": {"user_bandwidth": 10**16}}),
        ("settings.default_lifetime", {"settings": {"default_lifetime": 10**10}}),
        ("settings.permission_lifetime", {"settings": {"permission_lifetime": float("inf")}}),
        ("deny_peers", {"deny_peers": ["10.0.0.1/8"]}),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_relay_config({**USERS, **values})
    assert caught.value.field == field
    assert "object" not in str(caught.value)  # Python's words, not ours


@pytest.mark.parametrize("text", ["listen = [", "\udcff"])
def test_a_file_that_is_no_toml_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreError, match="is not TOML"):
        read_relay_config(file)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_relay_config(tmp_path / "relay.toml")


def test_secrets_are_not_shown() -> None:
    config = RelayConfig(users={"bob": "hunter2"}, secrets=("hunter3",))
    assert "hunter" not in repr(config)


@pytest.mark.parametrize("text", ["", "host:1", "1.2.3.4:99999", "::1:3478:x"])
def test_where_nobody_can_listen_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        parse_listen(text)


def test_where_to_listen_is_read() -> None:
    assert parse_listen("[::1]") == parse_listen("::1") == (Address("::1", 3478),)
    assert parse_listen(":5000") == parse_listen("5000")
    assert parse_metrics("0.0.0.0:9") == Address("0.0.0.0", 9)  # noqa: S104


@pytest.mark.parametrize("text", ["", "bob", "bob:", ":secret"])
def test_a_user_has_a_name_and_a_password(text: str) -> None:
    with pytest.raises(UsageError):
        parse_user(text)
    assert parse_user("bob:a:b") == ("bob", "a:b")


def test_what_is_carried_is_a_switch_and_a_table_of_limits(tmp_path: Path) -> None:
    config = make_relay_config({"users": {"ann": "secret"}})
    assert (config.carry, config.carry_limits) == (True, CarryLimits())
    file = tmp_path / "relay.toml"
    file.write_text('carry = false\n[users]\nann = "secret"\n[carry_limits]\nbytes = 5\nrate = 7\n', encoding="utf-8")
    config = read_relay_config(file, {"carry": True}, None, {"bytes": 9, "seconds": 8.0})
    assert (config.carry, config.carry_limits) == (True, CarryLimits(bytes=9, seconds=8.0, rate=7.0))
    with pytest.raises(ConfigError, match=r"carry_limits\.colour"):
        make_relay_config({"users": {"ann": "secret"}, "carry_limits": {"colour": 1}})


def test_options_of_the_relay_say_what_it_carries() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    words = "--user ann:secret --carry-bytes 1000 --carry-seconds 9 --carry-rate 500 --carry-total-rate 5000"
    config = read_arguments(parser.parse_args([*words.split(), "--carry-at-once", "3"]))
    assert config.carry
    assert config.carry_limits == CarryLimits(bytes=1000, seconds=9.0, rate=500.0, total_rate=5000.0, at_once=3)
    assert not read_arguments(parser.parse_args(["--user", "ann:secret", "--no-carry"])).carry


def test_a_relay_for_introduced_nodes_needs_no_users() -> None:
    config = make_relay_config({"relay_for_introduced": True, "quotas": {"introduced_allocations": 2}})
    assert (config.introduce, config.relay_for_introduced, config.users) == (True, True, {})
    assert (config.quotas.introduced_allocations, config.quotas.introduced_total) == (2, 1024)
    for wrong in ({"introduced_lifetime": 59}, {"introduce": 1}, {"relay_for_introduced": "yes"}):
        with pytest.raises(ConfigError) as caught:
            make_relay_config({"users": {"ann": "secret"}, **wrong})
        assert caught.value.field == next(iter(wrong))
