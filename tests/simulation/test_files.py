"""Files between clients in a simulated network: sources that vanish, lie and come back, pauses, ends, and limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.moving_files import CONTENT, MIB, accept_all, code_of, no_parts, stop, two

from librats import FilesConfig, RatsClient, RatsConfig, ReconnectConfig, SessionConfig, TransferError
from librats.services.disk.reading import Source
from librats.services.transferring.giving import Giving
from librats.services.transferring.handle import Transfer, TransferState
from librats.testing import SimNetwork
from librats.transfer.tree import LEAF_SIZE


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "photo.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "taken"


# All goes well


def test_a_file_arrives_whole_and_both_sides_know(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent, message="look")
        result = await sending.wait()
        received = await taken[0].wait()
        assert received.path.read_bytes() == CONTENT
        assert (received.path, result.path) == (folder / "photo.bin", sent)
        assert received.content_id == result.content_id == taken[0].content_id
        assert (received.bytes, taken[0].id) == (len(CONTENT), sending.id)
        assert [t.state for t in (sending, taken[0])] == [TransferState.DONE] * 2
        assert giver.statistics()["files"]["bytes_sent"] == len(CONTENT)
        assert taker.statistics()["files"]["completed"] == 1
        assert no_parts(folder)
        await stop(giver, taker)

    simulate(scenario, delay=0.02, loss=0.02, bandwidth=5e6)


def test_a_folder_arrives_with_all_that_is_in_it(simulate: Simulate, tmp_path: Path, folder: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "deep" / "deeper").mkdir(parents=True)
    files = {f"f{number}": bytes([number]) * number * 100 for number in range(200)}
    files |= {"deep/big": CONTENT, "deep/deeper/same": CONTENT, "none": b""}
    for name, content in files.items():
        (tree / name).write_bytes(content)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, tree)
        await sending.wait()
        result = await taken[0].wait()
        assert {str(p.relative_to(result.path)): p.read_bytes() for p in result.path.rglob("*") if p.is_file()} == files
        assert (result.path / "empty").is_dir()
        sent = giver.statistics()["files"]["bytes_sent"]
        assert sent == result.bytes - len(CONTENT)  # what is there twice goes once
        await stop(giver, taker)

    simulate(scenario, delay=0.01)


def test_progress_rises_to_the_end_and_tells_rate_and_time_left(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        seen = [progress async for progress in sending.progress(0.1)]
        states = list(dict.fromkeys(progress.state for progress in seen))
        assert states == ["hashing", "offered", "running", "done"]
        running = [progress for progress in seen if progress.state == "running"]
        assert [p.bytes for p in running] == sorted(p.bytes for p in running)
        assert any(progress.eta is not None and 0 < progress.rate < 3e6 for progress in running)
        assert all(progress.rate < 3e6 for progress in running)
        assert (seen[-1].bytes, seen[-1].total, seen[-1].files) == (len(CONTENT), len(CONTENT), 1)
        await stop(giver, taker)

    simulate(scenario, delay=0.02, bandwidth=1e6)


def test_what_is_shared_comes_from_several_peers_at_once(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        givers = [await start_client(net.host(f"giver{n}")) for n in range(3)]
        shared = [await giver.files.share(sent) for giver in givers]
        taker = await start_client(net.host("taker"))
        for number in range(3):
            await taker.connect(f"giver{number}:{PORT}")
        taking = await taker.files.fetch([giver.peer_id for giver in givers], shared[0].content_id, folder)
        result = await taking.wait()
        assert result.path.read_bytes() == CONTENT
        assert sum(giver.statistics()["files"]["bytes_sent"] > 0 for giver in givers) >= 2
        for one in shared:
            await one.close()
        refused = await taker.files.fetch(givers[0].peer_id, shared[0].content_id, folder / "again")
        assert await code_of(refused) == "not_found"
        await stop(taker, *givers)

    simulate(scenario, delay=0.02, bandwidth=3e6)


# Sources that fail


def test_a_source_that_corrupts_is_dropped_and_named_while_the_other_finishes(
    simulate: Simulate, sent: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        liar, honest = [await start_client(net.host(name)) for name in ("liar", "honest")]
        taker = await start_client(net.host("taker"))
        shared = [await giver.files.share(sent) for giver in (liar, honest)]
        lying, reading = shared[0].source, Source.read_many

        async def read_many(source: Source, pieces: list[tuple[int, int, int]]) -> list[bytes]:
            read = await reading(source, pieces)
            return [data[:-1] + bytes([data[-1] ^ 1]) for data in read] if source is lying else read

        monkeypatch.setattr(Source, "read_many", read_many)
        for name in ("liar", "honest"):
            await taker.connect(f"{name}:{PORT}")
        taking = await taker.files.fetch([liar.peer_id, honest.peer_id], shared[0].content_id, folder)
        result = await taking.wait()
        assert result.path.read_bytes() == CONTENT
        assert {peer: error.code for peer, error in taking.dropped.items()} == {liar.peer_id: "bad_chunk"}  # type: ignore[attr-defined]
        [given] = liar.files.transfers.values()
        assert await code_of(given) == "bad_chunk"
        await stop(taker, liar, honest)

    simulate(scenario, delay=0.01, bandwidth=5e6)


def test_the_only_source_that_corrupts_ends_the_transfer(
    simulate: Simulate, sent: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Source.read_many

    async def read_many(source: Source, pieces: list[tuple[int, int, int]]) -> list[bytes]:
        return [bytes(len(data)) for data in await reading(source, pieces)]

    monkeypatch.setattr(Source, "read_many", read_many)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        assert await code_of(sending) == "bad_chunk"
        assert await code_of(taken[0]) == "bad_chunk"
        assert not (folder / "photo.bin").exists()
        await stop(giver, taker)

    simulate(scenario, delay=0.01)


def test_a_file_that_changes_while_it_is_sent_ends_the_transfer_on_both_sides(
    simulate: Simulate, sent: Path, folder: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: sending.snapshot().bytes > 0)
        sent.write_bytes(b"other")  # noqa: ASYNC240 - a few bytes
        assert await code_of(sending) == "changed"
        assert await code_of(taken[0]) == "changed"
        assert not (folder / "photo.bin").exists()
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_source_that_falls_silent_is_given_up(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, stall_timeout=20.0)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: sending.snapshot().bytes > 0)
        assert isinstance(sending, Giving)
        assert sending._machine is not None
        sending._machine.is_paused = True  # without telling
        began = net.time
        assert await code_of(taken[0]) == "stalled"
        assert net.time - began < 25
        assert await code_of(sending) == "stalled"
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_slow_source_is_not_taken_for_a_silent_one(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        wide = SessionConfig(stream_window=8 * MIB)  # in which a taker waits for half a MiB, which takes 8 s
        giver = await start_client(net.host("giver"), files=FilesConfig(), session=wide)
        taker = await start_client(net.host("taker"), files=FilesConfig(stall_timeout=4.0), session=wide)
        taken = accept_all(taker, folder)
        await giver.connect(f"taker:{PORT}")
        await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken)
        assert (await taken[0].wait()).path.read_bytes() == CONTENT
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=65_536.0)


def test_a_taker_with_a_limit_asks_on_when_that_lets_it(simulate: Simulate, sent: Path, folder: Path) -> None:
    rate = 2_500_000.0

    async def scenario(net: SimNetwork) -> None:
        giver = await start_client(net.host("giver"))
        taker = await start_client(net.host("taker"), files=FilesConfig(max_rate=rate))
        taken = accept_all(taker, folder)
        await giver.connect(f"taker:{PORT}")
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: len(taken) > 0)
        began = net.time
        await taken[0].wait()
        await sending.wait()
        # What it was let ask for has come long before that: looking once a second would take three seconds.
        assert len(CONTENT) / rate - 0.3 < net.time - began < 2.0
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=100e6)


def test_what_is_there_already_is_checked_and_that_is_told(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        shared = await giver.files.share(sent)
        await (await taker.files.fetch(giver.peer_id, shared.content_id, folder)).wait()
        checking = await taker.files.fetch(giver.peer_id, shared.content_id, folder)
        seen = {progress.state: progress async for progress in checking.progress()}
        states = list(seen)
        assert states.index(TransferState.STARTING) + 1 == states.index(TransferState.CHECKING)
        checked = seen[TransferState.CHECKING]
        assert 0 < checked.bytes <= checked.total == len(CONTENT)
        assert giver.statistics()["files"]["bytes_sent"] == len(CONTENT)
        await stop(giver, taker)

    simulate(scenario, delay=0.01)


# Sessions that end


def test_a_transfer_goes_on_by_itself_when_the_session_is_back(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > MIB)
        hosts = {host.name: host for host in net.hosts}
        net.cut(hosts["giver"], hosts["taker"])
        await until(lambda: sending.state == taken[0].state == TransferState.WAITING)
        before = taken[0].snapshot().bytes
        net.mend(hosts["giver"], hosts["taker"])
        await sending.wait()
        result = await taken[0].wait()
        assert result.path.read_bytes() == CONTENT
        assert before > 0
        assert giver.statistics()["files"]["bytes_sent"] < len(CONTENT) + 2.5 * MIB  # what had come is not sent again
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_connection_that_breaks_off_again_and_again_costs_no_more_than_what_was_under_way(
    simulate: Simulate, sent: Path, folder: Path
) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, chunk=LEAF_SIZE)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        for part in (1, 2, 3):
            await until(lambda part=part: taken and taken[0].snapshot().bytes > part * len(CONTENT) // 5)  # type: ignore[misc]
            giver.peers[taker.peer_id].link.abort()
            await until(lambda: sending.state == TransferState.WAITING)
            await until(lambda: sending.state == TransferState.RUNNING)
        await sending.wait()
        assert (await taken[0].wait()).path.read_bytes() == CONTENT
        again = giver.statistics()["files"]["bytes_sent"] - len(CONTENT)
        assert 0 < again < 2 * MIB  # all over again each time it would be 3.7 MB
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_peer_that_does_not_come_back_is_lost_on_both_sides(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, resume_timeout=30.0)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > MIB)
        await giver.disconnect(taker.peer_id)
        assert await code_of(sending) == "peer_lost"
        assert await code_of(taken[0]) == "peer_lost"
        assert not (folder / "photo.bin").exists()
        await giver.connect(f"taker:{PORT}")
        again = await giver.files.send(taker.peer_id, sent)  # goes on from what was kept
        await again.wait()
        assert giver.statistics()["files"]["bytes_sent"] < len(CONTENT) + 2.5 * MIB
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_giver_that_was_started_anew_goes_on(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        identity = giver.identity
        taken = accept_all(taker, folder)
        await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > MIB)
        await giver.stop()
        hosts = {host.name: host for host in net.hosts}
        with hosts["giver"]:
            later = RatsClient(PORT, identity=identity, config=RatsConfig(reconnect=ReconnectConfig(enabled=False)))
            await later.start()
        await later.connect(f"taker:{PORT}")
        sending = await later.files.send(taker.peer_id, sent)
        await sending.wait()
        result = await taken[0].wait()
        assert result.path.read_bytes() == CONTENT
        assert len(taken) == 1  # the application was not asked again
        assert later.statistics()["files"]["bytes_sent"] < len(CONTENT) - MIB // 2
        await stop(later, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_peer_that_is_lost_again_and_again_is_dialled_soon_while_a_transfer_waits_for_it(
    simulate: Simulate, sent: Path, folder: Path
) -> None:
    """Others whose sessions do not last are dialled ever more seldom, and given up after twelve tries."""

    async def becomes(transfer: Transfer, state: TransferState) -> None:
        async for progress in transfer.progress(1000.0):
            if progress.state == state:
                return

    async def scenario(net: SimNetwork) -> None:
        config = FilesConfig(chunk=LEAF_SIZE)
        taker = await start_client(net.host("taker"), reconnect=ReconnectConfig(), files=config)
        giver = await start_client(net.host("giver"))
        await taker.connect(f"giver:{PORT}")
        shared = await giver.files.share(sent)
        taking = await taker.files.fetch(giver.peer_id, shared.content_id, folder)
        for _ in range(14):
            await becomes(taking, TransferState.RUNNING)
            taker.peers[giver.peer_id].link.abort()
            await becomes(taking, TransferState.WAITING)
            lost = net.time
            await becomes(taking, TransferState.RUNNING)
            assert net.time - lost < 8
        assert (await taking.wait()).path.read_bytes() == CONTENT
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


# Pause and cancel, from both sides


@pytest.mark.parametrize("side", ["giver", "taker"])
def test_either_side_pauses_and_goes_on(simulate: Simulate, sent: Path, folder: Path, side: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, stall_timeout=10.0)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > 0)
        holder = sending if side == "giver" else taken[0]
        holder.pause()
        await until(lambda: sending.state == taken[0].state == TransferState.PAUSED)
        await asyncio.sleep(5)
        before = taken[0].snapshot().bytes
        await asyncio.sleep(60)  # longer than a source may be silent
        assert taken[0].snapshot().bytes == before < len(CONTENT)
        holder.resume()
        await sending.wait()
        assert (await taken[0].wait()).path.read_bytes() == CONTENT
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


@pytest.mark.parametrize("side", ["giver", "taker"])
def test_either_side_cancels_and_nothing_is_left_under_the_name(
    simulate: Simulate, sent: Path, folder: Path, side: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > 0)
        await (sending if side == "giver" else taken[0]).cancel("enough")
        with pytest.raises(TransferError, match="enough") as ended:
            await (taken[0] if side == "giver" else sending).wait()
        assert ended.value.code == "cancelled"
        assert [await code_of(t) for t in (sending, taken[0])] == ["cancelled"] * 2
        assert not (folder / "photo.bin").exists()
        assert side == "giver" or no_parts(folder)
        await asyncio.sleep(1)
        await stop(giver, taker)

    simulate(scenario, delay=0.01, bandwidth=1e6)


def test_a_client_that_stops_keeps_what_has_come(simulate: Simulate, sent: Path, folder: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, resume_timeout=5.0)
        taken = accept_all(taker, folder)
        sending = await giver.files.send(taker.peer_id, sent)
        await until(lambda: taken and taken[0].snapshot().bytes > MIB)
        await taker.stop()
        assert await code_of(taken[0]) == "closed"
        assert await code_of(sending) in {"closed", "peer_lost"}
        assert not no_parts(folder)
        await giver.stop()

    simulate(scenario, delay=0.01, bandwidth=1e6)
