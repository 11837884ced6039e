from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from librats import Address, ConfigError, NatTraversalConfig, RatsClient, RatsConfig, load_config, save_config


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("stun.example.org", Address("stun.example.org", 3478)),
        ("stun:stun.example.org:19302", Address("stun.example.org", 19302)),
        ("192.0.2.7:3479", Address("192.0.2.7", 3479)),
        ("[2001:db8::7]:3479", Address("2001:db8::7", 3479)),
        ("2001:db8::7", Address("2001:db8::7", 3478)),
    ],
)
def test_servers_are_read(text: str, address: Address) -> None:
    assert NatTraversalConfig(stun_servers=(text,)).stun_addresses == (address,)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("stun_servers", {"stun_servers": "stun.example.org"}),
        ("stun_servers", {"stun_servers": ("",)}),
        ("stun_servers", {"stun_servers": ("host:port",)}),
        ("stun_servers", {"stun_servers": ("host:0",)}),
        ("stun_servers", {"stun_servers": ("a b:1",)}),
        ("stun_servers", {"stun_servers": ("a:b:c",)}),
        ("stun_servers", {"stun_servers": (7,)}),
        ("prefer_ipv6", {"prefer_ipv6": 1}),
        ("enable_port_mapping", {"enable_port_mapping": None}),
        ("ice_tcp", {"ice_tcp": "yes"}),
        ("stun_timeout", {"stun_timeout": 0}),
        ("stun_first_answer", {"stun_first_answer": 6.0}),
        ("enable_hole_punching", {"enable_hole_punching": 1}),
        ("enable_turn_relay", {"enable_turn_relay": None}),
        (
            "path_policy",
            {"path_policy": "relay_only", "turn_servers": ("turn:a:b@192.0.2.7",), "enable_turn_relay": False},
        ),
        ("hole_punch_attempts", {"hole_punch_attempts": 0}),
        ("hole_punch_attempts", {"hole_punch_attempts": 21}),
        ("hole_punch_attempts", {"hole_punch_attempts": True}),
        ("hole_punch_attempts", {"hole_punch_attempts": 2.0}),
        ("ice_gathering_timeout", {"ice_gathering_timeout": 0}),
        ("ice_connectivity_timeout", {"ice_connectivity_timeout": "long"}),
    ],
)
def test_a_value_that_cannot_be_used_is_named(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        NatTraversalConfig(**values)
    assert error.value.field == field


def test_it_is_part_of_the_configuration_and_of_its_file(tmp_path: Path) -> None:
    nat = NatTraversalConfig(
        stun_servers=("192.0.2.7:3479",), prefer_ipv6=True, enable_port_mapping=False, enable_turn_relay=False
    )
    save_config(RatsConfig(nat=nat), tmp_path / "config.json")
    assert load_config(tmp_path / "config.json").nat == nat
    with pytest.raises(ConfigError):
        RatsConfig(nat="stun.example.org")  # type: ignore[arg-type]


def test_offline_asks_neither_servers_nor_gateways() -> None:
    offline = NatTraversalConfig.offline()
    assert (offline.stun_servers, offline.turn_servers, offline.enable_port_mapping) == ((), (), False)


def test_a_client_takes_it_as_an_argument() -> None:
    assert RatsClient(nat=NatTraversalConfig.offline())._config.nat.stun_servers == ()
