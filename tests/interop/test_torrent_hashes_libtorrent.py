"""What libtorrent asks a seed of ours for besides blocks: hashes of blocks, and pieces that newcomers are allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.interop.torrent_ends import HERE, Theirs, contents, make_files

from librats.torrents import TorrentClient, create_torrent, read_torrent

pytestmark = pytest.mark.interop

PIECE = 65_536


async def test_libtorrent_finds_the_wrong_block_of_a_piece_by_the_hashes_that_we_give(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a", (1_000_000, 5))
    raw = create_torrent(top, version="v2", piece_length=PIECE)
    torrent = read_torrent(raw)
    bad = make_files(tmp_path / "bad", (1_000_000, 5)) / "0.bin"
    spoilt = bytearray(bad.read_bytes())
    for at in range(0, len(spoilt) - PIECE, PIECE):
        spoilt[at + 20_000] ^= 1
    bad.write_bytes(spoilt)
    async with TorrentClient(listen_host=HERE) as liar, TorrentClient(listen_host=HERE) as seed:
        await liar.add(torrent, tmp_path / "bad", trusted=True)
        true = await seed.add(torrent, tmp_path / "a", trusted=True)

        given: list[bytes | None] = []
        give = true.swarm.give_hashes

        def keep(*what: object) -> None:
            given.append(what[2])  # type: ignore[arg-type]
            give(*what)  # type: ignore[arg-type]

        true.swarm.give_hashes = keep  # type: ignore[assignment, method-assign]
        theirs = Theirs(torrent, raw, tmp_path / "b")
        theirs.connect(liar.listen_port)
        theirs.connect(seed.listen_port)
        await theirs.seeding()
        assert given
        assert all(given)
    theirs.handle.flush_cache()
    async with asyncio.timeout(60):
        while contents(tmp_path / "b" / "set") != contents(top):  # noqa: ASYNC110 - it writes when it likes
            await asyncio.sleep(0.02)


async def test_libtorrent_takes_what_newcomers_are_allowed_of_a_seed_that_serves_nobody(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a", (1_000_000, 5))
    raw = create_torrent(top, piece_length=16_384)
    torrent = read_torrent(raw)
    async with TorrentClient(listen_host=HERE) as seed:
        ours = await seed.add(torrent, tmp_path / "a", trusted=True)
        ours.swarm.consider = lambda link: None  # type: ignore[method-assign]
        ours.swarm._next_choke = 1e18
        theirs = Theirs(torrent, raw, tmp_path / "b")
        theirs.connect(seed.listen_port)
        async with asyncio.timeout(60):
            while theirs.handle.status().num_pieces < 10:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
        assert theirs.handle.status().num_pieces == 10
        assert all(link.am_choking for link in ours.swarm.links.values())
