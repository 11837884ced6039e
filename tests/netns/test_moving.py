"""A session of two nodes behind the kernel's NATs moves between a relay and a punched path, and outlives either."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.netns.lab import FIRST_PUBLIC, PUBLIC, SERVER, Lab, missing

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(300)]

MIB = 1 << 20
PORT = 8080
OTHER_PUBLIC = f"203.0.113.{FIRST_PUBLIC + 1}"
USER = "ann:secret"
ROOT = Path(__file__).parents[2]
PATIENCE = 240.0


class Node:
    """A process in a box, see ``mover``."""

    def __init__(self, lab: Lab, box: str) -> None:
        words = [sys.executable, "-m", "tests.netns.mover", f"turn:{USER}@{SERVER[0]}"]
        with lab.enter(box):
            self._process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        self._asked: dict[int, Future[Any]] = {}
        self._ready: Future[None] = Future()
        self._thread = Thread(target=self._listen, name=f"what {box} says", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if isinstance(said, str):
                self._ready.set_result(None)
            else:
                self._asked[said[0]].set_result(said[1])

    def ask(self, *words: Any) -> Future[Any]:
        """Have it do something, and return what it is going to answer."""
        self._ready.result(PATIENCE)
        assert self._process.stdin is not None
        number = len(self._asked)
        answer = self._asked[number] = Future()
        self._process.stdin.write(json.dumps([number, *words]) + "\n")
        return answer

    def do(self, *words: Any) -> Any:
        return self.ask(*words).result(PATIENCE)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Scene:
    """Alice and Bob, each behind a NAT that lets nobody in, and a relay that both reach."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        words = ["relay", "--json", "--listen", f"{SERVER[0]}:3478", "--user", USER, "--allow-peer", "203.0.113.0/24"]
        with lab.enter("server"):
            self._relay = subprocess.Popen(
                [Path(sys.executable).with_name("librats"), *words], stdout=subprocess.PIPE, text=True
            )
        assert self._relay.stdout is not None
        assert json.loads(self._relay.stdout.readline())["event"] == "ready"
        self.alice, self.bob = Node(lab, "host"), Node(lab, "host2")
        self.relayed = ""

    def meet(self) -> None:
        """Let the two meet at the relay, as an introducer would have them do."""
        dialling = self.alice.ask("connect", f"{OTHER_PUBLIC}:{PORT}")
        self.relayed = self.alice.do("relayed")
        self.bob.do("connect", self.relayed)
        assert dialling.result(PATIENCE) == "relay"

    def go(self, method: str) -> None:
        """Punch a path between the two, or go back to the relay."""
        there = f"{PUBLIC}:{PORT}" if method == "udp" else self.relayed
        moves = self.alice.ask("move", f"{OTHER_PUBLIC}:{PORT}", method), self.bob.ask("move", there, "udp")
        said = [move.result(PATIENCE) for move in moves]
        assert "" in said, said
        assert self.alice.do("method") == method

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between two addresses, and tell nobody."""
        rules = f"ip saddr {one} ip daddr {other} drop\n  ip saddr {other} ip daddr {one} drop"
        self.lab.add_rules(
            "inet",
            f"table ip cut {{\n chain through {{\n  type filter hook forward priority -1\n  {rules}\n }}\n}}\n",
        )

    def close(self) -> None:
        for node in (self.alice, self.bob):
            node.close()
        for _ in range(2):  # the second time it does not wait for allocations that nobody gives back
            self._relay.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._relay.wait(2)
        assert self._relay.stdout is not None
        self._relay.stdout.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("port_restricted", "port_restricted") as lab:
        made = Scene(lab)
        try:
            made.meet()
            yield made
        finally:
            made.close()


def wait_until_sent(node: Node, size: int) -> None:
    until = time.monotonic() + PATIENCE
    while node.do("sent") < size:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize(("size", "moves"), [(24 * MIB, 2), pytest.param(1024 * MIB, 20, marks=pytest.mark.long)])
def test_moves_from_the_relay_to_a_punched_path_and_back_lose_nothing(scene: Scene, size: int, moves: int) -> None:
    sending, received = scene.alice.ask("send", size), scene.bob.ask("received")
    for number in range(moves):
        wait_until_sent(scene.alice, (number + 1) * size // (moves + 2))
        scene.go(("udp", "relay")[number % 2])
    digest, gap = received.result(PATIENCE)
    assert sending.result(PATIENCE) == digest
    print(f"longest gap of {moves} moves: {gap * 1000:.0f} ms")  # noqa: T201 - what the long one is run for
    assert gap < 1


@pytest.mark.parametrize("dies", ["udp", "relay"])
def test_a_path_that_dies_without_notice_is_left_within_two_seconds(scene: Scene, dies: str) -> None:
    size = 64 * MIB
    scene.go("udp")  # both paths have been gone once: the routers know of them
    if dies == "relay":
        scene.go("relay")
    sending, received = scene.alice.ask("send", size), scene.bob.ask("received")
    wait_until_sent(scene.alice, size // 8)
    scene.cut(OTHER_PUBLIC, PUBLIC if dies == "udp" else SERVER[0])
    digest, gap = received.result(PATIENCE)
    assert sending.result(PATIENCE) == digest
    methods = {scene.alice.do("method"), scene.bob.do("method")}  # either side's relayed address may be the way
    assert ("relay" in methods) == (dies == "udp")
    print(f"gap: {gap * 1000:.0f} ms")  # noqa: T201 - what it is measured for
    assert 0.5 < gap < 2


def test_a_relayed_session_survives_another_address_of_its_host_at_the_same_relayed_address(scene: Scene) -> None:
    size = 32 * MIB
    sending, received = scene.alice.ask("send", size), scene.bob.ask("received")
    wait_until_sent(scene.alice, size // 8)
    scene.lab.readdress("host", "192.168.1.11", "192.168.1.12", "192.168.1.1")
    digest, gap = received.result(PATIENCE)
    assert sending.result(PATIENCE) == digest
    assert (scene.alice.do("method"), scene.alice.do("relayed")) == ("relay", scene.relayed)
    print(f"gap: {gap * 1000:.0f} ms")  # noqa: T201 - what it is measured for
    assert gap < 2
