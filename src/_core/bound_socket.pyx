"""UDP sockets without the objects of the ``socket`` module: a relay opens one for each of its allocations."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport uint8_t

from librats.errors import UsageError

cdef extern from *:
    """
    #ifndef _WIN32
    #include <errno.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <unistd.h>
    #endif

    #if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
    #define LIBRATS_OPENS_BOUND 1
    static int librats_open_bound(const uint8_t *host, int ipv6, uint16_t port) {
        struct sockaddr_in6 name;
        int one = 1, size = ipv6 ? (int)sizeof(struct sockaddr_in6) : (int)sizeof(struct sockaddr_in);
        int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) return -1;
        memset(&name, 0, sizeof name);
        if (ipv6) {
            name.sin6_family = AF_INET6, name.sin6_port = htons(port);
            memcpy(&name.sin6_addr, host, 16);
        } else {
            struct sockaddr_in *v4 = (struct sockaddr_in *)&name;
            v4->sin_family = AF_INET, v4->sin_port = htons(port);
            memcpy(&v4->sin_addr, host, 4);
        }
        if ((ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0)
            || bind(fd, (struct sockaddr *)&name, (socklen_t)size) != 0) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
        return fd;
    }
    #else
    #define LIBRATS_OPENS_BOUND 0
    static int librats_open_bound(const uint8_t *host, int ipv6, uint16_t port) {
        (void)host, (void)ipv6, (void)port;
        return -1;
    }
    #endif
    """
    bint LIBRATS_OPENS_BOUND
    int librats_open_bound(const uint8_t* host, int ipv6, int port)

OPENS_BOUND = bool(LIBRATS_OPENS_BOUND)


def open_bound(bytes host not None, int port):
    """Return the descriptor of a non-blocking UDP socket that is bound; IPv6 ones do not take IPv4.

    There is none of them where ``OPENS_BOUND`` is false.

    Args:
        host: 4 or 16 bytes of one of this machine's addresses, without a scope.
        port: The port; 0 picks one.

    Raises:
        OSError: The port is taken, the address not this machine's, or no descriptor is left.

    Example:
        >>> import os
        >>> os.close(open_bound(bytes([127, 0, 0, 1]), 0))
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(host)
    cdef int fd
    if (size != 4 and size != 16) or not 0 <= port <= 0xFFFF:
        raise UsageError("an address has 4 or 16 bytes, and a port from 0 to 65,535")
    fd = librats_open_bound(<const uint8_t*>PyBytes_AS_STRING(host), size == 16, port)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd
