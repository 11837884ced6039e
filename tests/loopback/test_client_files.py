"""Files between real clients over loopback, with the async client and the blocking one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from librats import Identity, RatsClient, TransferError, blocking
from librats.blocking.files import Offer as BlockingOffer
from librats.blocking.files import Transfer as BlockingTransfer
from librats.services.transferring.handle import Progress, Transfer
from librats.services.transferring.offer import Offer

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "big.bin").write_bytes(os.urandom(5 * MIB + 3))
    for number in range(300):
        (root / "sub" / f"{number}.txt").write_text(f"number {number}")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_a_folder_goes_to_a_peer_and_back(tree: Path, tmp_path: Path) -> None:
    async with RatsClient(identity=Identity.generate()) as ann, RatsClient(identity=Identity.generate()) as ben:
        taken: list[Transfer] = []

        @ben.files.on_offer
        async def offered(offer: Offer) -> None:
            taken.append(await offer.accept(tmp_path / "in"))

        peer = await ann.connect(f"127.0.0.1:{ben.listen_port}")
        sending = await ann.files.send(peer, tree)
        result = await sending.wait()
        received = await taken[0].wait()
        assert contents(received.path) == contents(tree)
        assert received.bytes == result.bytes
        shared = await ben.files.share(received.path)
        assert shared.content_id == result.content_id
        back = await (await ann.files.fetch(peer, shared.content_id, tmp_path / "back")).wait()
        assert contents(back.path) == contents(tree)


def test_the_blocking_client_sends_and_takes(tree: Path, tmp_path: Path) -> None:
    taken: list[BlockingTransfer] = []
    with (
        blocking.RatsClient(identity=Identity.generate()) as ann,
        blocking.RatsClient(identity=Identity.generate()) as ben,
    ):

        @ben.files.on_offer
        def offered(offer: BlockingOffer) -> None:
            if offer.name == "tree":
                taken.append(offer.accept(tmp_path / "in"))
            else:
                offer.refuse("not that")

        peer = ann.connect(f"127.0.0.1:{ben.listen_port}")
        sending = ann.files.send(peer, tree, message="hello")
        states = [progress.state for progress in sending.progress(0.01)]
        assert states[-1] == "done"
        assert contents(taken[0].wait().path) == contents(tree)
        with pytest.raises(TransferError, match="not that"):
            ann.files.send(peer, tree / "big.bin").wait()
        shared = ann.files.share(tree / "big.bin")
        fetched = ben.files.fetch(ann.peer_id, shared.content_id, tmp_path / "back").wait()
        assert fetched.path.read_bytes() == (tree / "big.bin").read_bytes()
        told: list[Progress] = []
        again = ann.files.share(tree, on_progress=told.append)
        assert (told[-1].bytes, told[-1].total, told[-1].state) == (again.size, again.size, "hashing")
        shared.close()
        assert len(ben.files.transfers) == 2
        assert ben.files.statistics()["completed"] == 2


def test_the_blocking_client_gives_and_takes_codes(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("spake2")
    with (
        blocking.RatsClient(identity=Identity.generate()) as ann,
        blocking.RatsClient(identity=Identity.generate()) as ben,
    ):
        ann.connect(f"127.0.0.1:{ben.listen_port}")
        shared = ann.files.share(tree)
        code = ann.files.give_code(shared)
        assert ben.files.take_code(str(code)) == ann.files.ticket(shared)
        assert code.wait() == "taken"
        unused = ann.files.give_code(shared)
        unused.close()
        with pytest.raises(TransferError, match="unknown_code"):
            ben.files.receive(unused.text, tmp_path / "in", patience=0)
        taken = ben.files.receive(str(ann.files.ticket(shared)), tmp_path / "in").wait()
        assert contents(taken.path) == contents(tree)


async def test_sharing_tells_how_far_the_hashing_is(tree: Path) -> None:
    told: list[Progress] = []
    async with RatsClient(identity=Identity.generate()) as ann:
        shared = await ann.files.share(tree, on_progress=told.append)
    assert [p.bytes for p in told] == sorted(p.bytes for p in told)
    assert (told[-1].bytes, told[-1].total, told[-1].state) == (shared.size, shared.size, "hashing")


async def test_a_copy_of_another_time_is_the_same_content(tree: Path, tmp_path: Path) -> None:
    """Two peers whose copies were made at two times give them to a third one at once."""
    copy = tmp_path / "copies" / "tree"
    shutil.copytree(tree, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    async with (
        RatsClient(identity=Identity.generate()) as ann,
        RatsClient(identity=Identity.generate()) as ben,
        RatsClient(identity=Identity.generate()) as cat,
    ):
        shared, also = await ann.files.share(tree), await ben.files.share(copy)
        assert shared.content_id == also.content_id
        for one in (ann, ben):
            await cat.connect(f"127.0.0.1:{one.listen_port}")
        taking = await cat.files.fetch([ann.peer_id, ben.peer_id], shared.content_id, tmp_path / "in")
        assert contents((await taking.wait()).path) == contents(tree)


async def test_of_a_hundred_megabytes_the_one_that_has_changed_goes(tmp_path: Path) -> None:
    size, changed = 100_000_000, 1_000_000
    old = os.urandom(size)
    new = b"".join([old[: size // 2], os.urandom(changed), old[size // 2 + changed :]])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "disk.img").write_bytes(old)
    (tmp_path / "disk.img").write_bytes(new)
    async with RatsClient(identity=Identity.generate()) as ann, RatsClient(identity=Identity.generate()) as ben:
        await ann.connect(f"127.0.0.1:{ben.listen_port}")
        shared = await ann.files.share(tmp_path / "disk.img")
        transfer = await ben.files.fetch(ann.peer_id, shared.content_id, tmp_path / "in", overwrite=True)
        await transfer.wait()
        progress = transfer.snapshot()
        came = ben.peers[ann.peer_id].stats.bytes_received
        shares = [transfer.snapshot() for transfer in ann.files.transfers.values()]
    assert (tmp_path / "in" / "disk.img").read_bytes() == new
    assert 0 <= progress.bytes - progress.reused - changed <= 2 * 65_536  # whole leaves
    assert came < changed + 250_000  # hashes of 100 MB are 49 KB
    assert [share.reused for share in shares] == [progress.reused]
