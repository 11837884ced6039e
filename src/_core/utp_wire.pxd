"""The packets of uTP (BEP 29), read and written. Header only.

A packet is ``type << 4 | 1 | extension | connection id:2 | timestamp:4 | timestamp difference:4 | window:4 | number:2 |
acknowledged:2``, then the extensions, each ``type of the next | length | bytes``, then the payload. Times are in
microseconds, the window is in bytes.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32

cdef enum:
    # Types of packets.
    UTP_DATA = 0
    UTP_FIN = 1
    UTP_STATE = 2
    UTP_RESET = 3
    UTP_SYN = 4

cdef enum:
    UTP_VERSION = 1
    UTP_HEADER = 20
    # Extensions. The last one is ours, and everybody steps over what he does not know: it makes a packet longer.
    EXTENSION_SACK = 1
    EXTENSION_PADDING = 254
    EXTENSION_HEAD = 2
    MOST_EXTENSION = 255
    MOST_EXTENSIONS = 16
    MOST_MASK = 252  # bytes of a mask that we write: the standard wants a multiple of four


cdef struct UtpPacket:
    uint8_t kind
    uint8_t extensions
    uint16_t conn_id
    uint16_t number
    uint16_t ack
    uint32_t sent_us
    uint32_t delay_us
    uint32_t window
    const uint8_t* mask
    uint32_t mask_size
    const uint8_t* payload
    uint32_t size
    uint32_t whole


cdef inline bint is_utp(const uint8_t* data, uint32_t size) noexcept nogil:
    """Whether the beginning says that it is a packet of uTP, whatever the rest is like."""
    return size >= UTP_HEADER and data[0] & 15 == UTP_VERSION and data[0] >> 4 <= UTP_SYN


cdef inline bint read_utp(const uint8_t* data, uint32_t size, UtpPacket* out) noexcept nogil:
    """Read a datagram; False where it is no packet of uTP. Of several masks the first one counts.

    Masks of any length are read: libtorrent writes as many bytes as it needs, and not the multiples of four of BEP 29.
    """
    cdef uint32_t at = UTP_HEADER
    cdef uint8_t kind
    cdef uint32_t length
    if not is_utp(data, size):
        return False
    out.kind = data[0] >> 4
    out.conn_id = load_be16(data + 2)
    out.sent_us = load_be32(data + 4)
    out.delay_us = load_be32(data + 8)
    out.window = load_be32(data + 12)
    out.number = load_be16(data + 16)
    out.ack = load_be16(data + 18)
    out.mask = NULL
    out.mask_size = 0
    out.extensions = 0
    kind = data[1]
    while kind:
        if out.extensions == MOST_EXTENSIONS or size - at < EXTENSION_HEAD:
            return False
        length = data[at + 1]
        if size - at - EXTENSION_HEAD < length:
            return False
        if kind == EXTENSION_SACK and out.mask_size == 0:
            out.mask = data + at + EXTENSION_HEAD
            out.mask_size = length
        out.extensions += 1
        kind = data[at]
        at += EXTENSION_HEAD + length
    out.payload = data + at
    out.size = size - at
    out.whole = size
    return True


cdef inline void write_utp(
    uint8_t* out, uint8_t kind, uint16_t conn_id, uint32_t sent_us, uint32_t delay_us, uint32_t window,
    uint16_t number, uint16_t ack
) noexcept nogil:
    """Write the header of a packet that has no extensions yet."""
    out[0] = <uint8_t>(kind << 4 | UTP_VERSION)
    out[1] = 0
    store_be16(out + 2, conn_id)
    store_be32(out + 4, sent_us)
    store_be32(out + 8, delay_us)
    store_be32(out + 12, window)
    store_be16(out + 16, number)
    store_be16(out + 18, ack)


cdef inline uint8_t* add_extension(
    uint8_t* out, uint32_t* at, uint32_t* link, uint8_t kind, uint32_t size
) noexcept nogil:
    """Begin an extension behind what is written; return where its bytes belong.

    Args:
        out: The packet.
        at: Its size, moved behind the extension.
        link: Where the type of the next extension stands, moved to that of this one; 1 before the first.
        kind: The type.
        size: Bytes, at most 255.
    """
    cdef uint8_t* body = out + at[0] + EXTENSION_HEAD
    out[link[0]] = kind
    out[at[0]] = 0
    out[at[0] + 1] = <uint8_t>size
    link[0] = at[0]
    at[0] += EXTENSION_HEAD + size
    return body


cdef inline void add_padding(uint8_t* out, uint32_t* at, uint32_t* link, uint32_t stop) noexcept nogil:
    """Make the packet that long, or a byte less where a single one is left, by extensions that nobody reads."""
    cdef uint32_t size
    cdef uint8_t* body
    while stop >= at[0] + EXTENSION_HEAD:
        size = min(stop - at[0] - EXTENSION_HEAD, <uint32_t>MOST_EXTENSION)
        body = add_extension(out, at, link, EXTENSION_PADDING, size)
        memset(body, 0, size)
