"""A node of the DHT beside libtorrent's: CPU time of the process that answers, for each query."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from benchmarks.conftest import Stage

from librats._core import krpc, krpc_writer
from librats.cli.measuring.contest import Contender, Contest, Sample, at_most
from librats.dht.answering import ANNOUNCE_PEER, FIND_NODE, GET_PEERS, PING

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
ROUNDS = 7
WINDOW = 32
QUERIES = 40_000
PEERS = 50
MICROSECONDS = 1e6
OWN_ID = b"a" * 20
KNOWN_HASH = b"k" * 20
CPU_TARGETS = {"ping": 7, "find_node": 10, "get_peers": 12, f"get_peers, {PEERS} peers": 12}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads CPU times from /proc")
chance = random.Random(5)  # noqa: S311 - made-up targets


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run an end; yield the process and its port."""
    command = [sys.executable, "-m", "benchmarks.dht_ends", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        yield running.pid, int(running.stdout.readline())
        running.stdin.close()


class Asker:
    """Asks a node, so many queries under way at a time.

    Args:
        pid: The process that answers.
        port: Its port.
    """

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._port = port
        self._sock = self._socket(HOST)

    def _socket(self, host: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((host, 0))
        sock.connect((HOST, self._port))
        sock.settimeout(2.0)
        return sock

    def close(self) -> None:
        self._sock.close()

    def announce(self) -> None:
        """Announce peers from addresses of their own, and ourselves: whoever shows a token has proven who he is."""
        for number in range(PEERS):
            with self._socket(f"127.1.{number}.1") as sock:
                self._announce(sock)
        self._announce(self._sock)

    @staticmethod
    def _announce(sock: socket.socket) -> None:
        sock.send(krpc_writer.query(GET_PEERS, b"aa", OWN_ID, info_hash=KNOWN_HASH))
        token = None
        while token is None:
            token = krpc.parse(sock.recv(2048)).token
        sock.send(krpc_writer.query(ANNOUNCE_PEER, b"bb", OWN_ID, info_hash=KNOWN_HASH, port=4000, token=token))
        while (message := krpc.parse(sock.recv(2048))).transaction_id != b"bb":
            pass
        assert message.kind == krpc.RESPONSE

    def cpu_seconds(self) -> float:
        """Return what all threads of the process have used."""
        tasks = Path(f"/proc/{self._pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def microseconds(self, what: str, count: int) -> Sample:
        """Return what an answer takes."""
        queries = [query(what, number) for number in range(WINDOW * 8)]
        send, receive = self._sock.send, self._sock.recv
        before, answers = self.cpu_seconds(), 0
        while answers < count:
            for number in range(WINDOW):
                send(queries[(answers + number) % len(queries)])
            for _ in range(WINDOW):
                try:
                    receive(2048)
                except TimeoutError:
                    break
                answers += 1
        return Sample((self.cpu_seconds() - before) / answers * MICROSECONDS)


def query(what: str, number: int) -> bytes:
    """Write a query; its targets are random ones."""
    transaction_id = number.to_bytes(2)
    target = chance.randbytes(20)
    if what == "ping":
        return krpc_writer.query(PING, transaction_id, OWN_ID)
    if what == "find_node":
        return krpc_writer.query(FIND_NODE, transaction_id, OWN_ID, target=target)
    info_hash = target if what == "get_peers" else KNOWN_HASH
    return krpc_writer.query(GET_PEERS, transaction_id, OWN_ID, info_hash=info_hash)


@pytest.mark.parametrize("what", CPU_TARGETS)
def bench_answering(stage: Stage, what: str) -> None:
    with contextlib.ExitStack() as stack:
        contenders = []
        for name in ("librats", "libtorrent") if stage.has("libtorrent") else ("librats",):
            pid, port = stack.enter_context(process(name))
            stack.enter_context(process("neighbours", str(port)))
            asker = Asker(pid, port)
            stack.callback(asker.close)
            asker.announce()
            contenders.append(Contender(name, partial(asker.microseconds, what, stage.scaled(QUERIES))))
        contest = Contest(f"DHT: {what}", "µs CPU", contenders, more_is_better=False)
        stage.hold(contest, ROUNDS)
    if contest.has("libtorrent"):
        stage.show(contest.beside("libtorrent", at_most(1.0)))
    stage.show(contest.alone(at_most(CPU_TARGETS[what])))
