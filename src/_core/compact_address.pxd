"""Compact addresses (BEP 5, 32): how much of one tells a network. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t

cdef enum:
    IPV4_SIZE = 6
    IPV6_SIZE = 18
    # One network counts as one address: IPv6 gives everybody 2^64 of them.
    IPV4_NETWORK = 4
    IPV6_NETWORK = 8
    LOOPBACK = 127
    # ::1 has nothing but its last byte.
    IPV6_LAST = 15


cdef inline bint is_host_itself(const uint8_t* address, size_t size) noexcept:
    """Whether an address is one of 127.0.0.0/8, or ::1."""
    cdef size_t place
    if size == IPV4_SIZE:
        return address[0] == LOOPBACK
    for place in range(IPV6_LAST):
        if address[place]:
            return False
    return address[IPV6_LAST] == 1


cdef inline size_t network_size(const uint8_t* address, size_t size) noexcept:
    """Return how many bytes tell a network; on the host itself, where many nodes may be, the whole address does."""
    if is_host_itself(address, size):
        return size
    return IPV4_NETWORK if size == IPV4_SIZE else IPV6_NETWORK
