"""STUN messages the slow and obvious way (RFC 8489, 5 and 14): what the compiled codec is compared with."""

from __future__ import annotations

import hmac
import struct
import zlib
from dataclasses import dataclass

COOKIE = 0x2112A442
HEADER = 20
INTEGRITY, INTEGRITY_SHA256, FINGERPRINT = 0x0008, 0x001C, 0x8028
# Behind each of them only those that follow it here count.
GUARDS = [INTEGRITY, INTEGRITY_SHA256, FINGERPRINT]
FINGERPRINT_XOR = 0x5354554E


class Malformed(Exception):
    """The bytes are no message."""


@dataclass
class Attribute:
    kind: int
    value: bytes
    padding: bytes
    at: int
    """Where its header begins."""


@dataclass
class Message:
    method: int
    message_class: int
    transaction_id: bytes
    is_classic: bool
    attributes: list[Attribute]
    """Those that count."""

    data: bytes

    def first(self, kind: int) -> Attribute | None:
        return next((attribute for attribute in self.attributes if attribute.kind == kind), None)

    def check_fingerprint(self) -> bool:
        found = self.first(FINGERPRINT)
        if found is None or len(found.value) != 4 or found.at + 8 != len(self.data):
            return False
        crc = zlib.crc32(self.data[: found.at]) ^ FINGERPRINT_XOR
        return found.value == struct.pack(">I", crc)

    def check_integrity(self, key: bytes) -> bool:
        found = self.first(INTEGRITY_SHA256) or self.first(INTEGRITY)
        if found is None or self.is_classic:
            return False
        size, digest = (20, "sha1") if found.kind == INTEGRITY else (32, "sha256")
        covered = self.data[:2] + struct.pack(">H", found.at + 4 + size - HEADER) + self.data[4 : found.at]
        return hmac.compare_digest(hmac.digest(key, covered, digest), found.value)


def all_attributes(data: bytes) -> list[Attribute]:
    found, at = [], HEADER
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed
        kind, size = struct.unpack_from(">HH", data, at)
        end = at + 4 + size
        padding = -size % 4
        if end + padding > len(data):
            raise Malformed
        found.append(Attribute(kind, data[at + 4 : end], data[end : end + padding], at))
        at = end + padding
    return found


def those_that_count(attributes: list[Attribute]) -> list[Attribute]:
    counted, allowed = [], GUARDS
    guarded = False
    for attribute in attributes:
        if attribute.kind in allowed:
            guarded = True
            allowed = allowed[allowed.index(attribute.kind) + 1 :]
            counted.append(attribute)
        elif not guarded:
            counted.append(attribute)
    return counted


def parse(data: bytes, *, allow_classic: bool = False) -> Message:
    if len(data) < HEADER:
        raise Malformed
    kind, length, cookie = struct.unpack_from(">HHI", data)
    is_classic = cookie != COOKIE
    if kind >> 14 or length % 4 or HEADER + length != len(data) or (is_classic and not allow_classic):
        raise Malformed
    bits = f"{kind:014b}"
    return Message(
        method=int(bits[:5] + bits[6:9] + bits[10:], 2),
        message_class=int(bits[5] + bits[9], 2),
        transaction_id=data[4:HEADER] if is_classic else data[8:HEADER],
        is_classic=is_classic,
        attributes=those_that_count(all_attributes(data)),
        data=data,
    )
