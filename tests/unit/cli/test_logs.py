"""Log records as the command line shows them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from librats.cli.logs import start_logging


@contextmanager
def own_root() -> Iterator[logging.Logger]:
    """Stand in for the root logger, to which pytest adds handlers before each test."""
    root = logging.RootLogger(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "root", root)
        yield root
    for handler in root.handlers:
        handler.close()


def log_a_failure(root: logging.Logger) -> None:
    try:
        raise RuntimeError("bo\x1b[31mom")
    except RuntimeError:
        root.error("the handler failed", exc_info=sys.exc_info())


def test_a_failure_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    with own_root() as root:
        start_logging("warning")
        log_a_failure(root)
        root.info("not shown")
    assert capsys.readouterr().err == "librats: error: the handler failed (RuntimeError: boom)\n"


def test_whoever_wants_details_gets_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with own_root() as root:
        start_logging("debug")
        log_a_failure(root)
    assert "Traceback" in capsys.readouterr().err


def test_what_peers_have_written_does_not_act_on_the_terminal_of_whoever_wants_details(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with own_root() as root:
        start_logging("debug")
        root.debug("the peer said %s", "\x1b]0;owned\x07\x1b[2Jgone\u202e")
        log_a_failure(root)
    shown = capsys.readouterr().err
    assert "the peer said gone\n" in shown
    assert "\n  File " in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
