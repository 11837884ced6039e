"""Two nodes behind the kernel's NATs that know each other's id and a node of the DHT, and nothing else, meet."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest
from tests.netns.finding_node import DHT_PORT
from tests.netns.lab import SERVER, Lab, end, missing

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(180)]

BOOTSTRAP = f"{SERVER[1]}:{DHT_PORT}"
DELAY = 0.01
"""Seconds of each access link, one way: round trips of 20 ms to the servers, and of 40 between the two."""

TRIES = 3
"""Times that one node is looked for."""

STEPS = (
    ("bootstrap", "began", "in the DHT"),
    ("get_peers", "in the DHT", "announce that they introduce"),
    ("introducer's session", "announce that they introduce", "is there"),
    ("its key", "is there", "knows it"),
    ("introduction", "knows it", "answered"),
    ("session", "answered", "session"),
    ("message and reply", "session", "reply"),
    ("all of it", "began", "reply"),
)


def line(stream: IO[bytes]) -> dict[str, Any]:
    text = stream.readline()
    assert text, "the node has ended"
    event: dict[str, Any] = json.loads(text)
    return event


@contextlib.contextmanager
def running(lab: Lab, box: str, *words: str) -> Iterator[IO[bytes]]:
    """Run a node until the end of the block, and yield what it says."""
    with lab.enter(box):
        process = subprocess.Popen([sys.executable, "-m", "tests.netns.finding_node", *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.stdout
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def found(lab: Lab, peer_id: str) -> dict[str, Any]:
    with running(lab, "host2", "find", BOOTSTRAP, peer_id) as finder:
        return line(finder)


def tell_breakdown(tries: list[dict[str, Any]]) -> None:
    lines = [f"by the id alone, median of {len(tries)}, links of {2000 * DELAY:g} ms:"]
    for name, since, until in STEPS:
        spent = [each["steps"][until] - each["steps"][since] for each in tries]
        lines.append(f"  {name:22}{statistics.median(spent):9.1f} ms   ({min(spent):.1f} to {max(spent):.1f})")
    print("\n" + "\n".join(lines))  # noqa: T201 - what it is measured for


@pytest.mark.parametrize("homes", [1, pytest.param(10, marks=pytest.mark.long)])
def test_two_that_know_an_id_and_a_node_of_the_dht_meet_through_a_public_node(homes: int) -> None:
    tries = []
    with (
        Lab("port_restricted", "port_restricted", delay=DELAY) as lab,
        running(lab, "server", "first", SERVER[1]) as bootstrap,
    ):
        assert line(bootstrap)["event"] == "ready"
        with running(lab, "server", "public", SERVER[0], BOOTSTRAP) as public:
            introducer = line(public)["peer_id"]
            for _ in range(homes):
                with running(lab, "host", "home", BOOTSTRAP) as home:
                    peer_id = line(home)["peer_id"]
                    assert line(public)["announced"]  # others may look for it
                    # Not more often: a host is sent checks for six offers at once, and twelve a minute.
                    tries += [found(lab, peer_id) for _ in range(TRIES)]
                assert introducer != peer_id
    assert len(tries) == homes * TRIES
    for each in tries:
        assert each["event"] == "found", each
        assert each["reply"] == "hello finder"
        assert each["method"] == "udp", each
    tell_breakdown(tries)
