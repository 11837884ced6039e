"""Peers that lie about files: offers of too much, frames that are none, chunks and ranges that are not there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.moving_files import CONTENT, accept_all, code_of, stop

from librats import FilesConfig, RatsClient, Stream, TransferError
from librats.services.transferring.handle import TransferState
from librats.services.transferring.wire import PROTOCOL, Wire
from librats.testing import SimNetwork
from librats.transfer import frames
from librats.transfer.frames import Chunk, FrameType, Offering
from librats.transfer.manifest import Manifest, OfferedFile, content_id, read_manifest, write_manifest
from librats.transfer.tree import LEAF_SIZE, hash_file

HEAD = b"d5:bytesi%de5:emptyi0e5:filesi%de6:folderi1e4:name1:x1:vi1ee"

Hostile = Callable[[Stream, RatsClient], Awaitable[None]]


async def against(net: SimNetwork, folder: Path, act: Hostile, **files: int) -> RatsClient:
    """Let a peer speak to a client that takes every offer; return the client, which runs."""
    attacker = await start_client(net.host("attacker"))
    victim = await start_client(net.host("victim"), files=FilesConfig(**files))  # type: ignore[arg-type]
    accept_all(victim, folder)
    await attacker.connect(f"victim:{PORT}")
    stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
    await act(stream, victim)
    assert victim.peer_id in attacker.peers  # the session goes on
    await attacker.stop()
    return victim


def offer(raw: bytes, *, size: int | None = None, head: bytes | None = None, wanted: bytes | None = None) -> bytes:
    return frames.encode_offer(
        Offering(
            transfer=bytes(16),
            content_id=id_of(raw) if wanted is None else wanted,
            manifest_size=len(raw) if size is None else size,
            head=raw[:512] if head is None else head,
        )
    )


def id_of(raw: bytes) -> bytes:
    """Return the content id of a manifest; of one that is none, any."""
    try:
        return content_id(read_manifest(raw))
    except TransferError:
        return bytes(32)


def one_file(content: bytes) -> bytes:
    tree = hash_file([content])
    file = OfferedFile(path=("x",), size=tree.length, root=tree.root)
    return write_manifest(Manifest(name="x", is_folder=False, files=(file,)))


async def refusal_of(stream: Stream) -> TransferError:
    wire = Wire(stream)
    while True:
        try:
            await wire.next()
        except TransferError as error:
            return error


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (HEAD % (10, 1_000_000), "more than 100000 files"),
        (HEAD % (10**15, 10), "more than 17592186044416 bytes"),
    ],
)
def test_an_offer_of_a_million_files_or_a_petabyte_is_refused_with_the_limit(
    simulate: Simulate, tmp_path: Path, head: bytes, named: str
) -> None:
    async def act(stream: Stream, victim: RatsClient) -> None:
        stream.write(offer(head))
        refused = await refusal_of(stream)
        assert (refused.code, named in refused.reason) == ("limit", True)
        assert not victim.files.transfers

    async def scenario(net: SimNetwork) -> None:
        await stop(await against(net, tmp_path, act))

    simulate(scenario)


def test_a_manifest_that_is_longer_than_the_limit_is_not_asked_for(simulate: Simulate, tmp_path: Path) -> None:
    async def act(stream: Stream, victim: RatsClient) -> None:
        stream.write(offer(one_file(b"x"), size=(64 << 20) + 1))
        assert (await refusal_of(stream)).code == "limit"
        [transfer] = victim.files.transfers.values()
        assert await code_of(transfer) == "limit"

    async def scenario(net: SimNetwork) -> None:
        await stop(await against(net, tmp_path, act))

    simulate(scenario)


def entries(count: int, size: int) -> bytes:
    """Return the second half of a manifest: so many files, each of so many bytes."""
    root = hash_file([b"x" * 10]).root
    files = b"".join(b"l7:%07di%de32:%bi0ei0ee" % (number, size, root) for number in range(count))
    return b"ll" + files + b"elee"


LIES = {
    "another manifest": (one_file(CONTENT), "bad_offer"),
    "another head": (one_file(CONTENT), "bad_offer"),
    "fewer files": (HEAD % (10, 3) + b"llelee", "bad_offer"),
    "more files": (HEAD % (10, 1) + entries(20_000, 0), "bad_offer"),
    "more bytes": (HEAD % (10, 1) + entries(1, 10**12), "bad_offer"),
    "fewer bytes": (HEAD % (10**12, 1) + entries(1, 10), "bad_offer"),
    "less than nothing": (HEAD % (10, 2) + entries(1, -10)[:-4] + entries(1, 20)[2:], "bad_offer"),
    "a file that is too long": (HEAD % (10, 1) + entries(1, 10**15), "limit"),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_a_manifest_that_is_not_what_was_offered_is_refused(simulate: Simulate, tmp_path: Path, lie: str) -> None:
    raw, code = LIES[lie]
    given = raw if lie != "another manifest" else one_file(CONTENT[:-1])

    async def give(wire: Wire) -> None:
        while True:
            frame = await wire.next()
            assert not isinstance(frame, Chunk)
            if frame.type == FrameType.MANIFEST_WANT:
                offset, size = frames.read_manifest_want(frame.body)
                wire.send(frames.encode_piece(offset, given[offset : offset + size]))

    async def act(stream: Stream, victim: RatsClient) -> None:
        stream.write(offer(raw, head=HEAD % (1, 1) if lie == "another head" else None, size=len(given)))
        with pytest.raises(TransferError) as refused:
            await give(Wire(stream))
        assert refused.value.code == code

    async def scenario(net: SimNetwork) -> None:
        victim = await against(net, tmp_path, act)
        assert not (tmp_path / "x").exists()
        await stop(victim)

    simulate(scenario)


@pytest.mark.parametrize("lie", ["not asked for", "too short", "too long", "of leaves that are not there", "twice"])
def test_a_chunk_that_lies_ends_the_transfer(simulate: Simulate, tmp_path: Path, lie: str) -> None:
    content = CONTENT[: 20 * LEAF_SIZE]
    raw, tree = one_file(content), hash_file([content])

    whole = tree.proof(0, 16) + content[: 16 * LEAF_SIZE]
    lies = {
        "not asked for": ((0, 1), bytes(LEAF_SIZE)),
        "too short": ((0, 16), whole[:-1]),
        "too long": ((0, 16), whole + b"x"),
        "of leaves that are not there": ((1 << 31, 16), bytes(LEAF_SIZE)),
        "twice": ((0, 16), whole),
    }
    wanted, body = lies[lie]
    chunk = frames.encode_chunk_head(wanted, len(body)) + body

    async def give(wire: Wire) -> None:
        while True:
            frame = await wire.next()
            assert not isinstance(frame, Chunk)
            if frame.type == FrameType.MANIFEST_WANT:
                wire.send(frames.encode_piece(0, raw))
            elif frame.type == FrameType.WANT:
                assert frames.read_ranges(frame.body) == [(0, 16), (16, 4)]
                wire.send(chunk * 2 if lie == "twice" else chunk)

    async def act(stream: Stream, victim: RatsClient) -> None:
        stream.write(offer(raw))
        with pytest.raises(TransferError) as ended:
            await give(Wire(stream))
        assert ended.value.code == "protocol"

    async def scenario(net: SimNetwork) -> None:
        victim = await against(net, tmp_path, act)
        assert not (tmp_path / "x").exists()
        [transfer] = victim.files.transfers.values()
        assert await code_of(transfer) == "protocol"
        await stop(victim)

    simulate(scenario)


@pytest.mark.parametrize(
    "wants",
    [
        [frames.encode_ranges(FrameType.WANT, [(0, 1 << 31)])],
        [frames.encode_ranges(FrameType.WANT, [(1 << 31, 1)])],
        [frames.encode_manifest_want(1 << 31, 10)],
        [frames.encode_manifest_want(0, 65_536)] * 2000,
        [frames.encode_accept(1 << 60)],
        [
            frames.encode_plain(FrameType.DONE),
            frames.encode_offer(Offering(transfer=bytes(16), content_id=bytes(32), manifest_size=1, head=b"")),
        ],
        [frames.encode_chunk_head((0, 1), 1), b"x"],
        [b"\x07\xff\xff\xff\xff"],
    ],
)
def test_a_taker_that_asks_for_what_is_not_there_is_sent_away(
    simulate: Simulate, tmp_path: Path, wants: list[bytes]
) -> None:
    path = tmp_path / "given"
    path.write_bytes(b"x" * 100)

    async def scenario(net: SimNetwork) -> None:
        giver, attacker = [await start_client(net.host(name)) for name in ("giver", "attacker")]
        shared = await giver.files.share(path)
        await attacker.connect(f"giver:{PORT}")
        stream = await attacker.open_stream(giver.peer_id, PROTOCOL)
        stream.write(frames.encode_fetch(bytes(16), bytes.fromhex(shared.content_id)))
        for raw in wants:
            stream.write(raw)
        assert (await refusal_of(stream)).code == "protocol"
        assert all(transfer.is_over for transfer in giver.files.transfers.values())
        assert len(giver.peers) == 1
        fetched = await attacker.files.fetch(giver.peer_id, shared.content_id, tmp_path / "in")
        assert (await fetched.wait()).bytes == 100  # the others get it all the same
        await stop(giver, attacker)

    simulate(scenario)


def test_noise_on_a_stream_of_files_ends_that_stream_alone(simulate: Simulate, tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - nothing here is a secret

    async def scenario(net: SimNetwork) -> None:
        attacker, victim = [await start_client(net.host(name)) for name in ("attacker", "victim")]
        accept_all(victim, tmp_path)
        await attacker.connect(f"victim:{PORT}")
        for number in range(30):
            stream = await attacker.open_stream(victim.peer_id, PROTOCOL)
            size = chance.randrange(1, 300)
            noise = chance.randbytes(size)
            kind = chance.choice([*FrameType])
            body = chance.choice([b"", bytes([kind]) + len(noise).to_bytes(4)])
            with_offer = [offer(one_file(CONTENT))] if number % 3 == 0 else []
            try:
                for raw in (*with_offer, body + noise):
                    stream.write(raw)
                await asyncio.wait_for(refusal_of(stream), 2)
            except Exception as error:
                assert "TransferError" in repr(error) or "Lost" in repr(error) or "Timeout" in repr(error)  # noqa: PT017
            await stream.close()
        await asyncio.sleep(70)
        assert victim.peer_id in attacker.peers
        running = [t for t in victim.files.transfers.values() if t.state not in {TransferState.FAILED}]
        assert len(running) <= 20
        assert not (tmp_path / "photo.bin").exists()
        await stop(attacker, victim)

    simulate(scenario)


def test_what_was_offered_to_one_peer_is_not_given_to_another(simulate: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        giver, friend, other = [await start_client(net.host(name)) for name in ("giver", "friend", "other")]
        friend.files.on_offer(lambda offer: None)
        for peer in ("friend", "other"):
            await giver.connect(f"{peer}:{PORT}")
        sending = await giver.files.send(friend.peer_id, path)
        await until(lambda: sending.state == TransferState.OFFERED)
        assert await code_of(await other.files.fetch(giver.peer_id, sending.content_id, tmp_path / "in")) == "not_found"
        await stop(giver, friend, other)

    simulate(scenario)
