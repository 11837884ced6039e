"""Certificates for servers on the loopback, made for each test."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["make_certificate"]


def make_certificate(folder: Path, name: str = "127.0.0.1", *, file: str = "server.pem") -> Path:
    """Write a self-signed certificate and its key into one file, and return that.

    It is good for ``localhost``, for the loopback addresses and for `name`, a host name or an IP address.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    named = {"127.0.0.1", "::1"}
    with contextlib.suppress(ValueError):
        named.add(str(ipaddress.ip_address(name)))
    hosts = [x509.IPAddress(ipaddress.ip_address(host)) for host in sorted(named)]
    names = [x509.DNSName(name)] if any(letter.isalpha() for letter in name) and " " not in name else []
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *names, *hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    written = folder / file
    written.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return written
