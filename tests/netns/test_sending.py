"""`librats send` and `librats receive` by code, behind the kernel's NATs, and on a network that leads nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab import end, inside, missing, tool_path
from tests.netns.test_introducers import LIBRATS, Scene, running, scene

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(240)]

DATA = os.urandom(5_000_000)
PATIENCE = 120.0


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(DATA)
    return tmp_path / "photo.jpg"


@contextlib.contextmanager
def sending(met: Scene, box: str, path: Path) -> Iterator[str]:
    """Run `librats send` in a box, and yield the code."""
    with running(met.lab, box, met.words(box, "send", str(path), "--no-mdns")) as told:
        yield told["code"]


def receive(met: Scene, box: str, code: str, out: Path) -> None:
    with met.lab.enter(box):
        done = subprocess.run(
            met.words(box, "receive", code, "--no-mdns", "--folder", str(out)),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"
    assert (out / "photo.jpg").read_bytes() == DATA


@pytest.mark.long
@pytest.mark.parametrize(("sender", "receiver"), [("port_restricted", "symmetric"), ("udp_blocked", "port_restricted")])
def test_a_file_goes_by_a_code_through_nats_and_a_relay(
    tmp_path: Path, photo: Path, sender: str, receiver: str
) -> None:
    relay = ("--relay-for-introduced", "--allow-peer", "203.0.113.0/24")
    with scene(tmp_path, sender, receiver, relay=relay) as met, sending(met, "host", photo) as code:
        receive(met, "host2", code, tmp_path / "out")


@pytest.fixture
def lan() -> Iterator[tuple[str, str]]:
    """Two machines on one network that leads nowhere."""
    names = [f"rats{os.getpid()}lan{number}" for number in (1, 2)]
    ip = tool_path("ip")
    for name in names:
        subprocess.run([ip, "netns", "add", name], check=True)
    try:
        ends = f"eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}"
        subprocess.run([ip, "link", "add", *ends.split()], check=True)
        for number, name in enumerate(names, 1):
            with inside(name):
                for words in ("link set lo up", f"addr add 192.168.7.{number}/24 dev eth0", "link set eth0 up"):
                    subprocess.run([ip, *words.split()], check=True)
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run([ip, "netns", "del", name], check=True)


def test_a_file_goes_by_a_code_on_a_network_that_leads_nowhere(
    tmp_path: Path, photo: Path, lan: tuple[str, str]
) -> None:
    quiet = ("--json", "--no-dht", "--no-port-mapping")
    with inside(lan[0]):
        sender = subprocess.Popen(
            [str(LIBRATS), "send", str(photo), *quiet, "--data-dir", str(tmp_path / "one")], stdout=subprocess.PIPE
        )
    assert sender.stdout is not None
    try:
        code = json.loads(sender.stdout.readline())["code"]
        with inside(lan[1]):
            words = ["receive", code, "--folder", str(tmp_path / "out"), *quiet, "--data-dir", str(tmp_path / "two")]
            done = subprocess.run([str(LIBRATS), *words], capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out" / "photo.jpg").read_bytes() == DATA
        assert sender.wait(30) == 0
    finally:
        end(sender)
        sender.stdout.close()
