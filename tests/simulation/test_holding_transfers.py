"""What one peer can hold of another one by transfers that it begins and does not go on with."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.moving_files import CONTENT, accept_all, code_of, stop, two
from tests.simulation.test_hostile_files import offer, one_file, refusal_of

from librats import FilesConfig, RatsClient, Stream
from librats.services.disk.writing import Destination
from librats.services.transferring.handle import TransferState
from librats.services.transferring.taking import MAX_BACKLOG
from librats.services.transferring.wire import PROTOCOL, Wire
from librats.testing import SimNetwork
from librats.transfer.frames import (
    FrameType,
    encode_accept,
    encode_fetch,
    encode_manifest_want,
    encode_ranges,
    encode_refusal,
)
from librats.transfer.layout import Layout
from librats.transfer.receiving import Receiving


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "photo.bin"
    path.write_bytes(CONTENT)
    return path


async def attacked(net: SimNetwork, **files: Any) -> tuple[RatsClient, RatsClient]:
    """Return a client that is connected to another one, and that one."""
    attacker = await start_client(net.host("attacker"))
    victim = await start_client(net.host("victim"), files=FilesConfig(**files))
    await attacker.connect(f"victim:{PORT}")
    return attacker, victim


async def fetching(attacker: RatsClient, victim: RatsClient, content_id: str) -> Stream:
    stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
    stream.write(encode_fetch(bytes(16), bytes.fromhex(content_id)))
    return stream


# Offers


def test_what_is_offered_again_while_it_comes_ends_along_with_it(
    simulate: Simulate, sent: Path, tmp_path: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, tmp_path / "taken")
        first = await giver.files.send(taker.peer_id, sent)
        await until(lambda: bool(taken) and taken[0].state == TransferState.RUNNING)
        second = await giver.files.send(taker.peer_id, sent)
        await first.wait()
        await asyncio.wait_for(second.wait(), 60.0)
        assert (len(taken), giver.statistics()["files"]["bytes_sent"]) == (1, len(CONTENT))
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=3e6)


def test_an_offer_that_takes_the_place_of_another_one_ends_that(simulate: Simulate, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net)
        accept_all(victim, tmp_path / "taken")
        streams = [await attacker.open_stream(victim.peer_id, PROTOCOL) for _ in range(3)]
        for stream in streams:
            stream.write(offer(one_file(CONTENT)))
            await asyncio.sleep(0.1)
        assert (await refusal_of(streams[1])).code == "busy"
        [transfer] = victim.files.transfers.values()
        await transfer.cancel()
        assert [(await refusal_of(stream)).code for stream in (streams[0], streams[2])] == ["cancelled"] * 2
        await stop(attacker, victim)

    simulate(scenario)


def test_an_offer_that_is_withdrawn_before_its_turn_ends_at_once(simulate: Simulate, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net, parallel=1)
        taken = accept_all(victim, tmp_path / "taken")
        for number in range(3):
            stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
            stream.write(offer(one_file(b"%d" % number)))
        await until(lambda: len(taken) == 3)
        await asyncio.sleep(1.0)
        assert [transfer.state for transfer in taken] == ["starting", "queued", "queued"]
        stream.write(encode_refusal(FrameType.CANCEL, "cancelled", "it was a mistake"))
        assert await asyncio.wait_for(code_of(taken[2]), 1.0) == "cancelled"
        assert taken[1].state == "queued"
        await stop(attacker, victim)

    simulate(scenario)


def test_a_transfer_whose_giver_is_lost_before_its_turn_goes_on_when_it_is_back(
    simulate: Simulate, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(CONTENT + name.encode())

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, parallel=1)
        taken = accept_all(taker, tmp_path / "taken")
        sendings = [await giver.files.send(taker.peer_id, tmp_path / name) for name in ("one", "two")]
        await until(lambda: len(taken) == 2 and taken[1].state == TransferState.QUEUED)
        await giver.disconnect(taker.peer_id)
        await giver.connect(f"taker:{PORT}")
        assert [await code_of(transfer) for transfer in (*taken, *sendings)] == ["done"] * 4
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=3e6)


def test_of_one_peer_no_more_transfers_wait_than_it_may_have_streams(simulate: Simulate, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net)
        taken = accept_all(victim, tmp_path / "taken")
        attacker.files.on_offer(lambda _offer: None)
        for number in range(300):
            if number % 100 == 0:  # what is lost waits for the peer
                await attacker.disconnect(victim.peer_id)
                await attacker.connect(f"victim:{PORT}")
            stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
            stream.write(offer(one_file(b"%d" % number)))
            await asyncio.sleep(0.01)
        refused = await refusal_of(stream)
        assert (refused.code, len(taken)) == ("limit", 256)
        await stop(attacker, victim)

    simulate(scenario)


# What is given


def test_places_that_one_peer_lets_lie_idle_are_there_for_another_one(
    simulate: Simulate, sent: Path, tmp_path: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net, max_serving=4)
        other = await start_client(net.host("other"))
        await other.connect(f"victim:{PORT}")
        shared = await victim.files.share(sent)
        streams = [await fetching(attacker, victim, shared.content_id) for _ in range(4)]
        await asyncio.sleep(1.0)
        early = await other.files.fetch(victim.peer_id, shared.content_id, tmp_path / "taken")
        assert await code_of(early) == "busy"  # they may be about to begin
        await asyncio.sleep(60.0)
        late = await other.files.fetch(victim.peer_id, shared.content_id, tmp_path / "taken")
        assert await code_of(late) == "done"
        assert (await refusal_of(streams[0])).code == "busy"
        again = await fetching(attacker, victim, shared.content_id)
        await asyncio.sleep(1.0)
        one_too_many = await fetching(attacker, victim, shared.content_id)
        assert (await refusal_of(one_too_many)).code == "busy"  # whoever holds places gets no other's
        assert sum(not giving.is_over for giving in victim.files.transfers.values()) == 4
        await again.close()
        await stop(attacker, victim, other)

    simulate(scenario)


def test_a_peer_that_holds_one_place_keeps_it(simulate: Simulate, sent: Path, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net, max_serving=1)
        other = await start_client(net.host("other"))
        await other.connect(f"victim:{PORT}")
        shared = await victim.files.share(sent)
        await fetching(attacker, victim, shared.content_id)
        await asyncio.sleep(1000.0)
        late = await other.files.fetch(victim.peer_id, shared.content_id, tmp_path / "taken")
        assert await code_of(late) == "busy"
        await stop(attacker, victim, other)

    simulate(scenario)


def test_a_taker_accepts_once(simulate: Simulate, sent: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net)
        shared = await victim.files.share(sent)
        stream = await fetching(attacker, victim, shared.content_id)
        stream.write(encode_accept(0) * 2)
        assert (await refusal_of(stream)).code == "protocol"
        await stop(attacker, victim)

    simulate(scenario)


def test_a_manifest_is_not_queued_for_a_taker_that_does_not_read(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(5000):
        (tmp_path / "many" / f"{number}{'x' * 200}").touch()
    queued: list[int] = []
    send = Wire.send

    def counted(wire: Wire, *buffers: bytes) -> None:
        queued.append(sum(map(len, buffers)))
        send(wire, *buffers)

    monkeypatch.setattr(Wire, "send", counted)

    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net)
        shared = await victim.files.share(tmp_path / "many")
        size = len(shared.source.raw)
        stream = await fetching(attacker, victim, shared.content_id)
        stream.write(b"".join(encode_manifest_want(at, min(65_536, size - at)) for at in range(0, size, 65_536)) * 2)
        await asyncio.sleep(10.0)
        assert 65_536 < sum(queued) < size  # half of what was asked for
        await stop(attacker, victim)

    simulate(scenario)


def test_a_stream_that_its_taker_never_reads_from_is_reset_when_the_transfer_ends(
    simulate: Simulate, sent: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        attacker, victim = await attacked(net)
        shared = await victim.files.share(sent)
        stream = await fetching(attacker, victim, shared.content_id)
        stream.write(encode_accept(0) + encode_ranges(FrameType.WANT, [(0, 16), (16, 16), (32, 16)]))
        await asyncio.sleep(1.0)
        [transfer] = victim.files.transfers.values()
        assert (transfer.state, victim.statistics()["open_streams"]) == ("running", 1)
        await transfer.cancel()
        await asyncio.sleep(10.0)
        assert victim.statistics()["open_streams"] == 0
        await stop(attacker, victim)

    simulate(scenario)


# A disk that is slow


def test_a_slow_disk_is_no_silent_source_and_what_waits_for_it_stays_at_the_giver(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big.bin").write_bytes(8 * CONTENT)
    backlogs: list[int] = []
    take, arrived = Destination.take, Receiving.arrived

    async def slowly(destination: Destination, *args: Any) -> Any:
        await asyncio.sleep(100.0)
        return await take(destination, *args)

    def counted(receiving: Receiving, *args: Any) -> bool:
        is_new = arrived(receiving, *args)
        backlogs.append(receiving.backlog)
        return is_new

    monkeypatch.setattr(Destination, "take", slowly)
    monkeypatch.setattr(Receiving, "arrived", counted)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        accept_all(taker, tmp_path / "taken")
        sending = await giver.files.send(taker.peer_id, tmp_path / "big.bin")
        assert await code_of(sending) == "done"
        assert max(backlogs) <= MAX_BACKLOG + FilesConfig().chunk
        await stop(giver, taker)

    simulate(scenario)


# What has ended


def test_of_transfers_that_have_ended_nothing_large_is_kept(
    simulate: Simulate, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Layout]] = []
    begin = Layout.__init__

    def counted(layout: Layout, *args: Any) -> None:
        made.append(weakref.ref(layout))
        begin(layout, *args)

    monkeypatch.setattr(Layout, "__init__", counted)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, tmp_path / "taken")
        sending = await giver.files.send(taker.peer_id, sent)
        await sending.wait()
        await taken[0].wait()
        await asyncio.sleep(1.0)
        gc.collect()
        assert (len(made), [layout() for layout in made]) == (2, [None, None])
        await stop(giver, taker)

    simulate(scenario)
