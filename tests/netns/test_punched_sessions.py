"""Two nodes that ICE cannot join: the commands punch holes through the kernel's NATs, and nobody relays."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.netns.lab import SERVER, missing
from tests.netns.test_introducers import scene

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(180)]

RELAY = ("--user", "ann:secret", "--alternate", f"{SERVER[1]}:3479", "--no-carry")
"""It relays for nobody who has no password, and tells what a NAT does."""

QUICK = [
    ("symmetric", "port_restricted", "birthday"),
    ("port_restricted", "symmetric_seq", "prediction"),
    ("bare_masquerade", "port_restricted", "simultaneous"),
    ("udp_blocked", "port_restricted", "tcp"),
]
REST = [
    ("port_restricted", "symmetric", "birthday"),
    ("symmetric_seq", "port_restricted", "prediction"),
    ("symmetric_seq", "symmetric_seq", "prediction"),
    ("symmetric_seq", "double_nat", "prediction"),
    ("symmetric", "double_nat", "birthday"),
    ("port_restricted", "udp_blocked", "tcp"),
    ("udp_blocked", "symmetric_seq", "tcp"),
    ("symmetric_seq", "udp_blocked", "tcp"),
    ("full_cone", "udp_blocked", "tcp"),
    ("udp_blocked", "openwrt", "tcp"),
]


def join(folder: Path, caller: str, target: str) -> dict[str, str]:
    """Return the attempt that has worked."""
    with scene(folder, target, caller, relay=RELAY) as met, met.node("host") as peer_id:
        result, reply = met.connect("host2", peer_id)
        assert result["success"], result
        assert reply["data"] == "hello"
        assert not result["used_candidates"][1].startswith(f"{SERVER[0]}:")
        attempt: dict[str, str] = next(attempt for attempt in result["attempts"] if not attempt["error"])
        return attempt


@pytest.mark.parametrize(("caller", "target", "technique"), QUICK)
def test_each_technique_joins_the_nodes_that_need_it(tmp_path: Path, caller: str, target: str, technique: str) -> None:
    worked = join(tmp_path, caller, target)
    assert worked["technique"] == technique
    assert worked["method"] == ("tcp" if technique == "tcp" else "udp")


@pytest.mark.long
@pytest.mark.parametrize(("caller", "target", "technique"), REST)
def test_the_others_are_joined_likewise(tmp_path: Path, caller: str, target: str, technique: str) -> None:
    assert join(tmp_path, caller, target)["technique"] == technique
