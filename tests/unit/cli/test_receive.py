"""What `librats send` and `librats receive` refuse before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from librats import RatsClient, Ticket
from librats.cli import main
from librats.services.transfer import FilesHandle

QUIET = ["--listen", "127.0.0.1:0", "--no-mdns", "--no-dht"]


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["receive"], "ticket or a code"),
        (["receive", "7-acorn-nothing"], "'nothing' is none of its words"),
        (["receive", "7-acorn-tigre"], "'tigre' is none of its words"),
        (["receive", "hello"], "neither a ticket nor a code"),
        (["receive", "rats1" + "a" * 60], "not a whole ticket"),
        (["receive", "7-acorn-tiger", "--anyone"], "ticket or a code"),
        (["receive", "7-acorn-tiger"], "no way to meet"),
        (["receive", str(Ticket(public_key=bytes(32), verify_key=bytes(32)))], "librats connect"),
        (["send", "x", "--to", "127.0.0.1:9", "--keep"], "--keep"),
        (["send", "x", "--message", "hello"], "--message goes with --to"),
        (["send", ""], "name a file or a folder"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *QUIET]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert told in shown.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "nothing", *QUIET]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert "[not_found]" in shown.err


def test_a_code_is_given_up_at_once_where_mdns_does_not_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_args: object, **_options: object) -> bool:
        return False

    async def is_not_called(*_args: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(RatsClient, "start_mdns_discovery", fails)
    monkeypatch.setattr(FilesHandle, "take_code", is_not_called)
    assert main(["receive", "7-acorn-tiger", "--listen", "127.0.0.1:0", "--no-dht"]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert "no way to meet" in shown.err
