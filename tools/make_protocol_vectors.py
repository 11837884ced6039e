"""Make ``tests/vectors/protocol``, the test vectors of ``docs/explanation/protocol.md``.

Nothing of librats is used, so that the vectors check it rather than repeat it: the handshake is done by the PyPI
package ``noiseprotocol``, the sealing by ``cryptography``, and the frames are packed here by hand. Every key is fixed,
so a second run writes the same files. Both packages are in the dependency group ``test``.

    python tools/make_protocol_vectors.py [DIRECTORY]
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

HOME = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "protocol"
SOURCE = "tools/make_protocol_vectors.py, with noiseprotocol and cryptography"

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


# Layouts


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


# The sets


def handshake_cases() -> list[Fields]:
    """Two nodes with fixed keys shake hands."""
    greetings = {
        "initiator": greeting(bytes.fromhex("a0a1a2a3a4a5a6a7"), "example-a/1"),
        "responder": greeting(bytes.fromhex("b0b1b2b3b4b5b6b7"), "example-b/1"),
    }
    prologue = b"librats-proto\x1f" + PROTOCOL.encode()
    sides = {}
    for role in ("initiator", "responder"):
        side = sides[role] = NoiseConnection.from_name(NOISE_NAME)
        side.set_prologue(prologue)
        (side.set_as_initiator if role == "initiator" else side.set_as_responder)()
        side.set_keypair_from_private_bytes(Keypair.STATIC, STATIC[role])
        side.set_keypair_from_private_bytes(Keypair.EPHEMERAL, EPHEMERAL[role])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of fixed ephemeral keys, which vectors need
            side.start_handshake()
    chaining_keys: list[bytes] = []
    hkdf = sides["initiator"].noise_protocol.hkdf

    def noting_hkdf(chaining_key: bytes, *rest: Any) -> Any:
        chaining_keys.append(chaining_key)
        return hkdf(chaining_key, *rest)

    sides["initiator"].noise_protocol.hkdf = noting_hkdf
    blocks = []
    for index, (sender, receiver) in enumerate([("initiator", "responder"), ("responder", "initiator")] * 2):
        if index == 3:  # noqa: PLR2004 - XX has three messages
            break
        message = bytes(sides[sender].write_message(greetings[sender] if index else b""))
        sides[receiver].read_message(message)
        blocks.append({"from": sender, "block": (struct.pack(">I", len(message)) + message).hex()})
    state = sides["initiator"].noise_protocol
    case: Fields = {"id": "two-nodes", "protocol": PROTOCOL, "prologue": prologue.hex()}
    for role in sides:
        public = X25519PrivateKey.from_private_bytes(STATIC[role]).public_key().public_bytes_raw()
        case[role] = {
            "static_private": STATIC[role].hex(),
            "static_public": public.hex(),
            "peer_id": hashlib.sha256(public).hexdigest(),
            "ephemeral_private": EPHEMERAL[role].hex(),
            "greeting": greetings[role].hex(),
        }
    case["blocks"] = blocks
    case["handshake_hash"] = sides["initiator"].get_handshake_hash().hex()
    case["key_from_initiator"] = state.cipher_state_encrypt.k.hex()
    case["key_from_responder"] = state.cipher_state_decrypt.k.hex()
    case["path_secret"] = third_output(chaining_keys[-1]).hex()
    return [case]


def third_output(chaining_key: bytes) -> bytes:
    """Return what the derivation of the two transport keys gives as a third (Noise revision 34, 4.3)."""
    secret = hmac.digest(chaining_key, b"", "sha256")
    output = b""
    for number in (1, 2, 3):
        output = hmac.digest(secret, output + bytes([number]), "sha256")
    return output


def datagram_cases(secret: bytes) -> list[Fields]:
    """Seal a datagram in each direction of a path."""
    cases = []
    for sender, direction, epoch, counter, kind, payload in (
        ("initiator", 0, 0, 0, 1, b"position 7"),
        ("responder", 1, 0, 0, 1, b""),
        ("initiator", 0, 2, 1 << 40, 1, bytes(range(200))),
        ("responder", 1, 7, 5, 2, "später".encode()),
    ):
        label = b"librats datagram key" + struct.pack(">IB", epoch, direction)
        key = hmac.digest(secret, label, "sha256")
        sealed = ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, counter), bytes([kind]) + payload, b"")
        cases.append(
            {
                "id": f"epoch-{epoch}-from-the-{sender}",
                "sender": sender,
                "epoch": epoch,
                "counter": counter,
                "kind": kind,
                "key": key.hex(),
                "payload": payload.hex(),
                "datagram": (struct.pack(">Q", counter) + sealed).hex(),
            }
        )
    return cases


def path_cases(secret: bytes) -> list[Fields]:
    """Open a path from each side, as the first that this side opens."""
    token = hmac.digest(secret, b"librats path token", "sha256")[:8]
    cases = []
    for caller, epoch, ours in (("initiator", 2, 0), ("responder", 1, 1)):
        keys = [
            hmac.digest(secret, b"librats path key" + struct.pack(">IB", epoch, direction), "sha256")
            for direction in (0, 1)
        ]
        calling, answering = keys[ours], keys[1 - ours]
        head = token + struct.pack(">I", epoch)
        join = head + ChaCha20Poly1305(calling).encrypt(bytes(12), b"", b"librats path" + head)
        challenge = bytes.fromhex("0123456789abcdef")
        cases.append(
            {
                "id": f"opened-by-the-{caller}",
                "caller": caller,
                "epoch": epoch,
                "token": token.hex(),
                "key_from_initiator": keys[0].hex(),
                "key_from_responder": keys[1].hex(),
                "challenge": challenge.hex(),
                "received_by_caller": 7,
                "received_by_other": 300,
                "blocks": [
                    (struct.pack(">I", len(join)) + join).hex(),
                    block(answering, 0, challenge).hex(),
                    block(calling, 1, challenge + struct.pack(">Q", 7)).hex(),
                    block(answering, 1, struct.pack(">Q", 300)).hex(),
                ],
            }
        )
    return cases


def plaintext_cases(nodes: Fields) -> list[Fields]:
    """The same two nodes without encryption."""
    prologue = b"librats-proto\x1f" + PROTOCOL.encode()
    cases: list[Fields] = [{"id": "two-nodes", "protocol": PROTOCOL, "blocks": []}]
    for role in ("initiator", "responder"):
        body = struct.pack(">H", len(prologue)) + prologue + bytes.fromhex(nodes[role]["peer_id"])
        cases[0][role] = {"peer_id": nodes[role]["peer_id"]}
        cases[0]["blocks"].append({"from": role, "block": (struct.pack(">I", len(body)) + body).hex()})
    return cases


def greeting_cases() -> list[Fields]:
    """Greetings that are taken, that are not ours, and that are refused."""
    incarnation = bytes.fromhex("0001020304050607")
    told = {
        "version": 1,
        "features": 0,
        "incarnation": incarnation.hex(),
        "message_window": 4 * MIB,
        "max_message": 64 * MIB,
    }
    good = greeting(incarnation, "example/1")
    later = greeting(incarnation, "example/2", version=2, features=0x80000001, more=bytes.fromhex("c803010203"))
    return [
        {"id": "plain", "payload": good.hex(), "fields": told | {"agent": "example/1"}, "encodes": True},
        {
            "id": "without-agent",
            "payload": greeting(incarnation, "").hex(),
            "fields": told | {"agent": ""},
            "encodes": True,
        },
        {
            "id": "later-version-and-unknown-item",
            "payload": later.hex(),
            "fields": told | {"agent": "example/2", "features": 0x80000001},
        },
        {"id": "librats2-empty", "payload": "", "fields": None},
        {"id": "other-magic", "payload": b"rats".hex(), "fields": None},
        {"id": "breaks-off", "payload": good[:-1].hex(), "refused": True},
        {"id": "version-0", "payload": greeting(incarnation, "x", version=0).hex(), "refused": True},
        {"id": "without-incarnation", "payload": greeting(None, "x").hex(), "refused": True},
        {"id": "window-too-small", "payload": greeting(incarnation, "x", message_window=131071).hex(), "refused": True},
    ]


def frame_list() -> list[tuple[str, int, int, Fields]]:
    """One frame of every type, in an order that a session takes: id, type, flags, fields."""
    greeting_words = "grüße".encode()
    hello = b'{"listen":["192.0.2.7:8081"],"observed":"198.51.100.4:40000"}'
    peers = b"\x01\x01" + struct.pack(">H", 2)
    for role, ip, port in (("initiator", "c0000207", 8081), ("responder", "20010db8" + "00" * 11 + "07", 8082)):
        public = X25519PrivateKey.from_private_bytes(STATIC[role]).public_key().public_bytes_raw()
        raw = bytes.fromhex(ip)
        peers += bytes([len(raw)]) + raw + struct.pack(">H", port) + hashlib.sha256(public).digest()
    followed = bytes(range(0xD0, 0xE0)) + struct.pack(">Q", 3) + bytes(range(0xE0, 0xF0)) + struct.pack(">Q", 1)
    return [
        ("hello", HELLO, 0, {"body": hello.hex()}),
        ("message-json", MESSAGE, 0, {"name": "chat", "payload": b'{"message":"hi"}'.hex()}),
        ("message-bytes", MESSAGE, 1, {"name": "", "payload": "00ff10"}),
        ("message-text", MESSAGE, 2, {"name": "notes", "payload": greeting_words.hex()}),
        (
            "request",
            REQUEST,
            0,
            {"number": 1, "timeout_ms": 10000, "name": "file_request", "payload": b'{"name":"a"}'.hex()},
        ),
        ("request-bytes", REQUEST, 1, {"number": 2, "timeout_ms": 0, "name": "sum", "payload": "0102"}),
        ("cancel", CANCEL, 0, {"number": 1}),
        ("reply-json", REPLY, 0, {"number": 7, "payload": b'{"size":5}'.hex()}),
        ("reply-bytes", REPLY, 1, {"number": 8, "payload": "c0ffee"}),
        ("error", ERROR, 0, {"number": 9, "code": "no_handler", "words": "no handler for 'x'"}),
        ("datagram", DATAGRAM, 1, {"body": "0a0b0c"}),
        ("stream-open", STREAM_OPEN, 0, {"number": 1, "window": 262144, "name": "upload/1"}),
        ("stream-data", STREAM_DATA, 0, {"number": 1, "data": b"first ".hex()}),
        ("stream-data-end", STREAM_DATA, 1, {"number": 1, "data": b"and last".hex()}),
        ("stream-window", STREAM_WINDOW, 0, {"number": 1, "credit": 131072}),
        ("message-window", STREAM_WINDOW, 0, {"number": 0, "credit": 1048576}),
        ("stream-stop", STREAM_STOP, 0, {"number": 1, "code": "closed", "words": ""}),
        ("stream-reset", STREAM_RESET, 0, {"number": 1, "code": "reset", "words": "no longer wanted"}),
        ("ping", PING, 0, {"body": "1122334455667788"}),
        ("pong", PONG, 0, {"body": "8877665544332211"}),
        ("peers-wanted", PEERS, 0, {"body": "01000020"}),
        ("peers-offered", PEERS, 0, {"body": peers.hex()}),
        ("follows", FOLLOWS, 0, {"body": followed.hex()}),
        ("padding", PADDING, 0, {"body": "0000000000"}),
        ("unknown-type", UNKNOWN, 255, {"body": "deadbeef"}),
        ("go-away", GO_AWAY, 0, {"code": "closed", "words": "bye"}),
        ("acknowledgement", ACK, 0, {"body": struct.pack(">Q", 0x12C).hex()}),
        ("introduce", INTRODUCE, 0, {"body": (b"\x01" + struct.pack(">I", 1) + peers[-32:]).hex()}),
    ]


def frame_cases(key: bytes) -> list[Fields]:
    """Every frame in a block of its own, the nonces counting up, and then all of them in one block."""
    cases: list[Fields] = []
    everything = b""
    for nonce, (name, kind, flags, fields) in enumerate(frame_list()):
        packed = frame(kind, flags, body_of(kind, fields))
        everything += packed
        cases.append(
            {
                "id": name,
                "type": kind,
                "flags": flags,
                "fields": fields,
                "frame": packed.hex(),
                "nonce": nonce,
                "block": block(key, nonce, packed).hex(),
            }
        )
    return cases


def together_cases(key: bytes) -> list[Fields]:
    """Many frames in one block."""
    packed = [frame(kind, flags, body_of(kind, fields)) for _, kind, flags, fields in frame_list()]
    ids = [name for name, *_ in frame_list()]
    return [
        {
            "id": "all-frames-in-one-block",
            "frames": ids,
            "nonce": 0,
            "plaintext": b"".join(packed).hex(),
            "block": block(key, 0, b"".join(packed)).hex(),
        }
    ]


def fragment_cases(key: bytes) -> list[Fields]:
    """Frames in pieces: small ones by hand, with other frames in between, and a large one as it is cut when sent."""
    last, reply_lane = 1, 2
    ping = frame(PING, 0, bytes.fromhex("1122334455667788"))
    message = bytes([MESSAGE, 0]) + body_of(MESSAGE, {"name": "chat", "payload": b'{"message":"hi"}'.hex()})
    reply = bytes([REPLY, 1]) + body_of(REPLY, {"number": 7, "payload": "c0ffee"})
    small = [
        frame(FRAGMENT, 0, message[:3]),
        ping,
        frame(FRAGMENT, reply_lane, reply[:4]),
        frame(FRAGMENT, 0, message[3:20]),
        frame(FRAGMENT, reply_lane | last, reply[4:]),
        frame(FRAGMENT, last, message[20:]),
    ]
    payload = bytes(index % 251 for index in range(200_000))
    big = bytes([MESSAGE, 1]) + body_of(MESSAGE, {"name": "big", "payload": payload.hex()})
    pieces = [big[start : start + MAX_BODY] for start in range(0, len(big), MAX_BODY)]
    frames = [frame(FRAGMENT, last if piece is pieces[-1] else 0, piece) for piece in pieces]
    blocks = [block(key, nonce, packed) for nonce, packed in enumerate(frames)]
    return [
        {
            "id": "two-lanes-and-a-ping",
            "frames": [packed.hex() for packed in small],
            "order": ["ping", "reply", "message"],
            "message": {
                "flags": 0,
                "name": "chat",
                "payload": b'{"message":"hi"}'.hex(),
                "cost": 64 * 3 + len(message),
            },
            "reply": {"flags": 1, "number": 7, "payload": "c0ffee"},
            "nonce": 0,
            "block": block(key, 0, b"".join(small)).hex(),
        },
        {
            "id": "large-message",
            "flags": 1,
            "name": "big",
            "payload_size": len(payload),
            "payload_rule": "byte i is i modulo 251",
            "payload_sha256": hashlib.sha256(payload).hexdigest(),
            "cost": 64 * len(pieces) + len(big),
            "nonce": 0,
            "frame_starts": [packed[:12].hex() for packed in frames],
            "block_sizes": [len(sealed) for sealed in blocks],
            "block_sha256": [hashlib.sha256(sealed).hexdigest() for sealed in blocks],
        },
    ]


def rekey_cases(key: bytes) -> list[Fields]:
    """A change of key behind a message, and one in a block of its own; the counter goes on."""
    rekey = frame(REKEY, 0, b"")
    before, between, after = (
        frame(MESSAGE, 2, body_of(MESSAGE, {"name": "", "payload": text.encode().hex()})) for text in ("a", "b", "c")
    )
    second = next_key(key)
    third = next_key(second)
    steps = [(key, before + rekey), (second, between), (second, rekey), (third, after)]
    return [
        {
            "id": "two-changes",
            "first_nonce": 5,
            "steps": [
                {
                    "key": used.hex(),
                    "nonce": nonce,
                    "plaintext": plaintext.hex(),
                    "block": block(used, nonce, plaintext).hex(),
                }
                for nonce, (used, plaintext) in enumerate(steps, start=5)
            ],
        }
    ]


def refusal_cases(key: bytes) -> list[Fields]:
    """Blocks that end the session, the first of their direction."""
    ping = frame(PING, 0, bytes(8))
    short = struct.pack(">I", 15) + bytes(15)
    forged = bytearray(block(key, 0, ping))
    forged[-1] ^= 1
    plaintexts = {
        "truncated-frame-header": ping + b"\x01\x00\x00",
        "frame-longer-than-its-block": ping[:-1],
        "frames-behind-a-change-of-key": frame(REKEY, 0, b"") + ping,
        "ping-of-seven-bytes": frame(PING, 0, bytes(7)),
        "request-number-0": frame(
            REQUEST, 0, body_of(REQUEST, {"number": 0, "timeout_ms": 0, "name": "x", "payload": ""})
        ),
        "message-shorter-than-its-name": frame(MESSAGE, 0, b"\x05chat"),
        "name-not-utf8": frame(MESSAGE, 0, b"\x01\xff"),
        "stream-data-without-number": frame(STREAM_DATA, 0, bytes(3)),
        "stream-open-shorter-than-its-name": frame(STREAM_OPEN, 0, struct.pack(">IIB", 1, 65536, 2) + b"x"),
        "stream-window-without-credit": frame(STREAM_WINDOW, 0, struct.pack(">I", 1)),
        "error-shorter-than-its-code": frame(ERROR, 0, struct.pack(">IB", 1, 9) + b"closed"),
        "cancel-without-number": frame(CANCEL, 0, b""),
        "acknowledgement-of-seven-bytes": frame(ACK, 0, bytes(7)),
        "follows-that-breaks-off": frame(FOLLOWS, 0, bytes(23)),
        "follows-of-65-links": frame(FOLLOWS, 0, bytes(65 * 24)),
        "fragments-of-a-ping": frame(FRAGMENT, 1, bytes([PING, 0]) + bytes(8)),
        "fragments-of-a-message-among-replies": frame(FRAGMENT, 3, bytes([MESSAGE, 0, 0])),
        "fragments-of-nothing": frame(FRAGMENT, 1, b""),
    }
    cases = [
        {"id": "shorter-than-a-tag", "block": short.hex()},
        {"id": "longer-than-a-noise-message", "block": struct.pack(">I", 65536).hex()},
        {"id": "forged", "block": bytes(forged).hex()},
        {"id": "wrong-nonce", "block": block(key, 1, ping).hex()},
    ]
    return cases + [
        {"id": name, "plaintext": plaintext.hex(), "block": block(key, 0, plaintext).hex()}
        for name, plaintext in plaintexts.items()
    ]


def signing_key(private: bytes) -> Ed25519PrivateKey:
    """Return the Ed25519 key of an identity."""
    clamped = bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])
    context = b"librats Ed25519 signing key, version 1"
    return Ed25519PrivateKey.from_private_bytes(hashlib.blake2b(context, key=clamped, digest_size=32).digest())


def succession_record(old: bytes, new: bytes, created: int) -> bytes:
    """Return the record that one identity follows another."""
    signed = struct.pack(">BQ", 1, created)
    for private in (old, new):
        signed += X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        signed += signing_key(private).public_key().public_bytes_raw()
    text = b"librats identity succession, version 1" + signed
    return signed + signing_key(old).sign(text) + signing_key(new).sign(text)


def succession_cases() -> list[Fields]:
    """Two identities that follow each other, and what is refused."""
    identities = [STATIC["initiator"], STATIC["responder"], bytes(range(0x80, 0xA0))]
    first, second = (succession_record(identities[at], identities[at + 1], 1_700_000_000 + at) for at in range(2))
    shown = [
        {
            "private_key": private.hex(),
            "public_key": X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex(),
            "verify_key": signing_key(private).public_key().public_bytes_raw().hex(),
        }
        for private in identities
    ]
    for identity in shown:
        identity["peer_id"] = hashlib.sha256(bytes.fromhex(identity["public_key"])).hexdigest()
    good = {"one": first, "two": first + second}
    bad = {
        "version-2": b"\x02" + first[1:],
        "cut": first[:-1],
        "time-changed": first[:8] + b"\x01" + first[9:],
        "signatures-swapped": first[:137] + first[201:] + first[137:201],
        "wrong-order": second + first,
        "empty": b"",
    }
    return [
        {"id": name, "identities": shown, "created": 1_700_000_000, "frame": frame(SUCCESSION, 0, body).hex()}
        for name, body in good.items()
    ] + [{"id": name, "frame": frame(SUCCESSION, 0, body).hex(), "refused": True} for name, body in bad.items()]


def introduction_cases() -> list[Fields]:
    """A caller and a target talk through an introducer: every notice of it, and the letters in them."""
    sides = {}
    for role in ("initiator", "responder"):
        side = sides[role] = NoiseConnection.from_name(b"Noise_IK_25519_ChaChaPoly_SHA256")
        side.set_prologue(b"librats-introduce\x1f" + PROTOCOL.encode())
        (side.set_as_initiator if role == "initiator" else side.set_as_responder)()
        side.set_keypair_from_private_bytes(Keypair.STATIC, STATIC[role])
        side.set_keypair_from_private_bytes(Keypair.EPHEMERAL, EPHEMERAL[role])
    keys = {
        role: X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        for role, private in STATIC.items()
    }
    sides["initiator"].set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, keys["responder"])
    for side in sides.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            side.start_handshake()
    caller, target = sides["initiator"], sides["responder"]
    ids = {role: hashlib.sha256(public).digest() for role, public in keys.items()}
    described = '"ice":{"ufrag":"abcdefgh","pwd":"abcdefghijklmnopqrstuvwx","candidates":[]}'
    name = f'"id":"{"a0" * 16}"'
    letters = {
        "offer": f'{{{name},"time":1700000000000,{described},"rtt_ms":20.5,"seen":"192.0.2.7"}}'.encode(),
        "answer": f"{{{name},{described}}}".encode(),
        "caller adds": f'{{{name},"candidates":["candidate:1 1 UDP 2130706431 192.0.2.7 8081 typ host"]}}'.encode(),
        "target adds": f'{{{name},"end_of_candidates":true}}'.encode(),
    }
    sealed = {"offer": bytes(caller.write_message(letters["offer"]))}
    target.read_message(sealed["offer"])
    sealed["answer"] = bytes(target.write_message(letters["answer"]))
    caller.read_message(sealed["answer"])
    sealed["caller adds"] = bytes(caller.encrypt(letters["caller adds"]))
    sealed["target adds"] = bytes(target.encrypt(letters["target adds"]))

    def case(name: str, op: int, number: int, rest: bytes, letter: str = "") -> Fields:
        body = bytes([op]) + struct.pack(">I", number) + rest
        told: Fields = {"id": name, "op": op, "number": number, "body": body.hex()}
        return told | ({"letter": letters[letter].decode(), "sealed": sealed[letter].hex()} if letter else {})

    reason = bytes([len(b"unknown_peer")]) + b"unknown_peer" + b"nobody"
    ephemeral = X25519PrivateKey.from_private_bytes(EPHEMERAL["initiator"]).public_key().public_bytes_raw()
    first = b"\x00" + struct.pack(">I", len(ephemeral)) + ephemeral
    credit = b"\x01" + struct.pack(">I", 49152)
    over = b"\x02" + bytes([len(b"carry_time")]) + b"carry_time" + b"over"
    return [
        case("ask", 0x01, 1, ids["responder"]),
        case("key", 0x11, 1, keys["responder"]),
        case("offer", 0x02, 2, ids["responder"] + sealed["offer"], "offer"),
        case("passed", 0x21, 9, ids["initiator"] + sealed["offer"], "offer"),
        case("answer", 0x31, 9, sealed["answer"], "answer"),
        case("answered", 0x12, 2, sealed["answer"], "answer"),
        case("carry", 0x04, 2, first),
        case("carried", 0x23, 9, first),
        case("carry back", 0x34, 9, credit),
        case("carried back", 0x16, 2, credit),
        case("carried no longer", 0x16, 2, over),
        case("add", 0x03, 2, sealed["caller adds"], "caller adds"),
        case("passed-add", 0x22, 9, sealed["caller adds"], "caller adds"),
        case("more", 0x32, 9, sealed["target adds"], "target adds"),
        case("added", 0x13, 2, sealed["target adds"], "target adds"),
        case("refused", 0x14, 3, reason),
        case("decline", 0x33, 10, reason),
        case("services", 0x15, 0, b'{"stun_port":3478}'),
    ]


def make_sets() -> dict[str, Fields]:
    """Return every set by its file name."""
    handshake = handshake_cases()
    key = bytes.fromhex(handshake[0]["key_from_initiator"])
    keyed = {
        "frames": frame_cases(key),
        "together": together_cases(key),
        "fragments": fragment_cases(key),
        "rekey": rekey_cases(key),
        "refusals": refusal_cases(key),
    }
    sets: dict[str, Fields] = {
        "handshake": {"source": SOURCE, "cases": handshake},
        "plaintext": {"source": SOURCE, "cases": plaintext_cases(handshake[0])},
        "greetings": {"source": SOURCE, "cases": greeting_cases()},
        "paths": {
            "source": SOURCE,
            "secret": handshake[0]["path_secret"],
            "cases": path_cases(bytes.fromhex(handshake[0]["path_secret"])),
        },
        "datagrams": {
            "source": SOURCE,
            "secret": handshake[0]["path_secret"],
            "cases": datagram_cases(bytes.fromhex(handshake[0]["path_secret"])),
        },
        "successions": {"source": SOURCE, "cases": succession_cases()},
        "introductions": {"source": SOURCE, "protocol": PROTOCOL, "cases": introduction_cases()},
    }
    for name, cases in keyed.items():
        sets[name] = {"source": SOURCE, "key": key.hex(), "count": len(cases), "cases": cases}
    return sets


def main(arguments: Sequence[str]) -> int:
    """Write the sets."""
    home = Path(arguments[0]) if arguments else HOME
    home.mkdir(parents=True, exist_ok=True)
    for name, content in make_sets().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (home / f"{name}.json").write_text(text, encoding="utf-8")
        print(f"{home / name}.json: {len(content['cases'])} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
