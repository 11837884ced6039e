"""Leaves that are on the disk already do not come again: in older versions of files, other tries, and files alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client
from tests.simulation.moving_files import MIB, code_of, no_parts, stop, two

from librats import RatsClient, TransferError
from librats.services.disk.folders import open_folder
from librats.services.disk.old_files import OldFiles
from librats.services.disk.part import CONTENT, Chunk, PartFiles
from librats.services.transferring.handle import Progress, Transfer
from librats.testing import SimNetwork
from librats.transfer import reusing
from librats.transfer.frames import Features
from librats.transfer.layout import Range
from librats.transfer.manifest import Manifest, OfferedFile
from librats.transfer.sending import Sending
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, leaf_count

OLD = random.Random(7).randbytes(8 * MIB + 1234)  # noqa: S311 - nothing here is a secret
FRESH = random.Random(8).randbytes(MIB)  # noqa: S311 - likewise
CHANGED = OLD[: 3 * MIB] + FRESH + OLD[4 * MIB :]


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "sent" / "disk.img"
    path.parent.mkdir()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "taken"
    path.mkdir()
    return path


async def fetch(giver: RatsClient, taker: RatsClient, path: Path, folder: Path) -> tuple[Transfer, int]:
    """Take something in the place of what is there; return how it went, and how many bytes came."""
    shared = await giver.files.share(path)
    before = taker.statistics()["files"]["bytes_received"]
    transfer = await taker.files.fetch(giver.peer_id, shared.content_id, folder, overwrite=True)
    await code_of(transfer)
    return transfer, taker.statistics()["files"]["bytes_received"] - before


def moves(simulate: Simulate, path: Path, folder: Path) -> tuple[Progress, int]:
    """Move something from one client to another; return how it went, and how many bytes came."""
    outcome: list[tuple[Progress, int]] = []

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        transfer, came = await fetch(giver, taker, path, folder)
        await transfer.wait()
        outcome.append((transfer.snapshot(), came))
        await stop(giver, taker)

    simulate(scenario, delay=0.01)
    assert no_parts(folder)
    return outcome[0]


@pytest.mark.parametrize(
    ("old", "new", "comes"),
    [
        (OLD, CHANGED, MIB),
        (OLD, OLD + FRESH, MIB + len(OLD) % LEAF_SIZE),  # the last leaf of the old one was short
        (OLD, OLD[: 5 * MIB], 0),
        (OLD, OLD[: 5 * MIB + 7], 0),
        (OLD, OLD[MIB:] + OLD[:MIB], MIB + len(OLD) % LEAF_SIZE),
        (OLD, OLD[2 * MIB : 4 * MIB] + OLD[: 2 * MIB] + OLD[4 * MIB :], 0),
        (OLD[: LEAF_SIZE - 1], OLD, len(OLD)),
        (b"", OLD, len(OLD)),
        (FRESH * 8, OLD, len(OLD)),
    ],
    ids=["changed", "longer", "shorter", "cut", "turned", "swapped", "less than a leaf", "empty", "another"],
)
def test_what_an_older_version_has_does_not_come(
    simulate: Simulate, sent: Path, folder: Path, old: bytes, new: bytes, comes: int
) -> None:
    sent.write_bytes(new)
    (folder / "disk.img").write_bytes(old)
    progress, came = moves(simulate, sent, folder)
    assert (folder / "disk.img").read_bytes() == new
    assert progress.bytes - progress.reused == comes
    assert 0 <= came - comes < 50_000  # proofs


def test_what_one_file_of_an_offer_has_does_not_come_for_another(simulate: Simulate, sent: Path, folder: Path) -> None:
    tree = sent.parent
    contents = {"a.img": OLD, "b.img": CHANGED, "c.img": CHANGED[: 6 * MIB], "d.txt": b"little"}
    for name, content in contents.items():
        (tree / name).write_bytes(content)
    progress, came = moves(simulate, tree, folder)
    assert {path.name: path.read_bytes() for path in (folder / "sent").iterdir()} == contents
    assert progress.bytes - progress.reused == len(OLD) + MIB + 6
    assert came < len(OLD) + MIB + 100_000


def test_what_is_alike_within_files_comes_once(simulate: Simulate, sent: Path, folder: Path) -> None:
    sent.write_bytes(bytes(12 * MIB) + OLD)
    (sent.parent / "other.img").write_bytes(OLD[: 2 * MIB] + bytes(3 * MIB))
    progress, _ = moves(simulate, sent.parent, folder)
    assert (folder / "sent" / "disk.img").read_bytes() == sent.read_bytes()
    assert (folder / "sent" / "other.img").read_bytes() == OLD[: 2 * MIB] + bytes(3 * MIB)
    assert progress.bytes - progress.reused < len(OLD) + MIB


def test_what_a_try_at_an_older_offer_has_left_does_not_come(simulate: Simulate, sent: Path, folder: Path) -> None:
    left = folder / ".librats-0123456789abcdef.part" / CONTENT
    left.mkdir(parents=True)
    (left / "disk.img").write_bytes(OLD[: 4 * MIB] + bytes(len(OLD) - 4 * MIB))
    sent.write_bytes(CHANGED)
    outcome: list[int] = []

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        transfer, _ = await fetch(giver, taker, sent, folder)
        await transfer.wait()
        outcome.append(transfer.snapshot().reused)
        await stop(giver, taker)

    simulate(scenario)
    assert (folder / "disk.img").read_bytes() == CHANGED
    assert outcome == [3 * MIB]


def test_a_link_in_the_place_of_an_older_version_is_not_read(tmp_path: Path, sent: Path, folder: Path) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "disk.img").write_bytes(OLD)
    (folder / ".librats-0123456789abcdef.part").symlink_to(outside)
    (folder / ".librats-0123456789abcdee.part").mkdir()
    (folder / ".librats-0123456789abcdee.part" / CONTENT).symlink_to(outside)
    (folder / ".librats-0123456789abcded.part" / CONTENT).mkdir(parents=True)
    (folder / ".librats-0123456789abcded.part" / CONTENT / "disk.img").symlink_to(outside / "disk.img")
    manifest = Manifest(name="disk.img", is_folder=False, files=(OfferedFile(("disk.img",), len(OLD), bytes(32)),))
    opened = open_folder(folder)
    old = OldFiles(opened, manifest, "own", [0], overwrite=True)
    assert old.numbers == []
    assert list(old.read(0, 0, len(OLD))) == []
    old.close()
    opened.close()


# Givers of all kinds


def spoiled(change: Callable[[bytes], bytes]) -> Callable[[Sending, Range], bytes]:
    hashes = Sending.hashes
    return lambda machine, wanted: change(hashes(machine, wanted))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "bad_chunk"),
        (lambda raw: raw[:5] + bytes(4) + b"\0\0\0\1" + raw[13:], "protocol"),
        (lambda raw: raw[:1] + (len(raw) - 5 - 32).to_bytes(4) + raw[5:-32], "protocol"),
        (lambda raw: raw + raw, "protocol"),
        (lambda _raw: b"", "stalled"),
    ],
    ids=["a wrong hash", "another range", "too few", "twice", "nothing"],
)
def test_a_giver_that_lies_about_hashes_is_given_up(
    simulate: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    sent: Path,
    folder: Path,
    change: Callable[[bytes], bytes],
    code: str,
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    monkeypatch.setattr(Sending, "hashes", spoiled(change))

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        shared = await giver.files.share(sent)
        transfer = await taker.files.fetch(giver.peer_id, shared.content_id, folder, overwrite=True)
        assert await code_of(transfer) == code
        await stop(giver, taker)

    simulate(scenario)
    assert (folder / "disk.img").read_bytes() == OLD


def test_another_giver_goes_on_with_what_a_liar_was_asked_for(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    hashes, asked = Sending.hashes, []

    def lie_once(machine: Sending, wanted: Range) -> bytes:
        asked.append(wanted)
        raw = hashes(machine, wanted)
        return raw[:-1] + bytes([raw[-1] ^ 1]) if len(asked) == 1 else raw

    monkeypatch.setattr(Sending, "hashes", lie_once)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        other = await start_client(net.host("other"))
        await other.connect(f"taker:{PORT}")
        shared = [await client.files.share(sent) for client in (giver, other)]
        peers = [giver.peer_id, other.peer_id]
        transfer = await taker.files.fetch(peers, shared[0].content_id, folder, overwrite=True)
        await transfer.wait()
        assert transfer.snapshot().reused == len(CHANGED) - MIB
        assert len(asked) == 2
        await stop(giver, taker, other)

    simulate(scenario)
    assert (folder / "disk.img").read_bytes() == CHANGED


def test_a_giver_that_gives_no_hashes_is_not_asked_for_them(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    monkeypatch.setattr("librats.services.transferring.giving.encode_features", lambda _features: b"")
    monkeypatch.setattr(Sending, "hashes", lambda *_: pytest.fail("it was asked"))
    progress, came = moves(simulate, sent, folder)
    assert (folder / "disk.img").read_bytes() == CHANGED
    assert (progress.reused, came >= len(CHANGED)) == (0, True)


def test_features_that_nobody_knows_yet_change_nothing(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    more = bytes([14]) + (12).to_bytes(4) + (0xFFFFFFFE | Features.HASHES).to_bytes(4) + bytes(8)
    monkeypatch.setattr("librats.services.transferring.giving.encode_features", lambda _features: more)
    progress, _ = moves(simulate, sent, folder)
    assert progress.reused == len(CHANGED) - MIB


def test_no_more_is_read_where_nothing_is_found(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    monkeypatch.setattr(reusing, "MAX_VAIN", 20)
    monkeypatch.setattr(reusing, "MAX_HASHES", 16)
    sent.write_bytes(OLD)
    (folder / "disk.img").write_bytes(FRESH * 9)
    read: list[int] = []
    read_old = OldFiles.read

    def count(old: OldFiles, number: int, offset: int, size: int) -> object:
        read.append(size)
        return read_old(old, number, offset, size)

    monkeypatch.setattr(OldFiles, "read", count)
    moves(simulate, sent, folder)
    assert read == [16 * LEAF_SIZE] * 2


def test_it_goes_on_where_the_session_ends_before_the_hashes_have_come(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    monkeypatch.setattr(reusing, "MAX_HASHES", 8)
    hashes, asked = Sending.hashes, []

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)

        def lose_at_the_third(machine: Sending, wanted: Range) -> bytes:
            asked.append(wanted)
            if len(asked) == 3:
                giver.peers[taker.peer_id].link.abort()
            return hashes(machine, wanted)

        monkeypatch.setattr(Sending, "hashes", lose_at_the_third)
        transfer, _ = await fetch(giver, taker, sent, folder)
        await transfer.wait()
        assert transfer.snapshot().reused == len(CHANGED) - MIB
        assert len(asked) > len(set(asked))  # those that were lost are asked for again
        await stop(giver, taker)

    simulate(scenario, delay=0.01)
    assert (folder / "disk.img").read_bytes() == CHANGED


def test_a_disk_that_takes_no_more_is_told_and_what_it_has_taken_is_not_looked_for_again(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, sent: Path, folder: Path
) -> None:
    sent.write_bytes(CHANGED)
    (folder / "disk.img").write_bytes(OLD)
    write, written = PartFiles.write, []

    def fail_at_the_third(files: PartFiles, chunks: Sequence[Chunk]) -> None:
        written.append(sum(len(chunk.leaves) // HASH_SIZE for chunk in chunks))
        if len(written) == 3:
            raise TransferError("no_space", "the disk is full")
        write(files, chunks)

    monkeypatch.setattr(PartFiles, "write", fail_at_the_third)

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        transfer, came = await fetch(giver, taker, sent, folder)
        assert (await code_of(transfer), came) == ("no_space", 0)
        assert (folder / "disk.img").read_bytes() == OLD
        transfer, _ = await fetch(giver, taker, sent, folder)
        await transfer.wait()
        assert transfer.snapshot().reused == len(CHANGED) - MIB
        await stop(giver, taker)

    simulate(scenario)
    assert (folder / "disk.img").read_bytes() == CHANGED
    assert sum(written) == leaf_count(len(CHANGED)) + written[2]  # what failed is the only thing that is written twice
    assert no_parts(folder)
