"""`librats send` and `librats receive`, each in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.test_mdns import multicast_problem

from librats import FilesConfig, RatsConfig, save_config

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Run, Start

QUIET = ("--listen", "127.0.0.1:0", "--no-mdns", "--no-dht", "--json")
DATA = os.urandom(300_000)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(DATA)
    return tmp_path / "photo.jpg"


async def sender(start: Start, path: Path, *options: str) -> tuple[Command, str]:
    command = await start("send", str(path), *QUIET, *options, home="sender")
    told = await command.event_named("ticket")
    return command, told["ticket"]


async def test_a_file_goes_by_ticket_and_both_sides_end(start: Start, run: Run, photo: Path, tmp_path: Path) -> None:
    command, ticket = await sender(start, photo)
    received = await run("receive", ticket, "--folder", "out", *QUIET, home="receiver")
    assert received.status == 0, received.stderr
    sent = await command.finish()
    assert sent.status == 0, sent.stderr
    done, done_there = received.events[-1], sent.events[-1]
    assert (done["event"], done["bytes"], done["hash"]) == ("done", len(DATA), done_there["hash"])
    assert (done_there["event"], done_there["bytes"]) == ("done", len(DATA))
    assert done["path"].endswith("photo.jpg")
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.jpg"]


async def test_both_sides_tell_how_much_of_a_newer_version_did_not_have_to_go(
    start: Start, run: Run, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_bytes(bytes(65_536) + DATA[65_536:])  # the first leaf has changed since
    command, ticket = await sender(start, photo)
    received = await run("receive", ticket, "--folder", "out", "--overwrite", *QUIET, home="receiver")
    sent = await command.finish()
    assert [done.events[-1]["reused"] for done in (received, sent)] == [len(DATA) - 65_536] * 2
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA


async def test_a_folder_goes_to_several_where_the_sender_keeps_on(start: Start, run: Run, tmp_path: Path) -> None:
    (tmp_path / "holiday" / "drafts").mkdir(parents=True)
    for number in range(30):
        (tmp_path / "holiday" / f"{number}.txt").write_text(f"day {number}")
    command, ticket = await sender(start, tmp_path / "holiday", "--keep", "--as", "summer")
    for home in ("one", "two"):  # as one machine after the other
        received = await run("receive", ticket, "--folder", home, *QUIET, home=f"of {home}")
        assert received.status == 0, received.stderr
        assert sorted(path.name for path in (tmp_path / home / "summer").iterdir())[:2] == ["0.txt", "1.txt"]
        assert (tmp_path / home / "summer" / "drafts").is_dir()
    if sys.platform != "win32":
        ended = await command.stop(signal.SIGINT)
        assert ended.status == 0
        assert [event["event"] for event in ended.events].count("done") == 2


async def test_a_peer_that_is_named_is_offered_the_file(start: Start, run: Run, photo: Path, tmp_path: Path) -> None:
    sender_id = (await run("id", "--json", home="sender")).events[0]["peer_id"]
    waiting = await start("receive", "--from", sender_id, "--folder", "out", *QUIET, home="receiver")
    ready = await waiting.event_named("ready")
    to = f"{ready['peer_id']}@{ready['addresses'][0]}"
    sent = await run("send", str(photo), "--to", to, "--message", "as promised", *QUIET, home="sender")
    assert sent.status == 0, sent.stderr
    offer = await waiting.event_named("offer")
    assert (offer["name"], offer["bytes"], offer["message"]) == ("photo.jpg", len(DATA), "as promised")
    assert (await waiting.finish()).status == 0
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA


async def test_an_offer_of_somebody_else_is_refused(start: Start, run: Run, photo: Path, tmp_path: Path) -> None:
    waiting = await start("receive", "--from", "ab" * 32, "--folder", "out", *QUIET, home="receiver")
    ready = await waiting.event_named("ready")
    to = f"{ready['peer_id']}@{ready['addresses'][0]}"
    sent = await run("send", str(photo), "--to", to, *QUIET, home="sender")
    assert sent.status == 1
    assert "[refused]" in sent.stderr
    assert "Traceback" not in sent.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long  # what it shows is shown in one process too
async def test_another_file_of_that_name_stays_unless_it_may_be_replaced(
    start: Start, run: Run, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_bytes(b"mine")
    _, ticket = await sender(start, photo)
    kept = await run("receive", ticket, "--folder", "out", *QUIET, home="receiver")
    assert kept.status == 1
    assert "[exists]" in kept.stderr.splitlines()[-1]
    assert kept.events[-1]["code"] == "exists"
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == b"mine"
    replaced = await run("receive", ticket, "--folder", "out", "--overwrite", *QUIET, home="receiver")
    assert replaced.status == 0, replaced.stderr
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_an_interrupted_receiver_goes_on_where_it_was(start: Start, run: Run, tmp_path: Path) -> None:
    data = os.urandom(12 << 20)
    (tmp_path / "big.bin").write_bytes(data)
    save_config(RatsConfig(files=FilesConfig(max_rate=4_000_000)), tmp_path / "slow.json")
    command, ticket = await sender(start, tmp_path / "big.bin", "--keep")
    slow = ("receive", ticket, "--folder", "out", "--config", "slow.json", *QUIET)
    receiver = await start(*slow, home="receiver")
    while (await receiver.event_named("progress"))["bytes"] < 1 << 20:
        pass
    stopped = await receiver.stop(signal.SIGINT)
    assert stopped.status == 130
    assert stopped.events[-1]["event"] == "stopped"
    assert "goes on from there" in stopped.stderr
    assert not (tmp_path / "out" / "big.bin").exists()
    again = await run("receive", ticket, "--folder", "out", *QUIET, home="receiver")
    assert again.status == 0, again.stderr
    assert (tmp_path / "out" / "big.bin").read_bytes() == data
    await command.stop(signal.SIGINT)


async def test_a_file_goes_by_a_code_through_a_relay(start: Start, run: Run, photo: Path, tmp_path: Path) -> None:
    relay = await start("relay", "--listen", "127.0.0.1:0", "--user", "bob:secret", "--json", home="relay")
    ready = await relay.event_named("ready")
    through = ("--introducer", f"{ready['peer_id']}@{ready['addresses'][0]}")
    command = await start("send", str(photo), *QUIET, *through, home="sender")
    code = (await command.event_named("ticket"))["code"]
    number, one, other = code.split("-")
    received = await run("receive", number, one.upper(), other, "--folder", "out", *QUIET, *through, home="receiver")
    assert received.status == 0, received.stderr
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA
    sent = await command.finish()
    assert sent.status == 0, sent.stderr
    assert {"event": "code", "outcome": "taken"} in sent.events


@pytest.mark.long  # what it shows is shown in one process too
async def test_a_wrong_code_burns_it_and_the_ticket_still_is_good(start: Start, run: Run, photo: Path) -> None:
    relay = await start("relay", "--listen", "127.0.0.1:0", "--user", "bob:secret", "--json", home="relay")
    ready = await relay.event_named("ready")
    through = ("--introducer", f"{ready['peer_id']}@{ready['addresses'][0]}")
    command = await start("send", str(photo), *QUIET, *through, home="sender")
    told = await command.event_named("ticket")
    number, one, other = told["code"].split("-")
    wrong = f"{number}-{one}-{'zebra' if other != 'zebra' else 'acorn'}"
    guessed = await run("receive", wrong, *QUIET, *through, home="guesser")
    assert guessed.status == 1
    assert "[wrong_code]" in guessed.stderr
    assert (await command.event_named("code"))["outcome"] == "burnt"
    late = await run("receive", told["ticket"], "--folder", "out", *QUIET, home="receiver")
    assert late.status == 0, late.stderr
    assert (await command.finish()).status == 0


async def test_a_file_goes_by_a_code_on_the_local_network(start: Start, run: Run, photo: Path, tmp_path: Path) -> None:
    if multicast_problem():
        return
    here = ("--listen", "127.0.0.1:0", "--no-dht", "--json")
    command = await start("send", str(photo), *here, home="sender")
    code = (await command.event_named("ticket"))["code"]
    received = await run("receive", code, "--folder", "out", *here, home="receiver")
    assert received.status == 0, received.stderr
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA
    assert (await command.finish()).status == 0
