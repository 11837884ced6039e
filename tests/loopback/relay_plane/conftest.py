"""Data planes of every kind, each with a client and a peer: as the system has it, without batches, and in Python."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.reference.relay_rig import BATCHED, PORTABLE, SLOW, Rig

FAMILIES = [4, 6]
KINDS = [BATCHED, PORTABLE, SLOW]


@pytest.fixture(params=[(kind, family) for kind in KINDS for family in FAMILIES], ids=lambda p: f"{p[0]}-ipv{p[1]}")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(*request.param)
    yield made
    made.close()


@pytest.fixture
def quick() -> Iterator[Rig]:
    made = Rig(BATCHED)
    yield made
    made.close()
