"""Relays on the loopback."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.loopback.relay.clients import PASSWORD, USER

from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.turn.serving.allocation import Allocation
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

LOOPBACK = (parse_network("127.0.0.0/8"), parse_network("::1"))

StartRelay = Callable[..., Awaitable[RelayServer]]


class Witness:
    """Notes what comes and goes, in threads of the relay."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[int, int, int, int]]] = []

    def allocated(self, allocation: Allocation) -> None:
        self.seen.append(("allocated", (0, 0, 0, 0)))

    def released(self, allocation: Allocation, reason: str, traffic: tuple[int, int, int, int]) -> None:
        self.seen.append((reason, traffic))


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def start_relay(witness: Witness) -> AsyncIterator[StartRelay]:
    running: list[RelayServer] = []

    async def start(**fields: Any) -> RelayServer:
        defaults: dict[str, Any] = {
            "listen": (Address("127.0.0.1", 0),),
            "allow_peers": LOOPBACK,
            "users": {} if "no_auth" in fields else {USER: PASSWORD},
        }
        server = RelayServer(RelayConfig(**{**defaults, **fields}), witness)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.close()


def make_certificate(folder: Path, name: str) -> Path:
    """Write a certificate of that name with its key, and return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "relay.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return file
