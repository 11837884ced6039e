"""Packets of uTP (BEP 29), read and written one at a time: for logs, tests and tools.

The streams themselves do it without making an object; see :mod:`librats._core.utp`.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t

from librats._core.utp_wire cimport (
    EXTENSION_HEAD, MOST_EXTENSION, MOST_EXTENSIONS, UTP_HEADER, UTP_SYN, UtpPacket, is_utp, read_utp, write_utp
)

from librats.errors import DecodeError, UsageError


def is_packet(data: bytes) -> bool:
    """Whether a datagram is of this protocol, by its first byte and its length."""
    cdef bytes held = data
    return is_utp(<const uint8_t*>PyBytes_AS_STRING(held), <uint32_t>len(held))


def parse(data: bytes) -> dict:
    """Read a datagram.

    Returns:
        Its fields by name: ``kind`` (0 data, 1 fin, 2 state, 3 reset, 4 syn), ``conn_id``, ``timestamp`` and
        ``timestamp_difference`` in microseconds, ``window`` in bytes, ``number``, ``ack``, ``extensions`` as pairs of
        type and bytes, ``acked`` (the numbers for which the selective acknowledgement stands), ``payload``.

    Raises:
        DecodeError: It is no packet of uTP, or has more than 16 extensions.

    Example:
        >>> from librats._core.utp_packets import parse
        >>> found = parse(bytes.fromhex("21019f4a637303e6000001f7000fc7d78e4e12b30002ff01"))
        >>> found["ack"], found["acked"]
        (4787, [4789, 4790, 4791, 4792, 4793, 4794, 4795, 4796, 4797])
    """
    cdef UtpPacket p
    cdef bytes held = data
    cdef list extensions = []
    cdef list acked = []
    cdef uint32_t at = UTP_HEADER
    cdef uint32_t bit
    cdef int kind
    if not read_utp(<const uint8_t*>PyBytes_AS_STRING(held), <uint32_t>len(held), &p):
        raise DecodeError("not a packet of uTP")
    kind = held[1]
    while kind:
        extensions.append((kind, held[at + EXTENSION_HEAD:at + EXTENSION_HEAD + held[at + 1]]))
        kind, at = held[at], at + EXTENSION_HEAD + held[at + 1]
    for bit in range(8 * p.mask_size):
        if p.mask[bit >> 3] >> (bit & 7) & 1:
            acked.append((p.ack + 2 + bit) & 0xFFFF)
    return {
        "kind": p.kind, "conn_id": p.conn_id, "timestamp": p.sent_us, "timestamp_difference": p.delay_us,
        "window": p.window, "number": p.number, "ack": p.ack, "extensions": extensions, "acked": acked,
        "payload": held[at:],
    }


def serialise(
    kind: int, *, conn_id: int, number: int, ack: int = 0, timestamp: int = 0, timestamp_difference: int = 0,
    window: int = 0, extensions=(), payload: bytes = b""
) -> bytes:
    """Write a packet.

    Args:
        kind: 0 data, 1 fin, 2 state, 3 reset, 4 syn.
        conn_id: That of the connection, 16 bits.
        number: Sequence number, 16 bits.
        ack: Number of the last packet that came in order, 16 bits.
        timestamp: Microseconds, 32 bits.
        timestamp_difference: Microseconds, 32 bits.
        window: Bytes, 32 bits.
        extensions: Pairs of type and bytes, at most 16.
        payload: What follows.

    Raises:
        UsageError: A field does not fit.
    """
    cdef uint8_t head[UTP_HEADER]
    cdef bytes chain = b""
    cdef int i
    if not (0 <= kind <= UTP_SYN and all(0 <= value < 1 << 16 for value in (conn_id, number, ack))):
        raise UsageError("a field of the packet does not fit")
    if not all(0 <= value < 1 << 32 for value in (timestamp, timestamp_difference, window)):
        raise UsageError("a field of the packet does not fit")
    if len(extensions) > MOST_EXTENSIONS:
        raise UsageError("too many extensions")
    for what, body in extensions:
        if not 0 < what < 256 or len(body) > MOST_EXTENSION:
            raise UsageError("an extension does not fit")
    write_utp(head, kind, conn_id, timestamp, timestamp_difference, window, number, ack)
    if len(extensions):
        head[1] = extensions[0][0]
    for i in range(len(extensions)):
        follows = extensions[i + 1][0] if i + 1 < len(extensions) else 0
        chain += bytes([follows, len(extensions[i][1])]) + extensions[i][1]
    return (<const char*>head)[:UTP_HEADER] + chain + payload
