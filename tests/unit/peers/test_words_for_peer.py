"""What a peer is told of an exception that a handler has raised for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from librats.errors import ConnectError, IdentityError, StoreError, UsageError
from librats.peers.handling.words import words_for_peer

SECRET = "/home/ann/secret.txt"


def test_class_and_text_are_told() -> None:
    assert words_for_peer(ValueError("no such room")) == "ValueError: no such room"
    assert words_for_peer(UsageError("no such room")) == "UsageError: no such room"
    assert words_for_peer(asyncio.CancelledError()) == "CancelledError: "


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", SECRET), "FileNotFoundError: No such file or directory"),
        (OSError(18, "Invalid link", SECRET, None, "/root/other"), "OSError: Invalid cross-device link"),
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 80)"), "ConnectionRefusedError"),
        (OSError("no room left"), "OSError: no room left"),
        (StoreError(Path(SECRET), "is damaged"), "StoreError"),
        (IdentityError(f"{SECRET} belongs to user 0"), "IdentityError"),
        (ConnectError("10.0.0.5:80", reason="nobody answers at 10.0.0.5:80"), "ConnectError"),
    ],
)
def test_paths_and_addresses_of_this_machine_are_not(error: Exception, words: str) -> None:
    told = words_for_peer(error)
    assert told.startswith(words)
    assert not any(secret in told for secret in (SECRET, "/root", "10.0.0.5"))


def test_the_operating_system_may_give_other_numbers() -> None:
    error = OSError()
    error.filename = SECRET
    assert words_for_peer(error) == "OSError"
