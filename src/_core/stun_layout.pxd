"""The layout of STUN messages (RFC 8489, 5), TURN's attributes and ChannelData (RFC 8656, 12.4), for compiled callers.

Everything here works on bytes that the caller holds and without the GIL. Integers are big-endian on the wire and in
the host's order here. What converts socket addresses is in ``stun_sockaddr.pxd``. Header only: there is no module of
this name.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32

cdef enum:
    COOKIE = 0x2112A442
    STUN_HEADER = 20
    ATTRIBUTE_HEADER = 4
    CHANNEL_HEADER = 4
    TRANSACTION_ID = 12
    FIRST_CHANNEL = 0x4000
    LAST_CHANNEL = 0x4FFF
    FAMILY_IPV4 = 1
    FAMILY_IPV6 = 2

# First 16 bits of whole messages: method and class (RFC 8489, 5; RFC 8656, 17).
cdef enum:
    BINDING_REQUEST = 0x0001
    BINDING_SUCCESS = 0x0101
    SEND_INDICATION = 0x0016
    DATA_INDICATION = 0x0017

cdef enum:
    A_MESSAGE_INTEGRITY = 0x0008
    A_XOR_PEER_ADDRESS = 0x0012
    A_DATA = 0x0013
    A_DONT_FRAGMENT = 0x001A
    A_MESSAGE_INTEGRITY_SHA256 = 0x001C
    A_XOR_MAPPED_ADDRESS = 0x0020
    A_FINGERPRINT = 0x8028


cdef struct StunAttribute:
    uint16_t type
    uint16_t size  # of the value, padding left out
    const uint8_t* value


cdef struct IpAddress:
    uint8_t family  # FAMILY_IPV4 or FAMILY_IPV6
    uint16_t port
    uint8_t host[16]  # the first four bytes for IPv4


cdef inline size_t padded_size(size_t size) noexcept nogil:
    return (size + 3) & ~<size_t>3


cdef inline bint is_stun_header(const uint8_t* data, size_t size) noexcept nogil:
    """Whether a STUN message begins here (RFC 7983, 7): a first byte of 0 to 3, the cookie, a length in fours."""
    return size >= STUN_HEADER and data[0] <= 3 and load_be32(data + 4) == COOKIE and not data[3] & 3


cdef inline bint is_whole_stun(const uint8_t* data, size_t size) noexcept nogil:
    """Whether a datagram is one STUN message, by its header; its attributes are not looked at."""
    return is_stun_header(data, size) and STUN_HEADER + <size_t>load_be16(data + 2) == size


cdef inline bint is_channel_data(const uint8_t* data, size_t size) noexcept nogil:
    """Whether a datagram is ChannelData: a channel of RFC 8656, all of its data, and at most its padding behind it."""
    cdef size_t whole
    if size < CHANNEL_HEADER or data[0] >> 4 != 4:
        return False
    whole = CHANNEL_HEADER + <size_t>load_be16(data + 2)
    return whole <= size < whole + 4


cdef inline int next_attribute(
    const uint8_t* message, size_t end, size_t* at, StunAttribute* found
) noexcept nogil:
    """Take the attribute at ``at[0]`` (begin with ``STUN_HEADER``) and step behind it.

    Returns 1 where there is one, 0 at the end of the message, -1 where it runs past the end.
    """
    cdef size_t position = at[0]
    cdef size_t whole
    if position >= end:
        return 0
    if end - position < ATTRIBUTE_HEADER:
        return -1
    found.type = load_be16(message + position)
    found.size = load_be16(message + position + 2)
    found.value = message + position + ATTRIBUTE_HEADER
    whole = ATTRIBUTE_HEADER + padded_size(found.size)
    if end - position < whole:
        return -1
    at[0] = position + whole
    return 1


cdef inline bint load_address(
    const uint8_t* value, size_t size, const uint8_t* mask, IpAddress* found
) noexcept nogil:
    """Read the value of an address attribute; False where its family or length is wrong.

    The mask is what XOR- attributes are combined with: the message's bytes from its cookie on (``message + 4``); NULL
    for those that are not.
    """
    cdef size_t length, i
    if size < 8:
        return False
    if value[1] == FAMILY_IPV4:
        length = 4
    elif value[1] == FAMILY_IPV6:
        length = 16
    else:
        return False
    if size != 4 + length:
        return False
    found.family = value[1]
    found.port = load_be16(value + 2)
    if mask == NULL:
        memcpy(found.host, value + 4, length)
        return True
    found.port ^= load_be16(mask)
    for i in range(length):
        found.host[i] = value[4 + i] ^ mask[i]
    return True


cdef inline size_t store_address(uint8_t* value, const IpAddress* address, const uint8_t* mask) noexcept nogil:
    """Write the value of an address attribute and return its size, 8 or 20; for the mask see ``load_address``."""
    cdef size_t length = 4 if address.family == FAMILY_IPV4 else 16
    cdef size_t i
    value[0] = 0
    value[1] = address.family
    if mask == NULL:
        store_be16(value + 2, address.port)
        memcpy(value + 4, address.host, length)
        return 4 + length
    store_be16(value + 2, address.port ^ load_be16(mask))
    for i in range(length):
        value[4 + i] = address.host[i] ^ mask[i]
    return 4 + length


cdef inline void store_header(
    uint8_t* message, uint16_t message_type, uint16_t length, const uint8_t* transaction_id
) noexcept nogil:
    """Write the 20 bytes of a STUN header; the length is that of all attributes."""
    store_be16(message, message_type)
    store_be16(message + 2, length)
    store_be32(message + 4, COOKIE)
    memcpy(message + 8, transaction_id, TRANSACTION_ID)


cdef inline void store_channel_header(uint8_t* out, uint16_t number, uint16_t size) noexcept nogil:
    store_be16(out, number)
    store_be16(out + 2, size)


cdef inline size_t data_indication_head(bint is_ipv4) noexcept nogil:
    """Return how many bytes of a Data indication stand before its data: 36 or 48."""
    return STUN_HEADER + 2 * ATTRIBUTE_HEADER + (8 if is_ipv4 else 20)


cdef inline size_t store_data_indication(
    uint8_t* out, const uint8_t* transaction_id, const IpAddress* peer, uint16_t size
) noexcept nogil:
    """Write what stands before the data of a Data indication (RFC 8656, 11.3) and return how many bytes that is.

    The data goes behind it, and up to three zeros: the message ends at ``head + padded_size(size)``. ``head`` and the
    padded size must be at most 65,555 together.
    """
    cdef size_t head = data_indication_head(peer.family == FAMILY_IPV4)
    store_header(out, DATA_INDICATION, <uint16_t>(head - STUN_HEADER + padded_size(size)), transaction_id)
    store_be16(out + STUN_HEADER, A_XOR_PEER_ADDRESS)
    store_be16(out + STUN_HEADER + 2, <uint16_t>(head - STUN_HEADER - 2 * ATTRIBUTE_HEADER))
    store_address(out + STUN_HEADER + ATTRIBUTE_HEADER, peer, out + 4)
    store_be16(out + head - ATTRIBUTE_HEADER, A_DATA)
    store_be16(out + head - 2, size)
    return head


cdef inline size_t store_padding(uint8_t* end, size_t size) noexcept nogil:
    """Write the zeros that follow a value of that size, and return how many: 0 to 3."""
    cdef size_t count = padded_size(size) - size
    memset(end, 0, count)
    return count
