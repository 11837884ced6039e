"""The layouts of docs/explanation/protocol.md, packed by hand, for the vectors that check librats."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NOISE_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
PROTOCOL = "librats/1.0"
STATIC = {"initiator": bytes(range(0x00, 0x20)), "responder": bytes(range(0x20, 0x40))}
EPHEMERAL = {"initiator": bytes(range(0x40, 0x60)), "responder": bytes(range(0x60, 0x80))}
MIB = 1 << 20
MAX_BODY = 65515
REKEY_NONCE = (1 << 64) - 1
MESSAGE, REQUEST, REPLY, ERROR, CANCEL, FRAGMENT, DATAGRAM = 1, 2, 3, 4, 5, 6, 8
STREAM_OPEN, STREAM_DATA, STREAM_WINDOW, STREAM_RESET, STREAM_STOP = range(0x10, 0x15)
PING, PONG, GO_AWAY, REKEY, HELLO, PEERS = range(0x20, 0x26)
PADDING, UNKNOWN = 0x00, 0x7F
SUCCESSION = 0x26
FOLLOWS = 0x07
ACK = 0x30
INTRODUCE = 0x33

Fields = dict[str, Any]


def greeting(
    incarnation: bytes | None,
    agent: str | None,
    *,
    message_window: int = 4 * MIB,
    version: int = 1,
    features: int = 0,
    more: bytes = b"",
) -> bytes:
    """Return a greeting; what is None is left out."""
    items = [] if incarnation is None else [(1, incarnation)]
    items += [(2, struct.pack(">I", message_window)), (3, struct.pack(">I", 64 * MIB))]
    items += [] if agent is None else [(4, agent.encode())]
    packed = b"".join(struct.pack(">BB", tag, len(value)) + value for tag, value in items)
    return b"RATS" + struct.pack(">BI", version, features) + packed + more


def frame(kind: int, flags: int, body: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">BBH", kind, flags, len(body)) + body


def block(key: bytes, nonce: int, plaintext: bytes) -> bytes:
    """Return one block: a Noise transport message behind its length."""
    sealed = seal(key, nonce, plaintext)
    return struct.pack(">I", len(sealed)) + sealed


def seal(key: bytes, nonce: int, plaintext: bytes) -> bytes:
    """Encrypt as Noise does: the nonce is four zero bytes and the counter in little-endian."""
    return ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, nonce), plaintext, b"")


def next_key(key: bytes) -> bytes:
    """Return the key that follows (Noise revision 34, 4.2)."""
    return seal(key, REKEY_NONCE, bytes(32))[:32]


def body_of(kind: int, fields: Fields) -> bytes:
    """Pack the body of a frame from its fields."""
    if "body" in fields:
        return bytes.fromhex(fields["body"])
    parts = []
    for name in ("number", "timeout_ms", "window", "credit"):
        if name in fields:
            parts.append(struct.pack(">I", fields[name]))
    for name in ("name", "code"):
        if name in fields:
            text = fields[name].encode()
            parts.append(bytes([len(text)]) + text)
    parts.append(fields.get("words", "").encode())
    parts += [bytes.fromhex(fields[name]) for name in ("payload", "data") if name in fields]
    return b"".join(parts)


def signing_key(private: bytes) -> Ed25519PrivateKey:
    """Return the Ed25519 key of an identity."""
    clamped = bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])
    context = b"librats Ed25519 signing key, version 1"
    return Ed25519PrivateKey.from_private_bytes(hashlib.blake2b(context, key=clamped, digest_size=32).digest())
