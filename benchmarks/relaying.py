"""Servers that relay, and callers that have them relay: what a second of a server's CPU time moves. On Linux.

The callers' own time is not counted, nor is it what limits: a server is idle for a part of the time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.loopback.relay.clients import PASSWORD, USER, Peer, TurnClient

from librats._core.datagram import BatchSocket, Inbox
from librats._core.stun import channel_data
from librats.cli.measuring.sample import Sample
from librats.types import Address

__all__ = ["COTURN", "Callers", "Server", "Traffic", "callers_of", "coturn", "librats_relay", "python_relay"]

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
CHANNEL = 0x4000
ROOM = 4 << 20
WINDOW = 256  # packets under way
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
START, ARRIVAL = 60.0, 5.0
COTURN = shutil.which("turnserver")


class Server:
    """A server's process, which ends with the block.

    Args:
        arguments: Its command line; ``{port}`` stands for the port that it is to listen on.
        environment: What its environment has besides ours.
    """

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._environment = os.environ | (environment or {})

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        quiet = subprocess.DEVNULL
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HOST, 0))
            self.address = Address(HOST, sock.getsockname()[1])
        command = [argument.format(port=self.address.port) for argument in self._arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=quiet, stderr=quiet)
        end = time.monotonic() + START
        while self._process.poll() is None and time.monotonic() < end:
            with TurnClient(self.address) as client, contextlib.suppress(OSError):
                client.sock.settimeout(1.0)
                client.allocate()
                client.refresh(0)
                return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"{command!r} does not answer")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Return what all of its threads have used."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def librats_relay(*options: str, portable: bool = False) -> Server:
    """Return ``librats relay``, one thread."""
    listen = ("--listen", f"{HOST}:{{port}}", "--user", f"{USER}:{PASSWORD}", "--allow-peer", "127.0.0.0/8")
    environment = {"LIBRATS_PORTABLE": str(int(portable))}
    return Server(sys.executable, "-m", "librats", "relay", *listen, *options, environment=environment)


def coturn(*options: str) -> Server:
    """Return coturn, one relay thread."""
    assert COTURN is not None
    listen = ("-n", "-L", HOST, "-p", "{port}", "-m", "1", "--allow-loopback-peers")
    users = ("--lt-cred-mech", "-u", f"{USER}:{PASSWORD}", "-r", "rats")
    files = (
        f"--log-file={os.devnull}",
        f"--pidfile={os.devnull}",
        "--userdb=/nonexistent",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
    )
    return Server(COTURN, *listen, *users, *files, *options)


def python_relay() -> Server:
    """Return a relay in Python on uvloop."""
    return Server(sys.executable, "-m", "benchmarks.rivals.python_relay", "{port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the callers have relayed."""

    callers: int = 10
    burst: int = 8
    """Packets of each caller in a turn."""
    size: int = 172
    to_clients: bool = False
    """Whether the peers send, and not the callers."""
    merged: bool = False
    """Whether a burst leaves as one message that the kernel cuts, so that the server may take it as one."""


class Callers:
    """Clients of a server with an allocation and a channel each, and their peers; they leave with the block."""

    def __init__(self, server: Server, traffic: Traffic) -> None:
        self._server = server
        self._traffic = traffic
        self._undo = contextlib.ExitStack()
        self._inbox = Inbox()
        self._senders: list[tuple[socket.socket, BatchSocket, Address]] = []
        self._receivers: list[socket.socket] = []
        payload = bytes(range(256)) * (traffic.size // 256 + 1)
        payload = payload[: traffic.size]
        framed = channel_data(CHANNEL, payload)
        self._sent, self._expected = (payload, framed) if traffic.to_clients else (framed, payload)

    def __enter__(self) -> Self:
        """Allocate."""
        with self._undo as undo:
            for _ in range(self._traffic.callers):
                client, peer = undo.enter_context(TurnClient(self._server.address)), undo.enter_context(Peer(HOST))
                relayed = client.allocate()
                if client.permit(peer.address) or client.bind(CHANNEL, peer.address):
                    raise RuntimeError("the server refuses a channel")
                sender, receiver, to = client.sock, peer.sock, self._server.address
                if self._traffic.to_clients:
                    sender, receiver, to = receiver, sender, Address(*relayed)
                receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
                receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
                receiver.setblocking(False)
                if self._traffic.merged:
                    sender.setsockopt(SOL_UDP, UDP_SEGMENT, len(self._sent))
                batches = BatchSocket(sender.fileno(), -1, self._inbox, Address, _origin, segments=False)
                self._senders.append((sender, batches, to))
                self._receivers.append(receiver)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def relayed_rate(self, seconds: float) -> Sample:
        """Measure packets for each second of the server's CPU time, in thousands."""
        self._take_turns(seconds / 5)
        before = self._server.cpu_seconds()
        packets = self._take_turns(seconds)
        return Sample(packets / (self._server.cpu_seconds() - before) / 1000)

    def _take_turns(self, seconds: float) -> int:
        burst, sent = self._traffic.burst, 0
        under_way = max(WINDOW // self._traffic.callers - burst, 0)
        missing = [0] * self._traffic.callers
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for number, (sender, batches, to) in enumerate(self._senders):
                missing[number] = self._receive(number, missing[number], under_way) + burst
                if self._traffic.merged:
                    sender.sendto(self._sent * burst, to)
                else:
                    batches.send_many([(self._sent, to)] * burst)
            sent += burst * self._traffic.callers
        for number, count in enumerate(missing):
            self._receive(number, count, 0)
        return sent

    def _receive(self, number: int, missing: int, enough: int) -> int:
        """Receive until no more than so many packets are missing, and return how many are."""
        receiver, expected = self._receivers[number], self._expected
        end = 0.0
        while missing > enough:
            try:
                data = receiver.recv(1 << 16)
            except BlockingIOError:
                end = end or time.monotonic() + ARRIVAL
                if time.monotonic() > end:
                    raise RuntimeError("packets are lost") from None
                continue
            if data != expected * (len(data) // len(expected)):
                raise RuntimeError("packets are damaged")
            missing -= len(data) // len(expected)
        return missing


def _origin(host: str, port: int, *_: object) -> Address:
    return Address(host, port)


@contextlib.contextmanager
def callers_of(server: Server, traffic: Traffic) -> Iterator[Callers]:
    """Start a server, and give it callers."""
    with server, Callers(server, traffic) as callers:
        yield callers
