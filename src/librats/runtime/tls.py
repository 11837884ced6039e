"""TLS of connections that we open: whom to trust."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from librats.errors import ConfigError
from librats.runtime.offload import run_in_thread

__all__ = ["ClientTls", "client_tls"]


class ClientTls(NamedTuple):
    """How to begin TLS with one server."""

    context: ssl.SSLContext
    """Whose certificates are trusted."""

    name: str
    """The host name or IP address that the server's certificate must have."""


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def client_tls(name: str, ca_file: str | Path | None = None) -> ClientTls:
    """Return how to begin TLS with a server.

    Args:
        name: The host name or IP address that its certificate must have.
        ca_file: File with the certificates (PEM) that its own must come from; None for those that the system trusts.

    Raises:
        ConfigError: The file cannot be read, or has no certificates.
    """
    try:
        # Reading what a system trusts takes tens of milliseconds.
        context = await run_in_thread(_context, None if ca_file is None else str(ca_file))
    except OSError as error:
        raise ConfigError("ca_file", f"{ca_file}: {error.strerror or error}") from error
    return ClientTls(context, name)
