"""What ``relay_sieve.h`` offers. Header only: there is no module of this name."""

from libc.stdint cimport uint32_t

cdef extern from "relay_sieve.h" nogil:
    int sieve_attach(int fd, uint32_t longest_request, int sessions) noexcept
    uint32_t sieve_dropped(int fd) noexcept
