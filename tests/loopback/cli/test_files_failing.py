"""What goes wrong with disks and files: told in one line, an exit status of 1, and nothing under the final name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from librats import FilesConfig, Identity, NatTraversalConfig, RatsClient, RatsConfig, Ticket, save_config
from librats.services.disk.reading import Source
from librats.services.transferring.wire import PROTOCOL
from librats.transfer.frames import FrameType, Offering, encode_fetch, encode_offer, encode_refusal

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Finished, Run, Start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs modes, signals and mounts")

QUIET = ("--listen", "127.0.0.1:0", "--no-mdns", "--no-dht", "--json")
MIB = 1 << 20
DATA = os.urandom(6 * MIB)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.bin").write_bytes(DATA)
    return tmp_path / "photo.bin"


@pytest.fixture
async def giver() -> AsyncIterator[RatsClient]:
    """A client in this process, which gives 2 MB a second."""
    config = RatsConfig(
        listen_host="127.0.0.1", nat=NatTraversalConfig.offline(), files=FilesConfig(max_rate=2_000_000)
    )
    async with RatsClient(config=config, identity=Identity.generate()) as client:
        yield client


def the_line(finished: Finished) -> str:
    """Return the one line in which a command has told why it failed."""
    assert finished.status == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    lines = finished.stderr.splitlines()
    assert [line for line in lines if line.startswith("librats")] == lines[-1:], finished.stderr
    return lines[-1]


def why_no_mounts() -> str:
    if sys.platform != "linux" or not shutil.which("unshare"):
        return "needs Linux and unshare"
    tried = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False)  # noqa: S607
    return "mount namespaces are not allowed here" if tried.returncode else ""


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have commands see a disk of 8 MiB in a folder, and return that."""
    if reason := why_no_mounts():
        pytest.skip(reason)
    (tmp_path / "disk").mkdir()
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'exec unshare --map-root-user --mount sh -c \'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"\''
        f' "{tmp_path}/disk" "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return tmp_path / "disk"


@pytest.fixture
def unprivileged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands run without the right to read and write everything, which root has."""
    if os.geteuid() != 0:
        return
    if not shutil.which("setpriv"):
        pytest.skip("root reads and writes everything, and there is no setpriv")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all --inh-caps=-all "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


async def test_a_disk_that_is_too_small_is_told_before_anything_is_asked_for(
    small_disk: Path, giver: RatsClient, photo: Path, run: Run
) -> None:
    with photo.open("ab") as file:
        file.write(DATA)
    shared = await giver.files.share(photo)
    received = await run("receive", str(giver.files.ticket(shared)), "--folder", str(small_disk), *QUIET)
    assert the_line(received) == (
        f"librats: it takes {2 * len(DATA)} bytes more, and the disk has {8 * MIB} [no_space]"
    )
    assert giver.statistics()["files"]["bytes_sent"] == 0


async def test_a_disk_that_becomes_full_is_told(small_disk: Path, giver: RatsClient, photo: Path, start: Start) -> None:
    shared = await giver.files.share(photo)
    receiver = await start("receive", str(giver.files.ticket(shared)), "--folder", str(small_disk), *QUIET)
    await receiver.event_named("progress")
    seen = Path(f"/proc/{receiver.process.pid}/root{small_disk}")  # as the command sees it
    with pytest.raises(OSError, match="No space"):
        (seen / "other").write_bytes(bytes(9 * MIB))
    assert the_line(await receiver.finish()).endswith("a file cannot be written: the disk is full [no_space]")


@pytest.mark.usefixtures("unprivileged")
async def test_a_folder_that_may_not_be_written_is_told(
    giver: RatsClient, photo: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    shared = await giver.files.share(photo)
    received = await run("receive", str(giver.files.ticket(shared)), "--folder", "out", *QUIET)
    assert the_line(received).endswith("it is not permitted [permission]")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("unprivileged")
async def test_a_file_that_may_not_be_read_is_told(photo: Path, run: Run) -> None:
    photo.chmod(0)  # noqa: ASYNC240 - a test waits for it
    sent = await run("send", str(photo), *QUIET)
    assert the_line(sent) == f"librats: {photo} cannot be read: it is not permitted [permission]"
    assert sent.stdout == ""


async def test_a_file_that_is_changed_while_it_is_sent_is_told_by_both_sides(
    photo: Path, start: Start, tmp_path: Path
) -> None:
    save_config(RatsConfig(files=FilesConfig(max_rate=2_000_000)), tmp_path / "slow.json")
    sender = await start("send", str(photo), "--no-code", "--config", "slow.json", *QUIET, home="sender")
    ticket = (await sender.event_named("ticket"))["ticket"]
    receiver = await start("receive", ticket, "--folder", "out", *QUIET, home="receiver")
    await receiver.event_named("progress")
    photo.write_bytes(DATA[::-1])  # noqa: ASYNC240 - a test waits for it
    sent, received = await sender.finish(), await receiver.finish()
    assert the_line(sent) == f"librats: {photo} was changed since it was hashed [changed]"
    assert the_line(received).endswith("was changed since it was hashed [changed]")
    assert not (tmp_path / "out" / "photo.bin").exists()


async def test_a_sender_that_keeps_on_ends_where_the_file_is_changed(photo: Path, start: Start, run: Run) -> None:
    sender = await start("send", str(photo), "--no-code", "--keep", *QUIET, home="sender")
    ticket = (await sender.event_named("ticket"))["ticket"]
    photo.write_bytes(DATA[::-1])  # noqa: ASYNC240 - a test waits for it
    received = await run("receive", ticket, "--folder", "out", *QUIET, home="receiver")
    assert the_line(received).endswith("the peer has cancelled: a file of it was changed since it was hashed [changed]")
    assert the_line(await sender.finish()) == f"librats: {photo} was changed since it was hashed [changed]"


async def test_a_taker_that_says_that_the_file_was_changed_ends_nothing(
    giver: RatsClient, photo: Path, start: Start, tmp_path: Path
) -> None:
    sender = await start("send", str(photo), "--no-code", *QUIET, home="sender")
    ticket = Ticket.parse((await sender.event_named("ticket"))["ticket"])
    peer = await giver.connect(ticket)
    stream = await giver.open_stream(peer.id, PROTOCOL)
    stream.write(encode_fetch(bytes(16), ticket.content))
    stream.write(encode_refusal(FrameType.CANCEL, "changed", "it was changed"))
    assert (await sender.event_named("failed"))["code"] == "changed"
    transfer = await giver.files.fetch(peer, ticket.content, tmp_path / "out")
    assert (await transfer.wait()).bytes == len(DATA)
    assert (await sender.finish()).status == 0


async def test_of_two_offers_at_once_one_is_taken(giver: RatsClient, photo: Path, start: Start, tmp_path: Path) -> None:
    waiting = await start("receive", "--anyone", "--folder", "out", *QUIET, home="receiver")
    peer = await giver.connect((await waiting.event_named("ready"))["addresses"][0])
    streams = [await giver.open_stream(peer.id, PROTOCOL) for _ in range(2)]
    source = await Source.open(photo)
    for number, stream in enumerate(streams):
        offering = Offering(
            transfer=bytes([number]) * 16,
            content_id=bytes([number]) * 32,
            manifest_size=len(source.raw),
            head=source.raw,
        )
        stream.write(encode_offer(offering))
    told = [(await waiting.event_named("offer"))["accepted"] for _ in streams]
    await source.close()
    finished = await waiting.stop()
    assert (sorted(told), "failed" in finished.stderr) == ([False, True], False)


async def test_a_name_that_is_taken_is_told_and_the_file_stays(
    giver: RatsClient, photo: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.bin").write_bytes(b"mine")
    shared = await giver.files.share(photo)
    received = await run("receive", str(giver.files.ticket(shared)), "--folder", "out", *QUIET)
    assert the_line(received).endswith("with other content, is there already [exists]")
    assert (tmp_path / "out" / "photo.bin").read_bytes() == b"mine"


async def test_a_peer_that_does_not_come_back_is_told(photo: Path, start: Start, tmp_path: Path) -> None:
    slow = RatsConfig(files=FilesConfig(max_rate=2_000_000, resume_timeout=0.5))
    save_config(slow, tmp_path / "slow.json")
    sender = await start("send", str(photo), *QUIET, home="sender")
    ticket = (await sender.event_named("ticket"))["ticket"]
    receiver = await start("receive", ticket, "--folder", "out", "--config", "slow.json", *QUIET, home="receiver")
    while not (await receiver.event_named("progress"))["bytes"]:
        pass
    sender.process.send_signal(signal.SIGKILL)
    received = await receiver.finish()
    assert the_line(received).endswith("it did not come back in time [peer_lost]")
    assert "the same command goes on from there" in received.stderr
    assert not (tmp_path / "out" / "photo.bin").exists()
