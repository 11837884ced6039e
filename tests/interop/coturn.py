"""Starting coturn on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
from pathlib import Path

from tests.interop.listening import until_it_listens
from tests.reference.certificates import make_certificate

from librats.servers import TurnServer

__all__ = ["TURNSERVER", "Coturn", "free_port"]

TURNSERVER = shutil.which("turnserver")
SECONDS = 20.0
RELAY_PORTS = 100
LISTENING_PORTS = range(26_000, 32_000)

_relay_ports = itertools.count(10_000 + os.getpid() % 150 * RELAY_PORTS, RELAY_PORTS)


def free_port() -> int:
    """Return a port that is free for UDP and TCP on every loopback address.

    coturn tries for a minute to get a port that another process has on one of its addresses, and answers nowhere
    meanwhile. The port is below those that the system gives away, so that nobody takes it before coturn does.
    """
    while True:
        port = LISTENING_PORTS.start + secrets.randbelow(len(LISTENING_PORTS))
        with contextlib.ExitStack() as held:
            try:
                for family, kind in itertools.product(
                    (socket.AF_INET, socket.AF_INET6), (socket.SOCK_DGRAM, socket.SOCK_STREAM)
                ):
                    sock = held.enter_context(socket.socket(family, kind))
                    if family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    sock.bind(("", port))
            except OSError:
                continue
            return port


class Coturn:
    """A coturn process.

    Args:
        folder: Where its files go.
        options: Added to its command line.
        host: The loopback address that it listens on.
    """

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.tls_port = free_port()
        self.certificate = make_certificate(folder, host)
        first = next(_relay_ports)
        self._command = [
            *(TURNSERVER or "turnserver", "-n", "-L", host, "-p", str(self.port), "--tls-listening-port"),
            *(str(self.tls_port), f"--min-port={first}", f"--max-port={first + RELAY_PORTS - 1}"),
            *("--realm=example.org", "--no-cli", "--allow-loopback-peers", "--no-dtls", "-m", "1"),
            *(f"--cert={self.certificate}", f"--pkey={self.certificate}", "--log-file=stdout"),
            *(f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'db'}", *options),
        ]
        self._log = folder / "coturn.log"
        self._process: asyncio.subprocess.Process | None = None

    def server(self, transport: str = "udp", *, password: str = "secret") -> TurnServer:  # noqa: S107
        return TurnServer(
            host=self.host,
            port=self.tls_port if transport == "tls" else self.port,
            username="bob",
            password=password,
            transport=transport,  # type: ignore[arg-type]
            ca_file=self.certificate if transport == "tls" else None,
        )

    async def start(self) -> Coturn:
        """Start it, and wait until it listens."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)
        async with asyncio.timeout(SECONDS):
            for port in (self.port, self.tls_port):
                await until_it_listens(self._process, self.host, port, lambda: self._log.read_text(errors="replace"))
        return self

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
