"""What has worked in which network is remembered, within limits, and over restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from librats.peers.keeping.known_mappings import KnownMappings
from librats.peers.keeping.what_worked import MAX_NETWORKS, MAX_PEERS, WhatWorked, WorkedFile, network_mark
from librats.types import ConnectionMethod

HOME, OFFICE = network_mark(["192.168.1.7"], ["192.168.1.1"]), network_mark(["10.1.2.3"], ["10.1.2.1"])
PEER = "ab" * 32
UDP, RELAY = ConnectionMethod.UDP, ConnectionMethod.RELAY


def test_a_network_is_known_by_its_prefixes_and_gateway_and_not_by_the_host() -> None:
    mark = network_mark(["192.168.1.7", "2001:db8::1", "127.0.0.1", "fe80::1%eth0"], ["192.168.1.1"])
    assert mark == network_mark(["2001:db8::ffff", "192.168.1.9"], ["192.168.1.1"])
    assert mark != network_mark(["192.168.1.7", "2001:db8::1"], ["192.168.1.254"])
    assert mark != network_mark(["192.168.2.7", "2001:db8::1"], ["192.168.1.1"])
    assert "192" not in mark or len(mark) == 32


def test_each_network_has_its_own_memory() -> None:
    worked = WhatWorked(clock=lambda: 12.5)
    worked.note(HOME, PEER, UDP, introduced=True)
    worked.note(OFFICE, PEER, RELAY, introduced=False)
    found = worked.get(HOME, PEER)
    assert found is not None
    assert (found.method, found.introduced, found.at) == (UDP, True, 12.5)
    assert worked.get(HOME, "cd" * 32) is None


def test_what_was_used_longest_ago_is_forgotten() -> None:
    worked = WhatWorked()
    for number in range(MAX_PEERS + 1):
        worked.note(HOME, f"{number:064x}", UDP, introduced=False)
    assert worked.get(HOME, f"{0:064x}") is None
    assert worked.get(HOME, f"{1:064x}") is not None
    for number in range(MAX_NETWORKS):
        worked.note(f"{number:032x}", PEER, UDP, introduced=False)
    assert list(worked.snapshot()) == [f"{number:032x}" for number in range(MAX_NETWORKS)]


async def test_it_lasts_over_a_restart(tmp_path: Path) -> None:
    worked = WhatWorked()
    file = WorkedFile(worked, KnownMappings(), tmp_path)
    file.load()
    file.start()
    worked.note(HOME, PEER, RELAY, introduced=True)
    await file.close()
    again = WhatWorked()
    WorkedFile(again, KnownMappings(), tmp_path).load()
    assert again.snapshot() == worked.snapshot() != {}


@pytest.mark.parametrize(
    ("text", "is_set_aside"),
    [
        ("{", True),
        (json.dumps({"format": "librats-worked", "version": 99}), False),
        (json.dumps({"format": "librats-worked", "version": 1, "networks": [1]}), None),
        (
            json.dumps({"format": "librats-worked", "version": 1, "networks": {HOME: {PEER: {"method": "pigeon"}}}}),
            None,
        ),
        (json.dumps({"format": "librats-worked", "version": 1, "networks": {"../x": {PEER: {"method": "udp"}}}}), None),
    ],
)
async def test_a_file_that_is_damaged_or_newer_does_no_harm(
    tmp_path: Path, text: str, is_set_aside: bool | None
) -> None:
    path = tmp_path / "worked.json"
    path.write_text(text)
    worked = WhatWorked()
    file = WorkedFile(worked, KnownMappings(), tmp_path)
    file.load()
    assert worked.snapshot() in ({}, {HOME: {}})
    file.start()
    worked.note(HOME, PEER, UDP, introduced=False)
    await file.close()
    assert (tmp_path / "worked.json.damaged").exists() is (is_set_aside is True)
    assert (path.read_text() == text) is (is_set_aside is False)


def test_of_a_file_no_more_is_taken_than_the_limits_allow() -> None:
    worked = WhatWorked()
    many = WhatWorked()
    for number in range(MAX_PEERS):
        many.note(HOME, f"{number:064x}", UDP, introduced=False)
    entries = many.snapshot()[HOME]
    more = entries | {f"{number:064x}": entries[f"{0:064x}"] for number in range(MAX_PEERS, MAX_PEERS + 9)}
    worked.restore({f"{number:032x}": more for number in range(MAX_NETWORKS + 3)})
    assert len(worked.snapshot()) == MAX_NETWORKS
    assert {len(peers) for peers in worked.snapshot().values()} == {MAX_PEERS}
