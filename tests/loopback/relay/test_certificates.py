"""The certificate of a relay that runs, while it is renewed."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import TurnClient
from tests.reference.certificates import make_certificate

from librats.errors import ConfigError
from librats.relay.server import RelayServer
from librats.relay.stream_server import tls_context
from librats.runtime.offload import run_in_thread
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay


def write_pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    """Return a certificate and its key, as two files have them."""
    both = make_certificate(folder, name, file="both.pem").read_bytes()
    end = b"-----END CERTIFICATE-----\n"
    certificate, key = both.split(end)
    return certificate + end, key


def put(file: Path, content: bytes, *, at: int) -> None:
    """Write a file, as of a time of its own."""
    file.write_bytes(content)
    os.utime(file, (at, at))


async def shown(server: RelayServer) -> bytes:
    """Return the certificate that a new connection sees."""

    def look() -> bytes:
        with TurnClient(server.tls_addresses[0], "tls") as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            certificate = client.sock.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate

    return await run_in_thread(look)


async def test_a_certificate_whose_key_has_not_come_yet_leaves_the_one_before_until_it_has(
    start_relay: StartRelay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    first, second = write_pair(tmp_path, "before"), write_pair(tmp_path, "afterwards")
    put(certificate, first[0], at=1000)
    put(key, first[1], at=1000)
    server = await start_relay(tls_listen=(Address("127.0.0.1", 0),), certificate=certificate, private_key=key)
    assert b"before" in await shown(server)

    put(certificate, second[0], at=2000)
    with caplog.at_level(logging.WARNING, "librats.relay"):
        server.renew_certificate()
        assert b"before" in await shown(server)
        server.renew_certificate()  # nothing has changed since: it is told once
    assert [record.getMessage().endswith("the one before stays") for record in caplog.records] == [True]
    with pytest.raises(ConfigError, match="certificate"):
        server.reload(server.config)
    assert b"before" in await shown(server)

    put(key, second[1], at=2001)
    server.renew_certificate()
    assert b"afterwards" in await shown(server)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    certificate, key = write_pair(tmp_path, "locked")
    plain, locked = tmp_path / "plain.pem", tmp_path / "locked.pem"
    plain.write_bytes(certificate)
    loaded = serialization.load_pem_private_key(key, None)
    locked.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="certificate"):
        tls_context(plain, locked)
