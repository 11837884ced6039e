"""Limits and timing of transfers: what cannot be used is refused with the name of the field."""

from __future__ import annotations

from typing import Any

import pytest

from librats import ConfigError, FilesConfig, RatsConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accept", "always"),
        ("folder", 5),
        ("max_files", 0),
        ("max_bytes", -1),
        ("max_disk", 0),
        ("max_rate", "fast"),
        ("max_rate", True),
        ("chunk", 1000),
        ("chunk", (4 << 20) + 1),
        ("window", 1 << 16),
        ("parallel", 0),
        ("max_serving", 1.5),
        ("max_offers_per_peer", 0),
        ("offer_timeout", 0.0),
        ("resume_timeout", "soon"),
        ("stall_timeout", -1.0),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        FilesConfig(**{field: value})
    assert refused.value.field == field


def test_it_is_a_part_of_the_configuration() -> None:
    assert RatsConfig(files=FilesConfig(accept="never")).files.accept == "never"  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as refused:
        RatsConfig(files=5)  # type: ignore[arg-type]
    assert refused.value.field == "files"
