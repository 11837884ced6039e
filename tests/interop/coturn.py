"""Starting coturn on loopback."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
from pathlib import Path

from tests.reference.certificates import make_certificate

from librats.servers import TurnServer

__all__ = ["TURNSERVER", "Coturn", "free_port"]

TURNSERVER = shutil.which("turnserver")
SECONDS = 20.0
RELAY_PORTS = 100

_relay_ports = itertools.count(10_000 + os.getpid() % 150 * RELAY_PORTS, RELAY_PORTS)


def free_port(host: str) -> int:
    """Return a port that is free for UDP and TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family, socket.SOCK_STREAM) as tcp:
            udp.bind((host, 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind((host, port))
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
        self.port = free_port(host)
        self.tls_port = free_port(host)
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
                while True:
                    assert self._process.returncode is None, self._log.read_text(errors="replace")
                    try:
                        _, writer = await asyncio.open_connection(self.host, port)
                    except OSError:
                        await asyncio.sleep(0.02)
                        continue
                    writer.close()
                    await writer.wait_closed()
                    break
        return self

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
