"""A wire that takes time and loses some: carries frames between pairs of interfaces, where the kernel has no netem.

A program of its own, since what it delays has to go on while its owner computes:

    python wire.py '{"pairs": [["a", "b"]], "delay": 0.02, "loss": 0.05}'

It says "ready", and ends when its standard input does. What was left to the network card to do (checksums, segments)
is carried along (PACKET_VNET_HDR), so that TCP is as it would be without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
PR_SET_TIMERSLACK = 29
SO_RCVBUFFORCE = 33
EVERY_PROTOCOL = 3
BUFFER = 8 << 20
LARGEST = 70_000
BATCH = 64

Frame = tuple[float, int, socket.socket, bytes]


def open_end(name: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    end.bind((name, EVERY_PROTOCOL))
    end.setblocking(False)
    return end


def hurry() -> None:
    """Keep the time on a busy machine, too."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def waiting_at(end: socket.socket) -> list[bytes]:
    frames: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while len(frames) < BATCH:
            frames.append(end.recv(LARGEST))
    return frames


def carry(pairs: list[list[str]], delay: float, loss: float) -> None:
    other: dict[socket.socket, socket.socket] = {}
    for names in pairs:
        one, two = map(open_end, names)
        other |= {one: two, two: one}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ends: list[Any] = [*other, sys.stdin]
    under_way: list[Frame] = []
    number = 0
    while True:
        pause = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select(ends, [], [], pause)
        if sys.stdin in readable:
            return
        now = time.monotonic()
        for end in readable:
            for frame in waiting_at(end):
                if random.random() >= loss:  # noqa: S311 - no secret
                    number += 1
                    heapq.heappush(under_way, (now + delay, number, other[end], frame))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, out, frame = heapq.heappop(under_way)
            with contextlib.suppress(OSError):  # no room, or the interface is gone: lost
                out.send(frame)


def main() -> None:
    hurry()
    carry(**json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
