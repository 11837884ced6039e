"""What the relay's data plane reads and writes of TURN (RFC 8656): ChannelData, Send and Data. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32
from librats._core.relay_net cimport net_address, net_set_host6

cdef enum:
    COOKIE = 0x2112A442
    STUN_HEAD = 20
    CHANNEL_HEAD = 4
    DATA_HEAD4 = 36  # header, XOR-PEER-ADDRESS and the head of DATA
    DATA_HEAD6 = 48
    FIRST_CHANNEL = 0x4000
    LAST_CHANNEL = 0x7FFF  # RFC 8656 ends at 0x4FFF; RFC 5766, which many clients follow, here
    TYPE_REFRESH = 0x0004
    TYPE_CHANNEL_BIND = 0x0009
    TYPE_SEND = 0x0016
    TYPE_DATA = 0x0017
    CLASS_BITS = 0x0110
    ATTRIBUTE_INTEGRITY = 0x0008
    ATTRIBUTE_CHANNEL = 0x000C
    ATTRIBUTE_PEER = 0x0012
    ATTRIBUTE_DATA = 0x0013
    ATTRIBUTE_FAMILY = 0x0017
    ATTRIBUTE_DONT_FRAGMENT = 0x001A
    ATTRIBUTE_INTEGRITY_SHA256 = 0x001C
    OPTIONAL = 0x8000
    ATTRIBUTE_MOBILITY = 0x8030

cdef enum SendReading:
    SEND_SOUND
    SEND_MALFORMED
    SEND_DONT_FRAGMENT


cdef inline uint32_t padded(uint32_t size) noexcept nogil:
    return (size + 3) & ~<uint32_t>3


cdef inline bint is_stun_sized(const uint8_t* p, uint32_t size) noexcept nogil:
    """Whether a message's length is that of the datagram, RFC 8489, 5."""
    return size >= STUN_HEAD and (size & 3) == 0 and load_be16(p + 2) + <uint32_t>STUN_HEAD == size


cdef inline bint read_xor_address(const uint8_t* p, uint32_t size, const uint8_t* head, net_address* a) noexcept nogil:
    """XOR-PEER-ADDRESS, RFC 8489, 14.2. ``head`` is that of the message."""
    cdef uint8_t host[16]
    cdef int i
    if size < 4:
        return False
    memset(a, 0, sizeof(net_address))
    if p[1] == 1 and size == 8:
        a.family = 4
        for i in range(4):
            a.host[i] = p[4 + i] ^ head[4 + i]
    elif p[1] == 2 and size == 20:
        for i in range(16):
            host[i] = p[4 + i] ^ head[4 + i]
        net_set_host6(a, host, 0)
    else:
        return False
    (<uint8_t*>&a.port)[0] = p[2] ^ head[4]
    (<uint8_t*>&a.port)[1] = p[3] ^ head[5]
    return True


cdef inline SendReading read_send(
    const uint8_t* p, uint32_t size, net_address* peer, const uint8_t** data, uint32_t* data_size
) noexcept nogil:
    """Read a Send indication, RFC 8656, 11.2. The caller has checked :func:`is_stun_sized` and the type."""
    cdef uint32_t at = STUN_HEAD
    cdef uint32_t length
    cdef uint16_t kind
    cdef bint has_peer = False, dont_fragment = False
    data[0] = NULL
    if load_be32(p + 4) != COOKIE:
        return SEND_MALFORMED
    while at < size:
        kind = load_be16(p + at)
        length = load_be16(p + at + 2)
        if padded(length) + 4 > size - at:
            return SEND_MALFORMED
        if kind == ATTRIBUTE_PEER:
            if not has_peer and not read_xor_address(p + at + 4, length, p, peer):
                return SEND_MALFORMED
            has_peer = True
        elif kind == ATTRIBUTE_DATA:
            if data[0] == NULL:
                data[0] = p + at + 4
                data_size[0] = length
        elif kind == ATTRIBUTE_DONT_FRAGMENT:
            dont_fragment = True
        elif kind == ATTRIBUTE_INTEGRITY or kind == ATTRIBUTE_INTEGRITY_SHA256:
            break  # RFC 8489, 14.5: what follows does not count
        elif kind < OPTIONAL:
            return SEND_MALFORMED  # RFC 8489, 6.3.2: not to be understood, so not to be acted upon
        at += 4 + padded(length)
    if not has_peer or data[0] == NULL:
        return SEND_MALFORMED
    return SEND_DONT_FRAGMENT if dont_fragment else SEND_SOUND


cdef inline uint32_t write_data_head(
    uint8_t* p, const net_address* peer, uint32_t size, uint64_t transaction
) noexcept nogil:
    """The beginning of a Data indication, RFC 8656, 11.4; its bytes. Payload and padding follow."""
    cdef uint32_t hosts = 4 if peer.family == 4 else 16
    cdef uint32_t head = DATA_HEAD4 if peer.family == 4 else DATA_HEAD6
    cdef uint32_t i
    store_be16(p, TYPE_DATA)
    store_be16(p + 2, <uint16_t>(head - STUN_HEAD + padded(size)))
    store_be32(p + 4, <uint32_t>COOKIE)
    memset(p + 8, 0, 4)
    memcpy(p + 12, &transaction, 8)
    store_be16(p + 20, ATTRIBUTE_PEER)
    store_be16(p + 22, <uint16_t>(4 + hosts))
    p[24] = 0
    p[25] = 1 if peer.family == 4 else 2
    p[26] = (<const uint8_t*>&peer.port)[0] ^ p[4]
    p[27] = (<const uint8_t*>&peer.port)[1] ^ p[5]
    for i in range(hosts):
        p[28 + i] = peer.host[i] ^ p[4 + i]
    store_be16(p + head - 4, ATTRIBUTE_DATA)
    store_be16(p + head - 2, <uint16_t>size)
    return head


cdef inline uint32_t write_channel_head(uint8_t* p, uint16_t number, uint32_t size) noexcept nogil:
    store_be16(p, number)
    store_be16(p + 2, <uint16_t>size)
    return CHANNEL_HEAD
