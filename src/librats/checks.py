"""Checks that the fields of configurations go through."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum

from librats.errors import ConfigError

__all__ = ["require", "require_one_of", "require_positive"]


def require(condition: bool, field_name: str, problem: str) -> None:
    """Raise a ConfigError that names the field unless something holds."""
    if not condition:
        raise ConfigError(field_name, problem)


def require_positive(config: object, *names: str) -> None:
    """Check that fields are numbers above 0, and whole ones where their type says so."""
    types = {field.name: field.type for field in fields(config)}  # type: ignore[arg-type]
    for name in names:
        value = getattr(config, name)
        whole = types[name] == "int"
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        kind = "a whole number" if whole else "a number"
        require(is_number and value > 0, name, f"must be {kind} above 0, not {value!r}")


def require_one_of(config: object, name: str, choices: type[StrEnum]) -> None:
    """Check that a field is one of an enumeration's values, and make plain text of that value a member."""
    value = getattr(config, name)
    require(value in list(choices), name, f"must be one of {', '.join(choices)}, not {value!r}")
    object.__setattr__(config, name, choices(value))
