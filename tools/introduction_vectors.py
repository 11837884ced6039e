"""Test vectors of what identities seal and sign: successions, and letters of introduction."""

from __future__ import annotations

import hashlib
import struct
import warnings

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]
from tools.protocol_layouts import EPHEMERAL, PROTOCOL, STATIC, SUCCESSION, Fields, frame, signing_key


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
