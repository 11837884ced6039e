"""A file of 500 MB between our client and libtorrent where every fiftieth packet gets lost, over TCP and uTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.rivals.torrent_ends import TUNED
from tests.interop.test_torrent_500_mb import tell
from tests.interop.torrent_ends import BIG, VERSIONS, big_torrent, race, room_for
from tests.netns.lab import inside, missing, tool_path

WHY_NOT = missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.long,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.timeout(3600),
]

SECONDS = 1500.0

# Packets of an Ethernet, one by one, as if there were no segmentation offload; in both directions.
LINK = "link set dev lo mtu 1500 gso_max_segs 1 up"
LOSS = """
table inet lossy {
 counter lost { }
 chain in {
  type filter hook input priority 0
  meta l4proto { tcp, udp } numgen random mod 50 == 0 counter name lost drop
 }
}
"""


def lost_packets() -> int:
    told = subprocess.run([tool_path("nft"), "-j", "list", "counters"], capture_output=True, check=True)
    counters = [item["counter"] for item in json.loads(told.stdout)["nftables"] if "counter" in item]
    return sum(counter["packets"] for counter in counters)


@pytest.fixture
def lossy_host() -> Iterator[None]:
    """Let the test be on a host of its own, to which nothing leads, and whose loopback loses 2 % of all packets."""
    name, ip = f"rats{os.getpid()}lossy", tool_path("ip")
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        with inside(name):
            subprocess.run([ip, *LINK.split()], check=True)
            subprocess.run([tool_path("nft"), "-f", "-"], input=LOSS.encode(), check=True)
            yield
    finally:
        subprocess.run([ip, "netns", "del", name], check=True)


# A packet of its own that is lost three times makes libtorrent forget the connection, and each that is lost halves what
# it sends: it is tuned for a path that loses many.
SETTINGS: dict[str, dict[str, Any]] = {"tcp": {}, "utp": {**TUNED, "utp_num_resends": 12, "utp_loss_multiplier": 90}}
SAMPLE = 20_000_000


@pytest.mark.usefixtures("lossy_host")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["tcp", "utp"])
async def test_500_mb_go_both_ways_where_two_percent_of_the_packets_get_lost(transport: str, version: str) -> None:
    with room_for(4 * BIG) as room:
        big = big_torrent(room / "seed", version)
        rates = await race(big, room, transport, SECONDS, sample=SAMPLE, **SETTINGS[transport])
    tell(f"{version} over {transport} with 2 % loss", rates)
    assert lost_packets() > 2 * BIG / 1500 / 50 * 0.8
