"""STUN addresses from and to the system's socket addresses. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcmp, memcpy, memset

from librats._core.octets cimport load_be16, store_be16
from librats._core.stun_layout cimport FAMILY_IPV4, FAMILY_IPV6, IpAddress, load_address, store_address

cdef extern from *:
    """
    #ifdef _WIN32
    #include <winsock2.h>
    #include <ws2tcpip.h>
    #else
    #include <sys/types.h>
    #include <sys/socket.h>
    #include <netinet/in.h>
    #endif
    """
    int AF_INET
    int AF_INET6

    cdef struct in_addr:
        pass

    cdef struct in6_addr:
        pass

    cdef struct sockaddr:
        unsigned short sa_family

    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr

    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr

    cdef struct sockaddr_storage:
        unsigned short ss_family


cdef inline bint load_sockaddr(const sockaddr* address, IpAddress* found) noexcept nogil:
    """Take a socket address over; an IPv4-mapped one is IPv4. False where it is neither IPv4 nor IPv6."""
    cdef const sockaddr_in* four = <const sockaddr_in*>address
    cdef const sockaddr_in6* six = <const sockaddr_in6*>address
    cdef const uint8_t* host
    if address.sa_family == AF_INET:
        found.family = FAMILY_IPV4
        found.port = load_be16(<const uint8_t*>&four.sin_port)
        memcpy(found.host, &four.sin_addr, 4)
        return True
    if address.sa_family != AF_INET6:
        return False
    host = <const uint8_t*>&six.sin6_addr
    found.port = load_be16(<const uint8_t*>&six.sin6_port)
    if memcmp(host, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
        found.family = FAMILY_IPV4
        memcpy(found.host, host + 12, 4)
    else:
        found.family = FAMILY_IPV6
        memcpy(found.host, host, 16)
    return True


cdef inline size_t store_sockaddr(sockaddr_storage* out, const IpAddress* address) noexcept nogil:
    """Write a socket address of the address's own family, and return its length for the system's calls."""
    cdef sockaddr_in* four = <sockaddr_in*>out
    cdef sockaddr_in6* six = <sockaddr_in6*>out
    if address.family == FAMILY_IPV4:
        memset(four, 0, sizeof(sockaddr_in))
        four.sin_family = <unsigned short>AF_INET
        store_be16(<uint8_t*>&four.sin_port, address.port)
        memcpy(&four.sin_addr, address.host, 4)
        return sizeof(sockaddr_in)
    memset(six, 0, sizeof(sockaddr_in6))
    six.sin6_family = <unsigned short>AF_INET6
    store_be16(<uint8_t*>&six.sin6_port, address.port)
    memcpy(&six.sin6_addr, address.host, 16)
    return sizeof(sockaddr_in6)


cdef inline size_t load_xor_sockaddr(
    const uint8_t* value, size_t size, const uint8_t* mask, sockaddr_storage* out
) noexcept nogil:
    """Read an XOR- address attribute into a socket address; return its length, 0 where the value is wrong."""
    cdef IpAddress address
    if not load_address(value, size, mask, &address):
        return 0
    return store_sockaddr(out, &address)


cdef inline size_t store_xor_sockaddr(uint8_t* value, const sockaddr* address, const uint8_t* mask) noexcept nogil:
    """Write a socket address as the value of an XOR- attribute; return its size, 0 where it is no IP address."""
    cdef IpAddress found
    if not load_sockaddr(address, &found):
        return 0
    return store_address(value, &found, mask)
