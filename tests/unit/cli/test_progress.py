"""Progress, for those who watch a terminal and for those who do not."""

from __future__ import annotations

import importlib.util
import io
import sys
from importlib.machinery import ModuleSpec

import pytest

from librats.cli.progress import Progress, progress_bar, readable_size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1000) as bar:
        for done in range(0, 1001, 10):
            bar.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["25", "50", "75", "100"]


def test_a_terminal_without_rich_gets_one_line_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with progress_bar(2_000_000) as bar:
        assert type(bar) is Progress
        bar.update(1_000_000)
        bar.update(1_000_001)
        bar.update(2_000_000)
    assert terminal.getvalue().count("\r") == 2
    assert " 50 %  1.0 MB of 2.0 MB" in terminal.getvalue()
    assert terminal.getvalue().endswith("2.0 MB of 2.0 MB\n")


def test_a_terminal_gets_the_bar_of_rich_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(1000) as bar:
        assert type(bar) is not Progress
        bar.update(1000)
    assert "100%" in terminal.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (64e6, "64.0 MB"), (1.5e9, "1.50 GB"), (2e12, "2000.00 GB")],
)
def test_sizes_are_readable(count: float, text: str) -> None:
    assert readable_size(count) == text
