"""Which attributes of a STUN message count, and what guards it (RFC 8489, 14.5 to 14.7), for compiled callers.

An index points into the message's bytes, which its caller holds. Header only: there is no module of this name.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from librats._core.integrity cimport SHA1_SIZE, HmacKey, crc32, equal_bytes, hmac_sha1_with
from librats._core.octets cimport load_be16, load_be32, store_be16
from librats._core.stun_layout cimport (
    A_FINGERPRINT, A_MESSAGE_INTEGRITY, A_MESSAGE_INTEGRITY_SHA256, ATTRIBUTE_HEADER, STUN_HEADER, StunAttribute,
    next_attribute, padded_size,
)

cdef enum:
    NOWHERE = 0
    REQUIRED_BELOW = 0x8000
    FINGERPRINT_XOR = 0x5354554E


cdef struct StunIndex:
    const uint8_t* data
    size_t size
    size_t ordinary_end
    # Where those begin that may follow the ordinary attributes.
    size_t integrity
    size_t integrity_sha256
    size_t fingerprint


cdef inline size_t index_message(StunIndex* index, const uint8_t* data, size_t size) noexcept nogil:
    """Walk the attributes of a message whose header is sound; what follows the integrity and may not is left out.

    Returns 0, or the byte where an attribute begins that runs past the end.
    """
    cdef size_t at = STUN_HEADER, here = STUN_HEADER
    cdef StunAttribute found
    cdef int step
    cdef int guards = 0  # 1 behind MESSAGE-INTEGRITY, 2 behind -SHA256, 3 behind FINGERPRINT
    memset(index, 0, sizeof(StunIndex))
    index.data = data
    index.size = index.ordinary_end = size
    step = next_attribute(data, size, &at, &found)
    while step == 1:
        if found.type == A_MESSAGE_INTEGRITY and guards < 1:
            guards = 1
            index.integrity = here
        elif found.type == A_MESSAGE_INTEGRITY_SHA256 and guards < 2:
            guards = 2
            index.integrity_sha256 = here
        elif found.type == A_FINGERPRINT and guards < 3:
            guards = 3
            index.fingerprint = here
        if guards and index.ordinary_end == size:
            index.ordinary_end = here
        here = at
        step = next_attribute(data, size, &at, &found)
    return here if step else 0


cdef inline bint next_counted(const StunIndex* index, size_t* at, StunAttribute* found) noexcept nogil:
    """Take the next attribute that counts; begin with ``STUN_HEADER``."""
    cdef size_t here = at[0]
    if here >= index.ordinary_end:
        if index.integrity >= here and index.integrity != NOWHERE:
            here = index.integrity
        elif index.integrity_sha256 >= here and index.integrity_sha256 != NOWHERE:
            here = index.integrity_sha256
        elif index.fingerprint >= here and index.fingerprint != NOWHERE:
            here = index.fingerprint
        else:
            return False
    found.type = load_be16(index.data + here)
    found.size = load_be16(index.data + here + 2)
    found.value = index.data + here + ATTRIBUTE_HEADER
    at[0] = here + ATTRIBUTE_HEADER + padded_size(found.size)
    return True


cdef inline bint find_counted(const StunIndex* index, int type, StunAttribute* found) noexcept nogil:
    """Find the first attribute of a type that counts."""
    cdef size_t at = STUN_HEADER
    while next_counted(index, &at, found):
        if found.type == type:
            return True
    return False


cdef inline bint fingerprint_fits(const StunIndex* index) noexcept nogil:
    """Whether a FINGERPRINT ends the message, and is right."""
    cdef size_t at = index.fingerprint
    if at == NOWHERE or at + 8 != index.size or load_be16(index.data + at + 2) != 4:
        return False
    return load_be32(index.data + at + 4) == crc32(0, index.data, at) ^ <uint32_t>FINGERPRINT_XOR


cdef inline void guarded_head(const StunIndex* index, size_t at, uint16_t size, uint8_t* head) noexcept nogil:
    """Write the header that an integrity of ``size`` bytes at ``at`` is computed with: its length ends there."""
    memcpy(head, index.data, STUN_HEADER)
    store_be16(head + 2, <uint16_t>(at + ATTRIBUTE_HEADER + size - STUN_HEADER))


cdef inline bint sha1_fits(const StunIndex* index, const HmacKey* key) noexcept nogil:
    """Whether MESSAGE-INTEGRITY is there and right, compared in a time that does not tell where it differs."""
    cdef size_t at = index.integrity
    cdef uint8_t head[STUN_HEADER]
    cdef uint8_t wanted[SHA1_SIZE]
    if at == NOWHERE or load_be16(index.data + at + 2) != SHA1_SIZE:
        return False
    guarded_head(index, at, SHA1_SIZE, head)
    hmac_sha1_with(key, head, STUN_HEADER, index.data + STUN_HEADER, at - STUN_HEADER, wanted)
    return equal_bytes(wanted, index.data + at + ATTRIBUTE_HEADER, SHA1_SIZE)
