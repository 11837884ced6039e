"""Message stream encryption with libtorrent on the other side, whoever dials, over TCP and uTP; and recording it.

Run as a program it records connections anew: ``python -m tests.interop.test_torrent_encryption_libtorrent FILE``.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bittorrent.joined_swarms import Dice

from librats.bittorrent.messages import Handshake
from librats.bittorrent.stream_encryption import CryptoMethod, IncomingEncryption, OutgoingEncryption, obfuscated
from librats.services.torrenting.encryption import new_rc4
from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent
from librats.types import Address

libtorrent: Any = pytest.importorskip("libtorrent")

pytestmark = pytest.mark.interop

HERE = "127.0.0.1"
SECONDS = 60.0
SIZE = 400_000
FORCED, ENABLED, DISABLED = range(3)
PLAINTEXT, RC4, BOTH = 1, 2, 3
OURS = b"-RB0100-recorded0000"


def new_session(policy: int, level: int, *, transport: str = "tcp", prefer_rc4: bool = False) -> Any:
    other = "utp" if transport == "tcp" else "tcp"
    return libtorrent.session(
        {
            "listen_interfaces": f"{HERE}:0",
            "alert_mask": 0,
            **dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False),
            **dict.fromkeys((f"enable_outgoing_{other}", f"enable_incoming_{other}"), False),
            **dict.fromkeys(("in_enc_policy", "out_enc_policy"), policy),
            "allowed_enc_level": level,
            "prefer_rc4": prefer_rc4,
            "allow_multiple_connections_per_ip": True,
        }
    )


def make_torrent(folder: Path, version: str = "hybrid") -> tuple[Torrent, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "file.bin"
    path.write_bytes(random.Random(SIZE).randbytes(SIZE))  # noqa: S311 - the same in every run
    raw = create_torrent(path, version=version, piece_length=16_384)
    return read_torrent(raw), raw


def add(session: Any, raw: bytes, folder: Path, *, seeds: bool) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    params = libtorrent.load_torrent_buffer(raw)
    params.save_path = str(folder)
    if seeds:
        params.flags |= libtorrent.torrent_flags.seed_mode
    params.flags &= ~(libtorrent.torrent_flags.paused | libtorrent.torrent_flags.auto_managed)
    return session.add_torrent(params)


async def seeding(handle: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not (await asyncio.to_thread(handle.status)).is_seeding:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


def watched(download: Download) -> set[str]:
    """Return what will have been seen of how the torrent's connections are encrypted."""
    seen: set[str] = set()
    entered = download.enter

    def look(wire: Any, *given: Any) -> Any:
        seen.add(wire.method.name.lower() if wire.method is not None else "")
        return entered(wire, *given)

    download.enter = look  # type: ignore[assignment, method-assign]
    return seen


MODES = [
    # Theirs: policy, level; ours; what comes of it.
    (FORCED, RC4, "allow", "rc4"),
    (FORCED, PLAINTEXT, "allow", "plaintext"),
    (FORCED, BOTH, "prefer", "rc4"),
    (ENABLED, BOTH, "require", "rc4"),
    (DISABLED, BOTH, "prefer", ""),
    (DISABLED, BOTH, "allow", ""),
]


@pytest.mark.parametrize(("policy", "level", "mode", "method"), MODES)
async def test_we_dial_and_download(tmp_path: Path, policy: int, level: int, mode: str, method: str) -> None:
    torrent, raw = make_torrent(tmp_path / "a")
    session = new_session(policy, level, prefer_rc4=mode != "allow")
    await seeding(add(session, raw, tmp_path / "a", seeds=True))
    async with TorrentClient(listen_host=HERE, encryption=mode) as client, asyncio.timeout(SECONDS):
        download = await client.add(torrent, tmp_path / "b")
        seen = watched(download)
        download.add_peers([Address(HERE, session.listen_port())])
        await download.wait()
    assert seen == {method}
    assert (tmp_path / "b" / "file.bin").read_bytes() == (tmp_path / "a" / "file.bin").read_bytes()


@pytest.mark.parametrize(("policy", "level", "mode", "method"), MODES)
async def test_it_dials_and_downloads(tmp_path: Path, policy: int, level: int, mode: str, method: str) -> None:
    torrent, raw = make_torrent(tmp_path / "a")
    async with TorrentClient(listen_host=HERE, encryption=mode) as client:
        seed = await client.add(torrent, tmp_path / "a", trusted=True)
        seen = watched(seed)
        session = new_session(policy, level)
        handle = add(session, raw, tmp_path / "b", seeds=False)
        handle.connect_peer((HERE, client.listen_port))
        await seeding(handle)
    assert seen == {method}
    assert (tmp_path / "b" / "file.bin").read_bytes() == (tmp_path / "a" / "file.bin").read_bytes()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_other_versions_of_torrents_are_found_by_their_hash_as_well(tmp_path: Path, version: str) -> None:
    torrent, raw = make_torrent(tmp_path / "a", version)
    session = new_session(FORCED, RC4)
    await seeding(add(session, raw, tmp_path / "a", seeds=True))
    async with TorrentClient(listen_host=HERE, encryption="require") as client, asyncio.timeout(SECONDS):
        download = await client.add(torrent, tmp_path / "b", peers=[f"{HERE}:{session.listen_port()}"])
        await download.wait()
        leecher = new_session(FORCED, RC4)
        handle = add(leecher, raw, tmp_path / "c", seeds=False)
        handle.connect_peer((HERE, client.listen_port))
        await seeding(handle)
    assert (tmp_path / "c" / "file.bin").read_bytes() == (tmp_path / "a" / "file.bin").read_bytes()


async def test_it_goes_both_ways_over_utp(tmp_path: Path) -> None:
    torrent, raw = make_torrent(tmp_path / "a")
    session = new_session(FORCED, RC4, transport="utp")
    await seeding(add(session, raw, tmp_path / "a", seeds=True))
    async with (
        TorrentClient(listen_host=HERE, encryption="require", transports=["utp"]) as client,
        asyncio.timeout(SECONDS),
    ):
        download = await client.add(torrent, tmp_path / "b", peers=[f"{HERE}:{session.listen_port()}"])
        await download.wait()
        leecher = new_session(FORCED, RC4, transport="utp")
        handle = add(leecher, raw, tmp_path / "c", seeds=False)
        handle.connect_peer((HERE, client.listen_port))
        await seeding(handle)
    assert (tmp_path / "c" / "file.bin").read_bytes() == (tmp_path / "a" / "file.bin").read_bytes()


# Recording


async def _record(
    side: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: bytes
) -> dict[str, str]:
    """Talk until the peer has said its handshake; return what has come, by parts, and what was sent."""
    sent = side.data_to_send()
    writer.write(sent)
    came: list[bytes] = []
    got = b""
    async with asyncio.timeout(SECONDS):
        while len(got) < len(hello):
            part = await reader.read(200)  # small, so that parts of the start are cut
            assert part
            came.append(part)
            got += side.receive(part)
            more = side.data_to_send()
            writer.write(more)
            sent += more
    writer.close()
    return {
        "came": " ".join(part.hex() for part in came),
        "sent": sent.hex(),
        "got": got.hex(),
        "method": side.method.name,
    }


async def record() -> list[dict[str, str]]:
    """Record connections with libtorrent: whoever dials, both methods."""
    vectors = []
    with tempfile.TemporaryDirectory() as folder:
        torrent, raw = make_torrent(Path(folder, "a"))
        info_hash = torrent.info_hash
        hello = Handshake.of(info_hash, OURS).encode()
        for seed, (role, level) in enumerate((role, level) for role in ("outgoing", "incoming") for level in (1, 2)):
            session = new_session(FORCED, level)
            handle = add(session, raw, Path(folder, "a"), seeds=True)
            await seeding(handle)
            dice = Dice(seed)
            side: OutgoingEncryption | IncomingEncryption
            if role == "outgoing":
                side = OutgoingEncryption(new_rc4, dice, info_hash)
                side.write(hello)
                streams = await asyncio.open_connection(HERE, session.listen_port())
            else:
                side = IncomingEncryption(new_rc4, dice, {obfuscated(info_hash): info_hash}.get)
                dialled: asyncio.Queue[Any] = asyncio.Queue()
                server = await asyncio.start_server(lambda *pair, queue=dialled: queue.put_nowait(pair), HERE, 0)
                session.remove_torrent(handle)  # a seed does not dial
                handle = add(session, raw, Path(folder, f"b{seed}"), seeds=False)
                handle.connect_peer(server.sockets[0].getsockname())
                streams = await dialled.get()
                server.close()
            recorded = await _record(side, *streams, hello)
            vectors.append(
                {
                    "name": f"libtorrent {libtorrent.__version__}, we are {role}, {recorded['method'].lower()}",
                    "role": role,
                    "seed": str(seed),
                    "info_hash": info_hash.hex(),
                    "first": hello.hex() if role == "outgoing" else "",
                    "methods": " ".join(method.name for method in CryptoMethod),
                    **recorded,
                }
            )
    return vectors


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(record()), indent=1) + "\n")
