"""Packets of the streams over datagrams, read and written one at a time: for logs, tests and tools.

The streams themselves do it without making an object; see :mod:`librats._core.rudp`.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t

from librats._core.octets cimport load_be16
from librats._core.rudp_wire cimport (
    EXTENDED, EXTENDED_RANGE, FLAG_ACK, FLAG_FIN, FLAG_SACK, FLAG_TAG, Packet, WITH_SACK, is_ours, read_packet,
    write_packet
)

from librats.errors import DecodeError, UsageError

_LARGEST = 0xFFFFFFFF


def is_packet(data: bytes) -> bool:
    """Whether a datagram is of this protocol, by its first byte: 0x10 to 0x16."""
    return len(data) > 0 and is_ours(<const uint8_t*>PyBytes_AS_STRING(<bytes>data), 1)


def parse(data: bytes) -> dict:
    """Read a datagram.

    Returns:
        Its fields by name. Between two of ours, kind 6, ``ack`` is None or a dictionary of its own.

    Raises:
        DecodeError: It is not one of the protocol's; it is dropped without an answer.

    Example:
        >>> from librats._core.rudp_packets import parse
        >>> parse(bytes.fromhex("12000400112233440000000500000009"))["ack"]
        9
    """
    cdef Packet p
    cdef bytes held = data
    if not read_packet(<const uint8_t*>PyBytes_AS_STRING(held), <unsigned int>len(held), &p):
        raise DecodeError("not a packet of a stream over datagrams")
    found = {"kind": p.kind, "flags": p.flags, "conn_id": p.conn_id, "number": p.number}
    payload = (<const char*>p.payload)[:p.size] if p.size else b""
    if p.kind != EXTENDED:
        sack = p.sack if p.flags & FLAG_SACK else None
        return found | {"window": p.window, "ack": p.ack, "sack": sack, "payload": payload}
    ack = None
    if p.flags & FLAG_ACK:
        spans = [
            (load_be16(p.more + EXTENDED_RANGE * i), load_be16(p.more + EXTENDED_RANGE * i + 2))
            for i in range(p.ranges)
        ]
        ack = {
            "heard": p.heard, "room": p.room, "largest": p.largest, "delay": p.delay, "first": p.first_range,
            "ranges": spans,
        }
    return found | {
        "body": p.body, "ack": ack, "offset": p.offset if p.body == 1 else None, "fin": bool(p.flags & FLAG_FIN),
        "tag": held[-8:] if p.flags & FLAG_TAG else None, "payload": payload,
    }


def serialise(
    kind: int, *, conn_id: int, number: int, flags: int = 0, window: int = 0, ack: int = 0, sack: int = 0,
    payload: bytes = b""
) -> bytes:
    """Write a packet of librats 2; its word of selective acknowledgement is there where it is not 0.

    Raises:
        UsageError: A field does not fit.
    """
    cdef uint8_t head[WITH_SACK]
    cdef unsigned int size
    if not (0 <= kind < EXTENDED and 0 <= flags < 256 and 0 <= window < 65536):
        raise UsageError("a field of the packet does not fit")
    if not all(0 <= value <= _LARGEST for value in (conn_id, number, ack, sack)):
        raise UsageError("a field of the packet does not fit")
    size = write_packet(head, kind, flags & ~FLAG_SACK, window, conn_id, number, ack, sack)
    return (<const char*>head)[:size] + payload
