"""``librats doctor`` behind the kernel's NATs, with ``librats relay`` as its server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.netns.lab import PUBLIC, SERVER, Lab, missing, tool_path
from tests.netns.miniupnpd import OUTSIDE, miniupnpd, missing_miniupnpd
from tests.netns.servers import PORT, serve_with_relay

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

AT_ONCE = 4
EXPECTED = {
    "open": ("open-internet", {"open"}, 0),
    "port_restricted": ("port-restricted-cone", {"no-hairpin"}, 0),
    "symmetric_seq": ("symmetric", {"symmetric-nat"}, 0),
    "udp_blocked": ("blocked", {"udp-blocked"}, 1),
}


def examine(lab: Lab, *options: str, mapping: bool = False) -> tuple[dict[str, Any], int]:
    """Run the command on the host, and return what it tells and its exit status."""
    words = ["doctor", "--json", "--no-time", "--stun", f"{SERVER[0]}:{PORT}", *options]
    with lab.enter("host"):
        done = subprocess.run(
            [Path(sys.executable).with_name("librats"), *words],
            capture_output=True,
            check=False,
            text=True,
            env=os.environ | {"LIBRATS_PORT_MAPPING": str(int(mapping))},
        )
    return json.loads(done.stdout), done.returncode


def told_behind(kind: str) -> tuple[str, set[str], int]:
    with Lab(kind) as lab, serve_with_relay(lab):
        told, status = examine(lab)
    assert kind == "udp_blocked" or told["mtu"] == 1500
    assert {each["name"]: each["kind"] for each in told["interfaces"]}["eth0"] == "ordinary"
    if kind in ("port_restricted", "symmetric_seq"):
        assert told["ipv4"]["public_address"].partition(":")[0] == PUBLIC
    return told["ipv4"]["type"], {finding["code"] for finding in told["findings"]} & EXPECTED[kind][1], status


def test_the_kernels_nats_are_told() -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(told_behind, EXPECTED))
    assert dict(zip(EXPECTED, found, strict=True)) == EXPECTED


@pytest.mark.long
@pytest.mark.skipif(bool(missing_miniupnpd()), reason=missing_miniupnpd())
def test_a_router_that_maps_ports_and_a_short_way_are_told(tmp_path: Path) -> None:
    picture = tmp_path / "network.svg"
    with Lab("port_restricted") as lab, serve_with_relay(lab), miniupnpd(lab, tmp_path):
        with lab.enter("host"):
            subprocess.run([tool_path("ip"), "link", "set", "dev", "eth0", "mtu", "1420"], check=True)
        told, status = examine(lab, "--svg", str(picture), mapping=True)
    assert status == 0
    assert told["port_mapping"]["works"]
    assert told["port_mapping"]["external"].partition(":")[0] == OUTSIDE
    assert told["mtu"] == 1420
    assert {"double-nat", "small-mtu"} <= {finding["code"] for finding in told["findings"]}
    assert picture.read_text(encoding="utf-8").startswith("<svg")
