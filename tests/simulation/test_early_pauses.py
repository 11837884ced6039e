"""A side that pauses before anything has come: nothing does, the other side is told, and it goes on from there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.simulation.conftest import Simulate, until
from tests.simulation.moving_files import CONTENT, code_of, stop, two

from librats.services.transferring.handle import Transfer
from librats.services.transferring.offer import Offer
from librats.testing import SimNetwork


def test_a_taker_that_pauses_at_once_gets_nothing_until_it_goes_on(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "photo.bin").write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken: list[Transfer] = []

        @taker.files.on_offer
        async def offered(offer: Offer) -> None:
            taken.append(await offer.accept(tmp_path / "taken"))
            taken[0].pause()

        sending = await giver.files.send(taker.peer_id, tmp_path / "photo.bin")
        await until(lambda: bool(taken))
        await asyncio.sleep(100.0)
        assert (sending.state, taken[0].state) == ("paused", "paused")
        assert giver.statistics()["files"]["bytes_sent"] == 0
        taken[0].resume()
        assert [await code_of(sending), await code_of(taken[0])] == ["done", "done"]
        await stop(giver, taker)

    simulate(scenario)


def test_a_giver_that_pauses_before_its_offer_is_answered_gives_nothing_until_it_goes_on(
    simulate: Simulate, tmp_path: Path
) -> None:
    (tmp_path / "photo.bin").write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        offers: list[Offer] = []
        taker.files.on_offer(offers.append)
        sending = await giver.files.send(taker.peer_id, tmp_path / "photo.bin")
        await until(lambda: bool(offers))
        sending.pause()
        taking = await offers[0].accept(tmp_path / "taken")
        await asyncio.sleep(100.0)
        assert (sending.state, taking.state) == ("paused", "paused")
        assert giver.statistics()["files"]["bytes_sent"] == 0
        sending.resume()
        assert [await code_of(sending), await code_of(taking)] == ["done", "done"]
        await stop(giver, taker)

    simulate(scenario)
