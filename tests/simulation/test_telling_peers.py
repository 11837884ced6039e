"""What a peer is told of a transfer that fails: why, and nothing about where files are on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.moving_files import CONTENT, stop, two

from librats import TransferError
from librats.testing import SimNetwork


def test_a_taker_is_not_told_where_the_file_was(simulate: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "home" / "photo.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        shared = await giver.files.share(path)
        path.write_bytes(CONTENT[::-1])
        taking = await taker.files.fetch(giver.peer_id, shared.content_id, tmp_path / "taken")
        with pytest.raises(TransferError, match="a file of it was changed since it was hashed") as told:
            await taking.wait()
        assert "home" not in str(told.value)
        [giving] = giver.files.transfers.values()
        with pytest.raises(TransferError, match=str(path)):
            await giving.wait()
        await stop(giver, taker)

    simulate(scenario)


def test_a_giver_is_not_told_where_the_file_was_to_go(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "photo.bin").write_bytes(CONTENT)
    (tmp_path / "home").write_bytes(b"no folder")

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        shared = await giver.files.share(tmp_path / "photo.bin")
        taking = await taker.files.fetch(giver.peer_id, shared.content_id, tmp_path / "home")
        with pytest.raises(TransferError, match=f"{tmp_path}/home is no folder"):
            await taking.wait()
        [giving] = giver.files.transfers.values()
        with pytest.raises(TransferError, match="the folder that it is put into is no folder") as told:
            await giving.wait()
        assert "home" not in str(told.value)
        await stop(giver, taker)

    simulate(scenario)
