"""Two nodes behind the kernel's NATs reach each other by id, through ``librats relay``: commands as users run them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.netns.lab import SERVER, Lab, end, missing

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(120)]

LIBRATS = Path(sys.executable).with_name("librats")
PATIENCE = 60.0
ALONE = ("--user", "ann:secret", "--no-carry")
"""Of a relay that only introduces."""


class Scene(NamedTuple):
    lab: Lab
    introducer: str
    folder: Path

    def words(self, name: str, *words: str) -> list[str]:
        common = ("--introducer", self.introducer, "--no-port-mapping")
        return [str(LIBRATS), *words, "--json", *common, "--data-dir", str(self.folder / name)]

    @contextlib.contextmanager
    def node(self, box: str) -> Iterator[str]:
        """Run a node that answers, and yield its id."""
        with running(self.lab, box, self.words(box, "node", "--echo")) as ready:
            yield ready["peer_id"]

    def connect(self, box: str, peer_id: str, *options: str) -> list[dict[str, Any]]:
        """Connect and ask, and return what is told of it."""
        with self.lab.enter(box):
            done = subprocess.run(
                self.words(box, "connect", peer_id, "--request", "echo", '"hello"', "--timeout", "30", *options),
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        assert done.stdout, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def running(lab: Lab, box: str, words: list[str]) -> Iterator[dict[str, Any]]:
    """Run a command until the end of the block, and yield the first that it says."""
    with lab.enter(box):
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def scene(folder: Path, *nats: str, **options: tuple[str, ...]) -> Iterator[Scene]:
    words = [str(LIBRATS), "relay", "--json", "--listen", f"{SERVER[0]}:3478", "--data-dir", str(folder / "relay")]
    with Lab(*nats) as lab, running(lab, "server", [*words, *options.get("relay", ())]) as ready:
        yield Scene(lab, f"{ready['peer_id']}@{SERVER[0]}:3478", folder)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("port_restricted", "port_restricted"), marks=pytest.mark.long),
        ("full_cone", "symmetric"),
    ],
    ids="-".join,
)
def test_two_reach_each_other_directly_by_an_introducer_that_relays_nothing(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    with scene(tmp_path, *pair, relay=ALONE) as met, met.node("host") as peer_id:
        result, reply = met.connect("host2", peer_id)
        assert result["success"], result
        assert result["method"] == "udp"
        assert result["peer_id"] == peer_id
        assert not result["used_candidates"][1].startswith(f"{SERVER[0]}:")
        assert reply["data"] == "hello"


@pytest.mark.long
def test_two_whom_no_direct_way_joins_reach_each_other_by_the_relay_without_a_password(tmp_path: Path) -> None:
    relay = ("--relay-for-introduced", "--allow-peer", "203.0.113.0/24", "--no-carry")
    with scene(tmp_path, "symmetric", "symmetric", relay=relay) as met, met.node("host") as peer_id:
        result, reply = met.connect("host2", peer_id)
        assert result["success"], result
        assert result["used_candidates"][1].startswith(f"{SERVER[0]}:") or result["method"] == "relay"
        assert reply["data"] == "hello"


@pytest.mark.long
def test_where_nothing_leads_to_the_peer_every_attempt_is_told(tmp_path: Path) -> None:
    with scene(tmp_path, "symmetric", "symmetric", relay=ALONE) as met, met.node("host") as peer_id:
        [result] = met.connect("host2", peer_id)
        assert not result["success"]
        assert any("by introducer" in attempt["error"] for attempt in result["attempts"])


def test_where_nothing_else_leads_to_the_peer_the_relay_carries_the_session_for_a_while(tmp_path: Path) -> None:
    relay = ("--user", "ann:secret", "--carry-bytes", "50000")
    with scene(tmp_path, "symmetric", "udp_blocked", relay=relay) as met, met.node("host") as peer_id:
        result, reply = met.connect("host2", peer_id)
        assert result["success"], result
        assert result["method"] == "carried"
        assert result["peer_id"] == peer_id
        assert reply["data"] == "hello"
