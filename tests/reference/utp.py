"""A slow oracle of the packets of uTP (BEP 29), in plain Python; it shares no code with librats."""

from __future__ import annotations

import struct
from typing import Any

MOST_EXTENSIONS = 16
LAST_KIND = 4


class Refused(Exception):
    """It is no packet of uTP."""


def read(data: bytes) -> dict[str, Any]:
    if len(data) < 20:
        raise Refused("short")
    first, extension, conn_id, sent, delay, window, number, ack = struct.unpack_from(">BBHIIIHH", data)
    if first % 16 != 1 or first // 16 > LAST_KIND:
        raise Refused("type or version")
    rest = data[20:]
    extensions: list[tuple[int, bytes]] = []
    while extension:
        if len(rest) < 2 or len(rest) < 2 + rest[1] or len(extensions) == MOST_EXTENSIONS:
            raise Refused("extension")
        extensions.append((extension, rest[2 : 2 + rest[1]]))
        extension, rest = rest[0], rest[2 + rest[1] :]
    masks = [body for kind, body in extensions if kind == 1 and body]
    acked = []
    for index, byte in enumerate(masks[0] if masks else b""):
        acked += [(ack + 2 + 8 * index + bit) % 65536 for bit in range(8) if byte >> bit & 1]
    return {
        "kind": first // 16,
        "conn_id": conn_id,
        "timestamp": sent,
        "timestamp_difference": delay,
        "window": window,
        "number": number,
        "ack": ack,
        "extensions": extensions,
        "acked": acked,
        "payload": rest,
    }
