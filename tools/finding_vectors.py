"""Test vectors of what peers hand out so that others find them: records for the DHT, and tickets."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tools.protocol_layouts import STATIC, Fields, signing_key

IPV4 = bytes([203, 0, 113, 7]) + (8080).to_bytes(2)
IPV6 = bytes.fromhex("20010db8000000000000000000000007") + (8081).to_bytes(2)
OTHER = bytes([198, 51, 100, 1]) + (3478).to_bytes(2)


def _public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _text(value: bytes) -> bytes:
    return b"%d:%b" % (len(value), value)


def _list(*values: bytes) -> bytes:
    return b"l" + b"".join(map(_text, values)) + b"e"


def record_cases() -> list[Fields]:
    """Return a record with everything, and one with nothing but a key."""
    private = STATIC["initiator"]
    public = _public(private)
    introducer = hashlib.sha256(_public(STATIC["responder"])).digest()
    expires = 1_700_007_200
    whole = b"d1:a%b1:ei%de1:i%b1:k%b1:n%b1:s%b1:vi1ee" % (
        _list(IPV4, IPV6),
        expires,
        _list(introducer + OTHER),
        _text(public),
        _text(b"full-cone"),
        _list(bytes([203, 0, 113, 7])),
    )
    bare = b"d1:ei%de1:k%b1:vi1ee" % (expires, _text(public))
    key = signing_key(private)
    cases: list[Fields] = []
    for name, value, sequence in (("whole", whole, 1_700_000_000), ("bare", bare, 7)):
        signed = b"4:salt7:librats3:seqi%de1:v%b" % (sequence, value)
        verify_key = key.public_key().public_bytes_raw()
        cases.append(
            {
                "id": name,
                "private_key": private.hex(),
                "value": value.hex(),
                "sequence": sequence,
                "signature": key.sign(signed).hex(),
                "target": hashlib.sha1(verify_key + b"librats", usedforsecurity=False).hexdigest(),
                "expires": expires,
                "peer_id": hashlib.sha256(public).hexdigest(),
                "introducers": hashlib.sha1(
                    b"librats introducers" + hashlib.sha256(public).digest(), usedforsecurity=False
                ).hexdigest(),
            }
        )
    return cases


def ticket_cases() -> list[Fields]:
    """Return a ticket with everything and an unknown field, and one with keys alone."""
    public = _public(STATIC["initiator"])
    verify_key = signing_key(STATIC["initiator"]).public_key().public_bytes_raw()
    introducer = hashlib.sha256(_public(STATIC["responder"])).digest()
    keys = [(1, public), (2, verify_key)]
    whole = [
        *keys,
        (3, IPV4),
        (200, b"of a later version"),
        (3, IPV6),
        (4, b"home.example.org:8080"),
        (5, introducer + b"relay.example.org:3478"),
        (5, introducer + b"wss://relay.example.org:443/librats"),
        (6, bytes(range(32))),
    ]
    cases: list[Fields] = []
    for name, fields in (("whole", whole), ("keys", keys)):
        written = b"".join(bytes([tag, len(value)]) + value for tag, value in fields)
        checksum = hashlib.sha256(b"rats1" + written).digest()[:4]
        text = "rats1" + base64.b32encode(written + checksum).decode().rstrip("=").lower()
        cases.append(
            {
                "id": name,
                "text": text,
                "public_key": public.hex(),
                "verify_key": verify_key.hex(),
                "introducer": introducer.hex(),
            }
        )
    return cases
