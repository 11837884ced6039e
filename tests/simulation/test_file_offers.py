"""Offers of files in a simulated network: decided at once or later, refused and bounded; limits of all transfers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.moving_files import CONTENT, accept_all, code_of, stop, two
from tests.simulation.test_hostile_files import offer as offer_frame
from tests.simulation.test_hostile_files import one_file

from librats import FilesConfig, TransferError
from librats.services.transferring.handle import TransferState
from librats.services.transferring.offer import Offer
from librats.services.transferring.wire import PROTOCOL
from librats.testing import SimNetwork
from librats.transfer.frames import FrameType, encode_plain


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "photo.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "taken"


def test_an_offer_that_is_refused_tells_why(simulate: Simulate, sent: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        offers: list[Offer] = []

        @taker.files.on_offer
        async def offered(offer: Offer) -> None:
            offers.append(offer)
            await offer.refuse("no room")

        sending = await giver.files.send(taker.peer_id, sent, name="other.bin", message="für dich")
        with pytest.raises(TransferError, match="no room") as refused:
            await sending.wait()
        assert refused.value.code == "refused"
        [offer] = offers
        assert (offer.name, offer.size, offer.files, offer.is_folder) == ("other.bin", len(CONTENT), 1, False)
        assert (offer.message, offer.peer_id) == ("für dich", giver.peer_id)
        await stop(giver, taker)

    simulate(scenario)


def test_an_offer_can_be_decided_later_and_is_withdrawn_when_the_giver_cancels(
    simulate: Simulate, sent: Path, folder: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, offer_timeout=100.0)
        offers: list[Offer] = []
        taker.files.on_offer(offers.append)
        sendings = [await giver.files.send(taker.peer_id, sent) for _ in range(3)]
        await until(lambda: len(offers) == 3)
        await sendings[1].cancel()
        await until(lambda: any(offer.is_decided for offer in offers))
        [gone] = [offer for offer in offers if offer.is_decided]
        with pytest.raises(TransferError) as withdrawn:
            await gone.accept(folder)
        assert withdrawn.value.code == "withdrawn"
        first, second = [offer for offer in offers if not offer.is_decided]
        result = await (await first.accept(folder)).wait()
        assert result.path.read_bytes() == CONTENT
        await asyncio.sleep(101)
        assert second.is_decided
        assert sorted([await code_of(sending) for sending in sendings]) == ["cancelled", "done", "withdrawn"]
        await stop(giver, taker)

    simulate(scenario)


def test_an_offer_is_accepted_once_however_often_that_is_tried(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        tries: list[object] = []

        @taker.files.on_offer
        async def offered(offer: Offer) -> None:
            tries.extend(await asyncio.gather(*(offer.accept(folder) for _ in range(3)), return_exceptions=True))

        await (await giver.files.send(taker.peer_id, sent)).wait()
        assert sorted(type(outcome).__name__ for outcome in tries) == ["Taking", "UsageError", "UsageError"]
        assert len(taker.files.transfers) == 1
        await stop(giver, taker)

    simulate(scenario)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"max_files": 3}, "more than 3 files"),
        ({"max_bytes": 1000}, "more than 1000 bytes"),
        ({"max_offers_per_peer": 1}, "max_offers_per_peer"),
        ({"accept": "never"}, "no files are taken here"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_its_name(
    simulate: Simulate, tmp_path: Path, files: dict[str, Any], named: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(5):
        (tree / f"{number}").write_bytes(bytes(400))

    async def scenario(net: SimNetwork) -> None:
        giver = await start_client(net.host("giver"))
        taker = await start_client(net.host("taker"), files=FilesConfig(**files))
        taker.files.on_offer(lambda offer: None)
        await giver.connect(f"taker:{PORT}")
        waiting = await giver.files.send(taker.peer_id, tree)
        if "max_offers_per_peer" in files:
            await until(lambda: waiting.state == TransferState.OFFERED)
            await asyncio.sleep(1)
        refused = waiting if "max_offers_per_peer" not in files else await giver.files.send(taker.peer_id, tree)
        with pytest.raises(TransferError, match=named):
            await refused.wait()
        assert taker.statistics()["files"]["offers_refused"] == 1
        await stop(giver, taker)

    simulate(scenario)


def test_a_client_that_never_asked_for_files_takes_none(simulate: Simulate, sent: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = [await start_client(net.host(name)) for name in ("giver", "taker")]
        await giver.connect(f"taker:{PORT}")
        assert await code_of(await giver.files.send(taker.peer_id, sent)) == "unsupported"
        assert taker.statistics()["files"] is None
        await stop(giver, taker)

    simulate(scenario)


def test_a_limit_of_bytes_per_second_holds_for_all_transfers_together(
    simulate: Simulate, sent: Path, tmp_path: Path, folder: Path
) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(CONTENT[::-1])

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, max_rate=500_000.0)
        accept_all(taker, folder)
        began = net.time
        sendings = [await giver.files.send(taker.peer_id, path) for path in (sent, other)]
        for sending in sendings:
            await sending.wait()
        assert net.time - began == pytest.approx(2 * len(CONTENT) / 500_000, rel=0.2)
        await stop(giver, taker)

    simulate(scenario)


def test_no_more_transfers_than_configured_are_received_at_once(
    simulate: Simulate, tmp_path: Path, folder: Path
) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(CONTENT + bytes([number]))

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, parallel=1)
        taken = accept_all(taker, folder)
        sendings = [await giver.files.send(taker.peer_id, path) for path in paths]
        await until(lambda: len(taken) == 3 and any(t.snapshot().bytes for t in taken))
        assert sorted(t.state for t in taken) == ["queued", "queued", "running"]
        for sending in sendings:
            await sending.wait()
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=2e6)


def test_no_more_transfers_than_configured_are_given_at_once(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver = await start_client(net.host("giver"), files=FilesConfig(max_serving=2))
        takers = [await start_client(net.host(f"taker{number}")) for number in range(3)]
        shared = await giver.files.share(sent)
        fetched = []
        for number, taker in enumerate(takers):
            await taker.connect(f"giver:{PORT}")
            fetched.append(await taker.files.fetch(giver.peer_id, shared.content_id, folder / f"{number}"))
            await until(lambda: fetched[-1].is_over or fetched[-1].snapshot().bytes)
        assert [fetched[0].is_over, fetched[1].is_over, await code_of(fetched[2])] == [False, False, "busy"]
        assert [await code_of(one) for one in fetched[:2]] == ["done", "done"]
        late = await takers[2].files.fetch(giver.peer_id, shared.content_id, folder / "late")
        assert await code_of(late) == "done"
        assert giver.statistics()["files"]["fetches_refused"] == 1
        await stop(giver, *takers)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_giver_that_pauses_has_not_withdrawn_its_offer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        offers: list[Offer] = []
        taker.files.on_offer(offers.append)
        stream = await giver.open_stream(taker.peer_id, PROTOCOL)
        stream.write(offer_frame(one_file(CONTENT)))
        await until(lambda: offers)
        for kind in (FrameType.PAUSE, FrameType.RESUME):
            stream.write(encode_plain(kind))
        await asyncio.sleep(1)
        assert not offers[0].is_decided
        stream.write(encode_plain(FrameType.DONE))
        await until(lambda: offers[0].is_decided)
        await stop(giver, taker)

    simulate(scenario)
