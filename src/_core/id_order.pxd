"""Ids of 160 bits as numbers: their order, and their XOR distance. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from librats._core.octets cimport load_be32, load_be64, store_be32

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static __inline int librats_leading_zeros(unsigned long long number)
    {
        unsigned long place;
    #if defined(_WIN64)
        _BitScanReverse64(&place, number);
    #else
        if (_BitScanReverse(&place, (unsigned long)(number >> 32)))
            place += 32;
        else
            _BitScanReverse(&place, (unsigned long)number);
    #endif
        return 63 - (int)place;
    }
    #else
    #define librats_leading_zeros(number) __builtin_clzll(number)
    #endif
    """
    # Of a number that is not 0.
    int leading_zeros "librats_leading_zeros"(unsigned long long number) noexcept nogil

cdef enum:
    ID_BYTES = 20
    ID_BITS = 160


# The first of them is the highest.
cdef struct Id:
    uint64_t high
    uint64_t middle
    uint32_t low


cdef inline Id load_id(const uint8_t* data) noexcept nogil:
    cdef Id id
    id.high = load_be64(data)
    id.middle = load_be64(data + 8)
    id.low = load_be32(data + 16)
    return id


cdef inline void store_id(uint8_t* data, const Id* id) noexcept nogil:
    store_be32(data, <uint32_t>(id.high >> 32))
    store_be32(data + 4, <uint32_t>id.high)
    store_be32(data + 8, <uint32_t>(id.middle >> 32))
    store_be32(data + 12, <uint32_t>id.middle)
    store_be32(data + 16, id.low)


cdef inline bint is_less(const Id* one, const Id* other) noexcept nogil:
    if one.high != other.high:
        return one.high < other.high
    if one.middle != other.middle:
        return one.middle < other.middle
    return one.low < other.low


cdef inline bint is_same(const Id* one, const Id* other) noexcept nogil:
    return one.high == other.high and one.middle == other.middle and one.low == other.low


cdef inline Id distance_between(const Id* one, const Id* other) noexcept nogil:
    cdef Id distance
    distance.high = one.high ^ other.high
    distance.middle = one.middle ^ other.middle
    distance.low = one.low ^ other.low
    return distance


cdef inline int bits_in_common(const Id* one, const Id* other) noexcept nogil:
    """How many of the first bits are the same, ID_BITS where all of them are."""
    if one.high != other.high:
        return leading_zeros(one.high ^ other.high)
    if one.middle != other.middle:
        return 64 + leading_zeros(one.middle ^ other.middle)
    if one.low != other.low:
        return 96 + leading_zeros(<uint64_t>(one.low ^ other.low))
    return ID_BITS


cdef inline Id with_bit_flipped(const Id* id, int bit) noexcept nogil:
    cdef Id flipped = id[0]
    if bit < 64:
        flipped.high ^= <uint64_t>1 << (63 - bit)
    elif bit < 128:
        flipped.middle ^= <uint64_t>1 << (127 - bit)
    else:
        flipped.low ^= <uint32_t>1 << (159 - bit)
    return flipped


# Some of what is nearest to a target, nearest first, each by a number that whoever collects them gives it.
cdef struct Found:
    Id distance
    size_t number


cdef struct Nearest:
    Found* found
    size_t count
    size_t wanted


cdef inline void take_if_near(Nearest* nearest, size_t first, const Id* distance, size_t number) noexcept nogil:
    """Put one in its place behind the first ones, unless there are enough that are nearer."""
    cdef size_t at = nearest.count
    if at == nearest.wanted:
        if at == first or not is_less(distance, &nearest.found[at - 1].distance):
            return
        at -= 1
    else:
        nearest.count += 1
    while at > first and is_less(distance, &nearest.found[at - 1].distance):
        nearest.found[at] = nearest.found[at - 1]
        at -= 1
    nearest.found[at].distance = distance[0]
    nearest.found[at].number = number
