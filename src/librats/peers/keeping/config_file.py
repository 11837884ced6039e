"""Configurations as files: JSON for people to read and change, every field checked, unknown members kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import field as struct_field

from librats.config import RatsConfig
from librats.errors import ConfigError, StoreError
from librats.peers.keeping.store import JsonFile, merged
from librats.types import PathPolicy

__all__ = ["load_config", "save_config"]

CONFIG_FILE = "config.json"
"""Name of the file in a data directory."""

FORMAT = "librats-config"
VERSION = 1
MAX_SIZE = 1024 * 1024
MAX_PORT = 65535
WHERE = re.compile(r" - at `\$\.?([^`]*)`$")
OWN_MEMBERS = frozenset({"format", "version", "listen_port"})


class StoredConfig(Struct, frozen=True, kw_only=True):
    """What a configuration file holds."""

    config: RatsConfig
    """The configuration."""

    listen_port: int | None = None
    """TCP port to listen on; None where the file does not say."""

    document: dict[str, Any] = struct_field(default_factory=dict)
    """Everything that was in the file, also what this version does not know."""


def load_config(path: str | Path) -> RatsConfig:
    """Read a configuration from a file that :func:`save_config` or a person has written. It blocks.

    Fields that are missing have their defaults; unknown ones are ignored.

    Args:
        path: The file.

    Raises:
        StoreError: There is no such file, or it is damaged, or of a newer version.
        ConfigError: A field has a value that cannot be used; it names field and file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_config(RatsConfig(max_peers=50), f"{folder}/config.json")
        ...     load_config(f"{folder}/config.json").max_peers
        50
    """
    stored = read_config(path)
    if stored is None:
        raise StoreError(Path(path), "does not exist")
    return stored.config


def save_config(config: RatsConfig, path: str | Path) -> None:
    """Write a configuration to a file, whole or not at all. It blocks.

    Members of the file that this version does not know stay in it.

    Args:
        config: The configuration.
        path: The file; directories that are missing are made.

    Raises:
        StoreError: It cannot be written, or the file that is there is no configuration of this version.
    """
    write_config(StoredConfig(config=config), path)


def read_config(path: str | Path) -> StoredConfig | None:
    """Read a configuration file; None where there is none. Raises as :func:`load_config` does."""
    file = _file(path)
    document = file.read()
    if document is None:
        return None
    port = document.get("listen_port")
    if port is not None and not (type(port) is int and 0 <= port <= MAX_PORT):
        raise ConfigError("listen_port", f"must be a whole number from 0 to {MAX_PORT}, not {port!r} (in {file.path})")
    members = {name: value for name, value in document.items() if name not in OWN_MEMBERS}
    try:
        config = msgspec.convert(members, RatsConfig)
    except msgspec.ValidationError as error:
        raise _named(error, file.path) from error
    return StoredConfig(config=config, listen_port=port, document=document)


def write_config(stored: StoredConfig, path: str | Path) -> None:
    """Write a configuration file. Raises as :func:`save_config` does."""
    file = _file(path)
    kept = merged(file.read() or {}, stored.document)
    nat = stored.config.nat
    # Those whose password a function of the program returns cannot be written.
    uris = tuple(server.to_uri() for server in nat.turn_servers if server.credentials is None)
    known = msgspec.to_builtins(replace(stored.config, nat=replace(nat, turn_servers=(), path_policy=PathPolicy.AUTO)))
    known["nat"] |= {"turn_servers": uris, "path_policy": nat.path_policy.value}
    port = {} if stored.listen_port is None else {"listen_port": stored.listen_port}
    file.write(merged(kept, {**port, **known}))


def _file(path: str | Path) -> JsonFile:
    return JsonFile(Path(path), format=FORMAT, version=VERSION, max_size=MAX_SIZE)


def _named(error: msgspec.ValidationError, path: Path) -> ConfigError:
    """Return the error that names the field which the decoder complains of."""
    words = str(error)
    place = WHERE.search(words)
    names = place[1] if place else ""
    problem = words[: place.start()] if place else words
    cause = error.__cause__
    if isinstance(cause, ConfigError):
        names = f"{names}.{cause.field}" if names else cause.field
        problem = str(cause).removeprefix(f"{cause.field}: ")
    return ConfigError(names or "configuration", f"{problem[:1].lower()}{problem[1:]} (in {path})")
