"""The ends of py-libp2p: Noise and Yamux over TCP, in the event loop that it wants, which is trio's."""

from __future__ import annotations

import json
import os
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End
from librats.cli.measuring.messages import MESSAGE

PROTOCOL = "/librats-benchmark/1"
LISTENING_KEY = bytes(range(1, 33))
READ = 1 << 16


async def listen(end: End, handler: Any, done: trio.Event) -> None:
    host = new_host(key_pair=create_new_key_pair(LISTENING_KEY))
    host.set_stream_handler(PROTOCOL, handler)
    async with host.run([multiaddr.Multiaddr(f"/ip4/{LOOPBACK}/tcp/0")]):
        end.announce(int(host.get_addrs()[0].value_for_protocol("tcp")))
        await done.wait()


async def dial(end: End, use: Any) -> None:
    host = new_host(key_pair=create_new_key_pair(os.urandom(32)))
    other = ID.from_pubkey(create_new_key_pair(LISTENING_KEY).public_key)
    async with host.run([multiaddr.Multiaddr(f"/ip4/{LOOPBACK}/tcp/0")]):
        await host.connect(PeerInfo(other, [multiaddr.Multiaddr(f"/ip4/{LOOPBACK}/tcp/{end.port}")]))
        await use(await host.new_stream(other, [PROTOCOL]))


def messages_receiver(end: End) -> None:
    done = trio.Event()

    async def take(stream: Any) -> None:
        waiting = b""
        for count in (end.number("warm_up"), end.number("count")):
            left = count
            while left:
                *lines, waiting = (waiting + await stream.read(READ)).split(b"\n")
                for line in lines:
                    json.loads(line)
                left -= len(lines)
            if count == end.number("count"):
                end.finish()
            else:
                end.start()
            await stream.write(b"done")
        try:
            await stream.read(READ)  # until the other side hangs up, which it may also take for an error
        finally:
            done.set()

    trio.run(listen, end, take, done)


def messages_sender(end: End) -> None:
    async def send(stream: Any) -> None:
        for _ in range(end.number("warm_up")):
            await stream.write(json.dumps(MESSAGE).encode() + b"\n")
        await stream.read(READ)
        end.start()
        for _ in range(end.number("count")):
            await stream.write(json.dumps(MESSAGE).encode() + b"\n")
        await stream.read(READ)
        end.finish()
        await stream.close()

    trio.run(dial, end, send)


def bulk_receiver(end: End) -> None:
    done = trio.Event()

    async def take(stream: Any) -> None:
        for blocks in (end.number("warm_up"), end.number("blocks")):
            left = blocks * BLOCK
            while left:
                left -= len(await stream.read(min(left, READ)))
            if blocks == end.number("blocks"):
                end.finish()
            else:
                end.start()
            await stream.write(b"done")
        try:
            await stream.read(READ)  # until the other side hangs up, which it may also take for an error
        finally:
            done.set()

    trio.run(listen, end, take, done)


def bulk_sender(end: End) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(16)]

    async def send(stream: Any) -> None:
        for _ in range(end.number("warm_up")):
            await stream.write(blocks[0])
        await stream.read(READ)
        end.start()
        for number in range(end.number("blocks")):
            await stream.write(blocks[number % len(blocks)])
        await stream.read(READ)
        end.finish()
        await stream.close()

    trio.run(dial, end, send)
