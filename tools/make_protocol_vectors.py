"""Make ``tests/vectors/protocol``, the test vectors of ``docs/explanation/protocol.md``.

Nothing of librats is used, so that the vectors check it rather than repeat it: the handshake is done by the PyPI
package ``noiseprotocol``, the sealing by ``cryptography``, and the frames are packed here by hand. Every key is fixed,
so a second run writes the same files. Both packages are in the dependency group ``test``.

    python -m tools.make_protocol_vectors [DIRECTORY]
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

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]
from tools.finding_vectors import record_cases, ticket_cases
from tools.introduction_vectors import introduction_cases, succession_cases
from tools.protocol_layouts import (
    ACK,
    CANCEL,
    DATAGRAM,
    EPHEMERAL,
    ERROR,
    FOLLOWS,
    FRAGMENT,
    GO_AWAY,
    HELLO,
    INTRODUCE,
    MAX_BODY,
    MESSAGE,
    MIB,
    NOISE_NAME,
    PADDING,
    PEERS,
    PING,
    PONG,
    PROTOCOL,
    REKEY,
    REPLY,
    REQUEST,
    STATIC,
    STREAM_DATA,
    STREAM_OPEN,
    STREAM_RESET,
    STREAM_STOP,
    STREAM_WINDOW,
    UNKNOWN,
    Fields,
    block,
    body_of,
    frame,
    greeting,
    next_key,
)

HOME = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "protocol"
SOURCE = "tools/make_protocol_vectors.py, with noiseprotocol and cryptography"


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
        "records": {"source": SOURCE, "cases": record_cases()},
        "tickets": {"source": SOURCE, "cases": ticket_cases()},
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
