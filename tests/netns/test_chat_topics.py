"""`librats chat --topic`: three meet on a machine without any network, and from behind the kernel's NATs, by a DHT."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.netns.lab import SERVER, Lab, end, inside, missing, tool_path

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(180)]

DHT_PORT = 6881
NICKS = ("ada", "bob", "eve")


class Command:
    """A `librats` process in the namespace that the calling thread is in."""

    def __init__(self, stack: contextlib.ExitStack, home: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "librats", *words, "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LIBRATS_DATA_DIR": str(home), "SKBUILD_EDITABLE_VERBOSE": "0"},
        )
        stack.callback(self.end)

    def end(self) -> None:
        end(self.process)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def event(self, name: str) -> dict[str, Any]:
        """Return the next event of that name; the test's own timeout ends it where there is none."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == name:
                return told
        assert self.process.stderr is not None
        raise AssertionError(f"it has ended: {self.process.stderr.read().decode()}")

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()


def talk(chats: list[Command]) -> None:
    """See that all three meet, and that each hears what the others say."""
    for nick, chat in zip(NICKS, chats, strict=True):
        assert {chat.event("joined")["nick"] for _ in range(2)} == set(NICKS) - {nick}
    for nick, chat in zip(NICKS, chats, strict=True):
        chat.type(f"hello from {nick}")
    for nick, chat in zip(NICKS, chats, strict=True):
        heard = {chat.event("message")["message"] for _ in range(2)}
        assert heard == {f"hello from {other}" for other in NICKS if other != nick}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What is started in it ends with the test."""
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture
def lonely() -> Iterator[str]:
    """Make a machine that has a loopback and nothing else."""
    name = f"rats{os.getpid()}lonely"
    subprocess.run([tool_path("ip"), "netns", "add", name], check=True)
    try:
        with inside(name):
            subprocess.run([tool_path("ip"), "link", "set", "lo", "up"], check=True)
            there = subprocess.run([tool_path("ip"), "-o", "link"], capture_output=True, check=True)
        assert there.stdout.count(b"\n") == 1
        yield name
    finally:
        subprocess.run([tool_path("ip"), "netns", "del", name], check=True)


def test_three_chat_on_a_machine_that_has_no_network_at_all(
    lonely: str, stack: contextlib.ExitStack, tmp_path: Path
) -> None:
    with inside(lonely):
        chats = [Command(stack, tmp_path / nick, "chat", "--topic", "T", "--nick", nick) for nick in NICKS]
    talk(chats)


def test_three_at_home_chat_that_know_a_topic_and_a_node_of_the_dht(
    stack: contextlib.ExitStack, tmp_path: Path
) -> None:
    with Lab("port_restricted", "full_cone", "port_restricted", delay=0.01) as lab, stack:
        with lab.enter("server"):
            where = ("--listen", f"{SERVER[1]}:{DHT_PORT}", "--dht", "--dht-bootstrap", "none")
            public = Command(stack, tmp_path / "public", "node", *where)
        public.event("ready")
        chats = []
        for number, nick in enumerate(NICKS):
            with lab.enter(lab.host(number)):
                begin = ("--topic", "T", "--dht-bootstrap", f"{SERVER[1]}:{DHT_PORT}")
                chats.append(Command(stack, tmp_path / nick, "chat", "--nick", nick, *begin))
        talk(chats)
