"""Starting coturn on loopback, with certificates made for it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import itertools
import os
import shutil
import signal
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from librats.config import TurnServer

__all__ = ["TURNSERVER", "Coturn", "make_certificate"]

TURNSERVER = shutil.which("turnserver")
SECONDS = 20.0
RELAY_PORTS = 100

_relay_ports = itertools.count(10_000 + os.getpid() % 150 * RELAY_PORTS, RELAY_PORTS)


def make_certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a self-signed certificate for an IP address and ``localhost``; return it and its key as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{host}.pem", folder / f"{host}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


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
        self.certificate, key = make_certificate(folder, host)
        first = next(_relay_ports)
        self._command = [
            *(TURNSERVER or "turnserver", "-n", "-L", host, "-p", str(self.port), "--tls-listening-port"),
            *(str(self.tls_port), f"--min-port={first}", f"--max-port={first + RELAY_PORTS - 1}"),
            *("--realm=example.org", "--no-cli", "--allow-loopback-peers", "--no-dtls", "-m", "1"),
            *(f"--cert={self.certificate}", f"--pkey={key}", "--log-file=stdout", f"--pidfile={folder / 'pid'}"),
            *(f"--userdb={folder / 'db'}", *options),
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
