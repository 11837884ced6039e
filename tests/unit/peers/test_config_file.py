"""Configurations as files: every field survives, bad ones are named, unknown ones stay."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import librats
from librats import ConfigError, Identity, RatsClient, RatsConfig, SessionConfig, StoreError, UsageError, blocking
from librats.peers.keeping.config_file import read_config

HEAD = {"format": "librats-config", "version": 1}


def other_than_default(config: type[Any]) -> dict[str, Any]:
    """Return a value for every number and text of a configuration that is not its default."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING or isinstance(field.default, bool):
            continue
        if isinstance(field.default, int):
            most = field.name == "max_packet"  # its default is the most there may be
            values[field.name] = field.default + (-1 if most else 1)
        elif isinstance(field.default, float):
            values[field.name] = field.default + 0.125
        elif isinstance(field.default, StrEnum):
            values[field.name] = next(member for member in type(field.default) if member is not field.default)
        elif isinstance(field.default, str):
            values[field.name] = field.default + "1"
    return values


def everything_changed() -> RatsConfig:
    return RatsConfig(**other_than_default(RatsConfig), session=SessionConfig(**other_than_default(SessionConfig)))


def test_every_field_is_saved_and_loaded(tmp_path: Path) -> None:
    config = everything_changed()
    librats.save_config(config, tmp_path / "config.json")
    assert librats.load_config(tmp_path / "config.json") == config
    document = json.loads((tmp_path / "config.json").read_text())
    assert document["session"]["ping_interval"] == 15.125
    assert set(document) == {*HEAD, *(field.name for field in dataclasses.fields(RatsConfig))}


def test_what_is_missing_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**HEAD, "session": {"ping_interval": 3}, "max_peers": 5}))
    assert librats.load_config(path) == RatsConfig(max_peers=5, session=SessionConfig(ping_interval=3.0))
    with pytest.raises(StoreError, match="does not exist"):
        librats.load_config(tmp_path / "other.json")


def test_unknown_members_stay_at_every_level(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    later = {**HEAD, "later": {"x": [1]}, "max_peers": 5, "session": {"also_later": "y", "ping_interval": 3.0}}
    path.write_text(json.dumps(later))
    librats.save_config(librats.load_config(path), path)
    librats.save_config(RatsConfig(max_peers=9), path)
    document = json.loads(path.read_text())
    assert document["later"] == {"x": [1]}
    assert document["session"]["also_later"] == "y"
    assert document["session"]["ping_interval"] == 15.0
    assert document["max_peers"] == 9


@pytest.mark.parametrize(
    ("members", "field", "told"),
    [
        ({"max_peers": 0}, "max_peers", "must be a whole number above 0, not 0"),
        ({"max_peers": "many"}, "max_peers", "expected `int`, got `str`"),
        ({"max_peers": None}, "max_peers", "expected `int`, got `null`"),
        ({"listen_host": 7}, "listen_host", "expected `str`, got `int`"),
        ({"session": []}, "session", "expected `object`, got `array`"),
        ({"session": {"ping_interval": "x"}}, "session.ping_interval", "expected `float`, got `str`"),
        ({"session": {"ping_interval": -1}}, "session.ping_interval", "must be a number above 0, not -1.0"),
        ({"session": {"idle_timeout": 1}}, "session.idle_timeout", "is longer than ping_interval"),
        ({"listen_port": 65536}, "listen_port", "must be a whole number from 0 to 65535, not 65536"),
        ({"listen_port": True}, "listen_port", "must be a whole number from 0 to 65535, not True"),
    ],
)
def test_a_bad_value_is_told_with_field_and_file(
    tmp_path: Path, members: dict[str, Any], field: str, told: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**HEAD, **members}))
    with pytest.raises(ConfigError) as caught:
        librats.load_config(path)
    assert caught.value.field == field
    assert str(caught.value) == f"{field}: {told} (in {path})"


def test_a_file_that_is_damaged_or_newer_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text in ("{", json.dumps({**HEAD, "version": 2}), json.dumps({"format": "librats-peers", "version": 1})):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"config\.json: "):
            librats.load_config(path)
        with pytest.raises(StoreError, match=r"config\.json: "):
            librats.save_config(RatsConfig(), path)
        assert path.read_text() == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["max_peers", "session", "listen_port", "protocol_name", "connect_timeout", "other"])


@given(members=st.dictionaries(NAMES, JSON, max_size=4))
def test_arbitrary_members_raise_nothing_else(
    members: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps({**HEAD, **members}))
    try:
        read_config(path)
    except (ConfigError, StoreError) as error:
        assert "config.json" in str(error)  # noqa: PT017 - most are read


async def test_a_client_saves_and_loads_its_configuration_and_port(tmp_path: Path) -> None:
    first = RatsClient(8123, config=everything_changed(), data_dir=tmp_path)
    assert not await first.load_configuration()
    await first.save_configuration()
    assert (tmp_path / "config.json").exists()
    second = RatsClient(data_dir=tmp_path)
    assert await second.load_configuration()
    assert (second._config, second._wanted_port) == (first._config, 8123)


async def test_what_a_client_does_not_know_goes_with_it_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({**HEAD, "later": 1, "session": {"later": 2}}))
    client = RatsClient(data_dir=tmp_path)
    assert await client.load_configuration(tmp_path / "a.json")
    await client.save_configuration(tmp_path / "b.json")
    document = json.loads((tmp_path / "b.json").read_text())
    assert (document["later"], document["session"]["later"]) == (1, 2)


async def test_a_running_client_loads_none(tmp_path: Path) -> None:
    config = RatsConfig(listen_host="127.0.0.1")
    async with RatsClient(config=config, identity=Identity.generate(), data_dir=tmp_path) as client:
        with pytest.raises(UsageError, match="running"):
            await client.load_configuration()
        await client.save_configuration()
    assert librats.load_config(tmp_path / "config.json") == config


def test_the_blocking_client_saves_and_loads_without_running(tmp_path: Path) -> None:
    first = blocking.RatsClient(8123, config=everything_changed(), data_dir=tmp_path)
    assert first.data_dir == tmp_path
    assert not first.load_configuration()
    first.save_configuration()
    second = blocking.RatsClient(data_dir=tmp_path)
    assert second.load_configuration()
    second.save_configuration(tmp_path / "again.json")
    assert librats.load_config(tmp_path / "again.json") == everything_changed()
