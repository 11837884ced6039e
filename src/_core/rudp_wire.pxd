"""The packets of librats 2 over UDP, and those between two of ours: read and written. Header only.

Between two of ours a packet is ``0x16 | flags | ranges | body | conn_id:4 | number:4``, then, with the flag ACK,
``heard:4 | room:4 | largest:4 | delay:2 | first:2 | ranges × (gap:2 | length:2)``, then what the body says, then,
with the flag TAG, eight bytes of tag over all that stands before it.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32

cdef enum:
    # Types of packets.
    SYN = 0
    DATA = 1
    ACK = 2
    FIN = 3
    RESET = 4
    RETRY = 5
    EXTENDED = 6

cdef enum:
    FIRST_BYTE = 0x10
    HEADER = 16
    WITH_SACK = 20
    COOKIE = 4
    # Flags in librats 2's packets; the second one is ours, in a Syn and in what answers it.
    FLAG_SACK = 1
    FLAG_EXTENDED = 2

cdef enum:
    EXTENDED_HEADER = 12
    EXTENDED_ACK = 16
    EXTENDED_RANGE = 4
    TAG = 8
    FLAG_ACK = 1
    FLAG_FIN = 2
    FLAG_TAG = 4

cdef enum:
    # Bodies of our packets.
    BODY_NONE = 0
    BODY_DATA = 1
    BODY_DATAGRAM = 2
    BODY_PING = 3
    BODY_CHALLENGE = 4
    BODY_RESPONSE = 5
    BODY_RESET = 6
    # For packets of librats 2 that take a number.
    BODY_FIN = 7

cdef enum:
    DELAY_UNIT = 16  # microseconds


cdef struct Packet:
    uint8_t kind
    uint8_t flags
    uint16_t window
    uint32_t conn_id
    uint32_t number
    uint32_t ack
    uint32_t sack
    # Between two of ours.
    uint8_t body
    uint8_t ranges
    uint32_t heard
    uint32_t room
    uint32_t largest
    uint16_t delay
    uint16_t first_range
    uint32_t offset
    const uint8_t* more
    const uint8_t* payload
    uint32_t size
    const uint8_t* data
    uint32_t whole


cdef inline bint is_ours(const uint8_t* data, uint32_t size) noexcept nogil:
    """Whether the first byte says that it is a packet of this protocol, whatever the rest is like."""
    return size > 0 and FIRST_BYTE <= data[0] <= FIRST_BYTE + EXTENDED


cdef inline bint read_packet(const uint8_t* data, uint32_t size, Packet* out) noexcept nogil:
    """Read a datagram; False where it is none of the protocol's."""
    cdef uint32_t at = HEADER
    out.data = data
    out.whole = size
    if size < EXTENDED_HEADER or data[0] >> 4 != 1 or data[0] & 15 > EXTENDED:
        return False
    out.kind = data[0] & 15
    out.flags = data[1]
    out.conn_id = load_be32(data + 4)
    out.number = load_be32(data + 8)
    if out.kind == EXTENDED:
        return read_extended(data, size, out)
    if size < HEADER:
        return False
    out.window = load_be16(data + 2)
    out.ack = load_be32(data + 12)
    out.sack = 0
    if out.flags & FLAG_SACK:
        if size < WITH_SACK:
            return False
        out.sack = load_be32(data + HEADER)
        at = WITH_SACK
    out.payload = data + at
    out.size = size - at
    if out.kind == DATA:
        return out.size <= 1200
    if out.kind == SYN or out.kind == RETRY:
        return out.size == 0 or out.size == COOKIE
    return out.size == 0


cdef inline bint read_extended(const uint8_t* data, uint32_t size, Packet* out) noexcept nogil:
    cdef uint32_t at = EXTENDED_HEADER
    cdef uint32_t stop = size
    out.ranges = data[2]
    out.body = data[3]
    if out.flags & ~(FLAG_ACK | FLAG_FIN | FLAG_TAG) or out.body > BODY_RESET:
        return False
    if out.flags & FLAG_TAG:
        if size < EXTENDED_HEADER + TAG:
            return False
        stop -= TAG
    if out.flags & FLAG_ACK:
        if stop < at + EXTENDED_ACK + EXTENDED_RANGE * out.ranges:
            return False
        out.heard = load_be32(data + at)
        out.room = load_be32(data + at + 4)
        out.largest = load_be32(data + at + 8)
        out.delay = load_be16(data + at + 12)
        out.first_range = load_be16(data + at + 14)
        out.more = data + at + EXTENDED_ACK
        at += EXTENDED_ACK + EXTENDED_RANGE * out.ranges
    elif out.ranges:
        return False
    if out.body == BODY_DATA:
        if stop < at + 4:
            return False
        out.offset = load_be32(data + at)
        at += 4
    elif out.flags & FLAG_FIN:
        return False
    out.payload = data + at
    out.size = stop - at
    if out.body == BODY_CHALLENGE or out.body == BODY_RESPONSE:
        return out.size == 8
    if out.body == BODY_RESET:
        return out.size == 1
    return out.body != BODY_NONE or out.size == 0


cdef inline uint32_t write_packet(
    uint8_t* out, uint8_t kind, uint8_t flags, uint16_t window, uint32_t conn_id, uint32_t number, uint32_t ack,
    uint32_t sack
) noexcept nogil:
    """Write the header of a packet of librats 2, the word of selective acknowledgement with it where it is not 0."""
    out[0] = <uint8_t>(FIRST_BYTE | kind)
    out[1] = <uint8_t>(flags | FLAG_SACK) if sack else flags
    store_be16(out + 2, window)
    store_be32(out + 4, conn_id)
    store_be32(out + 8, number)
    store_be32(out + 12, ack)
    if not sack:
        return HEADER
    store_be32(out + HEADER, sack)
    return WITH_SACK


cdef inline void write_extended(
    uint8_t* out, uint8_t flags, uint8_t body, uint32_t conn_id, uint32_t number
) noexcept nogil:
    """Write the first twelve bytes of one of our packets."""
    out[0] = <uint8_t>(FIRST_BYTE | EXTENDED)
    out[1] = flags
    out[2] = 0
    out[3] = body
    store_be32(out + 4, conn_id)
    store_be32(out + 8, number)
