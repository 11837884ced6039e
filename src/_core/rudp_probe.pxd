"""How much a packet may hold: packets of growing size are tried (RFC 8899). Header only.

Sizes are those of the whole datagram, without the headers of UDP and IP. What librats 2 takes is not probed for.
"""

from libc.stdint cimport uint32_t

from librats._core.rudp_control cimport control_segment
from librats._core.rudp_state cimport BASE_DATAGRAM, NEVER, Conn

cdef enum:
    PROBE_TRIES = 3
    STEP = 32  # bytes: a search ends where the next size is not farther than that
    WORTH = 65536  # bytes that a connection has sent before it is probed
    SHRINK_AFTER = 3

cdef extern from *:
    """
    #define RUDP_PROBE_AGAIN 600.0
    #define RUDP_PROBE_PAUSE 0.5
    #define RUDP_SHRINK_TIME 0.5
    """
    double PROBE_AGAIN "RUDP_PROBE_AGAIN"
    double PROBE_PAUSE "RUDP_PROBE_PAUSE"
    double SHRINK_TIME "RUDP_SHRINK_TIME"


cdef inline uint32_t next_size(const Conn* c) noexcept nogil:
    """The next size to try, usual ones first; 0 where the search is over."""
    cdef uint32_t[6] usual = [1372, 1452, 1472, 8932, 16336, 32720]
    cdef uint32_t top = min(c.datagram_most, c.probe_failed - 1)
    cdef int i
    if top <= c.datagram:
        return 0
    if c.probe_failed > c.datagram_most and c.datagram >= 8932:
        return top
    for i in range(6):
        if c.datagram < usual[i] <= top:
            return usual[i]
    if c.probe_failed <= c.datagram_most:
        return 0 if top - c.datagram < STEP * (1 + c.datagram / 1024) else c.datagram + (top - c.datagram) / 2
    return top


cdef inline bint probe_wanted(const Conn* c, double now) noexcept nogil:
    return (
        c.extended and c.probe_due <= now and c.probe_number == 0 and c.sent_bytes >= WORTH
        and c.datagram < c.datagram_most and c.agreed == c.has_key and c.newest_acked >= c.recover
    )


cdef inline void probe_acked(Conn* c, double now) noexcept nogil:
    c.probe_number = 0
    c.probe_tries = 0
    if c.probe_size > c.datagram:
        c.datagram = c.probe_size
        c.long_at = now
        control_segment(&c.control, c.datagram)
    c.probe_due = now if next_size(c) else later(c, now)


cdef inline double later(Conn* c, double now) noexcept nogil:
    """The search is over; look again in a while, for the path may have changed."""
    c.probe_failed = 65536
    return now + PROBE_AGAIN


cdef inline void probe_lost(Conn* c, double now) noexcept nogil:
    c.probe_number = 0
    c.probe_due = now
    if c.losses > c.probe_losses + 1:
        c.probe_due = now + PROBE_PAUSE  # others were lost with it, of sizes that do get through
        return
    c.probe_tries += 1
    if c.probe_tries >= PROBE_TRIES and c.probe_size > c.datagram:
        c.probe_tries = 0
        c.probe_failed = c.probe_size
        if not next_size(c):
            c.probe_due = later(c, now)


cdef inline void size_suspected(Conn* c, double now) noexcept nogil:
    """Long packets are lost again and again: the path may carry less than it did (RFC 8899, 4.3)."""
    if c.utp and c.datagram > BASE_DATAGRAM:
        c.shrunk = True  # what has a number cannot be cut into pieces: routers have to
    if (c.extended or c.utp) and c.datagram > BASE_DATAGRAM:
        c.datagram = BASE_DATAGRAM
        c.control.segment = BASE_DATAGRAM
        c.probe_number = 0
        c.probe_failed = 65536
        c.probe_due = now + 60


cdef inline void size_forgotten(Conn* c, double now) noexcept nogil:
    """The path is a new one."""
    c.datagram = BASE_DATAGRAM
    c.control.segment = BASE_DATAGRAM
    c.probe_number = 0
    c.probe_failed = 65536
    c.probe_tries = 0
    c.probe_due = now
