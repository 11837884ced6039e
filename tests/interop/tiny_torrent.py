"""As little of BitTorrent as carries a file over a stream, libtorrent's end of it, and a relay that loses datagrams."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import libtorrent as lt

from librats._core import bencode
from librats.types import Address

PIECE = 1 << 18
BLOCK = 1 << 14
AHEAD = 64
"""Blocks that are asked for before the first of them has come."""

CHOKE, UNCHOKE, INTERESTED, HAVE, BITFIELD, REQUEST, PIECE_DATA = 0, 1, 2, 4, 5, 6, 7
PROTOCOL = b"\x13BitTorrent protocol"
SETTINGS: dict[str, Any] = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": 0,
}


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - libtorrent tells by threads of its own
        await asyncio.sleep(0.003)


class Torrent:
    """A file of random bytes, and what is known of it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.data = random.Random(size).randbytes(size)  # noqa: S311 - no secret
        self.folder = folder
        (folder / "file").write_bytes(self.data)
        pieces = [self.data[at : at + PIECE] for at in range(0, size, PIECE)]
        hashes = b"".join(hashlib.sha1(piece, usedforsecurity=False).digest() for piece in pieces)
        info = {"length": size, "name": "file", "piece length": PIECE, "pieces": hashes}
        self.raw = bencode.encode({"info": info})
        self.info_hash = hashlib.sha1(bencode.encode(info), usedforsecurity=False).digest()
        self.pieces = len(pieces)


class Theirs:
    """A session of libtorrent with the torrent, over uTP alone."""

    def __init__(self, torrent: Torrent, folder: Path, *, seeds: bool, host: str, **settings: Any) -> None:
        listens = f"[{host}]:0" if ":" in host else f"{host}:0"
        given: Any = {**SETTINGS, "listen_interfaces": listens, **settings}
        self.session = lt.session(given)
        wanted = lt.load_torrent_buffer(torrent.raw)
        wanted.save_path = str(torrent.folder if seeds else folder)
        wanted.flags = lt.torrent_flags.seed_mode if seeds else 0
        self.torrent: Any = self.session.add_torrent(wanted)
        self.path = folder / "file"
        self.data = torrent.data
        self.host = host

    async def address(self) -> Address:
        """Return where it listens, once it knows the torrent: whoever asks for it before that is sent away."""
        await until(lambda: self.session.listen_port() and self.torrent.status().state in READY)
        return Address(self.host, self.session.listen_port())

    def dial(self, address: Address) -> None:
        self.torrent.connect_peer(tuple(address))

    async def whole(self) -> bool:
        """Wait until it has everything, by its own count and in the file, which it writes later."""
        await until(lambda: self.torrent.status().is_seeding)
        self.torrent.flush_cache()
        await until(lambda: self.path.exists() and self.path.read_bytes() == self.data)
        self.session.remove_torrent(self.torrent)
        return True


READY = (lt.torrent_status.downloading, lt.torrent_status.seeding, lt.torrent_status.finished)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def greet(torrent: Torrent, streams: Streams) -> None:
    """Exchange handshakes."""
    reader, writer = streams
    writer.write(PROTOCOL + bytes(8) + torrent.info_hash + b"-XX0001-" + os.urandom(12))
    theirs = await reader.readexactly(68)
    assert theirs[:20] == PROTOCOL
    assert theirs[28:48] == torrent.info_hash


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    while True:
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        body = await reader.readexactly(size)
        if body:
            yield body[0], body[1:]


async def seed(torrent: Torrent, streams: Streams) -> None:
    """Give what is asked for, until the other side goes."""
    reader, writer = streams
    await greet(torrent, streams)
    bits = (1 << torrent.pieces) - 1 << -torrent.pieces % 8
    field = bits.to_bytes((torrent.pieces + 7) // 8, "big")
    writer.write(struct.pack(">IB", 1 + len(field), BITFIELD) + field + struct.pack(">IB", 1, UNCHOKE))
    try:
        async for kind, body in messages(reader):
            if kind == REQUEST:
                index, begin, size = struct.unpack(">III", body)
                at = index * PIECE + begin
                writer.write(struct.pack(">IBII", 9 + size, PIECE_DATA, index, begin) + torrent.data[at : at + size])
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def leech(torrent: Torrent, streams: Streams) -> bytes:
    """Ask for everything, and return it."""
    reader, writer = streams
    await greet(torrent, streams)
    writer.write(struct.pack(">IB", 1, INTERESTED))
    found = bytearray(len(torrent.data))
    starts = range(0, len(found), BLOCK)
    asked = had = 0
    unchoked = False
    async for kind, body in messages(reader):
        unchoked = unchoked or kind == UNCHOKE
        if kind == PIECE_DATA:
            index, begin = struct.unpack_from(">II", body)
            at = index * PIECE + begin
            found[at : at + len(body) - 8] = body[8:]
            had += 1
        while unchoked and asked < len(starts) and asked < had + AHEAD:
            at = starts[asked]
            size = min(BLOCK, len(found) - at)
            writer.write(struct.pack(">IBIII", 13, REQUEST, at // PIECE, at % PIECE, size))
            asked += 1
        if had == len(starts):
            break
    writer.close()
    return bytes(found)


class _Leg(asyncio.DatagramProtocol):
    """One socket of the relay."""

    def __init__(self, relay: Lossy, back: Any = None) -> None:
        self.relay, self.back = relay, back
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.relay.pass_on(self, data, addr)


class Lossy:
    """Passes datagrams on between one who sends to it and a target, and loses some."""

    def __init__(self, target: Address, loss: float) -> None:
        self.target, self.loss = target, loss
        self.chance = random.Random(7)  # noqa: S311 - no secret
        self.source: Any = None
        self.near: Any = None
        self.far: Any = None
        self.lost = self.passed = 0

    def pass_on(self, leg: _Leg, data: bytes, addr: Any) -> None:
        if leg is self.near:
            self.source = addr
        if self.chance.random() < self.loss:
            self.lost += 1
            return
        self.passed += 1
        if leg is self.near:
            self.far.transport.sendto(data, tuple(self.target))
        elif self.source is not None:
            self.near.transport.sendto(data, self.source)


@asynccontextmanager
async def lossy(target: Address, loss: float) -> AsyncIterator[tuple[Address, Lossy]]:
    """Open a relay to a target; its address comes first."""
    loop = asyncio.get_running_loop()
    relay = Lossy(target, loss)
    legs = [await loop.create_datagram_endpoint(lambda: _Leg(relay), local_addr=("127.0.0.1", 0)) for _ in range(2)]
    relay.near, relay.far = (leg for _, leg in legs)
    try:
        yield Address(*legs[0][0].get_extra_info("sockname")), relay
    finally:
        for transport, _ in legs:
            transport.close()
