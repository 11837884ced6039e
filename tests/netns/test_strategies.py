"""Strategies of the command line, between two nodes behind the kernel's NATs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.netns.lab import SERVER, missing
from tests.netns.test_introducers import PATIENCE, Scene, scene

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(120)]


def connect(met: Scene, peer_id: str, strategy: str) -> dict[str, Any]:
    with met.lab.enter("host2"):
        done = subprocess.run(
            met.words("host2", "connect", peer_id, "--strategy", strategy, "--timeout", "30"),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return result


@pytest.mark.long
def test_each_strategy_goes_its_way_and_says_why_where_it_cannot(tmp_path: Path) -> None:
    relay = ("--relay-for-introduced", "--allow-peer", "203.0.113.0/24", "--no-carry")
    with scene(tmp_path, "port_restricted", "full_cone", relay=relay) as met, met.node("host") as peer_id:
        results = {strategy: connect(met, peer_id, strategy) for strategy in ("stun", "relay", "direct", "auto")}
        outcomes = {name: (result["success"], result["method"]) for name, result in results.items()}
        assert outcomes["stun"] == outcomes["auto"] == (True, "udp"), results
        assert outcomes["relay"] == (True, "relay"), results["relay"]
        ours, theirs = results["stun"]["used_candidates"]
        assert not {ours.rpartition(":")[0], theirs.rpartition(":")[0]} & set(SERVER)
        [worked] = [attempt for attempt in results["relay"]["attempts"] if not attempt["error"]]
        assert worked["pair"][0].startswith(f"relay {SERVER[0]}:")
        assert worked["reason"] is None
        direct = results["direct"]
        # Where stun has found the peer is in the book: its NAT lets nobody in there any more, or still does.
        assert direct["success"] or direct["reason"] in ("refused", "no_answer", "no_address", "timeout")


def test_a_relay_that_grants_nothing_is_told_at_once(tmp_path: Path) -> None:
    with scene(tmp_path, "symmetric", "symmetric", relay=("--user", "ann:secret")) as met, met.node("host") as peer_id:
        began = time.monotonic()
        result = connect(met, peer_id, "relay")
        assert result["reason"] == "not_configured", result
        assert result["duration_ms"] < 1000 * (time.monotonic() - began)
