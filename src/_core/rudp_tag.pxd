"""The keyed tag of packets between two of ours: SipHash-2-4 under keys that the session above gives. Header only.

What is hashed is the packet as it is on the wire, up to the tag. The upper half of the packet's number, which is not on
the wire, makes the key: a packet that is sent again after 2**32 others does not fit. No number is used twice.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from librats._core.octets cimport store_be32
from librats._core.rudp_state cimport Conn
from librats._core.rudp_wire cimport BODY_DATA, BODY_DATAGRAM, BODY_PING, TAG
from librats._core.shorthash cimport short_hash, short_hash_wide


cdef inline void key_of_epoch(uint8_t* out, const uint8_t* key, uint32_t epoch) noexcept nogil:
    cdef uint8_t text[4]
    store_be32(text, epoch)
    short_hash_wide(text, sizeof(text), key, out)


cdef inline void write_tag(Conn* c, uint8_t* packet, uint32_t size, uint64_t number) noexcept nogil:
    """Write eight bytes behind the packet."""
    cdef uint64_t tag
    if <uint32_t>(number >> 32) != c.epoch_out:
        c.epoch_out = <uint32_t>(number >> 32)
        key_of_epoch(c.epoch_key_out, c.key_out, c.epoch_out)
    tag = short_hash(packet, size, c.epoch_key_out)
    store_be32(packet + size, <uint32_t>(tag >> 32))
    store_be32(packet + size + 4, <uint32_t>tag)


cdef inline bint check_tag(Conn* c, const uint8_t* packet, uint32_t size, uint64_t number) noexcept nogil:
    """Whether the last eight bytes of the packet are its tag."""
    cdef uint8_t wanted[8]
    cdef uint8_t other[16]
    cdef uint8_t difference = 0
    cdef uint64_t tag
    cdef int i
    if <uint32_t>(number >> 32) == c.epoch_in:
        tag = short_hash(packet, size - TAG, c.epoch_key_in)
    else:
        key_of_epoch(other, c.key_in, <uint32_t>(number >> 32))
        tag = short_hash(packet, size - TAG, other)
    store_be32(wanted, <uint32_t>(tag >> 32))
    store_be32(wanted + 4, <uint32_t>tag)
    for i in range(TAG):
        difference |= wanted[i] ^ packet[size - TAG + i]
    if difference:
        return False
    if <uint32_t>(number >> 32) > c.epoch_in:
        c.epoch_in = <uint32_t>(number >> 32)
        key_of_epoch(c.epoch_key_in, c.key_in, c.epoch_in)
    return True


cdef inline bint must_tag(const Conn* c, uint8_t body, uint64_t offset) noexcept nogil:
    """Whether a packet has a tag.

    Until the peer is known to have the key, what was written before it was agreed goes without, and so do
    acknowledgements: the peer may need them to come to the key.
    """
    if not c.has_key or c.agreed:
        return c.has_key
    return body == BODY_DATAGRAM or body == BODY_PING or (body == BODY_DATA and offset >= c.mark)
