"""The ends of pyzmq with CURVE: small messages through the synchronous and the asyncio interface, and bulk data."""

from __future__ import annotations

import json
import os
from typing import Any

import zmq
import zmq.asyncio
from zmq.utils import z85

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End
from librats.cli.measuring.messages import MESSAGE
from librats.cli.measuring.stopwatch import Stopwatch

SERVER_SECRET = z85.encode(bytes(range(1, 33)))
SERVER_PUBLIC = zmq.curve_public(SERVER_SECRET)


def listening(context: Any, end: End, kind: int = zmq.DEALER) -> Any:
    socket = context.socket(kind)
    socket.curve_server = True
    socket.curve_secretkey = SERVER_SECRET
    end.announce(socket.bind_to_random_port(f"tcp://{LOOPBACK}"))
    return socket


def dialling(context: Any, end: End) -> Any:
    socket = context.socket(zmq.DEALER)
    socket.curve_serverkey = SERVER_PUBLIC
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.connect(f"tcp://{LOOPBACK}:{end.port}")
    return socket


def messages_receiver(end: End) -> None:
    with zmq.Context() as context, listening(context, end) as socket:
        for _ in range(end.number("warm_up")):
            json.loads(socket.recv())
        end.start()
        socket.send(b"go")
        for _ in range(end.number("count")):
            json.loads(socket.recv())
        socket.send(b"done")
        end.finish()


def messages_sender(end: End) -> None:
    with zmq.Context() as context, dialling(context, end) as socket:
        for _ in range(end.number("warm_up")):
            socket.send(json.dumps(MESSAGE).encode())
        socket.recv()
        end.start()
        for _ in range(end.number("count")):
            socket.send(json.dumps(MESSAGE).encode())
        socket.recv()
        end.finish()


async def asyncio_messages_receiver(end: End) -> None:
    with zmq.asyncio.Context() as context, listening(context, end) as socket:
        for _ in range(end.number("warm_up")):
            json.loads(await socket.recv())
        end.start()
        await socket.send(b"go")
        for _ in range(end.number("count")):
            json.loads(await socket.recv())
        await socket.send(b"done")
        end.finish()


async def asyncio_messages_sender(end: End) -> None:
    with zmq.asyncio.Context() as context, dialling(context, end) as socket:
        for _ in range(end.number("warm_up")):
            await socket.send(json.dumps(MESSAGE).encode())
        await socket.recv()
        end.start()
        for _ in range(end.number("count")):
            await socket.send(json.dumps(MESSAGE).encode())
        await socket.recv()
        end.finish()


def bulk_receiver(end: End) -> None:
    with zmq.Context() as context, listening(context, end) as socket:
        for _ in range(end.number("warm_up")):
            socket.recv()
        end.start()
        socket.send(b"go")
        size = sum(len(socket.recv()) for _ in range(end.number("blocks")))
        assert size == end.number("blocks") * BLOCK
        socket.send(b"done")
        end.finish()


def bulk_sender(end: End) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    with zmq.Context() as context, dialling(context, end) as socket:
        for _ in range(end.number("warm_up")):
            socket.send(blocks[0])
        socket.recv()
        end.start()
        for number in range(end.number("blocks")):
            socket.send(blocks[number % len(blocks)])
        socket.recv()
        end.finish()


def connecting_receiver(end: End) -> None:
    with zmq.Context() as context, listening(context, end, zmq.ROUTER) as socket:
        for count in (end.number("warm_up"), end.number("count")):
            for _ in range(count):
                socket.send_multipart(socket.recv_multipart())
            if count == end.number("warm_up"):
                end.start()
        end.finish()


def connecting_sender(end: End) -> None:
    """Connect and wait for the answer to a first message, which tells that the handshake is done."""
    stopwatch = Stopwatch(end)
    with zmq.Context() as context:
        for number in range(end.number("warm_up") + end.number("count")):
            if number == end.number("warm_up"):
                stopwatch.start()
            stopwatch.begin()
            with dialling(context, end) as socket:
                socket.send(b"hello")
                socket.recv()
                stopwatch.lap()
        stopwatch.stop()
