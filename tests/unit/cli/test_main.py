"""The exit status, and what is said with it; wrong usage is noticed before anything is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from librats.cli import main

ID = "ab" * 32


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a data directory, and its logging back afterwards."""
    root = logging.getLogger()
    before = root.level
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path / "data"))
    yield tmp_path / "data"
    root.setLevel(before)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"librats {version('librats')}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["id"],
        ["node"],
        ["connect"],
        ["chat"],
        ["send"],
        ["receive"],
        ["relay"],
        ["doctor"],
        ["dht"],
        ["torrent"],
        ["bench"],
    ],
)
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:\n  librats " in shown
    assert all(len(line) <= 120 for line in shown.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["connect"],
        ["connect", "nonsense"],
        ["connect", "host:0"],
        ["connect", "host:1", "--expect-id", "short"],
        ["connect", "host:1", "--message", "chat"],
        ["connect", "host:1", "--message", "chat", "{"],
        ["connect", "host:1", "--request", "deep", "[" * 100_000],
        ["connect", "host:1", "--ping", "0"],
        ["connect", "host:1", "--timeout", "nan"],
        ["connect", "host:1", "--strategy", "magic"],
        ["node", "--listen", "localhost:1"],
        ["node", "--listen", "70000"],
        ["node", "--listen", "127.0.0.1"],
        ["node", "--connect", "nonsense"],
        ["node", "--log-level", "loud"],
        ["demo", "--size", "-1"],
        ["demo", "--size", "much"],
        ["bench", "--rounds", "0"],
        ["bench", "--scale", "-1"],
        ["bench", "--loop", "magic"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str], own_data_dir: Path) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage: librats" in shown.err
    assert not own_data_dir.exists()


def test_a_bare_peer_id_that_is_not_the_expected_one_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", ID, "--expect-id", "cd" * 32, "--listen", "127.0.0.1:0"]) == 2
    assert "another peer id" in capsys.readouterr().err


def test_id_makes_an_identity_and_keeps_it(own_data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["id"]) == 0
    first = capsys.readouterr()
    assert len(first.out) == 65
    assert first.err == f"kept in {own_data_dir}\n"
    assert main(["id", "--data-dir", str(own_data_dir)]) == 0
    assert capsys.readouterr().out == first.out


def test_an_identity_that_is_damaged_is_a_failure_in_one_line(
    own_data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_data_dir.mkdir(mode=0o700)
    (own_data_dir / "identity.key").write_bytes(b"too short")
    (own_data_dir / "identity.key").chmod(0o600)
    assert main(["id"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("librats: ")
    assert shown.err.count("\n") == 1


def test_an_import_from_nowhere_is_a_failure_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["id", "--import", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["connect", ID[:63]], "a peer id of 64 lower-case hex digits"),
        (["connect", "127.0.0.1"], "give HOST:PORT"),
        (["connect", "127.0.0.1:port"], "write HOST:PORT"),
        (["node", "--introducer", "relay.example.org"], "--introducer: not an introducer: 'relay.example.org'; write"),
        (["node", "--turn", "turn:ann@turn.example.org"], "has a user without a password"),
        (["receive", ID], "--from takes it"),
        (["receive", "7-acorn"], "neither a ticket nor a code"),
        (["dht", "put", "--parse", "{"], "not JSON"),
        (["dht", "put", "--parse", "1.5"], "a value of the DHT has whole numbers"),
        (["dht", "put", "--salt", "news", "hello"], "go with --mutable"),
        (["torrent", "info", "https://example.org/a.torrent"], "download https://example.org/a.torrent first"),
    ],
)
def test_wrong_usage_is_told_in_one_line_before_anything_is_done(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], own_data_dir: Path
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err.splitlines()[-1]
    assert shown.err.splitlines()[-1].startswith("librats")
    assert "asking" not in shown.err
    assert not own_data_dir.exists()


def test_help_of_the_relay_names_its_own_data_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "--help"]) == 0
    assert "relay in it)" in " ".join(capsys.readouterr().out.split())
