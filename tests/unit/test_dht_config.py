"""What can be set of the DHT, and that it is part of the configuration and of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from librats import Address, ConfigError, DhtConfig, RatsConfig, load_config, save_config


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dht.example.org", Address("dht.example.org", 6881)),
        ("dht.example.org:25401", Address("dht.example.org", 25401)),
        ("192.0.2.7:1", Address("192.0.2.7", 1)),
        ("[2001:db8::7]:6882", Address("2001:db8::7", 6882)),
        ("2001:db8::7", Address("2001:db8::7", 6881)),
    ],
)
def test_nodes_to_begin_with_are_read(text: str, address: Address) -> None:
    assert DhtConfig(bootstrap=(text,)).bootstrap_addresses == (address,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bootstrap", "dht.example.org"),
        ("bootstrap", ("",)),
        ("bootstrap", ("host:port",)),
        ("bootstrap", ("host:0",)),
        ("bootstrap", ("a b:1",)),
        ("bootstrap", ("a:b:c",)),
        ("bootstrap", (7,)),
        ("enabled", 1),
        ("read_only", None),
        ("publish", "yes"),
        ("require_bound", 0),
        ("port", -1),
        ("port", 65536),
        ("port", True),
        ("port", "6881"),
        ("addresses", "192.0.2.7"),
        ("addresses", ["192.0.2.7"]),
        ("addresses", (7,)),
        ("addresses", ("a-name",)),
        ("addresses", ("192.0.2.7:6881",)),
        ("addresses", ("0.0.0.0",)),  # noqa: S104 - it is refused
        ("addresses", ("::",)),
        ("addresses", ("224.0.0.1",)),
        ("addresses", ("ff02::1",)),
        ("addresses", ("fe80::1%eth0",)),
        ("addresses", ("::ffff:192.0.2.7",)),
        ("addresses", ("2001:db8::1", "2001:DB8:0::1")),
        ("addresses", tuple(f"192.0.{number >> 8}.{number & 255}" for number in range(257))),
        ("announce_interval", 0),
        ("search_interval", -1.0),
        ("lookup_timeout", "long"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        DhtConfig(**{field: value})
    assert error.value.field == field


def test_it_is_part_of_the_configuration_and_of_its_file(tmp_path: Path) -> None:
    dht = DhtConfig(enabled=True, bootstrap=("192.0.2.7:6881",), port=6881, read_only=True, search_interval=5.0)
    dht = replace(dht, addresses=("192.0.2.7", "2001:db8::1"))
    save_config(RatsConfig(dht=dht), tmp_path / "config.json")
    assert load_config(tmp_path / "config.json").dht == dht
    save_config(RatsConfig(), tmp_path / "other.json")
    assert load_config(tmp_path / "other.json").dht == DhtConfig()
    with pytest.raises(ConfigError, match=r"^dht: "):
        RatsConfig(dht="dht.example.org")  # type: ignore[arg-type]


def test_by_default_it_is_off_and_several_nodes_are_known_to_begin_with() -> None:
    assert not RatsConfig().dht.enabled
    assert len(DhtConfig().bootstrap_addresses) >= 5
