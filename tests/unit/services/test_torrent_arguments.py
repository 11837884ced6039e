"""What a client of BitTorrent may be made of."""

from __future__ import annotations

import math
from typing import Any

import pytest

from librats.errors import UsageError
from librats.torrents import TorrentClient


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_peers", 0), ("max_peers", "7"), ("max_peers", True), ("upload_slots", -1), ("upload_slots", math.nan)],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: object) -> None:
    options: Any = {name: value}
    with pytest.raises(UsageError, match=name):
        TorrentClient(listen_host="127.0.0.1", **options)
