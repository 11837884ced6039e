"""Where a node keeps what it is, when nobody says."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from librats.peers import default_data_dir


def test_the_environment_names_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in ((str(tmp_path), tmp_path), ("~/mine", Path.home() / "mine")):
        monkeypatch.setenv("LIBRATS_DATA_DIR", value)
        assert default_data_dir() == expected


def test_without_the_environment_it_is_where_the_platform_keeps_data(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = platformdirs.user_data_path("librats", appauthor=False)
    monkeypatch.setenv("LIBRATS_DATA_DIR", "")
    assert default_data_dir() == expected
    monkeypatch.delenv("LIBRATS_DATA_DIR")
    assert default_data_dir() == expected
