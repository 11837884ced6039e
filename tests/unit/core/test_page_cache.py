"""Parts of files that are read only where they are in memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from librats._core.page_cache import read_cached

CONTENT = bytes(range(256)) * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_what_was_just_written_is_read(path: Path) -> None:
    with path.open("rb") as file:
        found = read_cached(file.fileno(), 100, 50)
        if found is None:
            pytest.skip("this file system does not tell what is in memory")
        assert found == CONTENT[50:150]
        assert read_cached(file.fileno(), len(CONTENT), 0) == CONTENT
        assert read_cached(file.fileno(), 0, 0) == b""


def test_what_is_not_in_the_file_is_nothing(path: Path) -> None:
    with path.open("rb") as file:
        assert read_cached(file.fileno(), 10, len(CONTENT) - 9) is None
        assert read_cached(file.fileno(), 1, 1 << 40) is None


def test_what_cannot_be_read_is_nothing(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.close(descriptor)
    assert read_cached(descriptor, 1, 0) is None
    assert read_cached(-1, 1, 0) is None


def test_negative_size_is_a_wrong_call(path: Path) -> None:
    with path.open("rb") as file, pytest.raises(ValueError, match="negative"):
        read_cached(file.fileno(), -1, 0)
