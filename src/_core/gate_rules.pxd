"""What can be told of a request by its bytes alone. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t

from librats._core.octets cimport load_be16, store_be16
from librats._core.stun_index cimport REQUIRED_BELOW, StunIndex, next_counted
from librats._core.stun_layout cimport (
    A_XOR_PEER_ADDRESS, FIRST_CHANNEL, STUN_HEADER, IpAddress, StunAttribute, load_address,
)
from librats._core.stun_values cimport UNKNOWN, form_of

cdef enum:
    MOST_UNKNOWN = 64
    A_CHANNEL_NUMBER = 0x000C
    A_LIFETIME = 0x000D
    A_REQUESTED_FAMILY = 0x0017
    A_MOBILITY_TICKET = 0x8030
    ALLOCATE = 3
    REFRESH = 4
    CREATE_PERMISSION = 8
    CHANNEL_BIND = 9
    LAST_CHANNEL = 0x7FFF  # of RFC 5766; RFC 8656 ends before


cdef inline int method_of(unsigned int kind) noexcept nogil:
    return (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80)


cdef inline bint is_turn_method(int method) noexcept nogil:
    """Whether a client may ask for it and has to say who it is; Binding is not among them."""
    return method == 3 or method == 4 or 8 <= method <= 11


cdef inline int unknown_types(const StunIndex* index, uint8_t* types) noexcept nogil:
    """Write the types that have to be understood and are not, each once; their number, -1 where they are too many."""
    cdef size_t at = STUN_HEADER
    cdef StunAttribute found
    cdef int count = 0, i
    while next_counted(index, &at, &found):
        if found.type >= REQUIRED_BELOW or form_of(found.type) != UNKNOWN:
            continue
        i = 0
        while i < count and load_be16(types + 2 * i) != found.type:
            i += 1
        if i < count:
            continue
        if count == MOST_UNKNOWN:
            return -1
        store_be16(types + 2 * count, found.type)
        count += 1
    return count


cdef inline bint is_text(const StunAttribute* found, size_t most) noexcept nogil:
    """Whether a value is UTF-8, and no longer than the attribute may be."""
    cdef size_t at = 0, more
    cdef uint8_t first, low, high
    if found.size > most:
        return False
    while at < found.size:
        first = found.value[at]
        at += 1
        if first < 0x80:
            continue
        if first < 0xC2 or first > 0xF4:
            return False
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if found.size - at < more:
            return False
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        for _ in range(more):
            if not low <= found.value[at] <= high:
                return False
            at += 1
            low = 0x80
            high = 0xBF
    return True


cdef inline bint is_flawed_refresh(const StunIndex* index) noexcept nogil:
    cdef size_t at = STUN_HEADER
    cdef StunAttribute found
    cdef bint has_lifetime = False, has_family = False, flawed = False
    while next_counted(index, &at, &found):
        if found.type == A_MOBILITY_TICKET:
            return False
        if found.type == A_LIFETIME and not has_lifetime:
            has_lifetime = True
            flawed = flawed or found.size != 4
        elif found.type == A_REQUESTED_FAMILY and not has_family:
            has_family = True
            flawed = flawed or found.size != 4
    return flawed


cdef inline bint is_flawed(int method, const StunIndex* index) noexcept nogil:
    """Whether a request lacks what its method needs, or has it in a form that it cannot have.

    False does not say that it is sound.
    """
    cdef size_t at = STUN_HEADER
    cdef StunAttribute found
    cdef IpAddress peer
    cdef int channel = -1
    cdef bint has_peer = False
    if method == REFRESH:
        return is_flawed_refresh(index)
    if method != CREATE_PERMISSION and method != CHANNEL_BIND:
        return False
    while next_counted(index, &at, &found):
        if found.type == A_XOR_PEER_ADDRESS and not (has_peer and method == CHANNEL_BIND):
            has_peer = True
            if not load_address(found.value, found.size, index.data + 4, &peer):
                return True
        elif found.type == A_CHANNEL_NUMBER and channel < 0:
            channel = load_be16(found.value) if found.size == 4 else 0
    if not has_peer:
        return True
    return method == CHANNEL_BIND and not (peer.port and FIRST_CHANNEL <= channel <= LAST_CHANNEL)
