"""A file of 500 MB, both ways between our client and libtorrent: over TCP and uTP, in every version, and how quick."""

from __future__ import annotations

import sys

import pytest
from benchmarks.rivals.torrent_ends import TUNED
from tests.interop.torrent_ends import BIG, VERSIONS, Rates, big_torrent, race, room_for

pytestmark = [pytest.mark.interop, pytest.mark.long, pytest.mark.timeout(900)]

ROUNDS = 3


def tell(title: str, rates: Rates) -> None:
    print(f"{title}: {rates}", file=sys.stderr)  # noqa: T201 - what it is run for


@pytest.mark.parametrize("version", VERSIONS)
async def test_500_mb_go_both_ways_at_seven_tenths_of_their_rate_or_more(version: str) -> None:
    with room_for(4 * BIG) as room:
        big = big_torrent(room / "seed", version)
        rates = Rates.best([await race(big, room) for _ in range(ROUNDS)])
    tell(f"{version} over TCP", rates)
    assert rates.down >= 0.7 * rates.theirs
    assert rates.up >= 0.7 * rates.theirs


@pytest.mark.parametrize("version", VERSIONS)
async def test_500_mb_go_both_ways_over_utp(version: str) -> None:
    with room_for(4 * BIG) as room:
        big = big_torrent(room / "seed", version)
        rates = Rates.best([await race(big, room, "utp", **TUNED) for _ in range(ROUNDS)])
    tell(f"{version} over uTP", rates)
